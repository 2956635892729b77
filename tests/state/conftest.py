"""Stores for tests of the state: in memory, on disk, and the same one in another process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from testbed.kernel import Kernel

import orchstate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchstate.config import Config
    from orchstate.store import Store


@pytest.fixture
def store() -> Iterator[Store]:
    """An empty store in memory."""
    with orchstate.open(":memory:", actor="me") as store:
        yield store


@pytest.fixture
def gpt(store: Store) -> Config:
    """A committed config of the store in memory."""
    config = store.configs.create("openai", name="gpt", model="gpt-y", temperature=0.2)
    store.flush()
    return config


@pytest.fixture
def claude(store: Store, gpt: Config) -> Config:
    """A second committed config, with nothing to tell any more."""
    config = store.configs.create("anthropic", name="claude")
    store.flush()
    return config


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Store]:
    """A store in a file with a committed config ``gpt``."""
    with orchstate.open(tmp_path / "store.db", secrets="memory", actor="me") as store:
        store.configs.create("openai", name="gpt", model="gpt-y", temperature=0.2)
        store.flush()
        yield store


@pytest.fixture
def other(disk: Store) -> Iterator[Kernel]:
    """Another process with the store of `disk`, as ``store``; its ``gpt`` is the config."""
    setup = f"""
import orchstate
store = orchstate.open({str(disk.path)!r}, secrets="memory", actor="other")
gpt = store.configs["gpt"]
"""
    with Kernel(setup) as kernel:
        yield kernel


@pytest.fixture
def held(disk: Store) -> Iterator[Callable[[], None]]:
    """Keep own edits from being committed until the test calls this."""
    mutex = disk._engine._write_mutex
    mutex.acquire()
    is_held = [True]

    def let_go() -> None:
        if is_held.pop():
            mutex.release()
        is_held.append(False)

    yield let_go
    let_go()


@pytest.fixture
def asking(disk: Store, other: Kernel) -> Store:
    """A store whose settings leave overlaps to people."""
    disk.settings.sync.conflict_resolution = "prompt"
    disk.flush()
    other("store.refresh()")
    return disk


@pytest.fixture
def merging(disk: Store, other: Kernel) -> Store:
    """A store whose settings leave overlaps to a function."""
    disk.settings.sync.conflict_resolution = "merge"
    disk.flush()
    other("store.refresh()")
    return disk
