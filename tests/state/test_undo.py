"""Undo and redo: own steps only, as far as they still stand, as new revisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orchstate
from orchstate.state.undo import MAX_UNDO, Left

if TYPE_CHECKING:
    from testbed.kernel import Kernel

    from orchstate.config import Config
    from orchstate.store import Store

KEY = "sk-proj-0123456789abcdef0123"


def test_undo_and_redo_go_back_and_forth(store: Store, gpt: Config) -> None:
    gpt.temperature = 0.5
    gpt.temperature = 0.9
    seen = []
    for step in (store.undo, store.undo, store.redo, store.redo, store.undo):
        step()
        seen.append(gpt.temperature)
    assert seen == [0.5, 0.2, 0.5, 0.9, 0.5]


def test_an_undo_is_a_new_revision_with_a_label(store: Store, gpt: Config) -> None:
    with store.transaction("warm"):
        gpt.temperature = 0.9
    assert repr(store.undo()) == "<Undone gpt.temperature of 'warm'>"
    store.redo()
    store.flush()
    labels = store.history.changes("gpt", field="temperature")["label"].tolist()
    assert labels == ["", "warm", "undo warm", "redo warm"]


def test_there_is_nothing_to_undo_at_first(store: Store) -> None:
    assert (store.can_undo, store.can_redo) == (False, False)
    assert repr(store.undo()) == repr(store.redo()) == "<Undone nothing>"


def test_a_new_edit_ends_what_could_be_redone(store: Store, gpt: Config) -> None:
    gpt.temperature = 0.5
    store.undo()
    assert store.can_redo
    gpt.model = "gpt-z"
    assert not store.can_redo


def test_a_creation_is_undone_and_done_again(store: Store, gpt: Config) -> None:
    id = gpt.id
    assert repr(store.undo()) == "<Undone gpt>"
    assert list(store.configs) == []
    store.redo()
    assert (store.configs["gpt"].id, store.configs["gpt"] is gpt, gpt.temperature) == (id, True, 0.2)
    store.flush()
    assert (gpt.revision, gpt.sync_state) == (3, "saved")


def test_a_deletion_is_undone_with_all_values(store: Store, gpt: Config) -> None:
    gpt.update(tags=["a"], headers={"X-Team": "b"})
    before = gpt.to_dict()
    gpt.delete()
    store.undo()
    assert gpt.to_dict() == before | {"updated_at": gpt.to_dict()["updated_at"]}
    assert store.configs["gpt"] is gpt


def test_a_change_of_provider_is_undone_whole(store: Store, gpt: Config) -> None:
    gpt.seed = 5
    gpt.provider = "anthropic"
    gpt.model = "claude"
    store.undo()
    store.undo()
    assert (gpt.provider, gpt.model, gpt.seed, gpt.stash) == ("openai", "gpt-y", 5, {})
    store.redo()
    store.redo()
    assert (gpt.provider, gpt.model, gpt.stash["openai"]["model"]) == ("anthropic", "claude", "gpt-y")


def test_a_change_of_provider_with_later_changes_by_others_is_left_alone(disk: Store, other: Kernel) -> None:
    gpt = disk.configs["gpt"]
    gpt.provider = "anthropic"
    disk.flush()
    other("store.refresh(); gpt.temperature = 0.9; store.flush()")
    disk.refresh()
    assert repr(disk.undo()) == "<Undone nothing; left alone: gpt.provider (changed since)>"
    assert gpt.provider == "anthropic"


def test_the_settings_can_be_undone_to_the_defaults(store: Store) -> None:
    store.settings.agents.timeout = 5_000
    assert repr(store.undo()) == "<Undone settings.agents.timeout>"
    assert store.settings.agents.timeout == 60_000


def test_what_others_changed_since_is_left_alone(disk: Store, other: Kernel) -> None:
    gpt = disk.configs["gpt"]
    gpt.update(temperature=0.9, model="gpt-z")
    disk.flush()
    other("store.refresh(); gpt.temperature = 1.5; store.flush()")
    disk.refresh()
    undone = disk.undo()
    assert (undone.changed, undone.skipped) == ((("gpt", "model"),), (("gpt", "temperature"),))
    assert (gpt.temperature, gpt.model) == (1.5, "gpt-y")


def test_a_creation_that_others_built_on_is_not_undone(disk: Store, other: Kernel) -> None:
    other("gpt.temperature = 1.5; store.flush()")
    disk.refresh()
    assert repr(disk.undo()) == "<Undone nothing; left alone: gpt (changed since)>"
    assert list(disk.configs) == ["gpt"]


def test_a_deletion_whose_name_was_taken_is_left_alone(disk: Store, other: Kernel) -> None:
    disk.configs["gpt"].delete()
    disk.flush()
    other("store.refresh(); store.configs.create('ollama', name='GPT'); store.flush()")
    disk.refresh()
    assert repr(disk.undo()) == "<Undone nothing; left alone: gpt (its name is taken)>"
    assert list(disk.configs) == ["GPT"]


def test_an_edit_of_what_others_deleted_is_left_alone(disk: Store, other: Kernel) -> None:
    disk.configs["gpt"].temperature = 0.9
    disk.flush()
    other("store.refresh(); gpt.delete(); store.flush()")
    disk.refresh()
    assert repr(disk.undo()) == "<Undone nothing; left alone: gpt (deleted since)>"


def test_a_rename_whose_old_name_was_taken_is_left_alone(disk: Store, other: Kernel) -> None:
    gpt = disk.configs["gpt"]
    gpt.name = "new"
    disk.flush()
    other("store.refresh(); store.configs.create('ollama', name='gpt'); store.flush()")
    disk.refresh()
    assert repr(disk.undo()) == "<Undone nothing; left alone: new.name (its name is taken)>"
    assert sorted(disk.configs) == ["gpt", "new"]
    assert disk.flush() == 3


def test_a_rejected_edit_cannot_be_undone(disk: Store, other: Kernel) -> None:
    gpt = disk.configs["gpt"]
    disk._engine._write_mutex.acquire()
    gpt.data_residency = "eu"
    other("gpt.base_url = 'http://127.0.0.1:1/v1'; store.flush()")
    disk._engine._write_mutex.release()
    disk.flush()
    assert gpt.data_residency is None
    assert repr(disk.undo()) == "<Undone nothing; left alone: gpt (changed since)>"


def test_a_key_is_not_undone(store: Store, gpt: Config) -> None:
    gpt.update(api_key=KEY, temperature=0.9)
    undone = store.undo()
    assert (undone.changed, undone.skipped) == ((("gpt", "temperature"),), (("gpt", "api_key"),))
    assert gpt.api_key.get_secret_value() == KEY


def test_a_key_that_was_removed_is_told_with_the_next_step(store: Store, gpt: Config) -> None:
    gpt.api_key = KEY
    gpt.update(api_key=None, temperature=0.9)
    undone = store.undo()
    assert undone.left == (Left("gpt", "api_key", "key gone"),)
    assert (
        str(undone)
        == undone.message
        == (
            "Undone: temperature of gpt. A key that was removed from where keys are kept cannot come back; "
            "enter it again: api_key of gpt."
        )
    )
    assert repr(undone) == (
        "<Undone gpt.temperature; left alone: gpt.api_key (the key is gone: enter it again)>"
    )


def test_an_undone_deletion_says_which_keys_are_gone(store: Store, gpt: Config) -> None:
    gpt.api_key = KEY
    gpt.delete()
    undone = store.undo()
    assert (undone.changed, undone.skipped) == ((("gpt", ""),), (("gpt", "api_key"),))
    assert undone.left[0].reason == "key gone"
    assert not gpt.api_key.is_set


def test_a_reference_to_a_variable_comes_back(store: Store, gpt: Config) -> None:
    gpt.api_key = orchstate.env("ONE_KEY")
    gpt.api_key = orchstate.env("OTHER_KEY")
    store.undo()
    assert gpt.api_key == orchstate.env("ONE_KEY")
    gpt.delete()
    assert repr(store.undo()) == "<Undone gpt>"
    assert gpt.api_key == orchstate.env("ONE_KEY")


def test_an_undone_change_of_provider_brings_the_key_back(store: Store, gpt: Config) -> None:
    gpt.api_key = KEY
    gpt.provider = "anthropic"
    assert str(store.undo()) == "Undone: provider of gpt."
    store.flush()
    assert gpt.api_key.get_secret_value() == KEY


def test_every_reason_has_its_sentence(disk: Store, other: Kernel) -> None:
    gpt, more = disk.configs["gpt"], disk.configs.create("openai", name="more")
    with disk.transaction():
        gpt.update(temperature=0.9, model="gpt-z", api_key=KEY)
        more.seed = 1
    disk.flush()
    other("store.refresh(); gpt.temperature = 1.5; store.configs['more'].delete(); store.flush()")
    disk.refresh()
    assert disk.undo().message == (
        "Undone: model of gpt. Left alone, since it was changed meanwhile: temperature of gpt. Left alone, "
        "since it was deleted meanwhile: more. A new key is not taken back; to remove it, assign None or "
        "use the form: api_key of gpt."
    )


def test_a_redo_says_so(store: Store, gpt: Config) -> None:
    gpt.temperature = 0.9
    store.undo()
    assert (str(store.redo()), str(store.redo())) == (
        "Done again: temperature of gpt.",
        "Nothing to do again.",
    )


def test_undo_reaches_so_far_and_keeps_no_more(store: Store, gpt: Config) -> None:
    for count in range(MAX_UNDO + 50):
        gpt.seed = count
    assert len(store._state._undo.done) == MAX_UNDO
    while store.can_undo:
        store.undo()
    assert gpt.seed == 49


def test_each_process_undoes_its_own_steps(disk: Store, other: Kernel) -> None:
    gpt = disk.configs["gpt"]
    other("gpt.temperature = 1.5; store.flush()")
    disk.refresh()
    gpt.model = "gpt-z"
    disk.flush()
    assert other("store.refresh(); repr(store.undo())") == "<Undone gpt.temperature>"
    other("store.flush()")
    disk.refresh()
    assert (gpt.temperature, gpt.model) == (0.2, "gpt-z")


def test_a_new_process_has_nothing_to_undo(disk: Store) -> None:
    path = disk.path
    disk.close()
    with orchstate.open(path) as again:
        assert not again.can_undo
