"""Export, import elsewhere, export again: the same bytes, whatever the store holds."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import orchstate as orch
from orchstate.errors import ValidationError
from orchstate.exchange.export import setup_of
from orchstate.exchange.writing import setup_text
from orchstate.models.names import check_name, name_key
from orchstate.testing import memory_store
from tests.exchange.samples import LAB

if TYPE_CHECKING:
    from orchstate.store import Store

KEY = "sk-0123456789abcdef0123456789"


def _is_name(text: str) -> bool:
    try:
        check_name(text)
    except ValidationError:
        return False
    return True


_names = st.text(min_size=1, max_size=20).filter(_is_name)
_texts = st.text(st.characters(exclude_categories=["Cc", "Zl", "Zp", "Cs"]), max_size=30)
_headers = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)
_keys = st.sampled_from([None, KEY, orch.env("OPENAI_API_KEY"), orch.env("ÜBER_KEY")])
_values = st.fixed_dictionaries(
    {},
    optional={
        "model": _texts,
        "temperature": st.floats(0, 1),
        "base_url": st.sampled_from(["http://127.0.0.1:8000/v1", "https://xn--mller-kva.invalid/ü"]),
        "headers": st.dictionaries(st.sampled_from(["X-A", "X-B", "source", "name"]), _headers, max_size=4),
        "tags": st.lists(_texts, max_size=3),
        "system_prompt": st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    },
)
_OF_ALL = ("tags", "system_prompt")
_providers = st.sampled_from(["openai", "anthropic", "openai_compatible", "lab"])
_configs = st.lists(
    st.tuples(_names, st.lists(st.tuples(_providers, _values, _keys), min_size=1, max_size=3)),
    max_size=4,
    unique_by=lambda config: name_key(config[0]),
)
_settings = st.fixed_dictionaries(
    {}, optional={"timeout": st.integers(1000, 300_000), "retry_attempts": st.integers(0, 10)}
)


def _fill(store: Store, configs: Any, own: dict[str, int], active: int) -> None:
    for name, lives in configs:
        config = None
        for provider, values, key in lives:
            known = store.providers.get(provider)
            fitting = {
                field: value for field, value in values.items() if field in _OF_ALL or known.field(field)
            }
            if config is None:
                config = store.configs.create(provider, name=name, **fitting)
            else:
                config.update(provider=provider, **fitting)
            field = next(spec.name for spec in known.fields if spec.type == "secret")
            if isinstance(key, str):
                config.set_secret(field, key)
            else:
                config.update(**{field: key})
    store.settings.agents.update(**own)
    store.active = list(store.configs.values())[active % len(configs)] if configs and active else None


@given(configs=_configs, own=_settings, active=st.integers(0, 4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_setup_survives_the_way_through_another_store(
    definitions: Path, configs: Any, own: dict[str, int], active: int
) -> None:
    (definitions / "lab.json").write_text(json.dumps(LAB))
    with memory_store() as one, memory_store() as two, tempfile.TemporaryDirectory() as folder:
        _fill(one, configs, own, active)
        first = one.export(Path(folder) / "first.json").read_bytes()
        assert KEY.encode() not in first
        plan = two.plan_import(Path(folder) / "first.json")
        assert not plan.notes and {item.action for item in plan.items} <= {"add", "same"}
        plan.apply()
        assert two.export(Path(folder) / "second.json").read_bytes() == first
        # Read beside the store that it came from, nothing is different.
        assert {item.action for item in one.plan_import(first).items} <= {"same"}


def test_a_definition_survives_it_too(definitions: Path, store: Store, other: Store) -> None:
    (definitions / "lab.json").write_text(json.dumps(LAB))
    store.configs.upsert("ours", "lab", model="m")
    first = setup_text(setup_of(store))
    (definitions / "lab.json").unlink()
    other.providers.reload()
    other.plan_import(first).apply(allow_definitions=True)
    assert setup_text(setup_of(other)) == first


def test_two_setups_make_one(store: Store, other: Store) -> None:
    for name in ("a", "b"):
        with memory_store() as source:
            source.configs.upsert(name, "openai", model=name)
            other.plan_import(setup_of(source)).apply()
        store.configs.upsert(name, "openai", model=name)
    assert setup_of(other) == setup_of(store)
