"""Opening and closing: one store per target, bad targets with their reason, the loop that goes on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import orchstate
from orchstate.errors import (
    ClosedError,
    CorruptStoreError,
    NewerSchemaError,
    ReadOnlyError,
    StoreError,
    StoreLockedError,
    StoreWriteError,
)
from orchstate.locks import FairLock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from orchstate.store import Store


def filled(path: Path) -> Path:
    with orchstate.open(path) as store:
        store.configs.create("openai", name="gpt", temperature=0.5)
    return path


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- one store per target -------------------------------------------------------------------


def test_the_same_target_gives_the_same_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with orchstate.open(tmp_path / "store.db") as store:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "link").symlink_to(tmp_path)
        for target in ("store.db", str(tmp_path / "store.db"), tmp_path / "link" / "store.db"):
            assert orchstate.open(target) is store


def test_a_closed_store_is_opened_anew(tmp_path: Path) -> None:
    first = orchstate.open(filled(tmp_path / "store.db"))
    first.close()
    with orchstate.open(tmp_path / "store.db") as second:
        assert second is not first
        assert second.configs["gpt"].temperature == 0.5


def test_every_store_in_memory_is_another_one() -> None:
    with orchstate.open(":memory:") as one, orchstate.open(":memory:") as other:
        one.configs.create("openai", name="gpt")
        assert "gpt" not in other.configs


def test_threads_that_open_one_target_get_one_store(tmp_path: Path) -> None:
    found: list[Store] = []
    threads = [
        threading.Thread(target=lambda: found.append(orchstate.open(tmp_path / "store.db"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(store) for store in found}) == 1
    found[0].close()


def test_other_options_for_an_open_store_are_refused_with_the_difference(tmp_path: Path) -> None:
    with (
        orchstate.open(tmp_path / "store.db", actor="ann"),
        pytest.raises(
            StoreError,
            match=r"is open in this process with read_only=False, actor='ann', "
            r"and now wanted with read_only=True, actor='bob'\. Open it the same way, or close\(\) it first",
        ),
    ):
        orchstate.open(tmp_path / "store.db", read_only=True, actor="bob")


def test_the_environment_names_the_usual_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHSTATE_STORE", str(tmp_path / "usual.db"))
    with orchstate.open() as store:
        assert store.path == tmp_path / "usual.db"


def test_without_one_it_lies_among_the_users_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHSTATE_STORE", "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with orchstate.open() as store:
        assert store.path is not None
        assert store.path.name == "store.db"
        assert store.path.is_relative_to(tmp_path) or sys.platform == "darwin"


def test_a_tilde_is_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with orchstate.open("~/store.db") as store:
        assert store.path == tmp_path / "store.db"


@pytest.mark.parametrize("name", ["with space.db", "q?x#y%z.db", "ünïcode.db", "a'b\"c.db"])
def test_odd_names_of_files_work(name: str, tmp_path: Path) -> None:
    path = filled(tmp_path / name)
    with orchstate.open(path, read_only=True) as store:
        assert list(store.configs) == ["gpt"]
    assert path.exists()


# -- bad targets ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("", r"'' is no path\. Give a file, ':memory:', or nothing for your own store"),
        (5, r"5 is no path\. Give a file"),
        ("postgresql://127.0.0.1/x", r"PostgreSQL stores are not part of this version"),
        ("x" * 300, r"'xxx.* cannot be used: File name too long\. Give another path"),
        ("~no-such-user/store.db", r"cannot be used: Could not determine home directory\. Give another"),
        ("a\0b", r"cannot be used: .*embedded null .*\. Give another path"),
    ],
)
def test_what_is_no_path_is_refused(target: object, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        orchstate.open(target)  # type: ignore[arg-type]


@pytest.mark.parametrize("variable", ["~no-such-user/vault.json", ""])
def test_an_opening_that_is_refused_makes_no_file(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHSTATE_VAULT", variable)
    secrets: Any = "auto" if variable else "keychain"
    with pytest.raises(
        orchstate.OrchstateError, match=r"ORCHSTATE_VAULT='~no|secrets='keychain' is not known"
    ):
        orchstate.open(tmp_path / "store.db", secrets=secrets)
    assert listing(tmp_path) == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks belong to POSIX")
def test_a_child_can_open_stores_though_a_thread_of_its_parent_was_opening_one(tmp_path: Path) -> None:
    held = FairLock(filled(tmp_path / "held.db").with_name("held.db.lock"))
    assert held.acquire(1)

    def opening() -> None:
        with contextlib.suppress(StoreError):
            orchstate.open(tmp_path / "held.db")

    thread = threading.Thread(target=opening)
    thread.start()
    time.sleep(0.2)
    child = os.fork()
    if not child:
        signal.alarm(20)
        orchstate.open(tmp_path / "other.db", secrets="memory").configs.create("openai", name="gpt")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    held.release()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_circle_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(tmp_path / "one")
    with pytest.raises(
        StoreError, match=r"one.*cannot be used: (Symlink loop|Too many levels of symbolic links)"
    ):
        orchstate.open(tmp_path / "one" / "store.db")


def test_a_name_that_leaves_no_room_for_its_companions_is_refused_and_nothing_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="File name too long"):
        orchstate.open(tmp_path / ("x" * 250))
    assert listing(tmp_path) == {}


def test_a_folder_is_refused_and_nothing_made_in_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is a folder\. Name a file in it"):
        orchstate.open(tmp_path)
    assert listing(tmp_path) == {}


@pytest.mark.parametrize(
    "content", [b"no database, only text\n" * 100, b"SQLite format 3\x00" + b"\xff" * 200]
)
def test_what_is_no_database_is_refused_and_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(content)
    with pytest.raises(
        StoreError, match=r"is not a database\. Choose another path; the file was not touched"
    ):
        orchstate.open(tmp_path / "notes.txt")
    assert listing(tmp_path) == {"notes.txt": content}


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE cookies (name TEXT)"],
        ["PRAGMA application_id = 1196444487"],
        ["PRAGMA application_id = 1196444487", "CREATE TABLE tiles (x)"],
    ],
)
def test_the_database_of_another_program_is_refused_and_left_as_it_is(
    statements: list[str], tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "cookies.db")) as theirs:
        for statement in statements:
            theirs.execute(statement)
        theirs.commit()
    before = listing(tmp_path)
    with pytest.raises(StoreError, match=r"is a database of another program\. Choose another path"):
        orchstate.open(tmp_path / "cookies.db")
    assert listing(tmp_path) == before


def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = filled(tmp_path / "store.db")
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 99")
    content = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(
            NewerSchemaError, match=r"has store format 99, and this orchstate knows \d+\. Install"
        ):
            orchstate.open(path, read_only=read_only)
    assert path.read_bytes() == content


def test_a_read_only_file_can_be_read_and_not_edited(tmp_path: Path) -> None:
    path = filled(tmp_path / "store.db")
    path.chmod(0o444)
    with pytest.raises(ReadOnlyError, match=r"may not be written\. Open it with read_only=True"):
        orchstate.open(path)
    with orchstate.open(path, read_only=True) as store:
        assert store.configs["gpt"].temperature == 0.5
        assert store.status == "read-only"
        with pytest.raises(ReadOnlyError, match=r"open for reading only\. Open it without read_only=True"):
            store.configs["gpt"].temperature = 1.0
        with pytest.raises(ReadOnlyError), store.transaction():
            pass


@pytest.mark.parametrize("content", [None, b""])
def test_there_has_to_be_something_to_read(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=r"does not exist|is empty, so there is nothing to read"):
        orchstate.open(path, read_only=True)
    assert listing(tmp_path) == ({} if content is None else {"store.db": b""})


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "store.db").touch()
    assert filled(tmp_path / "store.db").stat().st_size > 0


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = filled(tmp_path / "store.db")
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute("DELETE FROM meta")
        theirs.commit()
    with pytest.raises(CorruptStoreError, match=r"has lost its id\. Restore it from a backup"):
        orchstate.open(path)


LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A store that another program keeps locked."""
    path = filled(tmp_path / "store.db")
    command = [sys.executable, "-c", LOCKER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as locker:
        assert locker.stdout and locker.stdout.readline() == b"locked\n"
        yield path
        locker.kill()


def test_a_store_that_another_program_locks_is_refused_in_bounded_time(locked: Path) -> None:
    start = time.monotonic()
    with pytest.raises(
        StoreLockedError, match=r"is locked by another program\. Close it there, or try again"
    ):
        orchstate.open(locked)
    assert time.monotonic() - start < 15


def test_an_opening_that_fails_late_leaves_no_outbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(tmp_path / "store.db")
    with pytest.raises(orchstate.ValidationError, match=r"secrets='keyrign' is not known"):
        orchstate.open(path, secrets="keyrign")  # type: ignore[arg-type]
    assert list((tmp_path / "store.db.outbox").iterdir()) == []
    with orchstate.open(path) as store:
        assert list(store.configs) == ["gpt"]


def test_a_place_that_takes_no_outbox_is_refused_and_can_be_mended(tmp_path: Path) -> None:
    path = filled(tmp_path / "store.db")
    (tmp_path / "store.db.outbox").rmdir()
    (tmp_path / "store.db.outbox").write_text("in the way")
    with pytest.raises(StoreWriteError, match=r"Cannot write in .*store\.db\.outbox"):
        orchstate.open(path)
    (tmp_path / "store.db.outbox").unlink()
    with orchstate.open(path) as store:
        assert list(store.configs) == ["gpt"]


# -- closing --------------------------------------------------------------------------------


def test_closing_commits_and_removes_the_outbox(tmp_path: Path) -> None:
    with orchstate.open(tmp_path / "store.db") as store:
        store.configs.create("openai", name="gpt")
    assert store.status == "closed"
    assert repr(store) == f"<Store {tmp_path / 'store.db'}: closed>"
    assert list((tmp_path / "store.db.outbox").iterdir()) == []
    store.close()


def test_a_closed_store_refuses_edits_and_keeps_what_was_read(tmp_path: Path) -> None:
    with orchstate.open(tmp_path / "store.db") as store:
        gpt = store.active = store.configs.create("openai", name="gpt", temperature=0.5)
    assert gpt.temperature == 0.5
    assert store.active is gpt
    for edit in (gpt.delete, store.undo, store.flush, store.refresh):
        with pytest.raises(
            ClosedError, match=r"This store is closed\. Open it again with orchstate\.open\(\)"
        ):
            edit()
    with pytest.raises(ClosedError):
        gpt.temperature = 1.0


@pytest.mark.parametrize("round", range(5))
def test_an_edit_that_returns_while_another_thread_closes_is_not_lost(round: int, tmp_path: Path) -> None:
    store = orchstate.open(tmp_path / "store.db")
    gpt, done = store.configs.create("openai", name="gpt"), []

    def edit() -> None:
        with contextlib.suppress(ClosedError):
            for count in itertools.count():
                gpt.seed = count
                done.append(count)

    worker = threading.Thread(target=edit)
    worker.start()
    time.sleep(0.02 * round)
    store.close()
    worker.join()
    with orchstate.open(tmp_path / "store.db") as again:
        assert again.history.changes("gpt", field="seed")["new"].tolist() == done


def test_the_observers_of_a_store_hear_that_it_is_closed(tmp_path: Path) -> None:
    heard = []
    store = orchstate.open(tmp_path / "store.db")
    store.observe(lambda change: heard.append(change.new), "status")
    store.close()
    assert heard[-1] == "closed"


def test_closing_a_store_that_cannot_commit_keeps_the_outbox(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.db"
    store = orchstate.open(path)
    gpt = store.configs.create("openai", name="gpt")
    store.flush()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        gpt.temperature = 1.0
        store._close(0.2)
    assert "Closed with open edits: 1 accepted edits are not committed yet" in caplog.text
    with orchstate.open(path) as again:
        assert again.configs["gpt"].temperature == 1.0


# -- without stopping the loop --------------------------------------------------------------


def test_opening_flushing_and_refreshing_leave_the_loop_running(tmp_path: Path) -> None:
    path = filled(tmp_path / "store.db")
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            ticks.append(time.perf_counter())
            await asyncio.sleep(0.005)

    async def while_it_is_locked(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Do slow work: for 0.3 s another process, so to say, keeps the lock that it needs."""
        lock = FairLock(path.with_name("store.db.lock"))
        await asyncio.to_thread(lock.acquire, 10)
        asyncio.get_running_loop().call_later(0.3, lock.release)
        ticks.clear()
        result = await work()
        pauses_ms = [(later - earlier) * 1000 for earlier, later in itertools.pairwise(ticks)]
        print(
            f"{len(ticks)} ticks, the longest pause {max(pauses_ms):.1f} ms, half of all below "
            f"{statistics.median(pauses_ms):.1f} ms"
        )
        assert statistics.median(pauses_ms) < 50
        return result

    async def work() -> None:
        ticker = asyncio.create_task(tick())
        store = await while_it_is_locked(partial(orchstate.aopen, path))
        gpt = store.configs["gpt"]

        async def flush() -> int:
            gpt.seed = 1
            return await store.aflush()

        async def wait_for_receipt() -> str:
            return (await gpt.update(seed=2)).state

        assert await while_it_is_locked(flush) == 2
        assert await while_it_is_locked(wait_for_receipt) == "committed"
        await store.arefresh()
        ticker.cancel()
        store.close()

    asyncio.run(work())


def test_observers_of_an_asynchronously_opened_store_run_in_the_loops_thread(tmp_path: Path) -> None:
    async def work() -> set[int]:
        store, heard = await orchstate.aopen(filled(tmp_path / "store.db")), set()
        store.configs["gpt"].observe(lambda change: heard.add(threading.get_ident()), "seed")
        await asyncio.to_thread(store.configs["gpt"].update, seed=1)
        await asyncio.sleep(0.05)
        store.close()
        return heard

    assert asyncio.run(work()) == {threading.get_ident()}


def test_a_process_id_is_no_part_of_a_store(tmp_path: Path) -> None:
    path = filled(tmp_path / "store.db")
    content = path.read_bytes()
    assert str(os.getpid()).encode() not in content
    assert str(tmp_path).encode() not in content
