"""Targets that are no store, belong to others, or cannot be used: each is refused with its reason."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from testbed.disk import small_files

import orchstate
from orchstate.errors import (
    NewerSchemaError,
    ReadOnlyError,
    StoreError,
    StoreLockedError,
    StoreWriteError,
)
from orchstate.locks import FairLock

if TYPE_CHECKING:
    from collections.abc import Iterator


def filled(path: Path) -> Path:
    with orchstate.open(path) as store:
        store.configs.create("openai", name="gpt", temperature=0.5)
    return path


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("", r"'' is no path\. Give a file, ':memory:', or nothing for your own store"),
        (5, r"5 is no path\. Give a file"),
        ("postgresql://127.0.0.1/x", r"PostgreSQL stores are not part of this version"),
        ("Postgres://127.0.0.1/x", r"PostgreSQL stores are not part of this version"),
        ("postgers://me:secret@127.0.0.1/x", r"^'postgers://\.\.\.' is an address, .* Give its path"),
        ("http://127.0.0.1/x", r"'http://\.\.\.' is an address, and a store is a file on this machine"),
        ("s3://bucket/x", r"'s3://\.\.\.' is an address"),
        ("sqlite:///x.db", r"'sqlite:///x\.db' is an address\. Give the path alone, such as 'x\.db'"),
        ("sqlite:////data/x.db?mode=ro", r"Give the path alone, such as '/data/x\.db'"),
        ("file:x", r"'file:x' is an address\. Give the path alone, such as 'x'"),
        (Path("file:///data/x"), r"Give the path alone, such as '/data/x'"),
        (":memory", r"':memory' is not known\. Give ':memory:' for a store in memory"),
        ("  ", r"'  ' is no path\. Give a file"),
        ("data/", r"'data/' names a folder\. Name a file in it, such as 'data/store\.db'"),
        ("~", r"is a folder\. Name a file in it"),
        (b"store.db", r"b'store\.db' is no path\. Give a file"),
        ("x" * 300, r"'xxx.* cannot be used: File name too long\. Give another path"),
        ("~no-such-user/store.db", r"cannot be used: Could not determine home directory\. Give another"),
        ("a\0b", r"cannot be used: .*embedded null .*\. Give another path"),
    ],
)
def test_what_is_no_path_is_refused(
    target: object, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match=message) as caught:
        orchstate.open(target)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == [] and "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["a:b.db", "file.db", "sqlite", "http", "~x.db~"])
def test_what_only_begins_like_an_address_is_a_path(name: str, tmp_path: Path) -> None:
    with orchstate.open(tmp_path / name, secrets="memory") as store:
        assert store.path == tmp_path / name


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
        newer.execute("UPDATE meta SET value = '99' WHERE key = 'format'")
        newer.commit()
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


@pytest.mark.parametrize("limit_bytes", [0, 100, 4096, 20_000])
def test_an_opening_that_finds_the_disk_full_leaves_nothing(limit_bytes: int, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "store.db"
    with (
        small_files(limit_bytes),
        pytest.raises(StoreWriteError, match=r"could not be used: .*\. Free some space on its disk and try"),
    ):
        orchstate.open(path, secrets="memory")
    assert list(tmp_path.iterdir()) == []
    assert filled(path).exists()


def test_a_store_that_has_lost_its_id_gets_it_again(tmp_path: Path) -> None:
    path = filled(tmp_path / "store.db")
    with closing(sqlite3.connect(path)) as theirs:
        ((id,),) = theirs.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchall()
        theirs.execute("DELETE FROM meta")
        theirs.commit()
    with orchstate.open(path, secrets="memory") as store:
        assert (store.id, list(store.configs)) == (id, ["gpt"])


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
