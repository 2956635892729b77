"""JupyterLab with a real keyring, and notebooks that are looked at for errors when a test is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.desk import Desk
from tests.conftest import labs_in_one_browser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testbed.jupyter import Lab, Notebook
    from testbed.secret_service import SecretService

    from tests.conftest import LabFactory


_has_passed = pytest.StashKey[bool]()


@pytest.fixture(scope="package")
def lab_factory() -> Iterator[LabFactory]:
    """A function that starts a JupyterLab; all tests of this folder share the browser."""
    with labs_in_one_browser() as start:
        yield start


@pytest.fixture(scope="package")
def lab(lab_factory: LabFactory, secret_service: SecretService) -> Lab:
    """A JupyterLab whose kernels find a Secret Service, and nothing of the person who runs the tests."""
    return lab_factory(secret_service.environment)


@pytest.fixture(scope="package")
def lying() -> dict[str, Notebook]:
    """The notebooks that are open and not in use."""
    return {}


@pytest.fixture
def desk(
    lab: Lab, tmp_path: Path, lying: dict[str, Notebook], request: pytest.FixtureRequest
) -> Iterator[Desk]:
    """Notebooks on one store of their own; at the end no page may have complained or called anybody.

    Page and kernel may have been those of an earlier test.
    """
    yield from _desk(lab, tmp_path, lying, request)


@pytest.fixture
def new_desk(lab: Lab, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """The same with pages and kernels of its own: for what is saved, restarted, loaded again, or counted."""
    yield from _desk(lab, tmp_path, None, request)


def _desk(
    lab: Lab, folder: Path, lying: dict[str, Notebook] | None, request: pytest.FixtureRequest
) -> Iterator[Desk]:
    desk = Desk(lab, folder / "store.db", lying)
    yield desk
    try:
        desk.check_pages()
    except AssertionError:
        desk.leave(is_tidy=False)
        raise
    desk.leave(is_tidy=request.node.stash.get(_has_passed, False))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Note which test has passed: a page that it was done with is used again."""
    report: pytest.TestReport = yield
    if report.when == "call":
        item.stash[_has_passed] = report.passed
    return report
