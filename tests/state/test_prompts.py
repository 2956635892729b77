"""System prompts: long texts whose configs are edited often, and every moment of which stays exact."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

import orchstate as orch
from orchstate.exchange.export import setup_of
from orchstate.exchange.writing import setup_text
from tests.storage.test_pieces import MB, prose

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchstate.config import Config
    from orchstate.store import Store


def edit_temperature(gpt: Config, n: int) -> None:
    gpt.temperature = n % 20 / 10


def edit_prompt(gpt: Config, n: int) -> None:
    text = gpt.system_prompt or ""
    at = random.Random(n).randrange(len(text))
    gpt.system_prompt = f"{text[:at]} number {n} {text[at:]}"[:MB]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("edit", [edit_temperature, edit_prompt])
@pytest.mark.parametrize(
    ("size", "count", "limit"),
    [(200_000, 40, 1_200_000), pytest.param(MB, 1000, 20 * MB, marks=pytest.mark.long)],
    ids=["short", "long"],
)
def test_a_config_with_a_long_prompt_is_edited_often_in_a_small_file(
    edit: Callable[[Config, int], None], size: int, count: int, limit: int, tmp_path: Path
) -> None:
    path = tmp_path / "store.db"
    seen: dict[int, tuple[str | None, float | None]] = {}
    with orch.open(path, secrets="memory") as store:
        gpt = store.configs.create("openai", name="gpt", system_prompt=prose(size)[:size])
        for n in range(count):
            edit(gpt, n)
            if n % 10 == 0:
                seen[store.flush()] = (gpt.system_prompt, gpt.temperature)
        store.flush()
        stamp = gpt.stamp()
        last = gpt.system_prompt
        folder = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
        print(f"{count} edits of {size:,} characters: the folder has {folder:,} bytes")
    assert path.stat().st_size < limit
    assert folder < 2 * limit
    with orch.open(path, secrets="memory", read_only=True) as store:
        assert store.resolve(stamp).system_prompt == last
        for seq, (prompt, temperature) in seen.items():
            then = store.at(seq).configs["gpt"]
            assert (then.system_prompt, then.temperature) == (prompt, temperature)


def test_a_prompt_stays_when_the_provider_changes(store: Store) -> None:
    gpt = store.configs.create("openai", name="gpt", system_prompt="Be brief.", seed=5)
    gpt.provider = "anthropic"
    assert (gpt.system_prompt, gpt.stash) == ("Be brief.", {"openai": {"seed": 5}})
    gpt.system_prompt = "Be long."
    gpt.provider = "openai"
    assert (gpt.system_prompt, gpt.seed) == ("Be long.", 5)


def test_prompts_are_in_frames_and_explained(store: Store) -> None:
    gpt = store.configs.create("openai", name="gpt")
    assert gpt.explain().set_index("field").loc["system_prompt"].tolist() == [None, "not set"]
    gpt.system_prompt = "Be brief."
    assert gpt.explain().set_index("field").loc["system_prompt"].tolist() == ["Be brief.", "config"]
    assert store.configs.to_frame().loc["gpt", "system_prompt"] == "Be brief."
    assert gpt.history()["system_prompt"].tolist() == [None, "Be brief."]


def test_a_prompt_is_edited_in_the_form(store: Store) -> None:
    gpt = store.configs.create("openai", name="gpt")
    form = gpt.form()
    entry = form.rows["system_prompt"].control.widgets[0]
    entry.value = "Be brief.\n\nAlways."
    assert gpt.system_prompt == "Be brief.\n\nAlways."
    gpt.system_prompt = "Be long."
    assert entry.value == "Be long."
    entry.value = " "
    assert gpt.system_prompt is None
    form.close()


KEY = "Ab1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV1wX2yZ3"


@pytest.mark.parametrize(
    "prompt",
    [
        f"Call it with {KEY}.",
        f"Call it with {KEY}. Docs: https://example.com/docs.",
        f"Our wiki is https://wiki.lab and the token is {KEY}.",
        f"{'Be brief. ' * 5_000}The token is {KEY}.",
    ],
)
def test_what_may_be_a_key_in_a_prompt_is_told(prompt: str, store: Store, tmp_path: Path) -> None:
    gpt = store.configs.create("openai", name="gpt", system_prompt=prompt)
    assert "system_prompt" in [issue.field for issue in gpt.validation.issues]
    with pytest.warns(orch.OrchstateWarning, match="system_prompt"):
        store.export(tmp_path / "setup.json")
    gpt.system_prompt = "Be brief, as https://example.com/docs says."
    assert "system_prompt" not in [issue.field for issue in gpt.validation.issues]


def test_a_key_typed_into_a_prompt_goes_and_the_other_lines_stay(store: Store) -> None:
    stored = "\n".join(f"line {number}" for number in range(900))
    gpt = store.configs.create("openai", name="gpt", system_prompt=stored)
    form = gpt.form()
    entry = form.rows["system_prompt"].control.widgets[0]
    entry.value = f"{stored}\nsk-proj-0123456789abcdef"
    assert (entry.value, gpt.system_prompt) == (stored, stored)
    form.close()


def test_a_prompt_of_many_pages_is_shown_with_its_beginning_and_edited_in_a_cell(store: Store) -> None:
    gpt = store.configs.create("openai", name="gpt", system_prompt="word " * 4_000)
    form = gpt.form()
    entry = form.rows["system_prompt"].control.widgets[0]
    assert len(entry.value) < 1_000 and entry.disabled
    assert entry.value.endswith("20,000 characters are too many for a form: edit system_prompt in a cell.)")
    gpt.system_prompt = "Be brief."
    assert (entry.value, entry.disabled) == ("Be brief.", False)
    form.close()


def test_a_field_of_this_name_from_before_is_no_prompt(store: Store) -> None:
    gpt = store.configs.create("openai", name="gpt")
    gpt.put_away({"anthropic": {"system_prompt": "of another time", "model": "claude"}})
    gpt.provider = "anthropic"
    assert (gpt.model, gpt.system_prompt) == ("claude", None)
    gpt.put_away({"openai": {"system_prompt": "of another time", "seed": 5}})
    plan = store.plan_import(setup_text(setup_of(store)))
    assert [item.action for item in plan.items if item.kind == "config"] == ["same"]
