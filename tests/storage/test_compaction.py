"""Compaction of the tables: what stays is exact, what goes is told, and others end in the right state."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from contract.engine import names
from contract.notes import ME, created, decide, deleted, id_of, intent, updated
from hypothesis import given, settings
from hypothesis import strategies as st

from orchstate.errors import CorruptStoreError, NotFoundError, ReadOnlyError, StoreMovedError
from orchstate.models.intent import Operation
from orchstate.storage import compaction
from orchstate.storage.compaction import Wish, pins_on_their_way
from orchstate.storage.horizon import compactions
from orchstate.storage.outbox import Outbox
from orchstate.storage.salvage import salvage_into
from orchstate.storage.sqlite import Shrunk, SqliteEngine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchstate.storage.engine import Row
    from orchstate.storage.placement import JournalMode


def compact(
    engine: SqliteEngine,
    horizon: int,
    moments: Mapping[str, int] | None = None,
    *,
    snapshots: bool = True,
    stamps: bool = True,
    preview: bool = False,
) -> Shrunk:
    wish = Wish(horizon, lambda _: moments or {}, snapshots, stamps, ME)
    return engine.compact(wish, preview=preview)


def fill(engine: SqliteEngine, count: int, *, seed: int = 1, writer: str = "a") -> None:
    """Commit as many revisions of a few notes: created, changed, deleted, made again."""
    luck, there = random.Random(seed), set[str]()
    done = engine.applied(writer)
    for n in range(done + 1, done + count + 1):
        name = luck.choice("xyz")
        if name not in there:
            operation = created(name, text="long " * 2000 if name == "x" else "", size=n)
            there.add(name)
        elif luck.random() < 0.2:
            operation = deleted(name)
            there.remove(name)
        else:
            operation = updated(name, size=n)
        engine.commit(writer, [intent(n, operation)], decide)


def change(engine: SqliteEngine, writer: str, count: int) -> None:
    """Commit as many revisions of a note that nobody else changes."""
    done = engine.applied(writer)
    for n in range(done + 1, done + count + 1):
        operation = updated(writer, size=n) if n > 1 else created(writer)
        engine.commit(writer, [intent(n, operation)], decide)


def moment(engine: SqliteEngine, seq: int) -> tuple[list[Row], list[str]]:
    return list(engine.snapshot(seq).rows()), sorted(engine.snapshot(seq).gone("note"))


@pytest.fixture(params=["truncate", "wal"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteEngine]:
    mode: JournalMode = request.param
    with closing(SqliteEngine(tmp_path / "store.db", mode=mode)) as engine:
        fill(engine, 40)
        yield engine


# -- what stays -----------------------------------------------------------------------------


@given(
    count=st.integers(1, 25),
    horizons=st.lists(st.integers(0, 25), min_size=1, max_size=3),
    moments=st.sets(st.integers(1, 25), max_size=3),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_every_moment_is_as_it_was_or_refused(
    count: int, horizons: list[int], moments: set[int], seed: int
) -> None:
    with closing(SqliteEngine(None)) as engine:
        fill(engine, count, seed=seed)
        before = {seq: moment(engine, seq) for seq in range(count + 1)}
        named = {str(seq): seq for seq in moments if seq <= count}
        for horizon in horizons:
            compact(engine, min(horizon, count), named)
        there = set()
        for seq in before:
            try:
                assert moment(engine, seq) == before[seq]
                there.add(seq)
            except NotFoundError:
                pass
        assert there >= {0, *named.values(), *range(min(max(horizons), count), count + 1)}
        assert engine.check() == []


@given(cursor=st.integers(0, 40), horizon=st.integers(0, 40))
@settings(deadline=None, max_examples=30)
def test_who_was_away_ends_in_the_right_state(cursor: int, horizon: int) -> None:
    with closing(SqliteEngine(None)) as engine:
        fill(engine, 40)
        seen = {row.id: row for revision in engine.changes_since(0, until=cursor) for row in [revision.row]}
        compact(engine, horizon)
        seen |= {revision.row.id: revision.row for revision in engine.changes_since(cursor)}
        assert seen == {id: engine.snapshot().get(id) for id in map(id_of, "xyz")}


def test_the_file_gets_smaller_and_has_no_piece_that_nobody_needs(engine: SqliteEngine) -> None:
    texts = [random.Random(n).randbytes(20_000).hex() for n in range(20)]
    engine.commit("b", [intent(1, created("w"))], decide)
    for n, text in enumerate(texts, 2):
        engine.commit("b", [intent(n, updated("w", text=text))], decide)
    before = engine.query("SELECT count(*) FROM piece")[0][0]
    done = compact(engine, engine.seq())
    assert engine.path
    assert engine.path.stat().st_size == done.bytes_after < done.bytes_before / 2
    assert engine.query("SELECT count(*) FROM piece")[0][0] < before / 4
    assert texts[-1] in engine.snapshot().get(id_of("w")).body
    assert engine.check() == []
    engine.commit("b", [intent(22, updated("w", text=texts[0]))], decide)
    with closing(SqliteEngine(engine.path)) as other:
        assert texts[0] in other.snapshot().get(id_of("w")).body


def test_a_preview_changes_nothing(engine: SqliteEngine) -> None:
    before = engine.query("SELECT * FROM rev")
    preview = compact(engine, 30, preview=True)
    assert (engine.query("SELECT * FROM rev"), compactions(engine.query)) == (before, [])
    assert compact(engine, 30).plan == preview.plan


def test_nothing_to_remove_leaves_no_trace(engine: SqliteEngine) -> None:
    compact(engine, 30)
    assert compact(engine, 30).plan.removed == compact(engine, 5).plan.removed == ()
    assert [(each.n, each.horizon, each.origin) for each in compactions(engine.query)] == [(1, 30, ME)]


def test_what_stamps_name_stays_unless_it_is_given_up(engine: SqliteEngine) -> None:
    revision = engine.changes_since(0)[3].row
    pin = Operation("pin", "note", revision.id, revision.name, {"revision": revision.revision})
    commit = engine.commit("b", [intent(1, pin), intent(2, pin, updated("x", size=9))], decide)
    assert [each.row.seq for each in commit.revisions] == [41]
    assert compact(engine, 40).plan.stamps == ()
    assert [each.row for each in engine.changes_since(0, until=4)] == [revision]
    done = compact(engine, 40, stamps=False)
    assert done.plan.stamps == ((revision.id, revision.revision),)
    assert engine.changes_since(0, until=4) == engine.query("SELECT * FROM pin") == []
    assert compactions(engine.query)[-1].lost["stamps"] == [[revision.id, revision.revision]]


def test_a_snapshot_that_is_given_up_is_refused_from_then_on(engine: SqliteEngine) -> None:
    before = moment(engine, 9)
    compact(engine, 30, {"nine": 9})
    assert moment(engine, 9) == before
    assert compact(engine, 30, {"nine": 9}, snapshots=False).plan.snapshots == ("nine",)
    with pytest.raises(
        NotFoundError, match=r"at revision 9 was removed by a compaction, .* by 'me'\. .* there: 0 and 30"
    ):
        moment(engine, 9)
    compact(engine, 30, {"nine": 9})
    with pytest.raises(NotFoundError):
        engine.snapshot(9).get(id_of("x"))


def test_a_stamp_on_its_way_is_spared_like_one_that_arrived(engine: SqliteEngine, tmp_path: Path) -> None:
    revision = engine.changes_since(0)[3].row
    pin = Operation("pin", "note", revision.id, revision.name, {"revision": revision.revision})
    outbox = Outbox.create(tmp_path / "store.db.outbox", store_id=engine.store_id, writer="b")
    outbox.append(b"what nobody understands")
    outbox.append(intent(1, pin).encode())
    wish = Wish(40, lambda _: {}, True, True, ME, partial(pins_on_their_way, engine.path))
    assert engine.compact(wish, preview=True).plan == engine.compact(wish).plan
    assert [each.row for each in engine.changes_since(0, until=4)] == [revision]
    assert engine.compact(wish._replace(stamps=False)).plan.stamps == ((revision.id, revision.revision),)
    outbox.close(keep=False)


# -- what goes wrong ------------------------------------------------------------------------


def test_a_look_that_began_before_is_refused_and_not_wrong(engine: SqliteEngine) -> None:
    past = engine.snapshot(5)
    with closing(SqliteEngine(engine.path)) as other:
        compact(other, 40)
    for look in (
        past.rows,
        lambda: past.get(id_of("x")),
        lambda: past.gone("note"),
        lambda: past.find("note", "x"),
    ):
        with pytest.raises(NotFoundError, match="was removed by a compaction"):
            look()


def test_a_failure_leaves_everything_as_it_was(engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    before = engine.query("SELECT * FROM rev"), engine.query("SELECT * FROM piece")
    with monkeypatch.context() as patch:
        patch.setattr(compaction, "write_compaction", fail)
        with pytest.raises(OSError, match="could not be used: database or disk is full"):
            compact(engine, 40)
    assert (engine.query("SELECT * FROM rev"), engine.query("SELECT * FROM piece")) == before
    assert engine.check() == []


def test_a_file_that_cannot_shrink_now_is_compacted_all_the_same(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))  # type: ignore[attr-defined]
    done = compact(engine, 40)
    assert done.plan.removed and done.bytes_after == done.bytes_before
    assert "keeps its size: there is no room on the disk" in caplog.text
    assert engine.check() == []


def test_a_reader_elsewhere_does_not_stop_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(SqliteEngine(tmp_path / "store.db", mode="wal", timeout_s=0.1)) as engine:
        fill(engine, 40)
        with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
            other.execute("BEGIN")
            there = other.execute("SELECT count(*) FROM rev").fetchall()
            assert compact(engine, 40).plan.removed
            assert other.execute("SELECT count(*) FROM rev").fetchall() == there == [(40,)]
        assert engine.check() == []


def test_a_damaged_store_is_not_compacted(engine: SqliteEngine) -> None:
    engine._writing.execute("UPDATE rev SET body = '{}' WHERE seq = 3")
    with pytest.raises(CorruptStoreError, match=r"is damaged, so nothing is removed from its history: "):
        compact(engine, 40)
    assert len(engine.query("SELECT 1 FROM rev")) == 40


def test_a_store_that_is_only_read_is_not_compacted(engine: SqliteEngine) -> None:
    with (
        closing(SqliteEngine(engine.path, read_only=True)) as reader,
        pytest.raises(ReadOnlyError, match=r"open for reading only\. Open it to compact it"),
    ):
        compact(reader, 40)


def test_a_row_that_damage_removes_is_told_from_one_that_was_compacted(engine: SqliteEngine) -> None:
    compact(engine, 30)
    assert engine.check() == []
    engine._writing.execute("DELETE FROM rev WHERE seq = 35")
    (line,) = engine.check()
    assert "were removed by compactions, and the clock says 40" in line


def test_damage_of_the_record_makes_no_moment_look_exact(engine: SqliteEngine) -> None:
    compact(engine, 30)
    engine._writing.execute("UPDATE compaction SET horizon = 2")
    with pytest.raises(CorruptStoreError, match="record of what was removed from the history is damaged"):
        moment(engine, 5)
    assert "record of what was removed from the history is damaged" in engine.check()[0]
    assert len(names(engine.snapshot())) > 0


def test_how_far_a_writer_got_outlives_its_revisions(
    engine: SqliteEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change(engine, "c", 5)
    engine.commit("b", [intent(1, updated("c", size=9))], decide)
    compact(engine, 46)
    assert engine.query("SELECT 1 FROM rev WHERE writer = 'c'") == []
    assert compactions(engine.query)[0].applied["c"] == 5
    assert engine.check() == []
    engine._writing.execute("UPDATE applied SET checksum = x'01' WHERE writer = 'c'")
    assert engine.applied("c") == 5
    assert "was read from the history" in caplog.text
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        salvage_into(connection, tmp_path / "store.db", store_id=engine.store_id)
        assert connection.execute("SELECT n FROM applied WHERE writer = 'c'").fetchall() == [(5,)]
    commit = engine.commit("c", [intent(5, updated("c", size=5))], decide)
    assert commit.revisions == []


# -- other processes ------------------------------------------------------------------------


def test_who_stood_at_a_revision_that_is_gone_goes_on(engine: SqliteEngine) -> None:
    change(engine, "c", 5)
    with closing(SqliteEngine(engine.path)) as idle:
        assert idle.seq() == 45
        change(engine, "c", 5)
        compact(engine, 50)
        assert engine.query("SELECT 1 FROM rev WHERE seq = 45") == []
        assert idle.verify() == 50
        assert idle.commit("b", [intent(1, created("new"))], decide).before == 50


def test_an_older_copy_is_noticed_after_a_compaction_too(engine: SqliteEngine, tmp_path: Path) -> None:
    engine.backup(tmp_path / "copy.db")
    change(engine, "b", 10)
    with closing(SqliteEngine(engine.path)) as idle:
        assert idle.seq() == 50
        with closing(SqliteEngine(tmp_path / "copy.db")) as copy:
            change(copy, "c", 30)
            compact(copy, 70)
            assert copy.query("SELECT 1 FROM rev WHERE seq = 50") == []
            copy.backup(tmp_path / "other.db")
        for suffix in ("-wal", "-shm", "-journal"):
            Path(f"{engine.path}{suffix}").unlink(missing_ok=True)
        (tmp_path / "other.db").replace(tmp_path / "store.db")
        with pytest.raises(StoreMovedError, match=r"was replaced by another copy of this store"):
            idle.verify()


KILLED = """
import sys
from pathlib import Path
from storage.test_compaction import *

engine = SqliteEngine(Path(sys.argv[1]), mode=sys.argv[2])
print("ready", flush=True)
compact(engine, engine.seq() - 5)
"""


@pytest.mark.parametrize("mode", ["truncate", "wal"])
def test_killed_at_any_moment_all_has_happened_or_nothing(mode: JournalMode, tmp_path: Path) -> None:
    with closing(SqliteEngine(tmp_path / "whole.db", mode=mode)) as engine:
        fill(engine, 300)
        before = moment(engine, 295)
    outcomes: set[Any] = set()
    for attempt in range(8):
        path = tmp_path / f"{attempt}.db"
        shutil.copyfile(tmp_path / "whole.db", path)
        command = [sys.executable, "-c", KILLED, path, mode]
        process = subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE)
        with process:
            assert process.stdout and process.stdout.readline() == b"ready\n"
            time.sleep(attempt * 0.01)
            process.send_signal(signal.SIGKILL)
        with closing(SqliteEngine(path)) as engine:
            assert engine.check() == []
            assert moment(engine, 295) == before
            outcomes.add((len(compactions(engine.query)), len(engine.query("SELECT 1 FROM rev")) < 300))
    assert outcomes <= {(0, False), (1, True)}
