"""The engine and its file: what is committed while the file is taken away is not said to be."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from contract.notes import created, decide, intent, updated

from orchstate.errors import CorruptStoreError, StoreError, StoreMovedError
from orchstate.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchstate.storage.engine import Decision
    from orchstate.storage.placement import JournalMode


@pytest.fixture(params=["truncate", "wal"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteEngine]:
    mode: JournalMode = request.param
    engine = SqliteEngine(tmp_path / "store.db", mode=mode)
    engine.commit("a", [intent(1, created("x"))], decide)
    yield engine
    engine.close()


def test_a_file_that_goes_in_the_middle_of_a_commit_is_noticed_and_nothing_happens_twice(
    engine: SqliteEngine, tmp_path: Path
) -> None:
    def take_away(*arguments: Any) -> Decision:
        (tmp_path / "store.db").rename(tmp_path / "moved.db")
        return decide(*arguments)

    edit = intent(2, updated("x", size=1))
    with pytest.raises(StoreError):
        engine.commit("a", [edit], take_away)
    with pytest.raises(StoreMovedError, match=r"was removed or moved away while it was open"):
        engine.commit("a", [edit], decide)
    (tmp_path / "moved.db").rename(tmp_path / "store.db")
    assert engine.commit("a", [edit], decide).decisions[2].outcome == "committed"
    assert [revision.row.revision for revision in engine.changes_since(0)] == [1, 2]


def other_store(path: Path) -> bytes:
    """Return the file of another store with one commit."""
    other = SqliteEngine(path, mode="truncate")
    other.commit("b", [intent(1, created("theirs"))], decide)
    other.close()
    return path.read_bytes()


def write_over(path: Path, content: bytes) -> None:
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()


def test_a_file_that_was_written_over_and_says_nothing_of_it_is_noticed(
    engine: SqliteEngine, tmp_path: Path
) -> None:
    engine.verify()
    content, path = other_store(tmp_path / "other.db"), tmp_path / "store.db"
    before = path.stat()
    write_over(path, content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(StoreMovedError, match=r"was replaced by another store"):
        engine.verify()


def stop_the_clock(engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the file system say the same of the file as now, as within one step of its clock."""
    presence = engine._presence
    assert presence
    now = presence._stat()
    monkeypatch.setattr(presence, "_stat", lambda: now)


@pytest.mark.parametrize("engine", ["truncate"], indirect=True)
def test_nothing_is_committed_to_another_store_that_was_written_in_the_same_moment(
    engine: SqliteEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, path = other_store(tmp_path / "other.db"), tmp_path / "store.db"
    engine.commit("a", [intent(2, updated("x", size=1))], decide)
    stop_the_clock(engine, monkeypatch)
    write_over(path, content)
    with pytest.raises(StoreMovedError, match=r"was replaced by another store"):
        engine.commit("a", [intent(3, updated("x", size=2))], decide)
    assert path.read_bytes() == content


def test_what_was_written_in_the_same_moment_is_noticed_soon(
    engine: SqliteEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchstate.storage.presence.DOUBT_NS", 200_000_000)
    content = other_store(tmp_path / "other.db")
    # So that its file was written just now, in WAL mode too.
    os.utime(tmp_path / "store.db")
    engine.verify()
    stop_the_clock(engine, monkeypatch)
    write_over(tmp_path / "store.db", content)
    time.sleep(0.3)
    with pytest.raises(StoreMovedError, match=r"was replaced by another store"):
        engine.verify()


def test_own_commits_look_into_the_file_once_each(engine: SqliteEngine) -> None:
    statements: list[str] = []
    engine.commit("a", [intent(2, updated("x", size=1))], decide)
    engine._writing.set_trace_callback(statements.append)
    for n in range(3, 13):
        engine.commit("a", [intent(n, updated("x", size=n))], decide)
    engine._writing.set_trace_callback(None)
    assert sum("FROM clock" in statement for statement in statements) == 10
    assert not any("shrink_memory" in statement for statement in statements)


@pytest.mark.parametrize("engine", ["truncate"], indirect=True)
def test_a_damaged_file_is_not_called_another_one(engine: SqliteEngine, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(
        CorruptStoreError, match=r"was a store, and nothing of it is left in the file\. It was not touched"
    ):
        engine.verify()
    with pytest.raises(CorruptStoreError, match=r"nothing of it is left in the file\. It was not touched"):
        engine.commit("a", [intent(2, updated("x", size=1))], decide)


def test_a_folder_in_the_place_of_the_file_is_told(engine: SqliteEngine, tmp_path: Path) -> None:
    (tmp_path / "store.db").rename(tmp_path / "moved.db")
    for companion in tmp_path.glob("store.db-*"):
        companion.unlink()
    (tmp_path / "store.db").mkdir()
    with pytest.raises(StoreMovedError, match=r"was replaced by something that cannot be read"):
        engine.verify()
    (tmp_path / "store.db").rmdir()
    (tmp_path / "moved.db").rename(tmp_path / "store.db")
    assert engine.verify() == 1


def test_verifying_is_harmless_while_others_commit(engine: SqliteEngine, tmp_path: Path) -> None:
    other = SqliteEngine(tmp_path / "store.db")
    other.commit("b", [intent(1, created("y"))], decide)
    engine.verify()
    engine.commit("a", [intent(2, updated("x", size=1))], decide)
    other.verify()
    assert (engine.seq(), other.seq()) == (3, 3)
    other.close()


def test_a_file_that_was_read_before_can_still_be_saved_when_it_is_gone(
    engine: SqliteEngine, tmp_path: Path
) -> None:
    assert engine.seq() == 1
    (tmp_path / "store.db").unlink()
    engine.backup(tmp_path / "rescued.db")
    rescued = SqliteEngine(tmp_path / "rescued.db")
    assert (rescued.store_id, rescued.seq()) == (engine.store_id, 1)
    rescued.close()
