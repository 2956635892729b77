"""Undo and redo: own steps only, as far as they still stand, as new revisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import orchstate
from orchstate.errors import DuplicateNameError
from orchstate.state.undo import MAX_UNDO, Left

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
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
    assert (repr(store.undo()), repr(store.redo())) == ("<Undone nothing>", "<Redone nothing>")


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


def test_a_rename_stays_where_its_old_name_went_to_a_creation_that_stays(disk: Store, other: Kernel) -> None:
    gpt = disk.configs["gpt"]
    with disk.transaction():
        gpt.name = "old"
        disk.configs.create("openai", name="gpt")
    disk.flush()
    other("store.refresh(); store.configs['gpt'].seed = 1; store.flush()")
    disk.refresh()
    assert disk.undo().left == (Left("gpt", "", "changed"), Left("old", "name", "name taken"))
    assert (sorted(disk.configs), disk.can_undo) == (["gpt", "old"], True)
    assert repr(disk.undo()) == "<Undone nothing; left alone: gpt (changed since)>"
    assert not disk.can_undo


def test_a_rename_that_stays_hides_no_other_reason(disk: Store, other: Kernel) -> None:
    disk.configs["gpt"].update(name="new", temperature=0.9)
    disk.flush()
    other("store.refresh(); gpt.temperature = 1.5; store.configs.create('ollama', name='gpt'); store.flush()")
    disk.refresh()
    assert disk.undo().left == (Left("new", "temperature", "changed"), Left("new", "name", "name taken"))


def test_renames_that_need_each_other_are_left_alone_together(disk: Store, other: Kernel) -> None:
    gpt, more = disk.configs["gpt"], disk.configs.create("openai", name="more")
    with disk.transaction():
        more.name = "most"
        gpt.name = "more"
    disk.flush()
    other("store.refresh(); store.configs.create('ollama', name='gpt'); store.flush()")
    disk.refresh()
    undone = disk.undo()
    assert (undone.changed, undone.skipped) == ((), (("more", "name"), ("most", "name")))
    assert {left.reason for left in undone.left} == {"name taken"}
    assert (gpt.name, more.name) == ("more", "most")


def test_a_document_that_keeps_its_name_gives_it_to_nobody(disk: Store, other: Kernel) -> None:
    gpt, more = disk.configs["gpt"], disk.configs.create("openai", name="more")
    with disk.transaction():
        gpt.name = "new"
        more.temperature = 0.9
    disk.flush()
    other("store.refresh(); store.configs['more'].name = 'gpt'; store.flush()")
    disk.refresh()
    undone = disk.undo()
    assert (undone.changed, undone.left) == (
        (("gpt", "temperature"),),
        (Left("new", "name", "name taken"),),
    )
    assert (gpt.name, more.name, more.temperature) == ("new", "gpt", None)


def test_names_that_were_exchanged_come_back(store: Store, gpt: Config) -> None:
    more = store.configs.create("openai", name="more")
    with store.transaction():
        more.name = "between"
        gpt.name = "more"
        more.name = "gpt"
    for step, names in ((store.undo, ("gpt", "more")), (store.redo, ("more", "gpt"))):
        step()
        store.flush()
        assert (gpt.name, more.name) == names


def test_a_name_that_is_refused_in_the_last_moment_blocks_no_other_step(
    store: Store, gpt: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> NoReturn:
        raise DuplicateNameError("There is a config 'gpt' already.")

    gpt.temperature = 0.9
    gpt.name = "new"
    with monkeypatch.context() as patch:
        patch.setattr(store._state, "_accept", refuse)
        assert repr(store.undo()) == "<Undone nothing; left alone: new.name (its name is taken)>"
    assert repr(store.undo()) == "<Undone new.temperature>"


def test_what_does_not_go_with_the_changes_of_others_is_left_alone(disk: Store, other: Kernel) -> None:
    gpt = disk.configs["gpt"]
    gpt.base_url = "http://127.0.0.1:1/v1"
    gpt.update(base_url=None, temperature=0.9)
    disk.flush()
    other("store.refresh(); gpt.data_residency = 'eu'; store.flush()")
    disk.refresh()
    undone = disk.undo()
    assert (undone.changed, undone.left) == (
        (("gpt", "temperature"),),
        (Left("gpt", "base_url", "changed"),),
    )
    assert (gpt.base_url, gpt.temperature, gpt.data_residency) == (None, 0.2, "eu")


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


def test_a_key_that_came_with_a_provider_waits_for_it(store: Store, gpt: Config) -> None:
    gpt.update(provider="anthropic", api_key=KEY)
    ref = gpt.api_key
    assert str(store.undo()) == "Undone: provider of gpt."
    store.flush()
    assert (gpt.provider, gpt.api_key.is_set, store.secrets.exists(ref)) == ("openai", False, True)
    assert str(store.redo()) == "Done again: provider of gpt."
    assert gpt.api_key.get_secret_value() == KEY
    store.undo()
    gpt.provider = "anthropic"
    store.flush()
    assert gpt.api_key.get_secret_value() == KEY


def test_a_key_that_a_step_put_away_is_kept(store: Store, gpt: Config) -> None:
    with store.transaction():
        gpt.provider = "anthropic"
        gpt.api_key = KEY
        gpt.update(provider="openai", temperature=0.9)
    undone = store.undo()
    assert (undone.changed, undone.left) == (
        (("gpt", "temperature"),),
        (Left("gpt", "stash", "key kept"),),
    )
    gpt.provider = "anthropic"
    store.flush()
    assert gpt.api_key.get_secret_value() == KEY


def test_keys_of_every_provider_on_the_way_are_kept(store: Store, gpt: Config) -> None:
    with store.transaction():
        gpt.api_key = KEY
        gpt.update(provider="anthropic", api_key=f"{KEY}-2")
        gpt.provider = "ollama"
    undone = store.undo()
    assert (undone.changed, undone.left) == (
        (("gpt", "provider"),),
        (Left("gpt", "api_key", "key kept"),),
    )
    store.flush()
    assert gpt.api_key.get_secret_value() == KEY
    gpt.provider = "anthropic"
    assert gpt.api_key.get_secret_value() == f"{KEY}-2"


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


def test_a_conflict_comes_back_without_the_key_that_went_when_it_was_decided(
    disk: Store, other: Kernel
) -> None:
    disk.settings.sync.conflict_resolution = "prompt"
    gpt = disk.configs["gpt"]
    gpt.api_key = KEY
    disk.flush()
    other("store.refresh()")
    with disk._engine._write_mutex:
        gpt.update(api_key=KEY[::-1], temperature=0.9)
        other("gpt.temperature = 1.5; store.flush()")
    disk.flush()
    disk.refresh()
    (conflict,) = disk.conflicts.values()
    assert set(conflict.ours) == {"api_key", "temperature"}
    name = conflict.name
    conflict.resolve("theirs")
    disk.flush()
    undone = disk.undo()
    assert (undone.changed, undone.left) == (((name, ""),), (Left(name, "api_key", "key gone"),))
    (conflict,) = disk.conflicts.values()
    assert (dict(conflict.ours), conflict.fields) == ({"temperature": 0.9}, ("temperature",))
    conflict.resolve("ours")
    assert (gpt.temperature, gpt.api_key.get_secret_value()) == (0.9, KEY)


def test_an_undo_does_not_bring_back_what_was_refused(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt = disk.configs["gpt"]
    gpt.update(name="taken", temperature=0.9)
    gpt.temperature = 1.1
    other("store.configs.create('ollama', name='taken'); store.flush()")
    held()
    disk.flush()
    assert (gpt.name, gpt.temperature) == ("gpt", 1.1)
    disk.undo()
    assert gpt.temperature == 0.2
