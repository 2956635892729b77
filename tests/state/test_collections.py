"""Collections: mappings from names to records, in any case, ordered by creation."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

import orchstate
from orchstate.errors import (
    DuplicateNameError,
    LiveObjectError,
    NotFoundError,
    UnknownFieldError,
    ValidationError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from testbed.kernel import Kernel

    from orchstate.config import Config
    from orchstate.store import Store


def test_a_collection_is_a_mapping_ordered_by_creation(store: Store) -> None:
    made = [store.configs.create("openai", name=name) for name in ("c", "a", "b")]
    assert (list(store.configs), len(store.configs)) == (["c", "a", "b"], 3)
    assert list(store.configs.values()) == made
    assert dict(store.configs.items())["a"] is made[1]
    assert store.configs.get("nobody") is None
    assert store.configs._ipython_key_completions_() == ["c", "a", "b"]


def test_a_loop_over_records_survives_what_others_do_meanwhile(disk: Store, other: Kernel) -> None:
    for name in "abc":
        disk.configs.create("openai", name=name)
    disk.flush()
    seen = []
    for name, config in disk.configs.items():
        if name == "gpt":
            other(
                "store.refresh(); store.configs['a'].name = 'z'; store.configs['b'].delete(); store.flush()"
            )
            disk.refresh()
        seen.append((name, config.name))
    assert seen == [("gpt", "gpt"), ("a", "z"), ("c", "c")]
    assert [config.name for config in disk.configs.values()] == ["gpt", "z", "c"]


@pytest.mark.parametrize("name", ["gpt", "GPT", "Gpt"])
def test_names_are_found_in_any_case(name: str, store: Store, gpt: Config) -> None:
    assert store.configs[name] is gpt
    assert name in store.configs


def test_ids_work_where_names_do(store: Store, gpt: Config) -> None:
    assert store.configs[gpt.id] is gpt
    assert gpt.id in store.configs
    assert store.settings.id not in store.configs
    store.active = gpt.id
    assert store.active is gpt


def test_what_is_missing_is_an_error_with_the_closest_names(store: Store, gpt: Config) -> None:
    with pytest.raises(NotFoundError, match=r"There is no config 'gtp'\. Did you mean 'gpt'\?"):
        store.configs["gtp"]
    with pytest.raises(KeyError):
        store.configs["00000000-0000-0000-0000-000000000000"]
    assert 5 not in store.configs


def test_upsert_creates_then_changes_then_does_nothing(store: Store) -> None:
    first = store.configs.upsert("gpt", "openai", temperature=0.2)
    again = store.configs.upsert("GPT", "openai", temperature=0.7)
    store.configs.upsert("gpt", temperature=0.7)
    assert (first is again, store.flush(), first.temperature, first.name) == (True, 2, 0.7, "gpt")


def test_upsert_changes_the_provider_when_asked_to(store: Store, gpt: Config) -> None:
    store.configs.upsert("gpt", "ollama", num_ctx=5)
    assert (gpt.provider, gpt.num_ctx) == ("ollama", 5)


def test_upserting_the_same_key_again_changes_nothing(store: Store) -> None:
    for _ in range(3):
        store.configs.upsert("gpt", "openai", api_key="sk-proj-0123456789abcdef0123")
    assert store.flush() == 1


def test_creating_what_is_there_is_refused(store: Store, gpt: Config) -> None:
    with pytest.raises(
        DuplicateNameError, match=r"a config 'gpt' already, and .*: 'GPT' is not free\. .* upsert\(\)"
    ):
        store.configs.create("openai", name="GPT")
    with pytest.raises(NotFoundError, match=r"There is no provider 'opneai'\. Did you mean 'openai'\?"):
        store.configs.create("opneai")
    with pytest.raises(ValidationError, match=r"so it needs a provider: upsert\('new', 'openai', \.\.\.\)"):
        store.configs.upsert("new")


def test_what_an_observer_deletes_at_once_was_made_all_the_same(store: Store) -> None:
    names = store.select(lambda store: list(store.configs))
    names.observe(lambda change: [store.configs[name].delete() for name in change.new], "value")
    made = store.configs.create("openai", name="short-lived")
    store.flush()
    assert (made.name, list(store.configs)) == ("short-lived", [])
    assert store.flush() == 2


@pytest.mark.parametrize("is_known", [True, False], ids=["by the same process", "before it was opened"])
def test_a_name_that_was_used_often_gets_an_id_of_its_own_each_time(is_known: bool, tmp_path: Path) -> None:
    ids = []
    with orchstate.open(tmp_path / "store.db", secrets="memory") as store:
        for _ in range(30):
            ids.append(store.configs.create("openai", name="again").id)
            store.configs["again"].delete()
        fetches = store._state._fetcher.fetches
        ids.append(store.configs.create("openai", name="again").id if is_known else "")
        assert store._state._fetcher.fetches - fetches < 4
        store.flush()
    with orchstate.open(tmp_path / "store.db", secrets="memory") as store:
        if not is_known:
            ids.append(store.configs.create("openai", name="again").id)
        assert store._state._fetcher.fetches < 9
        assert store.configs["again"].id == ids[-1]
    assert len(set(ids)) == len(ids)


def test_without_a_name_the_provider_gives_one(store: Store) -> None:
    names = [store.configs.create("openai").name for _ in range(3)]
    assert names == ["openai", "openai 2", "openai 3"]


@pytest.mark.parametrize("name", ["", " ", "a/b"])
def test_a_bad_name_is_refused_and_not_taken_for_none(name: str, store: Store, gpt: Config) -> None:
    with pytest.raises(ValidationError, match=r"^name: .* is not a valid name: "):
        store.configs.create("openai", name=name)
    with pytest.raises(ValidationError, match=r"^name: .* is not a valid name: "):
        store.configs.duplicate(gpt, name=name)
    with pytest.raises(ValidationError, match=r"^config 'gpt' is unchanged: name: [^n]"):
        gpt.name = name
    assert list(store.configs) == ["gpt"]


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (
            "del configs['gpt']",
            LiveObjectError,
            r"'gpt' cannot be taken out .* Call delete\(\) of the record",
        ),
        (
            "configs['new'] = {}",
            LiveObjectError,
            r"'new' cannot be put into a collection\. .* create\(\.\.\.\)",
        ),
        ("configs.pop('gpt')", UnknownFieldError, r"A collection has no 'pop'\. .* delete\(\) of a record"),
        ("configs.gpt", UnknownFieldError, r"A collection has no 'gpt'\. .* by its name in brackets"),
        ("configs.gpt = 5", UnknownFieldError, r"'gpt' cannot be assigned to a collection"),
    ],
)
def test_a_collection_is_no_dict_to_be_changed(
    code: str, error: type[Exception], message: str, store: Store, gpt: Config
) -> None:
    with pytest.raises(error, match=message):
        exec(code, {"configs": store.configs})
    assert list(store.configs) == ["gpt"]
    assert not hasattr(store.configs, "pop")


def test_a_free_name_is_never_too_long(store: Store) -> None:
    store.configs.create("openai", name="x" * 100)
    assert store.configs.free_name("x" * 100) == "x" * 95 + " 2"
    assert len(store.configs.free_name("y" * 300)) == 100


def test_a_duplicate_has_the_values_and_another_name(store: Store, gpt: Config) -> None:
    gpt.update(tags=["a"], headers={"X-Team": "b"})
    twin = store.configs.duplicate("gpt")
    assert (twin.name, twin.temperature, twin.tags, twin.headers) == ("gpt 2", 0.2, ("a",), {"X-Team": "b"})
    assert store.configs.duplicate(gpt, name="third").name == "third"
    assert twin.fingerprint == gpt.fingerprint
    with pytest.raises(DuplicateNameError):
        store.configs.duplicate(gpt, name="gpt")


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ({"provider": "openai"}, ["a", "b"]),
        ({"provider": "openai", "temperature": 0.5}, ["a"]),
        ({"tags": "fast"}, ["a", "c"]),
        ({"tags": ["fast", "cheap"]}, ["c"]),
        ({"num_ctx": 5}, ["c"]),
        ({"num_ctx": 7}, []),
        ({"kind": "config"}, ["a", "b", "c"]),
        ({"max_tokens": 5}, []),
        ({}, ["a", "b", "c"]),
    ],
)
def test_records_are_filtered_by_their_values(
    criteria: dict[str, Any], expected: list[str], store: Store
) -> None:
    store.configs.create("openai", name="a", temperature=0.5, tags=["fast"])
    store.configs.create("openai", name="b")
    store.configs.create("ollama", name="c", num_ctx=5, tags=["fast", "cheap"])
    assert [config.name for config in store.configs.filter(**criteria)] == expected


def test_a_field_that_no_record_has_is_no_criterion(store: Store) -> None:
    store.configs.create("openai", name="a")
    with pytest.raises(UnknownFieldError, match=r"No config has a field 'temprature'\. Did you mean"):
        store.configs.filter(temprature=1)
    assert store.configs.filter(num_ctx=5) == []


# -- a change of provider -------------------------------------------------------------------


def test_a_change_of_provider_keeps_the_object_and_puts_the_rest_away(store: Store, gpt: Config) -> None:
    gpt.update(seed=5, tags=["a"])
    before = gpt
    gpt.provider = "anthropic"
    assert store.configs["gpt"] is before
    assert (gpt.model, gpt.temperature, gpt.tags) == (None, None, ("a",))
    assert gpt.stash == {"openai": {"model": "gpt-y", "temperature": 0.2, "seed": 5}}
    gpt.model = "claude"
    gpt.provider = "openai"
    assert (gpt.model, gpt.temperature, gpt.seed, gpt.stash) == (
        "gpt-y",
        0.2,
        5,
        {"anthropic": {"model": "claude"}},
    )
    gpt.provider = "anthropic"
    assert gpt.model == "claude"


def test_values_given_with_the_provider_count(store: Store, gpt: Config) -> None:
    gpt.update(provider="ollama", model="llama", num_ctx=5)
    assert (gpt.provider, gpt.model, gpt.num_ctx) == ("ollama", "llama", 5)
    store.flush()
    assert gpt.revision == 2


def test_a_change_of_provider_with_a_bad_value_changes_nothing(store: Store, gpt: Config) -> None:
    with pytest.raises(ValidationError):
        gpt.update(provider="ollama", num_ctx=-5)
    with pytest.raises(NotFoundError, match="no provider 'olama'"):
        gpt.provider = "olama"
    assert (gpt.provider, gpt.temperature, type(gpt).__name__) == ("openai", 0.2, "Config")
    assert store.flush() == 1


def test_fields_that_a_definition_has_lost_stay_put_away(
    store: Store, gpt: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpt.provider = "anthropic"
    stash = {"openai": {"model": "gpt-y", "sparkle": 3}}
    gpt.put_away(stash)
    gpt.provider = "openai"
    assert (gpt.model, gpt.stash["openai"]) == ("gpt-y", {"sparkle": 3})


def test_a_put_away_value_that_breaks_a_rule_by_now_comes_back_with_its_fault(gpt: Config) -> None:
    gpt.provider = "anthropic"
    gpt.put_away({"openai": {"model": "gpt-y", "temperature": 9.5}})
    gpt.update(provider="openai", seed=5)
    assert (gpt.model, gpt.temperature, gpt.seed) == ("gpt-y", 9.5, 5)
    assert [issue.field for issue in gpt.validation.issues] == ["temperature", "api_key"]


def test_a_provider_that_is_not_defined_here_is_kept_and_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = (
        '{"format": "orchstate.provider", "version": 1, "id": "lab", "label": "Lab", "sdk": "openai", '
    )
    definition += (
        '"base_url": "http://127.0.0.1:1/v1", "fields": [{"name": "glow", "type": "number", "label": "G"}]}'
    )
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions" / "lab.json").write_text(definition)
    monkeypatch.setenv("ORCHSTATE_PROVIDERS", str(tmp_path / "definitions"))
    with orchstate.open(tmp_path / "store.db") as store:
        store.configs.create("lab", name="a", glow=0.5)
    monkeypatch.delenv("ORCHSTATE_PROVIDERS")
    with orchstate.open(tmp_path / "store.db") as store:
        config = store.configs["a"]
        assert not config.validation.ready
        assert "There is no provider 'lab'" in config.validation.issues[0].message
        config.tags = ["kept"]
        assert config.to_dict()["provider"] == "lab"
    monkeypatch.setenv("ORCHSTATE_PROVIDERS", str(tmp_path / "definitions"))
    with orchstate.open(tmp_path / "store.db") as store:
        assert (store.configs["a"].glow, store.configs["a"].tags) == (0.5, ("kept",))


# -- large ----------------------------------------------------------------------------------


def test_a_thousand_configs_are_listed_and_found_quickly(tmp_path: Path) -> None:
    with orchstate.open(tmp_path / "store.db") as store, store.transaction():
        for number in range(1_000):
            store.configs.create("openai", name=f"config {number}", temperature=0.5)
    start = time.perf_counter()
    with orchstate.open(tmp_path / "store.db") as store:
        first = store.configs["config 500"].temperature
        opened_ms = (time.perf_counter() - start) * 1000
        names = list(store.configs)
        listed_ms = (time.perf_counter() - start) * 1000
        assert (first, len(names)) == (0.5, 1_000)
        # One that was looked up, and no more, has been decoded.
        assert sum(entry._decoded for entry in store._state.view.loaded("config")) == 1
    print(f"1,000 configs: opened and one found in {opened_ms:.0f} ms, all listed in {listed_ms:.0f} ms")


def test_the_frame_of_all_configs_has_fixed_columns_and_dtypes(store: Store, gpt: Config) -> None:
    gpt.update(api_key=orchstate.env("EXAMPLE_KEY"), tags=["a"])
    store.configs.create("ollama", name="o", num_ctx=5)
    store.flush()
    frame = store.configs.to_frame()
    expected = {
        "provider": "category",
        "model": "string",
        "ready": "bool",
        "tags": "object",
        "revision": "int64",
        "created_at": "datetime64[us, UTC]",
        "updated_at": "datetime64[us, UTC]",
    }
    assert {name: str(frame.dtypes[name]) for name in expected} == expected
    assert (frame.index.name, frame.index.dtype, list(frame.index)) == ("name", "string", ["gpt", "o"])
    assert frame.loc["gpt", "created_at"] == gpt.created_at
    assert frame.loc["o", "num_ctx"] == 5
    assert "api_key" not in frame


def test_the_frame_of_no_configs_has_the_same_dtypes(store: Store, gpt: Config) -> None:
    filled = store.configs.to_frame()
    gpt.delete()
    empty = store.configs.to_frame()
    fixed = ["provider", "model", "ready", "tags", "revision", "created_at", "updated_at"]
    assert len(empty) == 0
    assert [str(empty.dtypes[name]) for name in fixed] == [str(filled.dtypes[name]) for name in fixed]
    assert empty.index.dtype == filled.index.dtype
