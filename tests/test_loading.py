"""A store that takes long to look over is open at once; what is read or committed waits for it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from testbed.kernel import Kernel

import orchstate
from orchstate import opening
from orchstate.errors import CorruptStoreError, ForkedStoreError, StoreError, StoreLockedError
from orchstate.storage import mending
from orchstate.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchstate.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with a config and one that is active."""
    with orchstate.open(tmp_path / "store.db", secrets="memory", actor="me") as store:
        store.active = store.configs.create("openai", name="gpt", seed=1)
    return tmp_path / "store.db"


class Held:
    """Every large file is looked over as long as nobody calls `let_go`, and every file is large."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._is_over = threading.Event()
        self.let_go = self._is_over.set
        self.error: StoreError | None = None
        real = SqliteEngine.inspect

        def inspect(engine: SqliteEngine, *, anew: bool = True) -> None:
            self._is_over.wait(30)
            if self.error:
                raise self.error
            real(engine, anew=anew)

        monkeypatch.setattr(mending, "_SMALL_BYTES", 0)
        monkeypatch.setattr(SqliteEngine, "inspect", inspect)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    held = Held(monkeypatch)
    yield held
    held.let_go()


@pytest.fixture
def store(path: Path, held: Held) -> Iterator[Store]:
    """A store that is loading."""
    with orchstate.open(path, secrets="memory", actor="me") as store:
        yield store
        held.let_go()


def in_a_while(do: object) -> None:
    threading.Timer(0.05, do).start()  # type: ignore[arg-type]


def test_what_needs_no_reading_is_there_at_once(store: Store, path: Path) -> None:
    assert (store.status, store.pending, store.error, store.path) == ("loading", 0, None, path)
    assert repr(store) == f"<Store {path}: loading, configs not read yet>"


def test_the_first_read_waits_and_then_it_is_ready(store: Store, held: Held) -> None:
    in_a_while(held.let_go)
    assert store.configs["gpt"].seed == 1
    assert store.status == "ready"


def test_those_who_observe_are_told_when_it_is_ready(store: Store, held: Held) -> None:
    heard: list[tuple[str, object, object]] = []
    store.observe(lambda change: heard.append((change.name, change.old, change.new)), ["status", "active"])
    is_loading = store.select(lambda store: store.status == "loading")
    assert is_loading.value
    held.let_go()
    gpt = store.configs["gpt"]
    store.refresh()
    assert heard == [("active", None, gpt), ("status", "loading", "ready")]
    assert not is_loading.value


def test_edits_of_other_threads_wait_and_are_committed(store: Store, held: Held) -> None:
    worker = threading.Thread(target=lambda: store.configs["gpt"].update(seed=2))
    worker.start()
    held.let_go()
    worker.join(30)
    store.flush()
    assert store.history.changes("gpt", field="seed")["new"].tolist() == [1, 2]


def test_the_event_loop_goes_on_while_a_twin_waits(store: Store, held: Held) -> None:
    async def work() -> int:
        found = asyncio.create_task(store.history.achanges("gpt"))
        turns = 0
        while not found.done():
            await asyncio.sleep(0.001)
            turns += 1
            if turns == 20:
                held.let_go()
        assert len(await found)
        return turns

    assert asyncio.run(work()) >= 20


@pytest.mark.parametrize("read_only", [False, True])
def test_damage_that_is_found_meanwhile_is_mended_before_anything_is_read(
    read_only: bool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mending, "_SMALL_BYTES", 0)
    with closing(sqlite3.connect(path)) as connection:
        ((root,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'rev_id'")
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xaa" * 4096)
    with orchstate.open(path, secrets="memory", actor="me", read_only=read_only) as store:
        assert store.configs["gpt"].seed == 1
        assert isinstance(store.error, CorruptStoreError)
        assert store.status == ("read-only" if read_only else "degraded")
        assert store.active is store.configs["gpt"]


def test_a_file_that_cannot_be_looked_over_just_now_is_used_nevertheless(
    store: Store, held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    held.error = StoreLockedError("It has been locked for 5 s.")
    held.let_go()
    assert store.configs["gpt"].seed == 1
    assert (store.status, "could not be looked over: It has been locked" in caplog.text) == ("ready", True)


def test_damage_beyond_help_that_is_found_meanwhile_is_the_stores_error(store: Store, held: Held) -> None:
    held.error = CorruptStoreError("Nothing of it is left.")
    held.let_go()
    store._engine.preparation.wait()
    assert (store.status, str(store.error)) == ("degraded", "Nothing of it is left.")


def test_closing_waits_for_it(store: Store, held: Held, path: Path) -> None:
    in_a_while(held.let_go)
    store.close()
    assert store.status == "closed"
    assert not list((path.parent / "store.db.outbox").iterdir())


def test_a_child_that_is_forked_meanwhile_waits_for_nothing(store: Store) -> None:
    child = os.fork()
    if child == 0:
        try:
            store.configs["gpt"]
        except ForkedStoreError:
            os._exit(3)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3


def test_many_edits_of_the_dead_are_taken_over_before_the_first_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_QUICKLY_ADOPTED_BYTES", 0)
    # It accepts and does not live to commit.
    dying = f"""
import orchstate
store = orchstate.open({str(path)!r}, secrets="memory")
gpt = store.configs["gpt"]
store._engine._write_mutex.acquire()
for seed in range(2, 1000): gpt.seed = seed
"""
    with Kernel(dying) as kernel:
        kernel.kill()
    heard = []
    with orchstate.open(path, secrets="memory", actor="me") as store:
        store.subscribe(lambda event: heard.append(event.seq))
        assert store.configs["gpt"].seed == 999
        store.refresh()
        assert heard == sorted(set(heard))
        assert len(store.history.changes("gpt", field="seed")) == 999
    assert not list((path.parent / "store.db.outbox").iterdir())
