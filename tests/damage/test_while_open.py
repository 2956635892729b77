"""Damage as somebody meets it who has the store open: said, mended where it can be, never passed on."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import signal
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

import pytest
from testbed.branch import branched

import orchstate
from orchstate.cli import main
from orchstate.errors import CorruptStoreError, NotFoundError
from orchstate.models.intent import Intent, Origin
from orchstate.secrets.memory import MemoryStore
from orchstate.storage import compaction, mending
from orchstate.storage.sqlite import SqliteEngine
from tests.damage.harming import HISTORY, ROW, harm, overwrite

if TYPE_CHECKING:
    from pathlib import Path

    from orchstate.store import Store


def test_a_damaged_row_is_read_from_the_history_and_mended_by_refresh(store: Store, path: Path) -> None:
    harm(path, ROW)
    assert (store.configs["two"].seed, len(store._engine.check())) == (2, 1)
    store.refresh()
    assert (store._engine.check(), store.status, store.error) == ([], "ready", None)


def test_what_is_damaged_beyond_help_is_named_and_the_rest_is_read(store: Store, path: Path) -> None:
    harm(path, ROW, HISTORY)
    assert list(store.configs) == ["one", "three"]
    assert isinstance(store.error, CorruptStoreError) and store.status == "degraded"
    assert "config 'two'" in str(store.error) and len(store.error.ids) == 1
    for read in (lambda: store.configs["two"], lambda: store.configs[store.error.ids[0]]):
        with pytest.raises(CorruptStoreError, match=r"config 'two' .* is damaged"):
            read()


@pytest.mark.parametrize("is_listed", [False, True])
def test_nothing_is_made_in_the_place_of_what_is_damaged(store: Store, path: Path, is_listed: bool) -> None:
    harm(path, ROW, HISTORY)
    if is_listed:
        list(store.configs)
    for make in (store.configs.create, lambda provider, name: store.configs.upsert(name, provider)):
        with pytest.raises(CorruptStoreError, match=r"config 'two' .* is damaged"):
            make("openai", name="two")


def test_the_notice_ends_with_a_refresh_that_finds_no_more_of_it(store: Store, path: Path) -> None:
    harm(path, ROW, HISTORY)
    list(store.configs)
    store.refresh()
    assert store.status == "degraded"
    harm(path, *(statement.replace("'2', '7'", "'7', '2'") for statement in (ROW, HISTORY)))
    store.refresh()
    assert (store.status, store.error, store.configs["two"].seed) == ("ready", None, 2)


def test_refresh_keeps_pending_edits(store: Store, path: Path) -> None:
    two = store.configs["two"]
    harm(path, ROW)
    with store.transaction():
        two.temperature = 0.7
        store._state.wait_for_news()
        assert two.temperature == 0.7
    store.refresh()
    assert (two.temperature, two.seed) == (0.7, 2)
    store.flush()
    assert store._engine.check() == []


def test_refresh_shows_what_did_not_arrive_since_its_history_is_damaged(store: Store, path: Path) -> None:
    two, seen = store.configs["two"], []
    two.observe(lambda change: seen.append(change.new), "seed")
    with contextlib.closing(orchstate.opening.SqliteEngine(path)) as other:
        (row,) = [row for row in other.snapshot().rows("config") if row.name == "two"]
        # As another process that commits, with its page of the history damaged before we look.
        later = row._replace(revision=3, seq=7, body=row.body.replace("2", "3"), writer="other")
        harm(
            path,
            "UPDATE clock SET seq = 7",
            "CREATE TEMP TABLE copy AS SELECT * FROM rev WHERE name = 'two' AND revision = 2",
            "UPDATE copy SET seq = 7, revision = 3, checksum = x'00'",
            "INSERT INTO rev SELECT * FROM copy",
        )
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(
                "UPDATE doc SET revision = 3, seq = 7, body = ?, writer = 'other', checksum = ? WHERE id = ?",
                [later.body, later.checksum(), later.id],
            )
    store.refresh()
    assert (two.seed, seen) == (3, [3])


@pytest.mark.parametrize("table", ["doc", "rev", "doc_name", "rev_id", "applied", "clock"])
def test_a_lost_page_is_met_while_the_store_is_open_and_it_goes_on(
    table: str, store: Store, path: Path
) -> None:
    one = store.configs["one"]
    store._engine._close_connections(0)
    overwrite(path, table)
    store.refresh()
    one.seed = 3
    assert store.flush() >= 7
    assert isinstance(store.error, CorruptStoreError) and store.status == "degraded"
    (kept,) = path.parent.glob("store.db.damaged-*")
    assert str(kept) in str(store.error)
    assert {name: config.seed for name, config in store.configs.items()} == {"one": 3, "two": 2, "three": 2}


def test_what_is_lost_says_so_and_can_be_made_anew(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # Nothing is left of it but its names in indexes.
        connection.execute("UPDATE doc SET body = 'x' WHERE name = 'two'")
        connection.execute("UPDATE rev SET body = 'x' WHERE name = 'two'")
    overwrite(path, "applied")
    with orchstate.open(path, secrets="memory") as store:
        assert "config 'two'" in str(store.error)
        with pytest.raises(CorruptStoreError, match=r"config 'two' .* is lost.*was kept as .*Make it anew"):
            store.configs["two"]
        with pytest.raises(NotFoundError):
            store.configs["four"]
        store.configs.create("openai", name="two", seed=5)
    seen: list[str] = []
    # Until somebody says that it was seen.
    for status in ("degraded", "degraded", "ready"):
        with orchstate.open(path, secrets="memory") as store:
            assert (store.configs["two"].seed, store.status, store._engine.check()) == (5, status, [])
            assert ("config 'two'" in str(store.error)) == (status == "degraded")
            seen.append(status)
            if len(seen) > 1:
                store.refresh()


def test_a_reader_salvages_in_memory_and_writes_nothing(path: Path) -> None:
    overwrite(path, "doc")
    before = {file: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    with orchstate.open(path, secrets="memory", read_only=True) as store:
        assert {name: config.seed for name, config in store.configs.items()} == {
            "one": 2,
            "two": 2,
            "three": 2,
        }
        assert isinstance(store.error, CorruptStoreError) and store.status == "read-only"
    assert {file: file.read_bytes() for file in path.parent.iterdir() if file.is_file()} == before


def test_a_damaged_past_is_told_and_is_not_nothing(store: Store, path: Path) -> None:
    seq = store.flush()
    store.configs["two"].seed = 22
    last = store.flush()
    harm(path, HISTORY)
    store.history.changes("two")
    assert (store.status, "The history of config 'two'" in str(store.error)) == ("degraded", True)
    assert store.configs["two"].seed == 22
    with pytest.raises(CorruptStoreError, match=r"config 'two'.*is damaged"):
        store.at(seq).configs["two"]
    # Of the present row there is another copy.
    assert store.at(last).configs["two"].seed == 22
    store.refresh()
    assert "The history of config 'two'" in str(store.error)


KILLED = """
import os, signal, sys
from pathlib import Path
from orchstate.storage import salvage

calls = 0

def count(real):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == {when}:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return call

for name in ("rename", "replace", "unlink"):
    setattr(Path, name, count(getattr(Path, name)))
salvage.os.link = count(os.link)
salvage.os.fsync = count(os.fsync)
salvage.fill = count(salvage.fill)
import orchstate
orchstate.open({path!r}, secrets="memory")
"""


@pytest.mark.parametrize("can_link", [True, False])
def test_a_salvage_that_is_killed_at_any_step_is_done_by_the_next_one(path: Path, can_link: bool) -> None:
    """It dies before the first step, before the second, and so on, until it lives."""
    for when in itertools.count(1):
        with contextlib.suppress(FileNotFoundError):
            overwrite(path, "rev_id")
        script = KILLED.format(path=str(path), when=when)
        if not can_link:
            script = script.replace("= count(os.link)", "= lambda *_: exec('raise OSError')")
        process = branched(exec, script, {})
        process.join(60)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        with orchstate.open(path, secrets="memory") as store:
            found = {name: config.seed for name, config in store.configs.items()}
            assert (found, store._engine.check()) == ({"one": 2, "two": 2, "three": 2}, []), when
        assert not list(path.parent.glob("*.salvag*"))
    assert when > 6


def test_long_values_pins_and_compactions_are_saved(path: Path) -> None:
    text = " ".join(map(str, range(1900)))
    with orchstate.open(path, secrets="memory") as store:
        store.configs["one"].stop = text
        store.flush()
        stamp = store.configs["one"].stamp()
        store.configs["one"].stop = text + " and more"
        store.flush()
        store.history.compact(8)
    overwrite(path, "rev_id")
    with orchstate.open(path, secrets="memory") as store:
        assert isinstance(store.error, CorruptStoreError)
        assert store.configs["one"].stop == text + " and more"
        bodies = {revision.row.revision: revision.row.body for revision in store._engine.changes_since(0)}
        assert f'"{text}"' in bodies[stamp["revision"]] and store._engine.check() == []
        assert store._engine.query("SELECT revision FROM pin") == [(stamp["revision"],)]
        with pytest.raises(NotFoundError, match="removed by a compaction"):
            list(store.at(2).configs)


@pytest.mark.parametrize("is_found", [False, True])
def test_what_a_compaction_removed_does_not_come_back_in_a_salvage(
    path: Path, is_found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "shrink", lambda *_: False)
    with orchstate.open(path, secrets="memory") as store:
        before = store._engine.query("SELECT * FROM rev")
        store.history.compact(6)
    if is_found:
        # As where it was removed without being overwritten.
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.executemany(f"INSERT OR IGNORE INTO rev VALUES ({', '.join('?' * 24)})", before)
    with contextlib.closing(SqliteEngine(path)) as engine:
        kept = path.read_bytes()
        assert is_found or kept.count(b'"seed":1') == 0
        engine.salvage()
        assert (engine.query("SELECT seq FROM rev ORDER BY seq"), engine.check()) == ([(2,), (4,), (6,)], [])


def test_a_moment_of_which_changes_are_lost_is_not_certain(path: Path) -> None:
    harm(path, "DELETE FROM rev WHERE seq IN (3, 5)")
    overwrite(path, "rev_id")
    with orchstate.open(path, secrets="memory") as store:
        assert {name: config.seed for name, config in store.configs.items()} == {
            "one": 2,
            "two": 2,
            "three": 2,
        }
        with pytest.raises(CorruptStoreError, match=r"What the store was at 4 is not certain"):
            _ = store.at(4).configs["two"].seed
        assert store.at(2).configs["one"].seed == 2
        assert (store.at(6).configs["two"].seed, store._engine.check()) == (2, [])


@pytest.mark.parametrize(
    "value",
    [
        "replace(value, '\"count\"', '\"cOunt\"')",
        "replace(value, ']', '')",
        "substr(value, 34)",
        "CAST(value AS BLOB)",
    ],
)
@pytest.mark.parametrize("is_writer", [True, False])
def test_a_damaged_note_of_what_was_lost_counts_as_unknown_losses(
    path: Path, value: str, is_writer: bool
) -> None:
    harm(path, "DELETE FROM rev WHERE seq = 3")
    overwrite(path, "rev_id")
    orchstate.open(path, secrets="memory").close()
    harm(path, f"UPDATE meta SET value = {value} WHERE key LIKE 'salvage %'")
    with orchstate.open(path, secrets="memory", read_only=not is_writer) as store:
        assert "it is not known what" in str(store.error)
        assert isinstance(store.error, CorruptStoreError) and store.configs["two"].seed == 2
        with pytest.raises(CorruptStoreError, match=r"What the store was at 5 is not certain"):
            _ = store.at(5).configs["two"].seed
        assert store.at(6).configs["two"].seed == 2
        assert any("it is not known what" in line for line in store._engine.check())
    with contextlib.closing(SqliteEngine(path)) as engine:
        assert engine.salvage()
        assert engine.check() == []
    with orchstate.open(path, secrets="memory") as store:
        assert (store.status, store.at(6).configs["two"].seed) == ("degraded", 2)
        store.refresh()
    with orchstate.open(path, secrets="memory") as store:
        assert (store.status, store.error) == ("ready", None)


@pytest.mark.parametrize("seq", [0, 2, 1 << 50])
def test_a_wrong_clock_is_set_right_before_a_commit_meets_it(path: Path, seq: int) -> None:
    harm(path, f"UPDATE clock SET seq = {seq}")
    with orchstate.open(path, secrets="memory") as store:
        store.configs["one"].seed = 3
        assert store.flush() == 7
        assert store.configs["one"].seed == 3


def test_how_far_a_writer_got_is_read_from_the_history_when_it_is_damaged(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    harm(path, "UPDATE applied SET n = n + 64")
    with contextlib.closing(orchstate.opening.SqliteEngine(path)) as engine:
        ((writer,),) = engine.query("SELECT writer FROM applied")
        assert engine.applied(writer) == 6
    assert "was read from the history" in caplog.text


@pytest.mark.parametrize("is_salvaged", [False, True])
def test_the_number_in_a_damaged_parked_row_does_not_count_as_done(path: Path, is_salvaged: bool) -> None:
    with contextlib.closing(SqliteEngine(path)) as engine:
        ((writer,),) = engine.query("SELECT writer FROM applied")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        parked = Intent(7, f"{writer}-7", 1, Origin(), ()).encode()
        values = [[writer, 7 + 64, parked], [writer, 9 + 64, b"damaged"]]
        connection.executemany("INSERT INTO parked VALUES (?, ?, 'rejected', '', '', 6, ?)", values)
        connection.execute("UPDATE applied SET n = n + 128")
    with contextlib.closing(SqliteEngine(path)) as engine:
        if is_salvaged:
            engine.salvage()
            assert engine.query("SELECT writer, n FROM parked") == [(writer, 7)]
        assert engine.applied(writer) == 7


@pytest.mark.parametrize(("n", "believed"), [(8, 8), (1 << 20, 6)])
@pytest.mark.parametrize("is_salvaged", [False, True])
def test_a_number_without_a_checksum_counts_if_the_history_comes_near_it(
    n: int, believed: int, is_salvaged: bool, path: Path
) -> None:
    """Intents that changed nothing are in no history."""
    columns = "writer TEXT PRIMARY KEY, n INTEGER NOT NULL"
    harm(
        path,
        f"CREATE TABLE earlier ({columns}) WITHOUT ROWID",
        f"INSERT INTO earlier SELECT writer, {n} FROM applied",
        "DROP TABLE applied",
        "ALTER TABLE earlier RENAME TO applied",
        "ALTER TABLE applied ADD COLUMN checksum BLOB NOT NULL DEFAULT x''",
    )
    with contextlib.closing(SqliteEngine(path)) as engine:
        ((writer,),) = engine.query("SELECT writer FROM applied")
        if is_salvaged:
            engine.salvage()
        assert engine.applied(writer) == believed


def test_a_key_from_before_a_salvage_is_swept_when_it_is_replaced_but_not_by_a_copy(tmp_path: Path) -> None:
    keys, path, copy = MemoryStore(), tmp_path / "store.db", tmp_path / "copy.db"

    def replace(path: Path, key: str) -> set[str]:
        with orchstate.open(path, secrets=keys) as store:
            store.configs["gpt"].api_key = key
            store.flush()
            for thread in threading.enumerate():
                if thread.name == "orchstate-background":
                    thread.join()
        return set(keys._values.values())

    with orchstate.open(path, secrets=keys) as store:
        store.configs.create("openai", name="gpt", api_key="sk-example-1")
    for _ in range(2):
        with contextlib.closing(SqliteEngine(path)) as engine:
            engine.salvage()
    shutil.copy(path, copy)
    assert replace(copy, "sk-example-2") == {"sk-example-1", "sk-example-2"}
    assert replace(path, "sk-example-3") == {"sk-example-2", "sk-example-3"}


@pytest.mark.parametrize(("age_s", "looks"), [(0, 0), (25 * 3600, 1), (-60, 1), (None, 1)])
def test_a_large_file_is_looked_at_once_a_day(
    age_s: float | None, looks: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mending, "_SMALL_BYTES", 0)
    if age_s is not None:
        harm(path, f"INSERT INTO meta VALUES ('inspected_s', '{int(time.time() - age_s)}')")
    seen: list[str] = []
    real = SqliteEngine._look
    monkeypatch.setattr(SqliteEngine, "_look", lambda engine, at="": seen.append(at) or real(engine, at))
    for _ in range(2):
        orchstate.open(path, secrets="memory").close()
    assert (seen.count(""), len(seen)) == (looks, 2)


def test_a_wrong_clock_of_a_large_file_is_seen_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mending, "_SMALL_BYTES", 0)
    orchstate.open(path, secrets="memory").close()
    harm(path, "UPDATE clock SET seq = seq - 2")
    with orchstate.open(path, secrets="memory") as store:
        assert isinstance(store.error, CorruptStoreError)
        assert store.configs["one"].update(seed=9).wait(20).state == "committed"


def test_what_is_damaged_at_a_moment_is_not_taken_for_deleted_then(store: Store, path: Path) -> None:
    seq = store.flush()
    harm(path, "UPDATE doc SET body = 'x' WHERE name = 'two'", "UPDATE rev SET body = 'x' WHERE seq = 4")
    for diff in (store.history.diff(3, seq), store.at(3).diff(), store.at(seq).diff(3)):
        assert set(diff["name"]) == {"three"}
    assert "config 'two'" in str(store.error)


def test_a_damaged_store_is_not_exported_as_if_it_were_whole(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "setup.json"
    with orchstate.open(path, secrets="memory") as store:
        store.export(target)
    whole = target.read_bytes()
    harm(path, "UPDATE doc SET body = 'x' WHERE name = 'two'", "UPDATE rev SET body = 'x' WHERE name = 'two'")
    with orchstate.open(path, secrets="memory") as store:
        with pytest.raises(CorruptStoreError, match=r"config 'two'.* is damaged"):
            store.export(target)
        assert target.read_bytes() == whole


def test_commands_say_when_they_cannot_read_all(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    harm(path, "UPDATE doc SET body = 'x' WHERE name = 'two'", "UPDATE rev SET body = 'x' WHERE name = 'two'")
    assert main(["list", "--json", "--store", str(path)]) == 1
    printed = capsys.readouterr()
    assert [row["name"] for row in json.loads(printed.out)] == ["one", "three"]
    assert "orchstate: Not all of the store can be read. config 'two'" in printed.err
    harm(path, "UPDATE doc SET body = 'x'", "UPDATE rev SET body = 'x'")
    assert main(["list", "--store", str(path)]) == 1
    assert "There are no configs yet" not in capsys.readouterr().out
