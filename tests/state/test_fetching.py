"""Loading: what the engine is asked for holds nobody else up, and is never older than what was shown."""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from testbed.observing import wait_until

import orchstate
from orchstate.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from testbed.kernel import Kernel

    from orchstate.storage.engine import Row
    from orchstate.store import Store


@pytest.fixture
def busy(disk: Store) -> Iterator[sqlite3.Connection]:
    """Another program that keeps everybody from reading the store's file."""
    with closing(sqlite3.connect(str(disk.path), isolation_level=None)) as connection:
        disk.configs["gpt"].temperature = 0.3
        disk.flush()
        connection.execute("BEGIN EXCLUSIVE")
        yield connection


@pytest.mark.parametrize(
    "question",
    [
        lambda store: store.configs.create("openai", name="new"),
        lambda store: "other" in store.configs,
        lambda store: list(store.configs),
        lambda store: store.configs["gpt"].update(name="new"),
    ],
)
def test_who_waits_for_the_engine_holds_no_other_thread_up(
    question: Callable[[Store], Any], disk: Store, busy: sqlite3.Connection
) -> None:
    gpt, errors = disk.configs["gpt"], []

    def ask() -> None:
        try:
            question(disk)
        except StoreError as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    for number in range(50):
        gpt.seed = number
    assert thread.is_alive()
    busy.execute("ROLLBACK")
    thread.join()
    disk.flush()
    assert (gpt.seed, errors) == (49, [])


def test_what_is_surely_not_there_is_not_asked_for(disk: Store, busy: sqlite3.Connection) -> None:
    busy.execute("ROLLBACK")
    assert list(disk.configs) == ["gpt"]
    busy.execute("BEGIN EXCLUSIVE")
    start = time.monotonic()
    disk._state._fetcher.fetch_id(str(uuid.uuid4()), "config")
    assert time.monotonic() - start < 4


def test_deleted_documents_are_no_new_ones(disk: Store, other: Kernel) -> None:
    mine = disk.configs.create("openai", name="mine")
    mine.delete()
    theirs = other("store.configs.create('openai', name='theirs').id")
    other("store.configs['theirs'].delete(); store.flush()")
    path = str(disk.path)
    disk.close()
    with orchstate.open(path, secrets="memory") as store:
        assert list(store.configs) == ["gpt"]
        later = other(
            "new = store.configs.create('openai', name='later'); new.delete(); store.flush(); new.id"
        )
        store.refresh()
        for id in (mine.id, theirs, later):
            assert not store._state.view.is_absent("config", id)
        assert store._state.view.is_absent("config", str(uuid.uuid4()))


def test_an_answer_that_news_have_overtaken_is_not_shown(disk: Store, other: Kernel) -> None:
    """The row is read, then changed by another process, whose news are shown before the row is taken."""
    disk.configs.create("openai", name="late", seed=1)
    path = str(disk.path)
    disk.close()
    with orchstate.open(path, secrets="memory") as store:
        state, asked = store._state, []
        snapshot = state.engine.snapshot

        class Slow:
            def find(self, kind: str, name: str) -> Row | None:
                found = snapshot().find(kind, name)
                if not asked:
                    asked.append(name)
                    other("store.configs['late'].seed = 2; store.flush()")
                    wait_until(lambda: state._inbox)
                    state._take_in()
                return found

        engine: Any = SimpleNamespace(snapshot=Slow, damages=state.engine.damages)
        state._fetcher._engine = engine
        assert (store.configs["late"].seed, asked) == (2, ["late"])


def test_a_worker_that_refreshes_sees_what_others_did(disk: Store, other: Kernel) -> None:
    gpt, seen = disk.configs["gpt"], []

    def work() -> None:
        other("gpt.temperature = 0.9; store.flush()")
        disk.refresh()
        seen.append(gpt.temperature)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [0.9]
