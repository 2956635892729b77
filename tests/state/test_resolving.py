"""How conflicts end: by a choice, by values, from the record."""

from __future__ import annotations

import sqlite3
from contextlib import closing, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import pytest
from testbed.observing import changes_of

from orchstate.errors import (
    ConflictError,
    NotFoundError,
    StoreError,
    UnknownFieldError,
    ValidationError,
)
from orchstate.state import refusals
from orchstate.state.state import State
from tests.state.overlapping import overlap

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.kernel import Kernel

    from orchstate.config import Config
    from orchstate.conflicts import Conflict
    from orchstate.store import Store


# -- resolving ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "temperature", "max_tokens"),
    [
        ("ours", 0.9, 7),
        ("theirs", 1.5, None),
        ({"temperature": 1.0}, 1.0, 7),
        ({"max_tokens": 9}, 1.5, 9),
        ({}, 1.5, 7),
    ],
    ids=["ours", "theirs", "another value", "another of what nobody disputes", "nothing"],
)
def test_a_conflict_ends_as_somebody_decides(
    choice: Any,
    temperature: float,
    max_tokens: int | None,
    asking: Store,
    other: Kernel,
    held: Callable[[], None],
) -> None:
    gpt = asking.configs["gpt"]
    conflict = overlap(asking, other, held, max_tokens=7)
    assert conflict.resolve(choice).wait(10).state == "committed"
    asking.flush()
    assert (gpt.temperature, gpt.max_tokens, gpt.top_p) == (temperature, max_tokens, 0.5)
    assert (len(asking.conflicts), gpt.sync_state, gpt.error) == (0, "saved", None)
    assert other("store.refresh(); (gpt.temperature, gpt.max_tokens, len(store.conflicts))") == [
        temperature,
        max_tokens,
        0,
    ]


def test_a_resolution_is_one_undo_step_which_opens_the_conflict_again(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    conflict = overlap(asking, other, held)
    id = conflict.id
    conflict.resolve("ours")
    asking.undo()
    asking.flush()
    assert asking.configs["gpt"].temperature == 1.5
    assert [one.id for one in asking.conflicts.values()] == [id]
    asking.conflicts[0].resolve("ours")
    assert asking.configs["gpt"].temperature == 0.9


@pytest.mark.parametrize(("end", "temperature"), [("retry", 0.9), ("discard", 1.5)])
@pytest.mark.parametrize("choice", ["ours", "theirs"])
def test_the_record_of_a_conflict_that_is_open_again_says_so_and_can_end_it(
    asking: Store, other: Kernel, held: Callable[[], None], choice: str, end: str, temperature: float
) -> None:
    gpt = asking.configs["gpt"]
    overlap(asking, other, held).resolve(choice)
    asking.flush()
    assert (gpt.sync_state, gpt.error) == ("saved", None)
    told = changes_of(gpt, "sync_state")
    asking.undo()
    asking.flush()
    assert (gpt.sync_state, type(gpt.error), told[-1][2]) == ("conflict", ConflictError, "conflict")
    getattr(gpt, end)()
    asking.flush()
    assert (gpt.temperature, gpt.sync_state, len(asking.conflicts)) == (temperature, "saved", 0)


@pytest.mark.parametrize(
    ("choice", "error", "message"),
    [
        (
            "mine",
            ValidationError,
            r"'mine' is no way to resolve\. Give 'ours', 'theirs', or a value per field",
        ),
        (
            {"temprature": 1},
            UnknownFieldError,
            r"config has no field 'temprature'\. Did you mean 'temperature'",
        ),
        ({"temperature": 99}, ValidationError, "temperature"),
    ],
)
def test_what_cannot_be_leaves_the_conflict_open_and_changes_nothing(
    choice: Any,
    error: type[Exception],
    message: str,
    asking: Store,
    other: Kernel,
    held: Callable[[], None],
) -> None:
    conflict = overlap(asking, other, held, max_tokens=7)
    seq = asking.flush()
    with pytest.raises(error, match=message):
        conflict.resolve(choice)
    assert (asking.flush(), len(asking.conflicts)) == (seq, 1)
    assert asking.configs["gpt"].max_tokens is None


def test_a_decision_that_is_taken_back_leaves_the_record_in_conflict(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt, conflict = asking.configs["gpt"], overlap(asking, other, held)
    told = changes_of(gpt, "sync_state", "error")
    with pytest.raises(ZeroDivisionError), asking.transaction():
        conflict.resolve("theirs")
        raise ZeroDivisionError
    asking.flush()
    assert (gpt.sync_state, type(gpt.error), len(asking.conflicts)) == ("conflict", ConflictError, 1)
    assert told == []
    gpt.retry()
    asking.flush()
    assert (gpt.temperature, gpt.sync_state) == (0.9, "saved")


@pytest.mark.parametrize("choice", [{"temperature": 0.5}, {}])
def test_a_deletion_in_conflict_is_not_done_by_giving_values(
    choice: dict[str, Any], asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    asking.configs["gpt"].delete()
    other("gpt.temperature = 1.5; store.flush()")
    held()
    asking.flush()
    asking.refresh()
    with pytest.raises(ValidationError, match="is a deletion, which has no values"):
        asking.conflicts[0].resolve(choice)
    assert (asking.configs["gpt"].temperature, len(asking.conflicts)) == (1.5, 1)


def test_a_conflict_is_resolved_once(asking: Store, other: Kernel, held: Callable[[], None]) -> None:
    conflict = overlap(asking, other, held)
    conflict.resolve("theirs")
    with pytest.raises(NotFoundError, match="This conflict was resolved already, here or by somebody else"):
        conflict.resolve("ours")


def test_of_two_that_resolve_a_conflict_at_once_the_first_decides(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    conflict = overlap(asking, other, held)
    mutex = asking._engine._write_mutex
    with mutex:
        receipt = conflict.resolve("ours")
        other("store.refresh(); receipt = store.conflicts[0].resolve({'temperature': 1.1}); store.flush()")
    assert receipt.wait(10).state == "rejected"
    assert "The conflict was resolved by somebody else meanwhile" in str(receipt.error)
    asking.flush()
    assert (asking.configs["gpt"].temperature, len(asking.conflicts)) == (1.1, 0)


@pytest.mark.parametrize("choice", ["theirs", "ours"])
def test_who_decided_second_can_make_the_edit_again(
    asking: Store, other: Kernel, held: Callable[[], None], choice: str
) -> None:
    gpt, conflict = asking.configs["gpt"], overlap(asking, other, held)
    with asking._engine._write_mutex:
        conflict.resolve("ours")
        other(f"store.refresh(); store.conflicts[0].resolve({choice!r}); store.flush()")
    asking.flush()
    assert (gpt.sync_state, gpt.temperature) == ("failed", 1.5 if choice == "theirs" else 0.9)
    gpt.retry()
    asking.flush()
    assert (gpt.sync_state, gpt.error, gpt.temperature, len(asking.conflicts)) == ("saved", None, 0.9, 0)


def test_an_older_conflict_is_said_of_a_record_when_the_later_one_is_decided(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt, older = asking.configs["gpt"], overlap(asking, other, held)
    with asking._engine._write_mutex:
        gpt.seed = 5
        other("gpt.seed = 6; store.flush()")
    asking.flush()
    (later,) = (one for one in asking.conflicts.values() if one.id != older.id)
    assert (gpt.sync_state, later.reason in str(gpt.error)) == ("conflict", True)
    gpt.retry()
    asking.flush()
    assert (gpt.seed, gpt.sync_state, older.reason in str(gpt.error)) == (5, "conflict", True)
    gpt.discard()
    asking.flush()
    assert (gpt.temperature, gpt.seed, gpt.sync_state, len(asking.conflicts)) == (1.5, 5, "saved", 0)


@pytest.mark.parametrize("is_own", [True, False])
def test_a_decision_that_comes_too_late_leaves_the_conflict_open_with_what_is_there_now(
    asking: Store, other: Kernel, held: Callable[[], None], is_own: bool
) -> None:
    gpt = asking.configs["gpt"]
    conflict = overlap(asking, other, held) if is_own else overlap_of_the_other(asking, other, held)
    heard = changes_of(gpt, "sync_state")
    with asking._engine._write_mutex:
        receipt = conflict.resolve({"temperature": 1.1})
        other("gpt.temperature = 1.9; store.flush()")
    assert receipt.wait(10).state == "rejected"
    assert "temperature of config 'gpt' was changed meanwhile" in str(receipt.error)
    asking.refresh()
    assert [one.id for one in asking.conflicts.values()] == [conflict.id]
    assert "temperature: 1.9 is saved, 0.9 was wanted" in str(conflict)
    assert (gpt.temperature, gpt.sync_state) == (1.9, "conflict" if is_own else "saved")
    conflict.resolve({"temperature": 1.1}).wait(10)
    asking.flush()
    assert (gpt.temperature, gpt.sync_state, len(asking.conflicts)) == (1.1, "saved", 0)
    assert {new for _, _, new, _ in heard} <= {"saving", "saved", "conflict"}


def overlap_of_the_other(store: Store, other: Kernel, let_go: Callable[[], None]) -> Conflict:
    """Have both sides change the temperature, so that the other one's edit is not committed."""
    let_go()
    other("store._engine._write_mutex.acquire(); gpt.temperature = 0.9")
    store.configs["gpt"].temperature = 1.5
    store.flush()
    other("store._engine._write_mutex.release(); store.flush()")
    store.refresh()
    (conflict,) = store.conflicts.values()
    return conflict


def test_that_a_conflict_has_ended_is_told_though_its_revision_is_damaged(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt = asking.configs["gpt"]
    overlap(asking, other, held)
    selection = asking.select(lambda store: store.configs["gpt"].sync_state)
    heard = changes_of(gpt, "sync_state")
    with asking._engine._write_mutex:
        other("store.refresh(); store.conflicts[0].resolve('theirs'); store.flush()")
        with closing(sqlite3.connect(asking.path, isolation_level=None)) as connection:
            connection.execute("UPDATE rev SET diff = 'x' WHERE seq = (SELECT max(seq) FROM rev)")
    asking.refresh()
    asking.refresh()
    assert (gpt.sync_state, selection.value) == ("saved", "saved")
    assert heard == [("sync_state", "conflict", "saved", "external")]


def test_what_waits_beside_another_document_is_found_by_either(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt, beside = asking.configs["gpt"], asking.configs.create("openai", name="beside")
    with asking.transaction():
        gpt.temperature, beside.seed = 0.9, 7
    other("gpt.temperature = 1.5; store.flush()")
    held()
    asking.flush()
    (conflict,) = asking.conflicts.values()
    assert [one.id for one in asking.conflicts.of(beside)] == [conflict.id]
    assert [one.id for one in asking.conflicts.of("gpt")] == [conflict.id]


def test_decided_conflicts_cost_nothing_and_push_no_open_one_out(
    asking: Store, other: Kernel, held: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "MAX_UNDO", 2)
    gpt, first = asking.configs["gpt"], overlap(asking, other, held)
    entries = len(asking._state.view)
    for seed in range(6):
        with asking._engine._write_mutex:
            gpt.seed = seed
            other(f"gpt.seed = {100 + seed}; store.flush()")
        asking.flush()
        asking.conflicts[1].resolve("theirs")
        asking.flush()
    assert (gpt.sync_state, [one.id for one in asking.conflicts.of(gpt)]) == ("conflict", [first.id])
    waiting = asking._state.view.refusals
    assert (len(waiting.of(gpt.id)), len(waiting._decided)) == (1, 2)
    assert len(asking._state.view) == entries


def test_a_conflict_that_an_undo_could_not_open_again_at_once_is_the_same_one_afterwards(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt, conflict = asking.configs["gpt"], overlap(asking, other, held)
    id = conflict.id
    conflict.resolve("ours")
    asking.flush()
    with asking._engine._write_mutex:
        asking.undo()
        other("store.refresh(); gpt.temperature = 1.9; store.flush()")
    asking.flush()
    asking.refresh()
    (met,) = asking.conflicts.values()
    assert met.id != id
    met.resolve("ours")
    asking.flush()
    assert [one.id for one in asking.conflicts.values()] == [id]
    assert (gpt.temperature, gpt.sync_state) == (1.5, "conflict")
    gpt.discard()
    asking.flush()
    assert (gpt.sync_state, len(asking.conflicts)) == ("saved", 0)


def test_what_comes_back_by_a_decision_has_its_last_values_also_those_on_their_way(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt, conflict = asking.configs["gpt"], overlap(asking, other, held)
    with asking._engine._write_mutex:
        gpt.seed = 5
        gpt.delete()
        conflict.resolve("ours")
    asking.flush()
    again = asking.configs["gpt"]
    assert (again.temperature, again.top_p, again.seed) == (0.9, 0.5, 5)


def test_all_conflicts_can_be_ended_alike(asking: Store, other: Kernel, held: Callable[[], None]) -> None:
    overlap(asking, other, held)
    with pytest.raises(ValidationError, match=r"'mine' does not fit all of them"):
        asking.conflicts.resolve("mine")
    assert asking.conflicts.resolve("ours") == 1
    assert (len(asking.conflicts), asking.configs["gpt"].temperature) == (0, 0.9)


# -- from the record ------------------------------------------------------------------------


def test_a_record_keeps_its_conflict_until_it_is_decided(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    overlap(asking, other, held)
    gpt = asking.configs["gpt"]
    gpt.seed = 7
    asking.flush()
    assert (gpt.sync_state, type(gpt.error)) == ("conflict", ConflictError)
    gpt.retry()
    asking.flush()
    assert (gpt.temperature, gpt.seed, gpt.sync_state, gpt.error) == (0.9, 7, "saved", None)


def test_all_conflicts_are_ended_or_none(
    asking: Store, other: Kernel, held: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    overlap(asking, other, held)
    gpt = asking.configs["gpt"]
    with asking._engine._write_mutex:
        gpt.seed = 7
        other("gpt.seed = 8; store.flush()")
    asking.flush()
    assert len(asking.conflicts) == 2
    resolve, done = State.resolve, []

    def fail_at_the_second(state: State, id: str, choice: Any) -> Any:
        done.append(id)
        if len(done) == 2:
            raise ValidationError("It cannot be.")
        return resolve(state, id, choice)

    monkeypatch.setattr(State, "resolve", fail_at_the_second)
    with pytest.raises(ValidationError, match="It cannot be"):
        asking.conflicts.resolve("ours")
    asking.flush()
    assert (len(asking.conflicts), gpt.temperature, gpt.seed) == (2, 1.5, 8)


def test_a_record_can_have_its_edit_made_again(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt = asking.configs["gpt"]
    overlap(asking, other, held)
    assert gpt.retry().wait(10).state == "committed"
    asking.flush()
    assert (gpt.temperature, len(asking.conflicts), gpt.sync_state) == (0.9, 0, "saved")


def test_a_record_can_give_its_edit_up(asking: Store, other: Kernel, held: Callable[[], None]) -> None:
    gpt = asking.configs["gpt"]
    overlap(asking, other, held)
    heard = changes_of(gpt, "sync_state", "error")
    gpt.discard()
    asking.flush()
    assert (gpt.temperature, len(asking.conflicts), gpt.sync_state, gpt.error) == (1.5, 0, "saved", None)
    assert [new for name, _, new, _ in heard if name == "sync_state"] == ["saved"]


@pytest.fixture
def rejected(disk: Store) -> Config:
    """A config of which an edit was rejected, for damage that is mended by now."""
    gpt = disk.configs["gpt"]
    damage = (
        "UPDATE doc SET body = 'x' WHERE kind = 'config'; UPDATE rev SET body = 'x' WHERE kind = 'config'"
    )
    with closing(sqlite3.connect(disk.path)) as other:
        sound = other.execute("SELECT body, (SELECT body FROM rev WHERE seq = 1) FROM doc").fetchone()
        other.executescript(damage)
        receipt = gpt.update(temperature=0.9)
        assert receipt.wait(10).state == "rejected"
        other.execute("UPDATE doc SET body = ?", [sound[0]])
        other.execute("UPDATE rev SET body = ?", [sound[1]])
        other.commit()
    return gpt


def test_an_edit_that_was_rejected_can_be_made_again(disk: Store, rejected: Config) -> None:
    assert (rejected.temperature, rejected.sync_state, len(disk.conflicts)) == (0.2, "failed", 0)
    assert rejected.retry().wait(10).state == "committed"
    disk.flush()
    assert (rejected.temperature, rejected.sync_state) == (0.9, "saved")


@pytest.mark.parametrize("how", ["retry", "discard"])
@pytest.mark.parametrize("is_nested", [True, False])
def test_a_block_that_fails_has_dealt_with_no_rejected_edit(
    is_nested: bool, how: str, disk: Store, rejected: Config
) -> None:
    with pytest.raises(ZeroDivisionError), disk.transaction() if not is_nested else nullcontext():
        with disk.transaction(), suppress(ZeroDivisionError) if is_nested else nullcontext():
            with disk.transaction():
                getattr(rejected, how)()
                raise ZeroDivisionError
        raise ZeroDivisionError
    disk.flush()
    assert (rejected.temperature, rejected.sync_state) == (0.2, "failed")
    with disk.transaction():
        getattr(rejected, how)()
        assert rejected.error is not None
    disk.flush()
    assert (rejected.error, rejected.sync_state) == (None, "saved")
    assert rejected.temperature == (0.9 if how == "retry" else 0.2)


def test_without_a_refused_edit_there_is_nothing_to_decide(disk: Store) -> None:
    gpt = disk.configs["gpt"]
    for decide in (gpt.retry, gpt.discard):
        with pytest.raises(StoreError, match="'gpt' has no edit that was not committed"):
            decide()
