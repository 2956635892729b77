"""Whatever a setup holds: at worst a SetupError, and no key at an address that it was not typed for."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchstate.errors import NewerSchemaError, SetupError
from orchstate.exchange.addresses import addresses
from orchstate.models.config import ConfigDocument
from orchstate.models.secret import is_reference
from orchstate.models.values import to_plain
from orchstate.testing import memory_store
from tests.exchange.samples import LAB, openai, setup

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchstate.store import Store

EXAMPLE = setup(
    {**openai(model="m", headers={"X-A": "b"}), "tags": ["a"], "secrets": {"api_key": {"source": "asked"}}},
    {"name": "claude", "provider": "anthropic", "stash": {"openai": {"model": "m"}, "nobody": {"a": [1]}}},
    {"name": "ours", "provider": "lab", "auth": "token", "values": {"model": "m"}},
    settings={"agents.timeout": 5000},
    active="claude",
    definitions=[LAB],
)
_reference = st.just({"source": "keyring", "name": "a/api_key/1"})
_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | _reference,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
EXAMPLES = [60, pytest.param(1_000, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
_quiet = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from _places(item, (*path, key))


def _mutated(place: tuple[Any, ...], change: str, value: Any) -> dict[str, Any]:
    raw = copy.deepcopy(EXAMPLE)
    holder: Any = raw
    for key in place[:-1]:
        holder = holder[key]
    if change == "remove":
        del holder[place[-1]]
    elif change == "replace" or isinstance(holder, list):
        holder[place[-1]] = value
    else:
        holder[str(value)] = holder.pop(place[-1])
    return raw


@pytest.mark.parametrize("examples", EXAMPLES)
def test_a_damaged_setup_is_refused_or_imported_as_planned(examples: int, definitions: Path) -> None:
    settings(max_examples=examples, **_quiet)(import_damaged)(definitions)


@given(
    place=st.sampled_from(list(_places(EXAMPLE))),
    change=st.sampled_from(["remove", "replace", "rename"]),
    value=_json,
    on_conflict=st.sampled_from(["theirs", "ours", "rename"]),
)
def import_damaged(definitions: Path, place: Any, change: str, value: Any, on_conflict: Any) -> None:
    for file in definitions.iterdir():
        file.unlink()
    with memory_store() as store:
        store.configs.upsert("GPT", "openai", model="mine")
        store.configs.upsert("claude", "openai")
        try:
            plan = store.plan_import(json.dumps(_mutated(place, change, value)))
        except (SetupError, NewerSchemaError):
            return
        assert plan.to_frame() is not None and str(plan) and plan._repr_html_()
        result = plan.apply(on_conflict, allow_definitions=True)
        assert all(name in store.configs for name in result.added if name in {"gpt", "ours"})
        assert not [error for config in store.configs.values() for error in config.document().issues()]


_urls = st.sampled_from(
    [None, "https://api.openai.com/v1", "https://elsewhere.invalid", "http://127.0.0.1:1/v1"]
)
_values = st.builds(lambda url: {"base_url": url} if url else {}, _urls)
_secrets = st.sampled_from(
    [{}, {"api_key": {"source": "asked"}}, {"api_key": {"source": "env", "name": "A"}}]
)
_known = st.sampled_from(["openai", "anthropic", "openai_compatible"])
_theirs = st.builds(
    lambda provider, values, secrets, stash: {
        "name": "gpt",
        "provider": provider,
        "values": values,
        "secrets": secrets,
        "stash": {id: put_away for id, put_away in stash.items() if id != provider},
    },
    _known,
    _values,
    _secrets,
    st.dictionaries(_known, _values),
)


def _destinations(store: Store) -> dict[str, Any]:
    """Return by name of each stored key the provider and addresses that it belongs to."""
    document = store.configs["gpt"].document()
    assert isinstance(document, ConfigDocument)
    lives = {document.provider: document.body(), **to_plain(document.stash)}
    return {
        value["name"]: (provider, addresses(store.providers.get(provider), values))
        for provider, values in lives.items()
        for value in values.values()
        if is_reference(value) and value["source"] == "memory"
    }


@pytest.mark.parametrize("examples", EXAMPLES)
def test_no_import_moves_a_key(examples: int) -> None:
    settings(max_examples=examples, **_quiet)(import_over_keys)()


@given(
    ours=st.lists(st.tuples(_known, _values), min_size=1, max_size=3, unique_by=lambda life: life[0]),
    theirs=st.lists(_theirs, min_size=1, max_size=3),
)
def import_over_keys(ours: Any, theirs: list[Any]) -> None:
    with memory_store() as store:
        gpt = store.configs.create(ours[0][0], name="gpt")
        for provider, values in ours:
            gpt.update(provider=provider, **values)
            gpt.set_secret("api_key", "sk-0123456789abcdef0123")
        before = _destinations(store)
        assert len(before) == len(ours)
        for raw in theirs:
            store.plan_import(setup(raw)).apply()
            after = _destinations(store)
            assert after == {name: place for name, place in before.items() if name in after}
