"""Records: traits derived from documents, reading and assigning, all or nothing."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from testbed.observing import changes_of

import orchstate
from orchstate.errors import (
    LiveObjectError,
    NotFoundError,
    StoreWriteError,
    UnknownFieldError,
    ValidationError,
)
from orchstate.models.document import ENVELOPE, leaves
from orchstate.models.secret import SecretRef

if TYPE_CHECKING:
    from pathlib import Path

    from orchstate.config import Config
    from orchstate.store import Store


def snapshot(store: Store) -> tuple[Any, ...]:
    """Everything that an edit could change: memory, disk, and what waits."""
    configs = {name: config.to_dict() for name, config in store.configs.items()}
    return (
        configs,
        store.flush(),
        store.pending,
        store.can_undo,
        store.error,
        store.history.changes().to_csv(),
    )


# -- derived from documents -----------------------------------------------------------------


def test_every_field_of_the_document_is_a_trait(store: Store) -> None:
    for provider in ("openai", "anthropic", "ollama", "openai_compatible"):
        record = store.configs.create(provider)
        fields = {path for path in leaves(record.document_class) if "." not in path}
        assert fields | set(ENVELOPE) <= set(record.trait_names())


def test_a_trait_has_the_help_of_its_field(store: Store) -> None:
    traits = store.configs.create("openai").traits()
    spec = store.providers.get("openai").field("temperature")
    assert spec is not None
    assert traits["temperature"].help == spec.help
    assert all(trait.help for name, trait in traits.items() if name in ("revision", "validation", "error"))


def test_a_field_added_to_a_definition_alone_is_trait_and_column(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = {
        "format": "orchstate.provider",
        "version": 1,
        "id": "lab",
        "label": "Lab",
        "sdk": "openai",
        "base_url": "http://127.0.0.1:8000/v1",
        "fields": [
            {"name": "model", "type": "model", "label": "Model"},
            {"name": "sparkle", "type": "number", "label": "Sparkle", "minimum": 0, "maximum": 5},
        ],
    }
    (tmp_path / "lab.json").write_text(json.dumps(definition))
    monkeypatch.setenv("ORCHSTATE_PROVIDERS", str(tmp_path))
    store.providers.reload()
    config = store.configs.create("lab", name="a", sparkle=2.0)
    config.sparkle = 3.0
    with pytest.raises(ValidationError, match=r"sparkle: 6.0 is too large: at most 5"):
        config.sparkle = 6.0
    store.flush()
    assert store.history.changes("a", field="sparkle")["new"].tolist() == [2.0, 3.0]
    assert config.history()["sparkle"].tolist() == [2.0, 3.0]
    assert "sparkle" in config.trait_names()


def test_nested_parts_are_records_of_their_own(store: Store) -> None:
    agents = store.settings.agents
    assert agents is store.settings.agents
    heard, of_root = changes_of(agents, "timeout"), changes_of(store.settings, "agents.timeout")
    agents.timeout = 5_000
    assert (agents.timeout, store.settings["agents.timeout"]) == (5_000, 5_000)
    assert heard == [("timeout", 60_000, 5_000, "edit")]
    assert of_root == [("agents.timeout", 60_000, 5_000, "edit")]
    with pytest.raises(UnknownFieldError, match=r"'agents' is a group of fields. Assign one of them"):
        store.settings.agents = 5


# -- reading --------------------------------------------------------------------------------


def test_values_are_read_as_attribute_item_and_dict(gpt: Config) -> None:
    assert gpt.temperature == gpt["temperature"] == gpt.to_dict()["temperature"] == 0.2
    assert gpt["id"] == gpt.id
    assert gpt.kind == gpt.to_dict()["kind"] == "config"


def test_there_is_one_record_per_document(store: Store, gpt: Config) -> None:
    assert store.configs["gpt"] is store.configs["GPT"] is store.configs[gpt.id] is gpt


@pytest.mark.parametrize("name", ["temprature", "Temperature", "num_ctx", "keep_alive"])
def test_a_misspelt_name_raises_and_names_the_closest(name: str, gpt: Config) -> None:
    with pytest.raises(UnknownFieldError, match=f"Config has no field '{name}'"):
        setattr(gpt, name, 1)
    with pytest.raises(AttributeError, match=f"has no field '{name}'"):
        getattr(gpt, name)
    with pytest.raises(KeyError, match=f"has no field '{name}'"):
        gpt[name]
    with pytest.raises(UnknownFieldError, match="config has no field"):
        gpt.update(**{name: 1})
    with pytest.raises(UnknownFieldError, match="has no field"):
        gpt.observe(print, name)
    assert not hasattr(gpt, name)


def test_the_closest_name_is_offered(gpt: Config) -> None:
    with pytest.raises(UnknownFieldError, match=r"Did you mean 'temperature'?"):
        gpt.temprature = 1.0
    with pytest.raises(UnknownFieldError, match=r"Did you mean 'timeout'?"):
        gpt._services.settings().agents.timout = 5_000


def test_a_misspelt_trait_of_the_store_raises(store: Store) -> None:
    with pytest.raises(UnknownFieldError, match=r"Store has no field 'actve'. Did you mean 'active'?"):
        store.actve = None


@pytest.mark.parametrize("name", ["id", "created_at", "updated_at", "user_id", "stash"])
def test_what_the_store_sets_cannot_be_assigned(name: str, gpt: Config) -> None:
    with pytest.raises(ValidationError, match=f"'{name}' is set by the store and cannot be assigned"):
        setattr(gpt, name, "x")
    with pytest.raises(ValidationError, match=f"'{name}' is set by the store and cannot be assigned"):
        gpt.update(**{name: "x"})


@pytest.mark.parametrize("name", ["revision", "sync_state", "validation", "error"])
def test_what_follows_from_the_state_cannot_be_assigned(name: str, gpt: Config) -> None:
    with pytest.raises(ValidationError, match=f"'{name}' follows from the record's state"):
        setattr(gpt, name, None)


def test_live_things_cannot_be_copied(store: Store, gpt: Config) -> None:
    for thing in (gpt, store, store.configs, store.settings.agents):
        for make in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(
                LiveObjectError,
                match=r"cannot be copied or pickled\. (Use to_dict|Open it where it is needed)",
            ):
                make(thing)


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("del gpt.temperature", LiveObjectError, r"'temperature' of <Config gpt: .* Assign another value"),
        ("del gpt.revision", LiveObjectError, r"'revision' of .* cannot be deleted"),
        ("del gpt.temprature", UnknownFieldError, r"Did you mean 'temperature'"),
        ("del gpt['temperature']", LiveObjectError, r"'temperature' of .* cannot be deleted"),
        ("gpt['temperature'] = 1.0", LiveObjectError, r"Assign the attribute, or call update\(\)"),
        ("del store.settings.agents.timeout", LiveObjectError, r"'timeout' of .* Assign another value"),
        ("del store.active", LiveObjectError, r"'active' of <Store .* Assign None instead"),
        ("del store.configs", LiveObjectError, r"'configs' of <Store .* belongs to the store"),
    ],
)
def test_what_is_live_is_not_taken_apart(
    code: str, error: type[Exception], message: str, store: Store, gpt: Config
) -> None:
    with pytest.raises(error, match=message):
        exec(code, {"store": store, "gpt": gpt})
    assert (gpt.temperature, list(store.configs)) == (0.2, ["gpt"])


def test_a_deleted_record_keeps_its_last_values_and_says_that_it_is_gone(store: Store, gpt: Config) -> None:
    gpt.delete()
    assert gpt.temperature == 0.2
    assert [issue.message for issue in gpt.validation.issues] == ["It was deleted."]
    with pytest.raises(NotFoundError, match="config 'gpt' was deleted"):
        gpt.to_dict()
    with pytest.raises(NotFoundError, match="config 'gpt' was deleted"):
        gpt.temperature = 1.0
    with pytest.raises(NotFoundError, match="config 'gpt' was deleted"):
        gpt.delete()
    assert "gpt" not in store.configs


# -- assigning ------------------------------------------------------------------------------


def test_an_assignment_is_seen_at_once_and_becomes_a_revision(store: Store, gpt: Config) -> None:
    gpt.temperature = 0.7
    assert gpt.temperature == 0.7
    store.flush()
    assert (gpt.revision, gpt.sync_state) == (2, "saved")
    assert store.history.changes("gpt", field="temperature")["new"].tolist() == [0.2, 0.7]


def test_the_same_value_again_is_no_revision(store: Store, gpt: Config) -> None:
    receipt = gpt.update(temperature=0.2, model="gpt-y")
    assert (receipt.state, receipt.seq) == ("committed", None)
    assert store.flush() == 1
    assert not store.history.changes("gpt").index.duplicated().all()


def test_equal_values_of_other_types_are_changes(store: Store) -> None:
    ollama = store.configs.create("ollama", name="o")
    ollama.update(keep_alive="1")
    with pytest.raises(ValidationError, match="1 is not text"):
        ollama.keep_alive = 1
    store.settings.agents.retry_attempts = 1
    with pytest.raises(ValidationError, match="True is not a whole number"):
        store.settings.agents.retry_attempts = True


def test_several_fields_are_one_revision(store: Store, gpt: Config) -> None:
    gpt.update(temperature=0.5, model="gpt-z", tags=["a"])
    assert store.flush() == 2
    assert gpt.revision == 2


@pytest.mark.parametrize(
    "edit",
    [
        lambda store, gpt: setattr(gpt, "temperature", 9.0),
        lambda store, gpt: setattr(gpt, "temperature", "warm"),
        lambda store, gpt: setattr(gpt, "name", "a/b"),
        lambda store, gpt: setattr(gpt, "name", "OTHER"),
        lambda store, gpt: setattr(gpt, "base_url", "ftp://x"),
        lambda store, gpt: setattr(gpt, "provider", "opnai"),
        lambda store, gpt: setattr(gpt, "api_key", ""),
        lambda store, gpt: setattr(gpt, "tags", ["\ud800"]),
        lambda store, gpt: gpt.update(temperature=0.5, max_tokens=0),
        lambda store, gpt: gpt.update(data_residency="eu", base_url="http://127.0.0.1:1/v1"),
        lambda store, gpt: gpt.update(temperature=0.5, nonsense=1),
        lambda store, gpt: store.configs.create("openai", name="GPT"),
        lambda store, gpt: store.configs.create("openai", name="new", temperature=9.0),
        lambda store, gpt: store.configs.create("openai", name="x" * 300),
        lambda store, gpt: store.configs.create("nobody", name="new"),
        lambda store, gpt: store.configs.upsert("new"),
        lambda store, gpt: store.configs.upsert("gpt", "openai", temperature=9.0),
        lambda store, gpt: setattr(store.settings.agents, "timeout", 5),
        lambda store, gpt: setattr(store, "active", "nobody"),
        lambda store, gpt: setattr(store, "active", 5),
    ],
)
def test_an_edit_that_raises_changes_nothing_anywhere(edit: Any, store: Store, gpt: Config) -> None:
    store.configs.create("openai", name="other")
    gpt.temperature = 0.3
    before = snapshot(store)
    heard = changes_of(gpt) + changes_of(store.settings)
    everything: list[Any] = []
    gpt.observe(everything.append)
    store.subscribe(everything.append)
    with pytest.raises(orchstate.OrchstateError) as caught:
        edit(store, gpt)
    assert 20 < len(str(caught.value)) < 400
    assert snapshot(store) == before
    assert (heard, everything) == ([], [])


def test_an_edit_that_the_disk_does_not_take_changes_nothing(disk: Store) -> None:
    import resource

    gpt = disk.configs["gpt"]
    before = snapshot(disk)
    heard = changes_of(gpt, "temperature")
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, usual[1]))
    try:
        with pytest.raises(StoreWriteError, match=r"The edit was not accepted: .* Nothing was changed"):
            gpt.temperature = 0.9
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert (disk.status, isinstance(disk.error, StoreWriteError)) == ("degraded", True)
    assert [kept for kept in snapshot(disk) if not isinstance(kept, StoreWriteError)] == [
        kept for kept in before if kept is not None
    ]
    assert (gpt.temperature, heard) == (0.2, [])
    gpt.temperature = 0.9
    disk.flush()
    assert disk.status == "ready"


def test_text_that_nothing_can_store_is_refused_before_anything_happens(store: Store, gpt: Config) -> None:
    before = snapshot(store)
    with (
        pytest.raises(ValidationError, match=r"is no text\. Give the label as text"),
        store.transaction("label \ud800"),
    ):
        gpt.temperature = 0.9
    assert snapshot(store) == before


def test_values_cannot_be_changed_in_place(store: Store) -> None:
    config = store.configs.create("openai", name="a", headers={"X-Team": "a"}, stop=None, tags=["a"])
    with pytest.raises(TypeError, match="Assign a new dict"):
        config.headers["X-Team"] = "b"
    with pytest.raises(AttributeError):
        config.tags.append("b")


# -- views are weak -------------------------------------------------------------------------


def test_a_record_that_nobody_holds_is_collected(store: Store, gpt: Config) -> None:
    watch = weakref.ref(gpt)
    del gpt
    gc.collect()
    # The fixture still has it; another one is made anew.
    other = store.configs.create("openai", name="other")
    gone = weakref.ref(other)
    del other
    gc.collect()
    assert gone() is None
    assert watch() is not None
    assert store.configs["other"].name == "other"


def test_an_observed_record_is_held_until_nobody_observes_it(store: Store) -> None:
    heard: list[float] = []

    def hear(change: Any) -> None:
        heard.append(change.new)

    store.configs.create("openai", name="a").observe(hear, "temperature")
    gc.collect()
    store.configs["a"].temperature = 0.5
    assert heard == [0.5]
    watch = weakref.ref(store.configs["a"])
    store.configs["a"].unobserve(hear, "temperature")
    gc.collect()
    assert watch() is None


def test_a_record_is_held_while_one_of_its_parts_is_observed(disk: Store) -> None:
    heard: list[Any] = []
    settings = disk.settings
    settings.observe(print, "name")
    settings.agents.observe(heard.append, "timeout")
    settings.unobserve(print, "name")
    assert settings.id in disk._state._held
    settings.agents.timeout = 5_000
    assert [change.new for change in heard] == [5_000]
    settings.agents.unobserve_all()
    assert settings.id not in disk._state._held


# -- secrets --------------------------------------------------------------------------------

KEY = "sk-proj-0123456789abcdef0123"


def test_reading_a_secret_gives_a_reference_that_can_fetch_it(store: Store, gpt: Config) -> None:
    gpt.api_key = KEY
    assert isinstance(gpt.api_key, SecretRef)
    assert gpt.api_key.source == "memory"
    assert gpt.api_key.get_secret_value() == KEY
    assert KEY not in json.dumps(gpt.to_dict())
    store.flush()
    assert KEY not in store.history.changes().to_csv()


def test_changing_another_field_keeps_the_key(store: Store, gpt: Config) -> None:
    gpt.api_key = KEY
    gpt.temperature = 0.9
    store.flush()
    assert gpt.api_key.get_secret_value() == KEY


def test_a_removed_key_is_not_set(gpt: Config) -> None:
    gpt.api_key = KEY
    gpt.api_key = None
    assert not gpt.api_key.is_set


def secrets_of(store: Store) -> set[str]:
    """Wait for what is swept in the background, and return the keys that are kept."""
    import threading

    store.flush()
    for thread in threading.enumerate():
        if thread.name == "orchstate-background":
            thread.join()
    return set(store.secrets.backend._values.values())  # type: ignore[attr-defined]


def test_a_replaced_key_is_forgotten_when_the_edit_is_committed(store: Store, gpt: Config) -> None:
    gpt.api_key = KEY
    gpt.api_key = KEY + "-2"
    assert secrets_of(store) == {KEY + "-2"}


def test_the_keys_of_a_deleted_config_are_forgotten(store: Store, gpt: Config) -> None:
    gpt.api_key = KEY
    gpt.provider = "anthropic"
    gpt.api_key = KEY + "-a"
    assert secrets_of(store) == {KEY, KEY + "-a"}
    gpt.delete()
    assert secrets_of(store) == set()


def test_a_key_of_an_edit_that_fails_is_forgotten(store: Store, gpt: Config) -> None:
    gpt.api_key = KEY
    with pytest.raises(ValidationError):
        gpt.update(api_key=KEY + "-2", temperature=9.0)
    assert secrets_of(store) == {KEY}
    assert gpt.api_key.get_secret_value() == KEY


def test_keys_of_a_block_that_fails_are_forgotten(store: Store, gpt: Config) -> None:
    gpt.api_key = KEY
    with pytest.raises(ZeroDivisionError), store.transaction():
        gpt.api_key = KEY + "-2"
        store.configs.create("openai", name="new", api_key=KEY + "-3")
        raise ZeroDivisionError
    assert secrets_of(store) == {KEY}


def test_only_the_last_of_several_keys_in_a_block_is_kept(store: Store, gpt: Config) -> None:
    with store.transaction():
        for number in range(3):
            gpt.api_key = f"{KEY}-{number}"
    assert secrets_of(store) == {KEY + "-2"}


def test_a_copy_has_no_key_of_the_original(store: Store, gpt: Config) -> None:
    gpt.api_key = KEY
    gpt.provider = "anthropic"
    gpt.api_key = KEY + "-a"
    twin = store.configs.duplicate(gpt)
    assert (twin.name, twin.provider, twin.api_key.is_set, twin.stash) == ("gpt 2", "anthropic", False, {})
    gpt.delete()
    twin.provider = "openai"
    assert not twin.api_key.is_set


def test_a_missing_variable_makes_a_config_not_ready(gpt: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    gpt.api_key = orchstate.env("EXAMPLE_KEY")
    (issue,) = gpt.validation.issues
    assert (gpt.validation.ready, issue.field) == (False, "api_key")
    assert "The environment variable EXAMPLE_KEY is not set" in issue.message
    monkeypatch.setenv("EXAMPLE_KEY", "sk")
    assert gpt.validation.ready
