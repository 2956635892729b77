"""A store that takes long to look over is open at once; what is read or committed waits for it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from testbed.kernel import Kernel

import orchstate
from orchstate import opening
from orchstate.errors import CorruptStoreError, ForkedStoreError, StoreError, StoreLockedError
from orchstate.storage import mending
from orchstate.storage.sqlite import SqliteEngine
from orchstate.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with a config and one that is active."""
    with orchstate.open(tmp_path / "store.db", secrets="memory", actor="me") as store:
        store.active = store.configs.create("openai", name="gpt", seed=1)
    return tmp_path / "store.db"


class Held:
    """Every large file is looked through as long as nobody calls `let_go`, and every file is large."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._is_over = threading.Event()
        self.let_go = self._is_over.set
        self.error: StoreError | None = None
        self.begun = threading.Event()
        real = SqliteEngine._look_through

        def look(engine: SqliteEngine, at: str, connection: sqlite3.Connection) -> Any:
            self.begun.set()
            if not self._is_over.is_set():
                # As SQLite's own look, it can be interrupted, and then begins again.
                connection.create_function("is_over", 0, self._is_over.is_set)
                engine._looked_at = connection
                connection.execute(_FOR_LONG).fetchall()
            if self.error:
                raise self.error
            return real(engine, at, connection)

        monkeypatch.setattr(mending, "_SMALL_BYTES", 0)
        monkeypatch.setattr(SqliteEngine, "_look_through", look)


_FOR_LONG = """WITH RECURSIVE steps(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM steps WHERE NOT is_over())
    SELECT max(n) FROM steps"""


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


def lose_an_index(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        ((root,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'rev_id'")
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xaa" * 4096)


def die_with_edits(path: Path, last: int) -> None:
    """Have a process accept edits of the seed, from 2 up to `last`, that it does not live to commit."""
    dying = f"""
import orchstate
store = orchstate.open({str(path)!r}, secrets="memory")
gpt = store.configs["gpt"]
store._engine._write_mutex.acquire()
for seed in range(2, {last + 1}): gpt.seed = seed
"""
    with Kernel(dying) as kernel:
        kernel.kill()


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
    lose_an_index(path)
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
    assert (store.status, store.error) == ("ready", held.error)
    assert "could not be looked over: It has been locked" in caplog.text


def test_damage_beyond_help_that_is_found_meanwhile_is_the_stores_error(store: Store, held: Held) -> None:
    held.error = CorruptStoreError("Nothing of it is left.")
    held.let_go()
    store._engine.loading.wait()
    assert (store.status, str(store.error)) == ("degraded", "Nothing of it is left.")


def test_a_salvage_that_finds_no_space_is_told_and_the_edits_of_the_dead_are_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mending, "_SMALL_BYTES", 0)
    die_with_edits(path, 3)
    lose_an_index(path)

    def full(*args: object, **options: object) -> NoReturn:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(mending, "salvage", full)
    with orchstate.open(path, secrets="memory", actor="me") as store:
        assert store.configs["gpt"].model is None
        assert (store.status, type(store.error)) == ("degraded", CorruptStoreError)
        assert "what is sound in it could not be saved: database or disk is full" in str(store.error)
    monkeypatch.undo()
    with orchstate.open(path, secrets="memory", actor="me") as store:
        assert store.configs["gpt"].seed == 3


def test_who_observes_first_later_hears_no_error(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with orchstate.open(path, secrets="memory", actor="me") as store:
        store.configs["gpt"].seed = 7
        store._state.wait()
        store.observe(lambda change: None, "status")
        store.flush()
    assert "raised" not in caplog.text


@pytest.mark.parametrize("call", [Store.flush, Store.refresh])
def test_a_time_limit_holds_while_loading(call: Callable[[Store, float], int], store: Store) -> None:
    with pytest.raises(StoreError, match=r"still loading after 0.05 s"):
        call(store, 0.05)


def test_closing_does_not_wait_longer_than_it_may(store: Store, held: Held) -> None:
    held.begun.wait(10)
    store._close(0.05)
    assert store.status == "closed"
    assert store._engine.loading.wait(10)


def test_closing_waits_for_it(store: Store, held: Held, path: Path) -> None:
    in_a_while(held.let_go)
    store.close()
    assert store.status == "closed"
    assert not list((path.parent / "store.db.outbox").iterdir())


def test_a_fork_interrupts_the_look_and_its_child_waits_for_nothing(store: Store, held: Held) -> None:
    held.begun.wait(10)
    child = os.fork()
    if child == 0:
        try:
            store.configs["gpt"]
        except ForkedStoreError:
            os._exit(3)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert store.status == "loading"
    held.let_go()
    assert store.configs["gpt"].seed == 1


def test_who_only_reads_does_not_wait_for_many_edits_of_the_dead_to_be_counted(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(opening, "_QUICKLY_ADOPTED_BYTES", 0)
    die_with_edits(path, 999)
    threads: list[str] = []
    real = opening.waiting
    monkeypatch.setattr(
        opening, "waiting", lambda *given: threads.append(threading.current_thread().name) or real(*given)
    )
    with orchstate.open(path, secrets="memory", read_only=True) as store:
        assert store.configs["gpt"].seed == 1
    assert threads != [threading.main_thread().name]
    assert "998 edits of processes that had died are not seen here" in caplog.text


def test_many_edits_of_the_dead_are_taken_over_before_the_first_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_QUICKLY_ADOPTED_BYTES", 0)
    die_with_edits(path, 999)
    heard = []
    with orchstate.open(path, secrets="memory", actor="me") as store:
        store.subscribe(lambda event: heard.append(event.seq))
        moment = store.flush()
        assert store.at(moment).configs["gpt"].seed == store.configs["gpt"].seed == 999
        assert store.at(store.snapshot("so far")).configs["gpt"].seed == 999
        # It was committed before anything could be read, as if it had been so at the opening.
        assert not [seq for seq in heard if seq <= moment]
        assert len(store.history.changes("gpt", field="seed")) == 999
    assert not list((path.parent / "store.db.outbox").iterdir())
