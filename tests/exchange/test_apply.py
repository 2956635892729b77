"""An import is all or nothing, one step back, and does what the plan showed."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

import orchstate as orch
from orchstate.errors import SetupError, StoreWriteError, ValidationError
from orchstate.exchange.export import setup_of
from orchstate.exchange.items import ImportResult
from tests.exchange.samples import LAB, openai, setup

if TYPE_CHECKING:
    from pathlib import Path

    from orchstate.store import Store

TWO = setup(
    {**openai(model="m", temperature=0.5), "tags": ["a"]},
    {"name": "claude", "provider": "anthropic", "stash": {"openai": {"seed": 1}}},
    settings={"agents.timeout": 5000},
    active="claude",
)


def test_everything_in_a_setup_is_imported(store: Store) -> None:
    store.plan_import(TWO).apply()
    gpt, claude = store.configs["gpt"], store.configs["claude"]
    assert (gpt.model, gpt.temperature, gpt.tags) == ("m", 0.5, ("a",))
    assert store.active is claude and store.settings.agents.timeout == 5000
    claude.provider = "openai"
    assert claude.seed == 1


def test_the_result_says_what_was_done(store: Store) -> None:
    store.configs.upsert("gpt", "openai")
    result = store.plan_import(setup(openai(model="m"), openai("new"), openai("bad", seed="x"))).apply()
    assert (result.added, result.changed, result.skipped) == (("new",), ("gpt",), ("bad",))
    assert repr(result) == "<ImportResult 1 added (new), 1 changed (gpt), 1 skipped (bad); 2 missing>"


def test_an_import_is_one_step_back(store: Store) -> None:
    gpt = store.configs.upsert("gpt", "openai", model="old", temperature=0.1)
    store.plan_import(TWO).apply()
    undone = store.undo()
    assert (gpt.model, gpt.temperature, gpt.tags) == ("old", 0.1, ())
    assert list(store.configs) == ["gpt"] and store.active is None
    assert store.settings.agents.timeout == 60_000
    assert undone.skipped == ()


def test_an_import_is_one_transaction_with_the_name_of_its_file(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "team.json"
    store.configs.upsert("gpt", "openai")
    store.export(path)
    store.configs["gpt"].delete()
    store.plan_import(path).apply()
    changes = store.history.changes()
    assert set(changes[changes.label == "import team.json"].op) == {"create"}
    assert changes[changes.label == "import team.json"].txn.nunique() == 1


def test_what_is_blocked_does_not_stop_the_others(store: Store) -> None:
    raw = setup(openai("bad", seed="x"), openai("sound"), settings={"agents.timeout": 1})
    assert store.plan_import(raw).apply().skipped == ("bad", "agents.timeout")
    assert list(store.configs) == ["sound"]


def test_ours_keeps_what_is_here_and_adds_what_is_not(store: Store) -> None:
    gpt = store.configs.upsert("gpt", "openai", model="ours")
    store.active = gpt
    store.settings.agents.timeout = 9000
    raw = {**TWO, "settings": {"agents.timeout": 5000, "agents.retry_attempts": 5}}
    result = store.plan_import(raw).apply("ours")
    assert (gpt.model, store.active, store.settings.agents.timeout) == ("ours", gpt, 9000)
    assert store.settings.agents.retry_attempts == 5
    assert result.added == ("claude", "agents.retry_attempts")
    assert result.skipped == ("gpt", "agents.timeout", "active")


def test_ours_lists_nothing_as_missing_for_what_was_skipped(store: Store) -> None:
    store.configs.upsert("gpt", "openai")
    raw = setup(openai(model="m"), packages={"openai": ">=9999"})
    assert store.plan_import(raw).apply("ours").missing == ()


def test_rename_adds_the_config_of_the_file_beside_ours(store: Store) -> None:
    ours = store.configs.upsert("gpt", "openai", model="ours")
    result = store.plan_import(setup(openai(model="theirs"), active="gpt")).apply("rename")
    assert (ours.model, store.configs["gpt 2"].model) == ("ours", "theirs")
    assert result.added == ("gpt 2", "active") and store.active is store.configs["gpt 2"]
    assert result.missing[0].config == "gpt 2"


def test_renaming_twice_adds_it_once(store: Store) -> None:
    store.configs.upsert("gpt", "openai", model="ours")
    for _ in range(3):
        store.plan_import(setup(openai(model="theirs"))).apply("rename")
    assert list(store.configs) == ["gpt", "gpt 2"]


@pytest.mark.parametrize("active", [None, "other"])
def test_a_plan_with_an_active_config_can_be_renamed_again(store: Store, active: str | None) -> None:
    store.configs.upsert("gpt", "openai", model="ours")
    store.configs.upsert("other", "ollama")
    store.active = active
    plan = store.plan_import(setup(openai(model="theirs"), active="gpt"))
    plan.apply("rename")
    before, chosen = store.flush(), store.active
    for again in (plan, store.plan_import(setup(openai(model="theirs"), active="gpt"))):
        result = again.apply("rename")
        assert (result.added, result.changed) == ((), ())
    assert (store.flush(), store.active) == (before, chosen)


def test_another_choice_of_the_active_config_makes_a_plan_stale_for_renaming_too(store: Store) -> None:
    store.configs.upsert("gpt", "openai", model="ours")
    plan = store.plan_import(setup(openai(model="theirs"), active="gpt"))
    plan.apply("rename")
    store.active = store.configs.upsert("other", "ollama")
    with pytest.raises(SetupError, match=r"has changed since this plan was made: active 'gpt' would now"):
        plan.apply("rename")


def test_rename_goes_on_to_the_next_free_number(store: Store) -> None:
    for name in ("gpt", "gpt 2"):
        store.configs.upsert(name, "openai", model="ours")
    store.plan_import(setup(openai(model="theirs"))).apply("rename")
    assert store.configs["gpt 3"].model == "theirs"


def test_rename_leaves_room_for_the_number(store: Store) -> None:
    name = "n" * 100
    store.configs.upsert(name, "openai", model="ours")
    (added,) = store.plan_import(setup(openai(name, model="theirs"))).apply("rename").added
    assert added == f"{'n' * 95} 2"


def test_importing_twice_changes_nothing_the_second_time(store: Store) -> None:
    store.plan_import(TWO).apply()
    before = store.flush()
    result = store.plan_import(TWO).apply()
    assert store.flush() == before
    assert (result.added, result.changed, result.skipped) == ((), (), ())


def test_a_plan_can_be_applied_again_as_a_cell_can_be_run_again(store: Store) -> None:
    plan = store.plan_import(TWO)
    plan.apply()
    assert plan.apply().added == ()


def test_a_plan_that_the_store_has_left_behind_is_refused(store: Store) -> None:
    plan = store.plan_import(TWO)
    gpt = store.configs.upsert("gpt", "openai", model="mine")
    before = store.flush()
    with pytest.raises(
        SetupError, match=r"config 'gpt' would now become something else than it shows.*new plan"
    ):
        plan.apply()
    assert store.flush() == before and gpt.model == "mine" and "claude" not in store.configs


def test_other_changes_in_the_store_do_not_make_a_plan_stale(store: Store) -> None:
    plan = store.plan_import(TWO)
    store.configs.upsert("unrelated", "openai")
    plan.apply()
    assert set(store.configs) == {"unrelated", "gpt", "claude"}


def test_a_key_typed_after_planning_is_not_taken_along(store: Store) -> None:
    gpt = store.configs.upsert("gpt", "openai")
    plan = store.plan_import(setup(openai(base_url="https://elsewhere.invalid")))
    gpt.set_secret("api_key", "sk-0123456789abcdef0123456789")
    with pytest.raises(SetupError, match="Make a new plan"):
        plan.apply()
    assert gpt.base_url is None and gpt.api_key.is_set


def test_an_import_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    with orch.open(tmp_path / "store.db", secrets="memory") as store:
        gpt = store.configs.upsert("gpt", "openai", model="old")
        plan = store.plan_import(TWO)
        before = store.flush()
        _fill_the_disk(store)
        with pytest.raises(StoreWriteError, match=r"was not accepted: .*No space left.* Nothing was changed"):
            plan.apply()
        assert (list(store.configs), gpt.model, store.flush()) == (["gpt"], "old", before)


def _fill_the_disk(store: Store) -> None:
    # The outbox of this store goes to a device that is always full.
    outbox = store._state._journal
    os.dup2(os.open("/dev/full", os.O_WRONLY), outbox._fd)  # type: ignore[union-attr]


def test_observers_are_told_once_everything_is_there(store: Store) -> None:
    gpt = store.configs.upsert("gpt", "openai", model="old")
    seen: list[Any] = []
    gpt.observe(lambda change: seen.append((change.name, "claude" in store.configs)), ["model"])
    store.plan_import(TWO).apply()
    assert seen == [("model", True)]


def test_a_name_in_another_case_is_renamed(store: Store) -> None:
    gpt = store.configs.upsert("gpt", "openai")
    store.plan_import(setup(openai("GPT"))).apply()
    assert gpt.name == "GPT" and list(store.configs) == ["GPT"]


def test_another_provider_takes_nothing_along_that_the_setup_does_not_say(store: Store) -> None:
    gpt = store.configs.upsert("gpt", "anthropic", model="claude", temperature=0.3, tags=["mine"])
    gpt.provider = "openai"
    gpt.update(model="m", seed=1)
    store.plan_import(setup({"name": "gpt", "provider": "anthropic", "values": {"top_k": 5}})).apply()
    assert (gpt.provider, gpt.model, gpt.temperature, gpt.top_k, gpt.tags) == ("anthropic", None, None, 5, ())
    gpt.provider = "openai"
    assert (gpt.model, gpt.seed) == ("m", 1)


def test_an_unknown_way_with_conflicts_is_refused(store: Store) -> None:
    with pytest.raises(ValidationError, match=r"on_conflict='mine' is not known. Use one of 'theirs'"):
        store.plan_import(TWO).apply("mine")  # type: ignore[arg-type]


def test_the_result_of_an_empty_setup_is_empty(store: Store) -> None:
    assert store.plan_import(setup()).apply() == ImportResult((), (), (), ())


async def _apply(store: Store) -> ImportResult:
    return await store.plan_import(TWO).aapply()


def test_aapply_does_what_apply_does(store: Store) -> None:
    assert asyncio.run(_apply(store)).added == ("gpt", "claude", "agents.timeout", "active")
    assert store.configs["gpt"].model == "m"


def test_what_was_put_away_for_a_field_that_is_gone_is_not_in_the_way(
    store: Store, definitions: Path
) -> None:
    old = {**LAB, "fields": [*LAB["fields"], {"name": "gone", "type": "text", "label": "Gone"}]}
    for definition in (old, LAB):
        (definitions / "lab.json").write_text(json.dumps(definition))
        store.providers.reload()
        if definition is old:
            ours = store.configs.upsert("ours", "lab", gone="x")
            ours.provider = "openai"
    store.plan_import(setup({"name": "ours", "provider": "lab", "values": {"model": "m"}})).apply()
    assert (ours.provider, ours.model) == ("lab", "m")
    assert {item.action for item in store.plan_import(setup_of(store)).items} == {"same"}


def test_a_plan_of_which_nothing_can_be_done_is_refused_with_the_reasons(store: Store) -> None:
    plan = store.plan_import(setup(*(openai(f"bad {n}", seed="x") for n in range(5)), active="bad 1"))
    before = store.flush()
    with pytest.raises(
        SetupError, match=r"nothing of it can be imported\. bad 0: .*'x' is not a whole .* 3 more"
    ):
        plan.apply()
    assert store.flush() == before and not store.configs


def test_what_is_the_same_already_is_no_vain_plan(store: Store) -> None:
    store.configs.upsert("gpt", "openai")
    plan = store.plan_import(setup(openai("bad", seed="x"), openai("gpt")))
    assert plan.apply().skipped == ("bad",)
    assert not store.plan_import(setup()).apply().added
