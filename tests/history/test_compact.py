"""Compaction as people use it: what they say is kept, and what else is needed is spared."""

from __future__ import annotations

import asyncio
import datetime
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from testbed.kernel import Kernel

import orchstate
from orchstate.errors import FlushError, NotFoundError, ReadOnlyError, ValidationError

if TYPE_CHECKING:
    from pathlib import Path

    from orchstate.store import Store


def test_the_present_and_what_is_kept_are_as_before(store: Store) -> None:
    before = {seq: {name: store.at(seq).configs[name] for name in store.at(seq).configs} for seq in (3, 4, 6)}
    done = store.history.compact(3)
    assert repr(done) == "<Compacted: removed 2 of 6 revisions; all of revision 3 and later stays>"
    for seq, configs in before.items():
        assert {name: store.at(seq).configs[name] for name in store.at(seq).configs} == configs
    assert store.history.changes().index.unique().tolist() == [3, 4, 5, 6]
    assert store.history.revisions("gpt").index.tolist() == [3]
    assert (len(store.history), store.configs["gpt"].temperature) == (4, 0.9)


@pytest.mark.parametrize(
    ("keep", "kept_from"),
    [
        (timedelta(0), 6),
        (timedelta(days=1), 0),
        (timedelta.max, 0),
        ("9999-12-31", 6),
        (datetime.date.min, 0),
        (4, 4),
        ("before", 3),
    ],
)
def test_what_is_kept_can_be_said_in_every_way(keep: Any, kept_from: int, store: Store) -> None:
    store._state.create("snapshot", "before", {"seq": 3})
    store.flush()
    done = store.history.compact(keep, preview=True, snapshots=False)
    assert done.kept_from == (7 if kept_from == 6 else kept_from)


def test_a_snapshot_stays_exact_for_every_document(store: Store) -> None:
    store.configs.create("ollama", name="p", num_ctx=6)
    store.snapshot("first")
    store.configs["p"].num_ctx = 7
    store.configs["gpt"].temperature = 1.5
    store.configs["gpt"].temperature = 1.6
    assert store.history.compact(timedelta(0)).kept == (7,)
    past = store.at("FIRST").configs
    assert (list(past), past["p"].num_ctx, past["gpt"].temperature) == (["gpt", "p"], 6, 0.9)  # type: ignore[attr-defined]
    with pytest.raises(NotFoundError, match=r"revision 9 was removed by a compaction.* there: 7 and 11"):
        store.at(9)


def test_snapshots_and_stamps_go_only_by_name(store: Store) -> None:
    store.snapshot("first")
    stamp = store.configs["gpt"].stamp()
    store.configs["gpt"].temperature = 1.5
    store.history.compact(timedelta(0))
    assert stamp["revision"] in store.history.revisions("gpt").index
    done = store.history.compact(timedelta(0), snapshots=False, stamps=False)
    assert (done.snapshots, done.stamps) == (("first",), ((stamp["config"], stamp["revision"]),))
    assert "what snapshots need: first, what 1 stamps need" in repr(done)
    assert stamp["revision"] not in store.history.revisions("gpt").index
    with pytest.raises(NotFoundError, match="was removed by a compaction"):
        store.at("first")


def test_a_time_of_which_it_is_not_certain_what_was_there_is_refused(store: Store) -> None:
    store.snapshot("early")
    store.configs["gpt"].temperature = 1.5
    store.flush()
    between = datetime.datetime.now(datetime.UTC)
    store.configs["gpt"].temperature = 1.6
    store.flush()
    store.history.compact(timedelta(0))
    assert store.at("early").configs["gpt"].temperature == 0.9  # type: ignore[attr-defined]
    for when in (between, "1999-12-31"):
        with pytest.raises(NotFoundError, match=r"was removed by a compaction"):
            store.at(when)
    assert store.at(datetime.datetime.now()).seq == 9
    assert len(store.history.changes(since="1999-12-31")) == len(store.history.changes())
    with pytest.raises(NotFoundError, match=r"was removed by a compaction"):
        store.history.diff(between)


def test_a_trace_of_it_stays(store: Store) -> None:
    assert len(store.history.compactions()) == 0
    store.history.compact(2)
    store.history.compact(4, snapshots=False)
    frame = store.history.compactions()
    assert frame["actor"].tolist() == ["me", "me"]
    assert frame[["kept_from", "revisions"]].to_numpy().tolist() == [[2, 1], [4, 1]]
    assert (datetime.datetime.now(datetime.UTC) - frame["at"].iloc[-1]).total_seconds() < 60


@pytest.mark.parametrize(
    ("keep", "error", "message"),
    [
        (99, NotFoundError, "There is no revision 99"),
        ("nonsense", NotFoundError, "There is no snapshot 'nonsense'"),
        (
            timedelta(days=-1),
            ValidationError,
            r"lies in the future\. Give how far back everything is to stay",
        ),
        (None, ValidationError, "None is no moment"),
        (1.5, ValidationError, "is no moment"),
    ],
)
def test_what_says_nothing_removes_nothing(
    keep: Any, error: type[Exception], message: str, store: Store
) -> None:
    with pytest.raises(error, match=message):
        store.history.compact(keep)
    assert len(store.history) == 6


def test_it_does_not_stop_the_loop_and_nothing_of_it_is_undone(store: Store) -> None:
    done = asyncio.run(store.history.acompact(3))
    assert done.revisions == 2
    assert str(store.undo()) != "Nothing to undo."
    assert len(store.history.compactions()) == 1


def test_it_goes_on_with_nothing_that_is_not_committed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchstate.history.history._COMMIT_S", 0.05)
    store._state._writer.stop()
    store.configs["gpt"].temperature = 1.5
    with pytest.raises(FlushError, match="1 accepted edit is not committed yet"):
        store.history.compact(3)


def test_other_processes_go_on(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with orchstate.open(path) as store, Kernel(f"import orchstate; path = {str(path)!r}") as other:
        gpt = store.configs.create("openai", name="gpt", temperature=0.1)
        store.flush()
        other("store = orchstate.open(path); gpt = store.configs['gpt']; gpt.temperature")
        for n in range(20):
            gpt.temperature = n / 10
        store.history.compact(timedelta(0))
        other("store.refresh()")
        assert other("gpt.temperature") == 1.9
        other("gpt.temperature = 0.7; store.flush()")
        store.refresh()
        assert gpt.temperature == 0.7
        assert store.history.compact(timedelta(0)).revisions == 1
        with pytest.raises(Exception, match="was removed by a compaction"):
            other("store.at(5)")


def test_a_store_that_is_only_read_refuses(tmp_path: Path) -> None:
    with orchstate.open(tmp_path / "store.db") as store:
        store.configs.create("openai", name="gpt")
    with (
        orchstate.open(tmp_path / "store.db", read_only=True) as store,
        pytest.raises(ReadOnlyError, match="open for reading only"),
    ):
        store.history.compact(1)
