"""JupyterLab with a real keyring, and notebooks that are looked at for errors when a test is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testbed.jupyter import Lab
    from testbed.secret_service import SecretService

    from tests.conftest import LabFactory


@pytest.fixture(scope="module")
def lab(lab_factory: LabFactory, secret_service: SecretService) -> Lab:
    """A JupyterLab whose kernels find a Secret Service, and nothing of the person who runs the tests."""
    return lab_factory(secret_service.environment)


@pytest.fixture
def desk(lab: Lab, tmp_path: Path) -> Iterator[Desk]:
    """Notebooks on one store of their own; at the end no page may have complained or called anybody."""
    desk = Desk(lab, tmp_path / "store.db")
    yield desk
    desk.check_pages()
    desk.leave()
