"""A definition in a file says where keys go: it is used only when allowed, and never replaces one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from orchstate.errors import SetupError
from orchstate.exchange.definitions import is_packaged, plain_definition
from orchstate.providers.reading import read_definition
from orchstate.providers.registry import Registry
from tests.exchange.samples import LAB, openai, setup

if TYPE_CHECKING:
    from pathlib import Path

    from orchstate.store import Store

CONFIG: dict[str, Any] = {"name": "ours", "provider": "lab", "values": {"model": "m"}}
WITH_LAB = setup(CONFIG, openai(), definitions=[LAB])


def _define(definitions: Path, store: Store, **changes: Any) -> None:
    (definitions / "lab.json").write_text(json.dumps({**LAB, **changes}))
    store.providers.reload()


def test_a_definition_is_not_used_unasked(store: Store, definitions: Path) -> None:
    plan = store.plan_import(WITH_LAB)
    assert plan.items[0].action == "add" and "allow_definitions=True" in plan.items[0].note
    result = plan.apply()
    assert (result.added, result.skipped) == (("gpt",), ("lab", "ours"))
    assert [need.next_step for need in result.missing if need.kind == "provider"] == [
        "The file defines it: apply(allow_definitions=True), if you trust where calls go then."
    ]
    assert not list(definitions.iterdir()) and "lab" not in store.providers


def test_the_plan_shows_where_calls_would_go(store: Store) -> None:
    assert store.plan_import(WITH_LAB).items[0].changes["base_url"] == (None, "http://127.0.0.1:8000/v1")


def test_an_allowed_definition_is_put_into_the_folder_and_used(store: Store, definitions: Path) -> None:
    result = store.plan_import(WITH_LAB).apply(allow_definitions=True)
    assert result.added == ("lab", "ours", "gpt") and not result.skipped
    assert [need.kind for need in result.missing] == ["key", "key"]
    assert store.configs["ours"].model == "m" and store.configs["ours"].definition.label == "Our lab"
    assert json.loads((definitions / "lab.json").read_text()) == LAB


def test_a_folder_that_is_not_there_yet_is_made(store: Store, definitions: Path) -> None:
    definitions.rmdir()
    store.plan_import(WITH_LAB).apply(allow_definitions=True)
    assert (definitions / "lab.json").is_file()


def test_a_folder_that_cannot_be_made_is_named(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ORCHSTATE_PROVIDERS", str(tmp_path / "file" / "folder"))
    with pytest.raises(SetupError, match="the folder cannot be made"):
        store.plan_import(WITH_LAB).apply(allow_definitions=True)
    assert not store.configs


def test_without_a_named_folder_the_usual_one_is_used(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ORCHSTATE_PROVIDERS")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    store.plan_import(WITH_LAB).apply(allow_definitions=True)
    assert len(list(tmp_path.rglob("providers/lab.json"))) == 1


def test_a_definition_that_is_here_already_is_the_same(store: Store, definitions: Path) -> None:
    _define(definitions, store)
    plan = store.plan_import(WITH_LAB)
    assert [item.action for item in plan.items] == ["same", "add", "add"]
    assert plan.apply().added == ("ours", "gpt")


@pytest.mark.parametrize("allow", [False, True])
def test_a_definition_never_replaces_one_that_is_here(store: Store, definitions: Path, allow: bool) -> None:
    _define(definitions, store, base_url="http://127.0.0.1:9000/v1")
    before = (definitions / "lab.json").read_bytes()
    plan = store.plan_import(WITH_LAB)
    assert plan.items[0].action == "conflict"
    assert plan.items[0].changes == {"base_url": ("http://127.0.0.1:9000/v1", "http://127.0.0.1:8000/v1")}
    assert plan.apply(allow_definitions=allow).skipped == ("lab",)
    assert (definitions / "lab.json").read_bytes() == before


def test_a_definition_never_replaces_a_packaged_one(store: Store, definitions: Path) -> None:
    raw = setup(openai(), definitions=[{**LAB, "id": "openai"}])
    plan = store.plan_import(raw)
    assert plan.items[0].action == "conflict"
    plan.apply(allow_definitions=True)
    assert not list(definitions.iterdir()) and store.providers.get("openai").label == "OpenAI"


def test_a_definition_does_not_come_alive_under_a_config_with_a_key(store: Store, definitions: Path) -> None:
    _define(definitions, store)
    store.configs.upsert("mine", "lab").set_secret("token", "secret-token")
    (definitions / "lab.json").unlink()
    store.providers.reload()
    plan = store.plan_import(WITH_LAB)
    assert plan.items[0].action == "blocked"
    assert "'mine' was made here with another definition of 'lab', which is gone" in plan.items[0].note
    plan.apply(allow_definitions=True)
    assert not list(definitions.iterdir()) and "ours" not in store.configs


def test_a_broken_definition_is_blocked_with_its_place(store: Store) -> None:
    broken = {**LAB, "fields": [{"name": "model", "type": "modle", "label": "Model"}]}
    definition, config, _ = store.plan_import(setup(CONFIG, openai(), definitions=[broken])).items
    assert (
        definition.action == "blocked"
        and "definitions[0]: fields[0].type: 'modle' is not one of" in definition.note
    )
    assert config.action == "blocked" and "the provider 'lab' is not defined here" in config.note


def test_a_definition_of_a_newer_format_is_blocked(store: Store) -> None:
    (item,) = store.plan_import(setup(definitions=[{**LAB, "version": 2}])).items
    assert item.action == "blocked" and "this orchstate reads version 1, not 2" in item.note


def test_a_definition_that_is_there_twice_is_blocked(store: Store) -> None:
    first, second = store.plan_import(setup(definitions=[LAB, LAB])).items
    assert (first.action, second.action) == ("add", "blocked") and "'lab' is defined twice" in second.note


def test_a_broken_file_of_ones_own_blocks_and_stays(store: Store, definitions: Path) -> None:
    (definitions / "lab.json").write_text("{")
    store.providers.reload()
    plan = store.plan_import(WITH_LAB)
    assert [item.action for item in plan.items] == ["blocked", "blocked", "add"]
    plan.apply(allow_definitions=True)
    assert (definitions / "lab.json").read_text() == "{"


def test_a_file_of_that_name_with_another_definition_is_not_overwritten(
    store: Store, definitions: Path
) -> None:
    (definitions / "lab.json").write_text(json.dumps({**LAB, "id": "other"}))
    store.providers.reload()
    before = store.flush()
    with pytest.raises(SetupError, match=r"lab\.json: this file is there already, and it stays"):
        store.plan_import(WITH_LAB).apply(allow_definitions=True)
    assert store.flush() == before and not store.configs


def test_an_import_that_fails_leaves_no_definition(store: Store, definitions: Path) -> None:
    (definitions / "second.json").write_text(json.dumps({**LAB, "id": "other"}))
    store.providers.reload()
    raw = setup(CONFIG, definitions=[LAB, {**LAB, "id": "second"}])
    with pytest.raises(SetupError, match="this file is there already"):
        store.plan_import(raw).apply(allow_definitions=True)
    assert [path.name for path in definitions.iterdir()] == ["second.json"]
    assert "lab" not in store.providers and "ours" not in store.configs


def test_a_definition_without_its_usual_parts_is_equal_to_itself() -> None:
    for definition in Registry(folders=[]):
        text = json.dumps(plain_definition(definition))
        assert read_definition(text, "test") == definition


def test_only_exactly_the_packaged_definition_is_packaged() -> None:
    openai_definition = Registry(folders=[]).get("openai")
    assert is_packaged(openai_definition)
    assert not is_packaged(openai_definition.model_copy(update={"label": "Ours"}))
