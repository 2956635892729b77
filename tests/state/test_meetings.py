"""What can meet beside two values of one field, and what becomes of it."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from testbed.observing import wait_until

from orchstate.errors import (
    DuplicateNameError,
    ValidationError,
)
from orchstate.state import writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from testbed.kernel import Kernel

    from orchstate.conflicts import Conflict
    from orchstate.store import Store


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
    assert str(asking.settings.error).endswith("resolve it there. The rest of its transaction waits with it.")
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


def test_a_block_begins_with_what_others_have_committed(disk: Store, other: Kernel) -> None:
    gpt = disk.configs["gpt"]
    other("gpt.seed = 100; store.flush()")
    disk._state._writer.refresh(10)
    with disk.transaction():
        gpt.seed += 1
    assert gpt.seed == 101


def test_what_is_printed_is_what_others_have_committed(disk: Store, other: Kernel) -> None:
    gpt, heard = disk.configs["gpt"], []
    gpt.observe(lambda change: heard.append(change.new), "temperature")
    other("gpt.temperature = 0.9; store.flush()")
    disk._state._writer.refresh(10)
    assert "temperature 0.9" in repr(gpt)
    assert heard == []
    assert (gpt.temperature, heard) == (0.9, [0.9])


def test_what_others_set_first_while_a_block_runs_is_not_overwritten_silently(
    disk: Store, other: Kernel
) -> None:
    with disk.transaction():
        disk.settings.agents.timeout = 5_000
        other(
            "with store.transaction():\n"
            " store.settings.sync.conflict_resolution = 'prompt'\n"
            " store.settings.agents.timeout = 7_000\n"
            "store.flush()"
        )
        disk._state.wait_for_news()
    disk.flush()
    assert disk.settings.agents.timeout == 7_000
    (conflict,) = disk.conflicts.values()
    assert (conflict.ours["agents.timeout"], conflict.theirs["agents.timeout"]) == (5_000, 7_000)


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


@pytest.mark.parametrize("batch", [1, 2], ids=["the refusal is known before", "both arrive together"])
def test_an_edit_on_top_of_a_refused_one_is_shown_as_it_was_committed(
    disk: Store, other: Kernel, held: Callable[[], None], monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(writer, "MAX_BATCH", batch)
    gpt = disk.configs["gpt"]
    gpt.update(name="taken", temperature=0.9)
    gpt.provider = "anthropic"
    other("store.configs.create('ollama', name='taken'); store.flush()")
    held()
    disk.flush()
    stored = other("store.refresh(); gpt.to_dict()['stash']")
    assert gpt.to_dict()["stash"] == stored == {"openai": {"model": "gpt-y", "temperature": 0.2}}


def test_an_edit_on_top_of_one_that_was_merged_is_shown_as_it_was_committed(
    disk: Store, other: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, turns = disk._engine.commit, threading.Semaphore(0)

    def commit_in_turn(*arguments: Any) -> Any:
        turns.acquire(timeout=60)
        return commit(*arguments)

    monkeypatch.setattr(writer, "MAX_BATCH", 1)
    monkeypatch.setattr(disk._engine, "commit", commit_in_turn)
    gpt = disk.configs["gpt"]
    disk.settings.agents.timeout = 5_000
    gpt.provider = "ollama"
    other("gpt.top_p = 0.5; store.flush()")
    turns.release()
    # Until the change of provider is merged, the other's value is seen as one of the new provider.
    wait_until(lambda: gpt.top_p == 0.5)
    gpt.provider = "anthropic"
    turns.release(2)
    disk.flush()
    stored = other("store.refresh(); gpt.to_dict()['stash']")
    assert gpt.to_dict()["stash"] == stored


def test_a_field_of_the_provider_before_is_kept_as_a_conflict(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    receipt = disk.configs["gpt"].update(seed=5)
    other("gpt.provider = 'anthropic'; store.flush()")
    held()
    assert receipt.wait(10).state == "conflict"
    disk.flush()
    assert (disk.configs["gpt"].provider, disk.conflicts[0].ours["seed"]) == ("anthropic", 5)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that defines the provider lab."""
    definition = {
        "format": "orchstate.provider",
        "version": 1,
        "id": "lab",
        "label": "Lab",
        "sdk": "openai",
        "base_url": "http://127.0.0.1:8000/v1",
        "fields": [{"name": "seed", "type": "integer", "label": "Seed", "default": 3}],
    }
    monkeypatch.setenv("ORCHSTATE_PROVIDERS", str(tmp_path))
    path = tmp_path / "lab.json"
    path.write_text(json.dumps(definition))
    return path


@pytest.mark.parametrize("edit", [{"seed": 5}, {"provider": "openai", "model": "m"}])
def test_an_edit_is_no_conflict_where_the_providers_definition_went_away_meanwhile(
    edit: dict[str, Any], lab: Path, disk: Store, held: Callable[[], None]
) -> None:
    ours = disk.configs.create("lab", name="ours")
    receipt = ours.update(**edit)
    lab.unlink()
    disk.providers.reload()
    held()
    assert receipt.wait(10).state in ("committed", "merged")
    assert {field: ours.to_dict()[field] for field in edit} == edit
    assert not disk.conflicts
