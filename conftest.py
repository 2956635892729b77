"""What holds for every test, doctest and notebook: the user's things are out of reach, CI skips nothing."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from testbed.environment import shelter

if TYPE_CHECKING:
    from collections.abc import Iterator

# Contract classes are collected as modules before the tests that inherit from them are.
pytest.register_assert_rewrite("tests.contract")
_folder = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Take the user's store, keyring and keys out of reach before the first import of a test."""
    config.stash[_folder] = folder = tempfile.TemporaryDirectory(prefix="orchstate-tests-")
    shelter(os.environ, Path(folder.name))
    # A shell starts background jobs deaf to interrupts, and some tests send themselves one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.environ.get("CI"):
        config.pluginmanager.import_plugin("testbed.no_skips")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what the tests have written."""
    config.stash[_folder].cleanup()


@pytest.fixture(autouse=True)
def _things_for_docstrings(
    request: pytest.FixtureRequest, doctest_namespace: dict[str, object]
) -> Iterator[None]:
    """Give each docstring a ``store`` in memory with a committed config ``gpt``."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    import orchstate

    with orchstate.open(":memory:", actor="you") as store:
        gpt = store.configs.create("openai", name="gpt", model="gpt-5.4-mini", temperature=0.2)
        store.flush()
        doctest_namespace |= {"store": store, "gpt": gpt}
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the cells of notebooks, before anything chooses tests by their marks."""
    for item in items:
        if _is_cell(item):
            item.add_marker("notebook")


def _is_cell(item: pytest.Item) -> bool:
    return type(item).__name__ == "IPyNbCell"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Give each notebook that nbval runs a store of its own; its kernel starts with the first cell."""
    if _is_cell(item):
        store = Path(item.config.stash[_folder].name, item.path.stem, "store.db")
        store.parent.mkdir(exist_ok=True)
        os.environ["ORCHSTATE_STORE"] = str(store)
    return (yield)
