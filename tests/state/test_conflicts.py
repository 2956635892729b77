"""Conflicts: what is kept of both sides, the three policies, and how they end."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from testbed.observing import changes_of

import orchstate
from orchstate.errors import (
    ConflictError,
    DuplicateNameError,
    NotFoundError,
    StoreError,
    UnknownFieldError,
    ValidationError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.kernel import Kernel

    from orchstate.conflicts import Conflict
    from orchstate.store import Store


@pytest.fixture
def asking(disk: Store, other: Kernel) -> Store:
    """A store whose settings leave overlaps to people."""
    disk.settings.sync.conflict_resolution = "prompt"
    disk.flush()
    other("store.refresh()")
    return disk


@pytest.fixture
def merging(disk: Store, other: Kernel) -> Store:
    """A store whose settings leave overlaps to a function."""
    disk.settings.sync.conflict_resolution = "merge"
    disk.flush()
    other("store.refresh()")
    return disk


def overlap(store: Store, other: Kernel, let_go: Callable[[], None], **values: Any) -> Conflict:
    """Have both sides change the temperature, and return the conflict."""
    store.configs["gpt"].update(temperature=0.9, **values)
    other("gpt.update(temperature=1.5, top_p=0.5); store.flush()")
    let_go()
    store.flush()
    store.refresh()
    (conflict,) = store.conflicts.values()
    return conflict


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
        "temperature of config 'gpt' was changed by somebody else, too. "
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
    with pytest.raises(DuplicateNameError, match=r"snapshot 'before' was created by somebody else\. Choose"):
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


def test_all_conflicts_can_be_ended_alike(asking: Store, other: Kernel, held: Callable[[], None]) -> None:
    overlap(asking, other, held)
    with pytest.raises(ValidationError, match=r"'mine' does not fit all of them"):
        asking.conflicts.resolve("mine")
    assert asking.conflicts.resolve("ours") == 1
    assert (len(asking.conflicts), asking.configs["gpt"].temperature) == (0, 0.9)


# -- what else can meet ---------------------------------------------------------------------


def test_an_edit_of_what_was_deleted_can_bring_it_back(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt = disk.configs["gpt"]
    gpt.temperature = 0.9
    other("gpt.delete(); store.flush()")
    held()
    disk.flush()
    (conflict,) = disk.conflicts.of(gpt)
    assert (conflict.cause, dict(conflict.theirs)) == ("deleted", {})
    conflict.resolve("ours")
    disk.flush()
    assert disk.configs["gpt"] is gpt
    assert (gpt.temperature, gpt.model) == (0.9, "gpt-y")


@pytest.mark.parametrize(("choice", "names"), [("ours", []), ("theirs", ["gpt"])])
def test_deleting_what_was_edited_waits_for_a_decision(
    choice: str, names: list[str], disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    disk.configs["gpt"].delete()
    other("gpt.temperature = 1.5; store.flush()")
    held()
    disk.flush()
    assert disk.conflicts[0].theirs["temperature"] == 1.5
    disk.conflicts[0].resolve(choice)
    disk.flush()
    assert list(disk.configs) == names


def race_for_a_name(disk: Store, other: Kernel, let_go: Callable[[], None]) -> Conflict:
    disk.configs.create("openai", name="new", temperature=0.5)
    other("store.configs.create('ollama', name='new', num_ctx=5); store.flush()")
    let_go()
    disk.flush()
    disk.refresh()
    (conflict,) = disk.conflicts.values()
    return conflict


def test_of_two_created_under_one_name_the_second_can_have_another(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    conflict = race_for_a_name(disk, other, held)
    assert (conflict.cause, conflict.verb) == ("name", "create")
    conflict.resolve({"name": "new 2"})
    disk.flush()
    assert [(config.name, config.provider) for config in disk.configs.values()] == [
        ("gpt", "openai"),
        ("new", "ollama"),
        ("new 2", "openai"),
    ]
    assert disk.configs["new 2"].temperature == 0.5


def test_of_two_created_under_one_name_the_second_can_change_the_first(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    race_for_a_name(disk, other, held).resolve("ours")
    disk.flush()
    assert (disk.configs["new"].provider, disk.configs["new"].temperature) == ("openai", 0.5)
    assert len(disk.configs) == 2


def test_a_name_that_was_taken_can_be_chosen_anew(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    disk.configs["gpt"].update(name="wanted", temperature=0.9)
    other("store.configs.create('ollama', name='wanted'); store.flush()")
    held()
    disk.flush()
    with pytest.raises(DuplicateNameError, match="There is a config 'wanted' already"):
        disk.conflicts[0].resolve("ours")
    disk.conflicts[0].resolve({"name": "mine"})
    assert disk.configs["mine"].temperature == 0.9


def test_a_block_waits_as_a_whole_and_is_done_as_a_whole(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    with asking.transaction("tuning"):
        asking.configs["gpt"].temperature = 0.9
        asking.configs.create("ollama", name="new", num_ctx=5)
        asking.settings.agents.timeout = 5_000
    other("gpt.temperature = 1.5; store.flush()")
    held()
    asking.flush()
    assert (list(asking.configs), asking.settings.agents.timeout) == (["gpt"], 60_000)
    (conflict,) = asking.conflicts.values()
    assert conflict.label == "tuning"
    conflict.resolve("ours")
    asking.flush()
    assert (asking.configs["gpt"].temperature, asking.configs["new"].num_ctx) == (0.9, 5)
    assert asking.settings.agents.timeout == 5_000


def test_values_that_break_a_rule_together_can_be_mended(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt = disk.configs["gpt"]
    gpt.update(data_residency="eu", temperature=0.9)
    other("gpt.base_url = 'http://127.0.0.1:1/v1'; store.flush()")
    held()
    disk.flush()
    (conflict,) = disk.conflicts.values()
    assert conflict.cause == "invalid"
    with pytest.raises(ValidationError, match="data_residency and base_url"):
        conflict.resolve("ours")
    conflict.resolve({"data_residency": "eu", "base_url": None, "temperature": 0.9})
    assert (gpt.data_residency, gpt.base_url, gpt.temperature) == ("eu", None, 0.9)


# -- from the record ------------------------------------------------------------------------


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


def test_an_edit_that_was_rejected_can_be_made_again(disk: Store) -> None:
    gpt = disk.configs["gpt"]
    damage = (
        "UPDATE doc SET body = 'x' WHERE kind = 'config'; UPDATE rev SET body = 'x' WHERE kind = 'config'"
    )
    with closing(sqlite3.connect(disk.path)) as other:
        sound = other.execute("SELECT body, (SELECT body FROM rev WHERE seq = 1) FROM doc").fetchone()
        other.executescript(damage)
        receipt = gpt.update(temperature=0.9)
        assert receipt.wait(10).state == "rejected"
        assert (gpt.temperature, gpt.sync_state, len(disk.conflicts)) == (0.2, "failed", 0)
        other.execute("UPDATE doc SET body = ?", [sound[0]])
        other.execute("UPDATE rev SET body = ?", [sound[1]])
        other.commit()
    assert gpt.retry().wait(10).state == "committed"
    disk.flush()
    assert (gpt.temperature, gpt.sync_state) == (0.9, "saved")


def test_to_resolve_a_conflict_other_documents_are_not_looked_at(
    asking: Store, other: Kernel, held: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed(dict[str, Any]):
        def values(self) -> NoReturn:
            raise AssertionError("all documents were walked through, which other threads may add to")

    conflict = overlap(asking, other, held)
    view = asking._state.view
    assert [entry.name for entry in view.refused()] == ["gpt"]
    monkeypatch.setattr(view, "_entries", Closed(view._entries))
    conflict.resolve("theirs")
    asking.flush()
    assert (view.refused(), asking.configs["gpt"].error) == ([], None)


def test_without_a_refused_edit_there_is_nothing_to_decide(disk: Store) -> None:
    gpt = disk.configs["gpt"]
    for decide in (gpt.retry, gpt.discard):
        with pytest.raises(StoreError, match="'gpt' has no edit that was not committed"):
            decide()


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


@pytest.mark.parametrize("is_deleted", [False, True])
def test_what_others_set_while_a_block_runs_is_not_overwritten_silently(
    is_deleted: bool, asking: Store, other: Kernel
) -> None:
    gpt = asking.configs["gpt"]
    with asking.transaction():
        if is_deleted:
            gpt.delete()
        else:
            gpt.temperature = 0.9
        other("gpt.temperature = 1.5; store.flush()")
        asking._state.wait_for_news()
    asking.flush()
    assert asking.configs["gpt"].temperature == 1.5
    (conflict,) = asking.conflicts.values()
    assert conflict.theirs["temperature"] == 1.5


def test_an_edit_on_top_of_a_refused_one_is_looked_at_anew(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt = disk.configs["gpt"]
    gpt.update(name="taken", provider="anthropic")
    receipt = gpt.update(top_k=5)
    other("store.configs.create('ollama', name='taken'); store.flush()")
    held()
    assert receipt.wait(10).state == "conflict"
    disk.flush()
    assert "has no top_k by now" in str(receipt.error)
    assert "top_k" not in gpt.to_dict()
    assert [one.ours.get("top_k") for one in disk.conflicts.values()] == [None, 5]


def test_a_field_of_the_provider_before_is_kept_as_a_conflict(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    receipt = disk.configs["gpt"].update(seed=5)
    other("gpt.provider = 'anthropic'; store.flush()")
    held()
    assert receipt.wait(10).state == "conflict"
    disk.flush()
    assert (disk.configs["gpt"].provider, disk.conflicts[0].ours["seed"]) == ("anthropic", 5)
