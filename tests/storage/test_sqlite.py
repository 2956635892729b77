"""The SQLite engine: the contract in every mode, and what is SQLite's own."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from contract.engine import EngineContract, names, outcomes, seqs
from contract.notes import created, decide, deleted, id_of, intent, updated

from orchstate.errors import CorruptStoreError, ReadOnlyError, StoreError, StoreLockedError
from orchstate.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchstate.storage.engine import Row


class TestMemory(EngineContract):
    @pytest.fixture
    def engine(self) -> Iterator[SqliteEngine]:
        with closing(SqliteEngine(None)) as engine:
            yield engine

    def open(self, path: Path) -> SqliteEngine:
        return SqliteEngine(path)


class TestTruncate(TestMemory):
    @pytest.fixture
    def engine(self, tmp_path: Path) -> Iterator[SqliteEngine]:
        with closing(SqliteEngine(tmp_path / "store.db", mode="truncate")) as engine:
            assert engine.journal_mode == "truncate"
            yield engine


class TestWal(TestMemory):
    @pytest.fixture
    def engine(self, tmp_path: Path) -> Iterator[SqliteEngine]:
        with closing(SqliteEngine(tmp_path / "store.db", mode="wal")) as engine:
            assert engine.journal_mode == "wal"
            yield engine


@pytest.fixture(params=["wal", "truncate"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteEngine]:
    with closing(SqliteEngine(tmp_path / "store.db", mode=request.param)) as engine:
        yield engine


def raw(engine: SqliteEngine) -> closing[sqlite3.Connection]:
    """Another program's connection to the file."""
    return closing(sqlite3.connect(engine.path or ":memory:", isolation_level=None))


# -- many processes -------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from contract.notes import *
from orchstate.storage.sqlite import SqliteEngine

path, mode, writer, count = sys.argv[1:]
engine = SqliteEngine(Path(path), mode=mode, timeout_s=30)
for n in range(1, int(count) + 1):
    engine.commit(writer, [intent(n, created(f"{writer}{n}"))], decide)
engine.close()
"""


@pytest.mark.parametrize("mode", ["wal", "truncate"])
def test_processes_that_commit_at_once_make_one_gap_free_history(mode: str, tmp_path: Path) -> None:
    path, here = tmp_path / "store.db", Path(__file__).parents[1]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, mode, writer, "40"], cwd=here)
        for writer in "abcd"
    ]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    with closing(SqliteEngine(path)) as engine:
        assert [revision.row.seq for revision in engine.changes_since(0)] == list(range(1, 161))
        assert {engine.applied(writer) for writer in "abcd"} == {40}
        assert engine.check() == []


def test_who_waits_for_an_unfinished_commit_keeps_nobody_from_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = sqlite3.OperationalError("attempt to write a readonly database")
    error.sqlite_errorcode = sqlite3.SQLITE_READONLY_ROLLBACK
    failures, seen = [error], list[int]()

    def look(_: object) -> str:
        if failures:
            raise failures.pop()
        return "read"

    with closing(SqliteEngine(tmp_path / "store.db")) as engine:

        def finish() -> None:
            other = threading.Thread(target=lambda: seen.append(engine.seq()), daemon=True)
            other.start()
            other.join(5)

        monkeypatch.setattr(engine, "_finish", finish)
        assert engine._read(look) == "read"
        assert seen == [0]


def test_a_commit_elsewhere_is_noticed(engine: SqliteEngine) -> None:
    engine.wait(0)
    with closing(SqliteEngine(engine.path)) as other:
        commit = threading.Timer(0.05, lambda: other.commit("b", [intent(1, created("x"))], decide))
        commit.start()
        assert any(engine.wait(1) for _ in range(20))
        commit.join()
    assert names(engine.snapshot()) == ["x"]


def test_a_commit_of_a_program_that_rings_no_bell_is_noticed(engine: SqliteEngine) -> None:
    engine.wait(0)
    with raw(engine) as other:
        other.execute("UPDATE clock SET seq = 7")
    assert any(engine.wait(1) for _ in range(3))


def test_an_own_commit_is_no_news(engine: SqliteEngine) -> None:
    engine.wait(0)
    engine.commit("a", [intent(1, created("x"))], decide)
    assert engine.wait(0.05) is False


def test_every_commit_waits_for_the_disk(engine: SqliteEngine) -> None:
    # 2 is FULL; with less, a commit that was confirmed is gone after a power cut.
    for connection in (engine._writing, engine._reading):
        assert connection.execute("PRAGMA synchronous").fetchall() == [(2,)]


# -- locks ----------------------------------------------------------------------------------


def test_a_store_that_another_program_locks_is_left_alone_and_used_again_later(tmp_path: Path) -> None:
    with closing(SqliteEngine(tmp_path / "store.db", mode="truncate", timeout_s=0.1)) as engine:
        with raw(engine) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(StoreLockedError, match=r"is locked by another program\. Close it there"):
                engine.commit("a", [intent(1, created("x"))], decide)
            assert engine.wait(0) is True
        assert seqs(engine.commit("a", [intent(1, created("x"))], decide)) == [1]


def test_a_process_that_keeps_the_sidecar_lock_is_named(tmp_path: Path) -> None:
    from orchstate.locks import FileLock

    with closing(SqliteEngine(tmp_path / "store.db", timeout_s=0.1)) as engine:
        with FileLock(tmp_path / "store.db.lock"), pytest.raises(StoreLockedError, match=r"for 0\.1 s"):
            engine.commit("a", [intent(1, created("x"))], decide)
        assert seqs(engine.commit("a", [intent(1, created("x"))], decide)) == [1]


def test_nothing_is_written_where_reading_was_asked_for(engine: SqliteEngine) -> None:
    engine.commit("a", [intent(1, created("x"))], decide)
    with closing(SqliteEngine(engine.path, read_only=True)) as reader:
        assert names(reader.snapshot()) == ["x"]
        with pytest.raises(ReadOnlyError, match="open for reading only"):
            reader.commit("a", [intent(2, created("y"))], decide)
        with pytest.raises(ReadOnlyError, match="may not be written"):
            reader.query("DELETE FROM doc")


LATER: Final = {
    1: "DROP INDEX doc_deleted;",
    2: "DROP TRIGGER rev_backstep; DROP TABLE backstep; DROP TABLE piece; DROP TABLE pin; "
    "DROP TABLE compaction;",
    3: "ALTER TABLE applied DROP COLUMN checksum;",
}


def in_format(engine: SqliteEngine, version: int) -> None:
    """Make the file one of an earlier format."""
    with raw(engine) as other:
        for step in range(version, len(LATER) + 1):
            other.executescript(LATER[step])
        other.execute(f"PRAGMA user_version = {version}")


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_file_of_an_earlier_format_is_brought_to_the_present_one_with_its_rows(
    version: int, tmp_path: Path
) -> None:
    with closing(SqliteEngine(tmp_path / "store.db")) as engine:
        engine.commit("a", [intent(1, created("x", text="kept")), intent(2, created("y"))], decide)
        tables = engine.query("SELECT name FROM sqlite_master ORDER BY name")
        in_format(engine, version)
    with closing(SqliteEngine(tmp_path / "store.db", read_only=True)) as engine:
        assert names(engine.snapshot(1)) == ["x"]
        assert engine.check() == []
    with closing(SqliteEngine(tmp_path / "store.db")) as engine:
        assert engine.query("SELECT name FROM sqlite_master ORDER BY name") == tables
        assert engine.query("PRAGMA user_version") == [(4,)]
        assert (names(engine.snapshot()), engine.check()) == (["x", "y"], [])


# -- damage ---------------------------------------------------------------------------------


def flips(value: str | bytes) -> Iterator[bytes]:
    data = value if isinstance(value, bytes) else value.encode()
    for position in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            yield bytes(changed)


def damage(engine: SqliteEngine, table: str, column: str, value: bytes) -> None:
    with raw(engine) as other:
        # As text, whatever the bytes are: that is what a changed bit on the disk makes of it.
        other.execute(f"UPDATE {table} SET {column} = CAST(? AS TEXT)", [value])


def test_every_changed_bit_of_a_body_is_detected(tmp_path: Path) -> None:
    with closing(SqliteEngine(tmp_path / "store.db")) as engine:
        engine.commit("a", [intent(1, created("x", text="é1"))], decide)
        body = engine.snapshot().get(id_of("x")).body
        for changed in flips(body):
            damage(engine, "doc", "body", changed)
            damage(engine, "rev", "body", changed)
            with pytest.raises(CorruptStoreError, match="is damaged, so it is not used") as caught:
                engine.snapshot().get(id_of("x"))
            assert caught.value.ids == (id_of("x"),)
            assert engine.changes_since(0) == []
        damage(engine, "doc", "body", body.encode())
        damage(engine, "rev", "body", body.encode())
        assert engine.check() == []


@pytest.mark.parametrize("column", ["diff", "txn", "label", "actor", "notebook", "cell", "verb"])
def test_every_changed_bit_of_the_circumstances_is_detected(column: str, tmp_path: Path) -> None:
    with closing(SqliteEngine(tmp_path / "store.db")) as engine:
        engine.commit("a", [intent(1, created("x"))], decide)
        ((value,),) = engine.query(f"SELECT {column} FROM rev")
        for changed in flips(value):
            damage(engine, "rev", column, changed)
            assert engine.changes_since(0) == []
            assert [line for line in engine.check() if "history" in line]


COLUMNS = {
    "doc": "id kind name name_key revision seq schema created_us updated_us user deleted body writer "
    "foreign_seq",
    "rev": "seq id kind name revision schema created_us updated_us user deleted body writer foreign_seq "
    "verb diff at_us committed_us txn label actor notebook cell n",
}


@pytest.mark.parametrize(
    "table, column", [(table, name) for table in COLUMNS for name in COLUMNS[table].split()]
)
def test_a_changed_bit_in_any_column_is_reported(table: str, column: str, tmp_path: Path) -> None:
    with closing(SqliteEngine(tmp_path / "store.db")) as engine:
        engine.commit("a", [intent(1, created("x", text="kept"))], decide)
        with raw(engine) as other:
            other.execute("PRAGMA synchronous = OFF")
            ((value,),) = other.execute(f"SELECT {column} FROM {table}").fetchall()
            for changed in [value ^ 1, value ^ 64] if isinstance(value, int) else flips(value):
                changed = changed if isinstance(changed, int) else changed.decode(errors="surrogateescape")
                other.execute(f"UPDATE {table} SET {column} = CAST(? AS TEXT)", [os.fsencode(str(changed))])
                assert engine.check() != [], changed
                other.execute(f"UPDATE {table} SET {column} = ?", [value])
        assert engine.check() == []


@pytest.mark.parametrize(
    "change", ["deleted = 1", "deleted = 64", "kind = 'notd'", "name = 'y'", "created_us = 'x'"]
)
def test_a_damaged_row_is_not_hidden_by_its_damage(
    change: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(SqliteEngine(tmp_path / "store.db")) as engine:
        engine.commit("a", [intent(n, created(f"x{n}")) for n in (1, 2, 3)], decide)
        with raw(engine) as other:
            other.execute(f"UPDATE doc SET {change} WHERE name = 'x2'")
        assert sorted(names(engine.snapshot())) == ["x1", "x2", "x3"]
        assert sorted(row.name for row in engine.snapshot().rows()) == ["x1", "x2", "x3"]
        assert "is damaged and was read from the history" in caplog.text


def test_a_row_that_seems_deleted_by_damage_is_found_by_its_name(tmp_path: Path) -> None:
    with closing(SqliteEngine(tmp_path / "store.db")) as engine:
        engine.commit("a", [intent(1, created("x"))], decide)
        with raw(engine) as other:
            other.execute("UPDATE doc SET deleted = 1")
        assert engine.snapshot().find("note", "X").id == id_of("x")
        twin = engine.commit("b", [intent(1, created("other", name="x"))], decide)
        assert twin.decisions[1].outcome == "conflict"


def test_a_deleted_row_that_seems_to_live_by_damage_stays_deleted(tmp_path: Path) -> None:
    with closing(SqliteEngine(tmp_path / "store.db")) as engine:
        engine.commit("a", [intent(1, created("x")), intent(2, deleted("x"))], decide)
        with raw(engine) as other:
            other.execute("UPDATE doc SET deleted = 0")
        assert engine.snapshot().find("note", "x") is None
        assert list(engine.snapshot().rows()) == names(engine.snapshot()) == []
        assert engine.snapshot().get(id_of("x")).deleted


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.long)])
def test_no_changed_byte_of_a_row_in_the_file_goes_unnoticed(step: int, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(SqliteEngine(path, mode="truncate")) as engine:
        engine.commit("a", [intent(1, created("x", text="kept"))], decide)
        sound = engine.snapshot().get(id_of("x"))
    content = path.read_bytes()
    for start in (place.start() for place in re.finditer(re.escape(id_of("x").encode()), content)):
        for place in range(start - 20, start + 300, step):
            changed = bytearray(content)
            changed[place] ^= 1 << place % 8
            path.write_bytes(changed)
            assert unnoticed(path, sound) == [], place


def unnoticed(path: Path, sound: Row) -> list[Row | None]:
    """Return what is read wrongly of a file although its check reports nothing."""
    try:
        with closing(SqliteEngine(path, read_only=True)) as engine:
            # As every opening does.
            engine.inspect()
            now = engine.snapshot()
            found = [now.get(sound.id), now.find("note", "x"), *now.rows("note"), *now.rows()]
            return [row for row in found if row != sound] if not engine.check() else []
    except StoreError:
        return []


def test_a_damaged_present_row_is_read_from_the_history(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(SqliteEngine(tmp_path / "store.db")) as engine:
        engine.commit("a", [intent(1, created("x", text="kept")), intent(2, created("y"))], decide)
        sound = engine.snapshot().get(id_of("x"))
        damage(engine, "doc", "body", b"{}")
        assert engine.snapshot().get(id_of("x")) == sound
        assert engine.snapshot().find("note", "x") == sound
        assert names(engine.snapshot()) == ["x", "y"]
        assert "is damaged and was read from the history" in caplog.text
        assert outcomes(engine.commit("a", [intent(3, updated("x", size=1))], decide)) == {3: "committed"}
        assert [line for line in engine.check() if "'x'" in line] == []


def test_what_is_damaged_beyond_help_does_not_hide_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(SqliteEngine(tmp_path / "store.db")) as engine:
        engine.commit("a", [intent(n, created(f"x{n}")) for n in (1, 2, 3)], decide)
        for table in ("doc", "rev"):
            with raw(engine) as other:
                other.execute(f"UPDATE {table} SET body = '{{}}' WHERE name = 'x2'")
        assert names(engine.snapshot()) == names(engine.snapshot(3)) == ["x1", "x3"]
        assert [revision.row.name for revision in engine.changes_since(0)] == ["x1", "x3"]
        assert "note 'x2'" in caplog.text
        assert len([line for line in engine.check() if "'x2'" in line]) == 2


def test_an_edit_of_a_damaged_document_is_rejected_and_blocks_nobody(tmp_path: Path) -> None:
    with closing(SqliteEngine(tmp_path / "store.db")) as engine:
        engine.commit("a", [intent(1, created("x"))], decide)
        damage(engine, "doc", "body", b"{}")
        damage(engine, "rev", "body", b"{}")
        commit = engine.commit("a", [intent(2, updated("x", size=1)), intent(3, created("y"))], decide)
        assert outcomes(commit) == {2: "rejected", 3: "committed"}
        assert commit.decisions[2].error == "CorruptStoreError"


def test_a_missing_revision_is_reported(tmp_path: Path) -> None:
    with closing(SqliteEngine(tmp_path / "store.db")) as engine:
        engine.commit("a", [intent(1, created("x")), intent(2, deleted("x"))], decide)
        with raw(engine) as other:
            other.execute("DELETE FROM rev WHERE seq = 1")
        assert engine.check() == ["The history has 1 revisions, and the clock says 2."]


def test_a_backup_that_fails_leaves_no_file(tmp_path: Path) -> None:
    with closing(SqliteEngine(tmp_path / "store.db", timeout_s=0.1)) as engine:
        with raw(engine) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(StoreLockedError, match=r"store\.db' is locked by another program"):
                engine.backup(tmp_path / "copy.db")
        assert not (tmp_path / "copy.db").exists()


def test_the_file_is_private_to_its_owner(tmp_path: Path) -> None:
    with closing(SqliteEngine(tmp_path / "new" / "store.db")):
        assert (tmp_path / "new" / "store.db").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_an_engine_shows_where_it_is(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "store.db")
    assert repr(engine) == f"<SqliteEngine {tmp_path / 'store.db'}: {engine.journal_mode}>"
    engine.close()
    assert repr(engine) == f"<SqliteEngine {tmp_path / 'store.db'}: closed>"
