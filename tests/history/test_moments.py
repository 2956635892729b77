"""Moments: every way to name a point in the history, and the store as it was then."""

from __future__ import annotations

import datetime
import time
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from contract.notes import ME
from testbed.kernel import Kernel

import orchstate
from orchstate.errors import DuplicateNameError, NotFoundError, ValidationError
from orchstate.models.intent import Intent, Operation

if TYPE_CHECKING:
    from pathlib import Path

    from orchstate.store import Store


def temperature(store: Store, when: object) -> float:
    return store.at(when).configs["gpt"].temperature  # type: ignore[arg-type, attr-defined, no-any-return]


# -- every kind of when ---------------------------------------------------------------------


def test_a_moment_can_be_a_seq(store: Store) -> None:
    assert [temperature(store, seq) for seq in (1, 2, 3, 6)] == [0.2, 0.5, 0.9, 0.9]


def test_a_moment_can_be_a_label_of_a_frame(store: Store) -> None:
    changes = store.history.changes("gpt", field="temperature")
    assert [temperature(store, seq) for seq in changes.index] == [0.2, 0.5, 0.9]
    assert temperature(store, changes.index.to_numpy()[1]) == 0.5


def test_a_moment_can_be_a_time_of_any_kind(store: Store) -> None:
    time.sleep(0.002)
    now = datetime.datetime.now(datetime.UTC)
    time.sleep(0.002)
    store.configs["gpt"].temperature = 1.5
    store.flush()
    local = now.astimezone().replace(tzinfo=None)
    elsewhere = now.astimezone(datetime.timezone(datetime.timedelta(hours=-7)))
    for when in (now, local, elsewhere, pd.Timestamp(now), now.isoformat(), local.isoformat(sep=" ")):
        assert temperature(store, when) == 0.9
    assert temperature(store, datetime.datetime.now(datetime.UTC)) == 1.5


def test_a_moment_can_be_a_day(store: Store) -> None:
    tomorrow = (datetime.datetime.now() + datetime.timedelta(days=1)).date().isoformat()
    assert temperature(store, tomorrow) == 0.9


def test_a_date_is_the_beginning_of_its_day(store: Store) -> None:
    tomorrow = datetime.date.today() + datetime.timedelta(days=1)
    assert store.at(tomorrow).seq == store.at(tomorrow.isoformat()).seq


@pytest.mark.parametrize(
    "name",
    [
        *("12", "-3", "1.5", "1e5", "nan", "-Infinity", "2026-11-20", "20261120", "2026-11-20 14:30"),
        *("2026-W47", "now", "Yesterday"),
    ],
)
def test_what_reads_as_a_seq_or_a_time_names_no_snapshot(name: str, store: Store) -> None:
    with pytest.raises(
        ValidationError, match=r"is not a valid name of a snapshot: at\(\) would take it for a seq or a time"
    ):
        store.snapshot(name)
    assert store.flush() == 6


def test_a_snapshot_of_such_a_name_from_before_is_still_found(store: Store) -> None:
    store._state.create("snapshot", "2026-11-20", {"seq": 2})
    assert temperature(store, "2026-11-20") == 0.5


def test_a_moment_can_be_a_snapshot_in_any_case(store: Store) -> None:
    assert store.snapshot("Before Tuning", note="it was fine") == 6
    store.configs["gpt"].temperature = 1.5
    for name in ("Before Tuning", "before tuning"):
        assert temperature(store, name) == 0.9
    with pytest.raises(DuplicateNameError, match="There is a snapshot 'Before Tuning' already"):
        store.snapshot("before tuning")


def test_a_snapshot_includes_the_edits_before_it(store: Store) -> None:
    store.configs["gpt"].temperature = 1.5
    store.snapshot("present")
    assert temperature(store, "present") == 1.5


@pytest.mark.parametrize(
    ("when", "message"),
    [
        (7, "There is no revision 7; the history goes from 0 to 6"),
        (-1, "There is no revision -1"),
        ("nonsense", "There is no snapshot 'nonsense'.* Or give a seq, a datetime or ISO text"),
        ("1999-12-31", "1999-12-31 .* is before this store's first change"),
    ],
)
def test_a_moment_that_is_not_there_is_an_error(when: object, message: str, store: Store) -> None:
    with pytest.raises(NotFoundError, match=message):
        store.at(when)  # type: ignore[arg-type]


@pytest.mark.parametrize("when", [None, 1.5, True, [1], datetime.time(1)])
def test_what_is_no_moment_is_refused(when: object, store: Store) -> None:
    with pytest.raises(
        ValidationError, match=r"is no moment. Give a seq, a datetime, ISO text or a snapshot's name"
    ):
        store.at(when)  # type: ignore[arg-type]


def test_a_similar_name_is_offered(store: Store) -> None:
    store.snapshot("before tuning")
    with pytest.raises(NotFoundError, match=r"Did you mean 'before tuning'?"):
        store.at("befor tuning")


def test_an_edit_counts_from_its_commit_and_not_from_its_acceptance(store: Store) -> None:
    """A process that had died may have accepted it long before somebody adopted it."""
    engine, now_us = store._engine, time.time_ns() // 1000
    hour_us = 3_600_000_000
    gpt = store.configs["gpt"]
    late = Operation(
        "update", "config", gpt.id, "gpt", {"temperature": 1.7}, seen={"temperature": 0.9}, base=6
    )
    engine.commit("dead", [Intent(1, "t", now_us - hour_us, ME, (late,))], store._state._writer._decide)
    before = datetime.datetime.fromtimestamp(now_us / 1e6, datetime.UTC)
    assert store.at(before).seq == 6
    assert store.at(7).configs["gpt"].temperature == 1.7  # type: ignore[attr-defined]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
def test_the_ends_of_the_calendar_are_moments_too(
    store: Store, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for first in ("0001-01-01", datetime.datetime.min, "0001-01-01T00:00+09:00", "0001-01-01T00:00Z"):
            with pytest.raises(NotFoundError, match="is before this store's first change"):
                store.at(first)
            assert len(store.history.changes(since=first)) == len(store.history.changes())
        for last in ("9999-12-31T23:59:59", datetime.datetime.max, "9999-12-31T23:59-09:00"):
            assert store.at(last).seq == 6
    finally:
        monkeypatch.undo()
        time.tzset()


def test_no_time_is_no_moment(store: Store) -> None:
    with pytest.raises(ValidationError, match=r"NaT is no moment\. Give a seq, a datetime"):
        store.at(pd.NaT)  # type: ignore[arg-type]


# -- the past -------------------------------------------------------------------------------


def test_the_past_is_a_mapping_of_frozen_documents(store: Store) -> None:
    past = store.at(4)
    assert (list(past.configs), len(past.configs), past.seq) == (["gpt", "o"], 2, 4)
    assert past.configs["O"].num_ctx == 5  # type: ignore[attr-defined]
    assert past.configs[store.configs["gpt"].id].name == "gpt"
    with pytest.raises(ValidationError, match="is a value of one moment"):
        past.configs["gpt"].temperature = 1.0  # type: ignore[attr-defined]
    with pytest.raises(NotFoundError, match=r"There is no config 'x'.* \(at that moment\)"):
        past.configs["x"]


def test_the_past_does_not_move(store: Store) -> None:
    past = store.at(3)
    assert list(past.configs) == ["gpt"]
    store.configs["gpt"].temperature = 1.5
    store.configs["gpt"].name = "renamed"
    store.flush()
    assert past.configs["gpt"].temperature == 0.9  # type: ignore[attr-defined]


def test_settings_have_a_past_too(store: Store) -> None:
    timeouts = [store.at(seq).settings.at("agents.timeout") for seq in (0, 5, 6)]
    assert timeouts == [60_000, 60_000, 5_000]


def test_before_the_beginning_there_is_nothing(store: Store) -> None:
    assert (len(store.at(0).configs), repr(store.at(0))) == (0, "<PastState at revision 0>")


def test_the_past_is_compared_with_now_or_another_moment(store: Store) -> None:
    assert set(store.at(2).diff()["field"]) == {"tags", "temperature", "name", "agents.timeout"}
    assert store.at(2).diff(store.at(3))["field"].tolist() == ["tags", "temperature"]
    assert store.at(2).diff(3)["field"].tolist() == ["tags", "temperature"]


def test_the_history_of_all_processes_is_one(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with orchstate.open(path, actor="me") as store:
        store.configs.create("openai", name="gpt")
        store.flush()
        with Kernel(f"import orchstate; store = orchstate.open({str(path)!r}, actor='other')") as other:
            other("store.configs['gpt'].update(temperature=0.5).wait(10)")
        found = store.history.changes("gpt")
        assert found["actor"].tolist() == ["me", "me", "other"]


def test_a_history_that_cannot_be_waited_for_shows_what_is_committed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchstate.history import history

    monkeypatch.setattr(history, "_FLUSH_S", 0.05)
    store._state._writer.stop()
    store.configs["gpt"].temperature = 1.5
    assert len(store.history) == 6
    assert store.history.changes("gpt", field="temperature")["new"].tolist() == [0.2, 0.5, 0.9]


def test_at_a_time_that_a_frame_or_a_record_tells_its_change_is_made(store: Store) -> None:
    gpt = store.configs.create("openai", name="clocked", temperature=0.0)
    for step in range(1, 8):
        gpt.temperature = step / 10
        if step % 3 == 0:
            store.flush()
    changes = store.history.changes("clocked", field="temperature")
    assert [store.at(at).configs["clocked"].temperature for at in changes["at"]] == changes["new"].tolist()
    assert store.at(gpt.updated_at).configs["clocked"].temperature == 0.7
    assert store.at(gpt.created_at).configs["clocked"].temperature == 0.0
