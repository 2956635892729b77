"""Conflicts: the three policies, what is kept of both sides, and who sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from testbed.observing import changes_of

import orchstate
from orchstate.errors import (
    ConflictError,
    DuplicateNameError,
    NotFoundError,
    ValidationError,
)
from tests.state.overlapping import overlap

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.kernel import Kernel

    from orchstate.store import Store


# -- the policies ---------------------------------------------------------------------------


def test_by_default_the_last_commit_wins_and_both_values_are_in_the_history(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt = disk.configs["gpt"]
    receipt = gpt.update(temperature=0.9)
    other("gpt.temperature = 1.5; store.flush()")
    held()
    assert receipt.wait(10).state == "merged"
    disk.flush()
    assert (gpt.temperature, len(disk.conflicts)) == (0.9, 0)
    changes = disk.history.changes("gpt", field="temperature")
    assert changes[["old", "new", "actor"]].values.tolist() == [
        [None, 0.2, "me"],
        [0.2, 1.5, "other"],
        [1.5, 0.9, "me"],
    ]


def test_where_people_are_asked_an_overlap_is_not_applied_and_shows_both_sides(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt = asking.configs["gpt"]
    heard = changes_of(gpt, "temperature", "sync_state")
    conflict = overlap(asking, other, held, max_tokens=7)
    assert (gpt.temperature, gpt.top_p, gpt.max_tokens) == (1.5, 0.5, None)
    assert [change for change in heard if change[0] == "temperature"][1:] == [
        ("temperature", 0.9, 1.5, "rollback"),
    ]
    assert (gpt.sync_state, type(gpt.error)) == ("conflict", ConflictError)
    assert str(gpt.error) == (
        "temperature of config 'gpt' was changed meanwhile, too. "
        "Both are in store.conflicts: resolve it there."
    )
    assert (conflict.cause, conflict.verb, conflict.fields) == ("overlap", "update", ("temperature",))
    assert dict(conflict.base) == {"temperature": 0.2, "max_tokens": None}
    assert dict(conflict.theirs) == {"temperature": 1.5, "max_tokens": None}
    assert dict(conflict.ours) == {"temperature": 0.9, "max_tokens": 7}


def test_edits_of_different_fields_are_merged_whatever_the_policy(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    receipt = asking.configs["gpt"].update(temperature=0.9)
    other("gpt.top_p = 0.5; store.flush()")
    held()
    assert receipt.wait(10).state == "merged"
    asking.flush()
    assert (asking.configs["gpt"].temperature, asking.configs["gpt"].top_p) == (0.9, 0.5)


def test_fields_that_belong_together_are_asked_for_as_one(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    asking.configs["gpt"].model = "gpt-z"
    other("gpt.update(provider='anthropic', model='claude'); store.flush()")
    held()
    asking.flush()
    (conflict,) = asking.conflicts.values()
    assert set(conflict.fields) >= {"model", "provider"}
    assert (conflict.ours["model"], conflict.theirs["model"]) == ("gpt-z", "claude")
    assert asking.configs["gpt"].provider == "anthropic"


def test_nobody_is_asked_which_config_is_active(asking: Store) -> None:
    from testbed.kernel import Kernel as Twin

    setup = f"import orchstate; store = orchstate.open({str(asking.path)!r}, secrets='memory', actor='me')"
    asking.configs.create("ollama", name="local")
    asking.active = "gpt"
    asking.flush()
    with Twin(setup) as twin:
        asking._engine._write_mutex.acquire()
        try:
            asking.active = "local"
            twin("store.active = None; store.flush()")
        finally:
            asking._engine._write_mutex.release()
        asking.flush()
        assert (len(asking.conflicts), asking.active) == (0, asking.configs["local"])


def test_of_two_snapshots_with_one_name_the_second_is_refused(disk: Store, other: Kernel) -> None:
    real = disk._state.create

    def create(*given: Any, **how: Any) -> Any:
        with disk._engine._write_mutex:
            made = real(*given, **how)
            other("store.snapshot('before')")
        return made

    disk._state.create = create  # type: ignore[method-assign]
    with pytest.raises(DuplicateNameError, match=r"snapshot 'before' was created meanwhile\. Choose"):
        disk.snapshot("before")
    assert len(disk.conflicts) == 0


def test_a_function_merges_in_the_thread_of_the_store_and_under_no_lock(
    merging: Store, other: Kernel, held: Callable[[], None]
) -> None:
    calls: list[tuple[Any, ...]] = []

    def larger(base: Any, theirs: Any, ours: Any) -> Any:
        calls.append((base, theirs, ours))
        # Other processes can commit meanwhile.
        other("gpt.seed = 5; store.flush()")
        return {field: max(theirs[field], ours[field]) for field in ours}

    merging.conflicts.merge_with(larger)
    merging.configs["gpt"].temperature = 0.9
    other("gpt.temperature = 1.5; store.flush()")
    held()
    merging.flush()
    merging.flush()
    assert calls == [({"temperature": 0.2}, {"temperature": 1.5}, {"temperature": 0.9})]
    assert (merging.configs["gpt"].temperature, merging.configs["gpt"].seed) == (1.5, 5)
    assert (len(merging.conflicts), merging.configs["gpt"].sync_state) == (0, "saved")


def test_a_function_is_given_what_is_there_when_it_is_called(
    merging: Store, other: Kernel, held: Callable[[], None]
) -> None:
    overlap(merging, other, held)
    other("gpt.temperature = 0.1; store.flush()")
    merging.refresh()
    calls: list[Any] = []

    def larger(base: Any, theirs: Any, ours: Any) -> Any:
        calls.append(theirs["temperature"])
        return {field: max(theirs[field], ours[field]) for field in ours}

    merging.conflicts.merge_with(larger)
    merging.flush()
    assert (calls, merging.configs["gpt"].temperature) == ([0.1], 0.9)


def test_a_function_that_raises_leaves_the_conflict_open_and_shows_no_value(
    merging: Store, other: Kernel, held: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    def broken(base: Any, theirs: Any, ours: Any) -> Any:
        raise RuntimeError(f"cannot do {ours}")

    merging.conflicts.merge_with(broken)
    conflict = overlap(merging, other, held)
    assert conflict.policy == "merge"
    assert "The merge function raised RuntimeError" in caplog.text
    assert "cannot do" not in caplog.text
    # Another one is tried at once with what is open.
    merging.conflicts.merge_with(lambda base, theirs, ours: ours)
    assert (len(merging.conflicts), merging.configs["gpt"].temperature) == (0, 0.9)


def test_without_a_function_a_merge_waits_for_people(
    merging: Store, other: Kernel, held: Callable[[], None]
) -> None:
    overlap(merging, other, held).resolve("ours")
    assert merging.configs["gpt"].temperature == 0.9


@pytest.mark.parametrize("function", ["larger", 5])
def test_what_cannot_be_called_cannot_merge(function: Any, store: Store) -> None:
    with pytest.raises(ValidationError, match=r"cannot be called\. Give a function of three mappings"):
        store.conflicts.merge_with(function)
    with pytest.raises(ValidationError, match=r"'agent' is no kind of documents\. There are: 'config'"):
        store.conflicts.merge_with(max, kind="agent")


def test_a_merge_that_is_undone_leaves_the_conflict_to_people(
    merging: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt = merging.configs["gpt"]
    gpt.max_tokens = 5
    merging.conflicts.merge_with(lambda base, theirs, ours: ours)
    gpt.temperature = 0.9
    other("gpt.temperature = 1.5; store.flush()")
    held()
    merging.flush()
    merging.flush()
    assert (gpt.temperature, len(merging.conflicts)) == (0.9, 0)
    merging.undo()
    merging.flush()
    merging.flush()
    assert (gpt.temperature, len(merging.conflicts)) == (1.5, 1)
    merging.undo()
    assert gpt.max_tokens is None


# -- who sees it ----------------------------------------------------------------------------


def test_everybody_sees_a_conflict_and_anybody_may_resolve_it(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt = asking.configs["gpt"]
    overlap(asking, other, held)
    assert other("store.refresh(); [(c.target_name, c.user_id) for c in store.conflicts.values()]") == [
        ["gpt", "me"]
    ]
    other("store.conflicts[0].resolve('ours'); store.flush()")
    asking.refresh()
    assert (gpt.temperature, gpt.sync_state, gpt.error, len(asking.conflicts)) == (0.9, "saved", None, 0)


def test_conflicts_open_and_end_with_events(asking: Store, other: Kernel, held: Callable[[], None]) -> None:
    heard: list[Any] = []
    for event in (orchstate.ConflictOpened, orchstate.ConflictResolved, orchstate.Updated):
        asking.subscribe(heard.append, event)
    overlap(asking, other, held).resolve("theirs")
    asking.flush()
    assert [(type(event).__name__, event.cause, event.external) for event in heard] == [
        ("Updated", "external", True),
        ("ConflictOpened", "edit", False),
        ("Updated", "rollback", False),
        ("ConflictResolved", "edit", False),
    ]


def test_a_conflict_outlives_its_process(asking: Store, other: Kernel, held: Callable[[], None]) -> None:
    overlap(asking, other, held)
    asking.close()
    with orchstate.open(asking.path, secrets="memory", actor="me") as again:
        (conflict,) = again.conflicts.values()
        assert (conflict.ours["temperature"], again.configs["gpt"].sync_state) == (0.9, "saved")
        conflict.resolve("ours")
        assert again.configs["gpt"].temperature == 0.9


def test_an_edit_of_a_dead_process_that_meets_something_is_kept_as_a_conflict(
    asking: Store, other: Kernel
) -> None:
    # It accepts and does not live to commit.
    dying = """
store._engine._write_mutex.acquire()
gpt.temperature = 1.5
"""
    other(dying)
    asking.configs["gpt"].temperature = 0.9
    asking.flush()
    other.kill()
    asking.close()
    with orchstate.open(asking.path, secrets="memory", actor="me") as again:
        (conflict,) = again.conflicts.values()
        assert (conflict.user_id, conflict.ours["temperature"]) == ("other", 1.5)
        assert again.configs["gpt"].temperature == 0.9


def test_the_history_keeps_the_sides_of_a_resolved_conflict(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    conflict = overlap(asking, other, held)
    id = conflict.id
    conflict.resolve("theirs")
    asking.flush()
    changes = asking.history.changes(id)
    ours = changes[(changes["op"] == "create") & (changes["field"] == "ours")]
    assert ours["new"].tolist() == [{"temperature": 0.9}]
    assert changes["op"].unique().tolist() == ["create", "delete"]


def test_conflicts_as_a_frame_have_one_row_per_field(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    overlap(asking, other, held)
    frame = asking.conflicts.to_frame()
    columns = ["kind", "name", "cause", "field", "base", "theirs", "ours", "by"]
    assert frame[columns].values.tolist() == [
        ["config", "gpt", "overlap", "temperature", 0.2, 1.5, 0.9, "me"]
    ]
    assert str(frame.dtypes["at"]) == "datetime64[us, UTC]"
    asking.conflicts.resolve("theirs")
    empty = asking.conflicts.to_frame()
    assert (len(empty), empty.dtypes.tolist()[:1]) == (0, frame.dtypes.tolist()[:1])


def test_conflicts_are_found_by_number_name_and_record(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    conflict = overlap(asking, other, held)
    found = asking.conflicts
    assert found[0] is found[-1] is found[conflict.name] is found[conflict.id] is conflict
    assert found.of("gpt") == found.of(asking.configs["gpt"]) == [conflict]
    assert found.of("other") == []
    with pytest.raises(NotFoundError, match=r"There is no conflict 1; there are 1\."):
        found[1]
    assert repr(conflict) == "<Conflict about gpt: overlap, temperature>"
    assert repr(found) == f"<1 conflict: {conflict.name}>"


def test_a_conflict_cannot_be_edited(asking: Store, other: Kernel, held: Callable[[], None]) -> None:
    conflict = overlap(asking, other, held)
    with pytest.raises(ValidationError, match=r"A conflict cannot be edited \(cause\)\. Decide with resolve"):
        conflict.cause = "deleted"
    conflict.delete()
    assert (len(asking.conflicts), asking.configs["gpt"].temperature) == (0, 1.5)
