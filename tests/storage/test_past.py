"""The past: what it costs to look at a moment does not depend on how long the history is."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import pytest
from contract.notes import created, decide, deleted, id_of, intent, updated

from orchstate.storage.sqlite import SqliteEngine
from orchstate.storage.timeline import last_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHORT, LONG = 400, 20_000
NOTES: Final = "abcdefgh"


def filled(count: int) -> SqliteEngine:
    """Return a store whose eight notes have that many revisions, the last of them deleted early."""
    engine = SqliteEngine(None)
    first = [created(name) for name in NOTES]
    rest = [updated(NOTES[n % 7], size=n) for n in range(count - len(first) - 1)]
    operations = [*first, deleted(NOTES[-1]), *rest]
    for start in range(0, count, 1000):
        batch = enumerate(operations[start : start + 1000], start + 1)
        engine.commit("a", [intent(n, operation) for n, operation in batch], decide)
    return engine


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[SqliteEngine, SqliteEngine]]:
    with closing(filled(SHORT)) as short, closing(filled(LONG)) as long:
        yield short, long


def steps(engine: SqliteEngine, look: Callable[[SqliteEngine, int], Any]) -> int:
    """Return how many instructions SQLite needs for a look at the middle of the history."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    look(engine, engine.seq() // 2)
    engine._writing.set_progress_handler(tick, 1)
    look(engine, engine.seq() // 2)
    engine._writing.set_progress_handler(None, 0)
    return count


def time_of(engine: SqliteEngine, seq: int) -> int:
    ((us,),) = engine.query("SELECT committed_us FROM rev WHERE seq = ?", [seq])
    return int(us)


LOOKS: Final[dict[str, Callable[[SqliteEngine, int], Any]]] = {
    "all": lambda engine, seq: list(engine.snapshot(seq).rows()),
    "a kind": lambda engine, seq: list(engine.snapshot(seq).rows("note")),
    "by id": lambda engine, seq: engine.snapshot(seq).get(id_of("c")),
    "by name": lambda engine, seq: engine.snapshot(seq).find("note", "C"),
    "deleted": lambda engine, seq: engine.snapshot(seq).gone("note"),
    "a time": lambda engine, seq: last_by(engine.query, time_of(engine, seq)),
    "before all": lambda engine, seq: last_by(engine.query, 0),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_long_history_costs_hardly_more_than_a_short_one(
    look: Callable[[SqliteEngine, int], Any], engines: tuple[SqliteEngine, SqliteEngine]
) -> None:
    short, long = (steps(engine, look) for engine in engines)
    assert 0 < long < 3 * short


def test_a_scan_would_be_seen(engines: tuple[SqliteEngine, SqliteEngine]) -> None:
    """The control: this is what it costs to read through the history."""
    scan = "SELECT max(seq) FROM rev WHERE committed_us <= ?"
    short, long = (steps(engine, lambda engine, _: engine.query(scan, [0])) for engine in engines)
    assert long > 20 * short


def test_what_is_found_is_what_was_there(engines: tuple[SqliteEngine, SqliteEngine]) -> None:
    short, _ = engines
    for seq in range(0, SHORT, 7):
        last = {each.row.id: each.row for each in short.changes_since(0, until=seq)}
        there = [row for row in last.values() if not row.deleted]
        assert sorted(short.snapshot(seq).rows()) == sorted(there)
        assert short.snapshot(seq).gone("note") == [row.id for row in last.values() if row.deleted]
        assert short.snapshot(seq).get(id_of("h")) == last.get(id_of("h"))
