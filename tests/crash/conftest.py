"""The mark of the attacks, and the nursery, once per module."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from crash.nursery import Nursery

if TYPE_CHECKING:
    from collections.abc import Iterator


FOLDER = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder; whatever chooses tests by their marks does so afterwards."""
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker("crash")


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Where processes come from that are to be killed, stopped or deceived."""
    made = Nursery()
    yield made
    made.close()


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: the death of a process does not reach the disk anyway."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="orchstate-crash-", dir=memory) as name:
        yield Path(name)
