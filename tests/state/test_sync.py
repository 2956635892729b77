"""Several processes: disjoint edits merge, commit order decides overlaps, refusals vanish by replay."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from testbed.kernel import Kernel
from testbed.observing import changes_of

import orchstate
from orchstate.errors import ConflictError
from orchstate.state import present

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchstate.store import Store


def news(store: Store, field: str) -> list[Any]:
    found = store.history.changes("gpt", field=field)["new"].tolist()
    return [value for value in found if value is not None]


# -- edits that meet ------------------------------------------------------------------------


def test_disjoint_edits_merge(disk: Store, other: Kernel, held: Callable[[], None]) -> None:
    gpt = disk.configs["gpt"]
    receipt = gpt.update(temperature=0.9)
    other("gpt.max_tokens = 7; store.flush()")
    held()
    assert receipt.wait(10).state == "merged"
    disk.flush()
    assert (gpt.temperature, gpt.max_tokens, gpt.sync_state) == (0.9, 7, "saved")
    assert other("store.refresh(); (gpt.temperature, gpt.max_tokens)") == [0.9, 7]


def test_of_two_edits_of_one_field_the_last_commit_wins_and_both_are_kept(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt = disk.configs["gpt"]
    gpt.temperature = 0.9
    other("gpt.temperature = 1.5; store.flush()")
    assert gpt.temperature == 0.9
    held()
    disk.flush()
    assert gpt.temperature == 0.9
    assert other("store.refresh(); gpt.temperature") == 0.9
    changes = disk.history.changes("gpt", field="temperature")
    assert changes[["old", "new"]].to_numpy().tolist() == [[None, 0.2], [0.2, 1.5], [1.5, 0.9]]
    assert changes["actor"].tolist() == ["me", "other", "me"]


def test_the_clock_does_not_decide(disk: Store, other: Kernel, held: Callable[[], None]) -> None:
    gpt = disk.configs["gpt"]
    gpt.temperature = 0.9
    other(
        "import time; real = time.time_ns; time.time_ns = lambda: real() + 10**15\n"
        "gpt.temperature = 1.5; store.flush(); time.time_ns = real"
    )
    held()
    disk.flush()
    assert gpt.temperature == 0.9


def test_a_group_is_taken_whole_from_the_last_commit(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt = disk.configs["gpt"]
    gpt.model = "gpt-z"
    other("gpt.update(provider='anthropic', model='claude'); store.flush()")
    held()
    disk.flush()
    assert (gpt.provider, gpt.model, gpt.temperature) == ("openai", "gpt-z", 0.2)
    assert other("store.refresh(); (gpt.provider, gpt.model, gpt.temperature)") == ["openai", "gpt-z", 0.2]
    assert gpt.stash["anthropic"] == {"model": "claude"}


def test_a_change_of_provider_takes_along_what_was_edited_elsewhere(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt = disk.configs["gpt"]
    gpt.update(provider="anthropic", model="claude")
    other("gpt.update(seed=5, temperature=1.5); store.flush()")
    held()
    disk.flush()
    assert (gpt.provider, gpt.model, gpt.temperature) == ("anthropic", "claude", None)
    gpt.provider = "openai"
    assert (gpt.model, gpt.seed, gpt.temperature) == ("gpt-y", 5, 1.5)


def test_equal_edits_become_one(disk: Store, other: Kernel, held: Callable[[], None]) -> None:
    gpt = disk.configs["gpt"]
    receipt = gpt.update(temperature=0.9)
    other("gpt.temperature = 0.9; store.flush()")
    held()
    disk.flush()
    assert (receipt.state, receipt.seq, gpt.sync_state, gpt.revision) == ("merged", None, "saved", 2)
    assert news(disk, "temperature") == [0.2, 0.9]


def test_edits_that_are_invalid_together_are_a_conflict(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt = disk.configs["gpt"]
    heard, refused = changes_of(gpt, "data_residency", "base_url", "sync_state", "error"), []
    disk.subscribe(refused.append, orchstate.Updated)
    receipt = gpt.update(data_residency="eu")
    other("gpt.base_url = 'http://127.0.0.1:1/v1'; store.flush()")
    held()
    assert receipt.wait(10).state == "conflict"
    disk.flush()
    assert isinstance(receipt.error, ConflictError)
    assert "Together with another change: data_residency and base_url" in str(receipt.error)
    assert (gpt.data_residency, gpt.base_url) == (None, "http://127.0.0.1:1/v1")
    assert (gpt.sync_state, gpt.error, disk.error) == ("conflict", receipt.error, receipt.error)
    assert ("data_residency", "eu", None, "rollback") in heard
    (rollback,) = [event for event in refused if event.seq is None]
    assert (rollback.cause, rollback.changes, rollback.external) == (
        "rollback",
        {"data_residency": (None, "eu")},
        False,
    )
    assert news(disk, "data_residency") == []


def test_what_was_refused_vanishes_and_what_came_after_it_stays(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt = disk.configs["gpt"]
    gpt.data_residency = "eu"
    gpt.max_tokens = 7
    gpt.temperature = 0.9
    other("gpt.base_url = 'http://127.0.0.1:1/v1'; store.flush()")
    held()
    disk.flush()
    assert (gpt.data_residency, gpt.max_tokens, gpt.temperature) == (None, 7, 0.9)
    assert gpt.to_dict()["base_url"] == "http://127.0.0.1:1/v1"
    assert other("store.refresh(); gpt.to_dict()['temperature']") == 0.9


def test_an_edit_in_conflict_stays_the_records_error_until_it_is_decided(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt = disk.configs["gpt"]
    gpt.data_residency = "eu"
    other("gpt.base_url = 'http://127.0.0.1:1/v1'; store.flush()")
    held()
    disk.flush()
    heard = changes_of(gpt, "sync_state")
    gpt.temperature = 0.9
    disk.flush()
    assert (gpt.sync_state, type(gpt.error)) == ("conflict", ConflictError)
    disk.conflicts[0].resolve("theirs")
    assert (gpt.sync_state, gpt.error) == ("saved", None)
    assert [new for _, _, new, _ in heard][-1] == "saved"


# -- deletions ------------------------------------------------------------------------------


def test_deleting_what_another_edits_is_a_conflict(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt = disk.configs["gpt"]
    receipt = gpt.delete()
    other("gpt.temperature = 1.5; store.flush()")
    assert list(disk.configs) == []
    held()
    assert receipt.wait(10).state == "conflict"
    assert "was changed meanwhile, so it is not deleted" in str(receipt.error)
    disk.flush()
    assert (disk.configs["gpt"] is gpt, gpt.temperature) == (True, 1.5)


def test_editing_what_another_deletes_is_a_conflict(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt = disk.configs["gpt"]
    receipt = gpt.update(temperature=0.9)
    other("gpt.delete(); store.flush()")
    held()
    assert receipt.wait(10).state == "conflict"
    assert "config 'gpt' was deleted meanwhile" in str(receipt.error)
    disk.flush()
    assert list(disk.configs) == []


def test_deleting_what_another_deletes_is_no_conflict(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt = disk.configs["gpt"]
    receipt = gpt.delete()
    other("gpt.delete(); store.flush()")
    held()
    assert (receipt.wait(10).state, receipt.seq) == ("committed", None)
    disk.flush()
    assert (gpt.sync_state, disk.status, list(disk.configs)) == ("saved", "ready", [])
    other("store.undo(); store.flush()")
    disk.refresh()
    assert list(disk.configs) == ["gpt"]


def test_what_was_just_read_can_be_deleted(disk: Store, other: Kernel) -> None:
    other("new = store.configs.create('ollama', name='new'); store.flush()")
    # Read from the engine, before the news of it has arrived.
    receipt = disk.configs["new"].delete()
    assert receipt.wait(10).state == "committed"


def test_deleted_and_made_again_is_another_document_with_its_own_history(store: Store) -> None:
    first = store.configs.create("openai", name="gpt", temperature=0.2)
    first.delete()
    second = store.configs.create("ollama", name="gpt", num_ctx=5)
    assert first.id != second.id
    store.flush()
    assert store.history.revisions("gpt")["op"].tolist() == ["create"]
    assert store.history.revisions(first.id)["op"].tolist() == ["create", "delete"]
    second.delete()
    store.flush()
    assert store.history.revisions("gpt")["op"].tolist() == ["create", "delete"]
    third = store.configs.create("anthropic", name="gpt")
    assert len({first.id, second.id, third.id}) == 3


# -- names ----------------------------------------------------------------------------------


def test_of_two_that_create_one_name_one_waits_as_a_conflict(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    new = disk.configs.create("openai", name="new", temperature=0.5)
    heard = changes_of(new, "name", "provider")
    other("new = store.configs.create('ollama', name='NEW'); store.flush()")
    held()
    disk.flush()
    disk.refresh()
    assert isinstance(disk.error, ConflictError)
    assert [config.provider for config in disk.configs.values()] == ["openai", "ollama"]
    assert disk.configs["new"] is new
    assert (new.name, new.provider, new.sync_state) == ("NEW", "ollama", "conflict")
    assert set(heard) == {("name", "new", "NEW", "rollback"), ("provider", "openai", "ollama", "rollback")}


def test_of_two_that_upsert_one_name_both_are_kept(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    new = disk.configs.upsert("new", "openai", temperature=0.5)
    other("new = store.configs.upsert('new', 'openai', model='gpt-z', max_tokens=7); store.flush(); new.id")
    held()
    disk.flush()
    assert (new.temperature, new.max_tokens, new.sync_state, disk.error) == (0.5, 7, "saved", None)
    assert new.model == "gpt-z"
    assert new.id == other("new.id")
    assert len(disk.configs) == 2


@pytest.mark.parametrize("look", [1, 2, 3, 4])
@pytest.mark.parametrize("is_listed", [True, False])
def test_an_upsert_never_minds_who_was_faster(look: int, is_listed: bool, disk: Store, other: Kernel) -> None:
    """At whichever of its looks at the names the other process has made the config."""
    state, real, looks = disk._state, disk._state._find, []
    if is_listed:
        list(disk.configs)

    def find(kind: str, name: str) -> str | None:
        found = real(kind, name)
        looks.append(name)
        if len(looks) == look:
            other("store.configs.create('openai', name='new', max_tokens=7); store.flush()")
        return found

    state._find = find  # type: ignore[method-assign]
    new = disk.configs.upsert("new", "openai", temperature=0.5)
    state._find = real  # type: ignore[method-assign]
    disk.flush()
    disk.refresh()
    assert len(looks) >= look
    assert (new.name, new.temperature, new.max_tokens, disk.error) == ("new", 0.5, 7, None)


def test_whoever_is_active_first_in_two_processes_is_no_error(disk: Store) -> None:
    setup = f"import orchstate; store = orchstate.open({str(disk.path)!r}, secrets='memory', actor='me')"
    with Kernel(setup) as twin:
        twin("store.active = 'gpt'; store.flush()")
        disk.active = "gpt"
        disk.flush()
        assert (disk.error, disk.active) == (None, disk.configs["gpt"])


def test_a_name_that_another_took_is_a_conflict(disk: Store, other: Kernel, held: Callable[[], None]) -> None:
    gpt = disk.configs["gpt"]
    receipt = gpt.update(name="wanted", temperature=0.9)
    other("store.configs.create('ollama', name='Wanted'); store.flush()")
    held()
    assert receipt.wait(10).state == "conflict"
    assert "The config name 'wanted' was taken meanwhile" in str(receipt.error)
    disk.flush()
    assert (gpt.name, gpt.temperature, gpt.sync_state) == ("gpt", 0.2, "conflict")
    assert disk.configs["gpt"] is gpt


def test_a_block_is_refused_as_a_whole(disk: Store, other: Kernel, held: Callable[[], None]) -> None:
    gpt = disk.configs["gpt"]
    with disk.transaction():
        gpt.temperature = 0.9
        disk.configs.create("openai", name="new")
    other("store.configs.create('ollama', name='new'); store.flush()")
    held()
    disk.flush()
    assert gpt.temperature == 0.2
    assert disk.configs["new"].provider == "ollama"


# -- settings and what belongs to a user ----------------------------------------------------


def test_settings_are_one_for_all(disk: Store, other: Kernel, held: Callable[[], None]) -> None:
    heard = changes_of(disk.settings.agents, "timeout", "retry_attempts")
    disk.settings.agents.timeout = 5_000
    other("store.settings.agents.retry_attempts = 9; store.flush()")
    held()
    disk.flush()
    assert (disk.settings.agents.timeout, disk.settings.agents.retry_attempts) == (5_000, 9)
    assert ("retry_attempts", 2, 9) in [entry[:3] for entry in heard]
    assert other("store.refresh(); store.settings.agents.timeout") == 5_000


def test_deleted_settings_are_those_of_a_new_store(store: Store) -> None:
    store.settings.agents.timeout = 5_000
    store.settings.delete()
    assert store.settings.agents.timeout == 60_000
    store.settings.agents.retry_attempts = 5
    store.flush()
    assert (store.settings.agents.timeout, store.settings.agents.retry_attempts) == (60_000, 5)


def test_deleting_settings_that_nobody_ever_changed_does_nothing(store: Store) -> None:
    store.settings.delete()
    store.flush()
    assert (store.settings.agents.timeout, store.pending, store.status) == (60_000, 0, "ready")
    assert store.settings.sync_state == "saved"


def test_everybody_has_their_own_active_config(disk: Store, other: Kernel) -> None:
    heard: list[Any] = []
    disk.observe(lambda change: heard.append(change.new), "active")
    disk.active = "gpt"
    disk.flush()
    assert other("store.refresh(); store.active") is None
    other("store.active = store.configs.create('ollama', name='o'); store.flush()")
    disk.refresh()
    assert (disk.active, heard) == (disk.configs["gpt"], [disk.configs["gpt"]])


@pytest.mark.parametrize("actor", ["DOMAIN\\user", "a/b", " x ", "\n", "é" * 200, "me\x00"])
def test_anybody_can_have_an_active_config(actor: str) -> None:
    with orchstate.open(":memory:", actor=actor) as store:
        store.active = store.configs.create("openai", name="gpt")
        store.flush()
        assert (store.active, store.error) == (store.configs["gpt"], None)


def test_an_active_config_that_is_deleted_is_none(store: Store) -> None:
    gpt = store.configs.create("openai", name="gpt")
    store.active = gpt.id
    gpt.delete()
    assert store.active is None
    store.undo()
    assert store.active is gpt
    store.active = None
    assert store.active is None


def test_a_config_of_another_store_cannot_be_active(store: Store) -> None:
    with orchstate.open(":memory:") as elsewhere:
        foreign = elsewhere.configs.create("openai", name="gpt")
        with pytest.raises(orchstate.ValidationError, match="Assign a config of this store, its name or id"):
            store.active = foreign
    with pytest.raises(orchstate.NotFoundError, match="There is no config 'nobody'"):
        store.active = "nobody"


@pytest.mark.parametrize("choice", ["ours", "theirs"])
def test_a_key_of_an_edit_in_conflict_is_kept_until_somebody_decides(
    choice: str, disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt, kept = disk.configs["gpt"], disk.secrets.backend._values  # type: ignore[attr-defined]
    gpt.update(api_key="sk-proj-0123456789abcdef0123", temperature=0.9)
    other("gpt.delete(); store.flush()")
    held()
    disk.flush()
    _end_work_in_the_background()
    assert list(kept.values()) == ["sk-proj-0123456789abcdef0123"]
    disk.conflicts.of(gpt)[0].resolve(choice)
    disk.flush()
    _end_work_in_the_background()
    if choice == "ours":
        assert disk.configs["gpt"].api_key.get_secret_value() == "sk-proj-0123456789abcdef0123"
    else:
        assert kept == {}


def _end_work_in_the_background() -> None:
    for thread in threading.enumerate():
        if thread.name == "orchstate-background":
            thread.join()


def test_a_long_absence_is_made_up_for_with_turns_of_the_loop_for_others_in_between(
    disk: Store, other: Kernel, held: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(present, "_A_WHILE_S", 0.0)
    gpt = disk.configs["gpt"]

    async def live() -> list[int]:
        told = changes_of(gpt, "seed")
        other("for number in range(1000): gpt.seed = number\nstore.flush()")
        held()
        turns: list[int] = []
        while not told or told[-1][2] != 999:
            turns.append(len(told))
            await asyncio.sleep(0.001)
        return turns

    turns = asyncio.run(asyncio.wait_for(live(), 60))
    assert len(set(turns)) > 5
