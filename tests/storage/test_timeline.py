"""Times of the past: found without a scan, and the same as with one, whatever the clocks do."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import pytest
from contract.notes import created, decide, intent, updated
from hypothesis import given, settings
from hypothesis import strategies as st

from orchstate.storage.sqlite import SqliteEngine
from orchstate.storage.timeline import last_by

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SCAN: Final = "SELECT max(seq) FROM rev WHERE committed_us <= ?"
HOUR_US: Final = 3_600_000_000

steps = st.integers(-100, 100) | st.sampled_from([-HOUR_US, HOUR_US, 0, 1, 1, 1])


@st.composite
def clocks(draw: st.DrawFn) -> list[int]:
    """Return the times of some commits: of one clock that is set, or of two that differ."""
    now, times = 5 * HOUR_US, []
    apart = draw(st.sampled_from([0, 50, HOUR_US]))
    for step in draw(st.lists(steps, max_size=60)):
        now += step
        times.append(now - apart * draw(st.booleans()))
    return times


def check_all_times(engine: SqliteEngine) -> None:
    times = {us for (us,) in engine.query("SELECT committed_us FROM rev")}
    for us in {0, *times, *(us + 1 for us in times), *(us - 1 for us in times)}:
        ((expected,),) = engine.query(SCAN, [us])
        assert last_by(engine.query, us) == expected


class Clock:
    """The time, as a list says."""

    def __init__(self, times: Sequence[int]) -> None:
        self._times = iter(times)

    def time_ns(self) -> int:
        return next(self._times) * 1000


@pytest.fixture
def memory() -> Any:
    with closing(SqliteEngine(None)) as engine:
        yield engine


@pytest.mark.parametrize("examples", [80, pytest.param(1_000, marks=pytest.mark.long)])
def test_a_time_is_found_as_a_scan_finds_it(examples: int) -> None:
    settings(deadline=None, max_examples=examples)(find_as_a_scan_does)()


@given(clocks(), st.sets(st.integers(1, 60)))
def find_as_a_scan_does(times: list[int], removed: set[int]) -> None:
    with closing(SqliteEngine(None)) as engine, pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchstate.storage.tables.time", Clock(times))
        for n, _ in enumerate(times, 1):
            operation = updated("x", size=n) if n > 1 else created("x")
            engine.commit("a", [intent(n, operation)], decide)
        check_all_times(engine)
        for seq in removed - {len(times)}:
            engine._writing.execute("DELETE FROM rev WHERE seq = ?", [seq])
        check_all_times(engine)


def test_only_steps_back_are_noted(memory: SqliteEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchstate.storage.tables.time", Clock([10, 11, 5, 5, 6, 4]))
    memory.commit("a", [intent(n, created(f"x{n}")) for n in range(1, 7)], decide)
    assert memory.query("SELECT seq, committed_us FROM backstep") == [(3, 5), (6, 4)]


def test_the_steps_of_an_older_store_are_found_when_it_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(SqliteEngine(tmp_path / "store.db")) as engine:
        with monkeypatch.context() as patch:
            patch.setattr("orchstate.storage.tables.time", Clock([10, 11, 5, 5, 6, 4]))
            engine.commit("a", [intent(n, created(f"x{n}")) for n in range(1, 7)], decide)
        noted = engine.query("SELECT * FROM backstep")
        with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
            for table in ("piece", "pin", "backstep", "compaction"):
                other.execute(f"DROP TABLE {table}")
            other.executescript("DROP TRIGGER rev_backstep; PRAGMA user_version = 2")
    with closing(SqliteEngine(tmp_path / "store.db", read_only=True)) as engine:
        check_all_times(engine)
    with closing(SqliteEngine(tmp_path / "store.db")) as engine:
        assert engine.query("SELECT * FROM backstep") == noted
        check_all_times(engine)
