"""A key that stands anywhere in a setup is shown nowhere: not in a plan, a result, an error or a file."""

from __future__ import annotations

import json
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from orchstate.errors import SetupError
from orchstate.exchange.disguise import HIDDEN, without_keys
from tests.exchange.samples import HEAD, LAB, openai, setup

if TYPE_CHECKING:
    from orchstate.store import Store

KEY = "sk-proj-" + "zQ3dE5fG7hW9" * 9
MAYBE = "gsk_0123456789abcdef"


@pytest.mark.parametrize("key", [KEY, MAYBE])
@pytest.mark.parametrize(
    "to_setup",
    [
        lambda key: setup({"name": "gpt", "provider": key}),
        lambda key: setup(openai(key)),
        lambda key: setup(openai(key), openai(key)),
        lambda key: setup(active=key),
        lambda key: setup(openai(key), active=key),
        lambda key: setup(settings={key: 1}),
        lambda key: setup(settings={"agents.timeout": key}),
        lambda key: setup(openai(model=key)),
        lambda key: setup(openai(headers={key: key})),
        lambda key: setup(openai(**{key: 1})),
        lambda key: setup({**openai(), "auth": key}),
        lambda key: setup({**openai(), "tags": [key]}),
        lambda key: setup({**openai(), "secrets": {key: {"source": "asked"}}}),
        lambda key: setup({**openai(), "stash": {key: {"model": "m"}}}),
        lambda key: setup({**openai(), "stash": {"nobody": {"model": key}}}),
        lambda key: setup(packages={key: ""}),
        lambda key: setup(definitions=[{**LAB, "id": key}]),
        lambda key: setup(definitions=[{**LAB, "label": key}]),
        lambda key: setup(definitions=[{**LAB, key: 1}]),
    ],
)
def test_a_plan_and_its_result_show_no_key(store: Store, to_setup: Any, key: str) -> None:
    plan = store.plan_import(to_setup(key))
    seen = [str(plan), repr(plan), plan._repr_html_(), plan.to_frame().to_csv(), str(plan.items)]
    seen += [str([item.changes for item in plan.items]), str([item.note for item in plan.items])]
    seen.append(str(plan.missing))
    try:
        seen.append(str(plan.apply(allow_definitions=True)))
    except SetupError:
        seen.append(traceback.format_exc())
    assert not [text for text in seen if key in text or key[:24] in text]


@pytest.mark.parametrize(
    "source",
    [
        {**HEAD, KEY: 1},
        setup({**openai(), KEY: 1}),
        setup({**openai(), "secrets": {KEY: "x"}}),
        setup(packages={KEY: "x"}),
        setup(packages={"openai": KEY}),
        {**HEAD, "digest": KEY},
        {**HEAD, "settings": {KEY: {1, 2}}},
        json.dumps({**HEAD, "settings": {KEY: 1}}).replace("1}}", f'1, "{KEY}": 2}}}}'),
        KEY,
        f"https://example.org/{KEY}",
        f"/nowhere/{KEY}/setup.json",
    ],
)
def test_an_error_of_reading_shows_no_key(store: Store, source: Any) -> None:
    with pytest.raises(SetupError) as caught:
        store.plan_import(source)
    told = "".join(traceback.format_exception_only(caught.value))
    assert "zQ3dE5" not in f"{told}{caught.value.source}{caught.value.path}"
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_what_is_blocked_because_of_a_key_is_not_stored(store: Store) -> None:
    store.plan_import(setup(openai("a"), {**openai("b"), "stash": {KEY: {"model": "m"}}})).apply()
    assert list(store.configs) == ["a"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("gpt", "gpt"),
        (f"settings.{KEY}: no", f"settings.{HIDDEN}: no"),
        (f"store.configs[{KEY!r}].api_key", f"store.configs['{HIDDEN}'].api_key"),
        ("ft:gpt-4o:lab::AbCdEf12 in /home/a/Setups2024", "ft:gpt-4o:lab::AbCdEf12 in /home/a/Setups2024"),
        ("a eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", f"a {HIDDEN}"),
    ],
)
def test_only_the_word_that_looks_like_a_key_is_covered(text: str, shown: str) -> None:
    assert without_keys(text) == shown
