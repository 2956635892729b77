"""What docs/setup-file.md says is so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest

from orchstate.exchange.export import setup_of
from orchstate.exchange.format import Setup, SetupConfig, json_schema
from orchstate.exchange.writing import setup_text

if TYPE_CHECKING:
    from orchstate.store import Store

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "setup-file.md").read_text()


def _block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    return str(found)


def test_the_example_is_what_an_export_gives(store: Store) -> None:
    example = _block("json")
    plan = store.plan_import(example)
    assert {item.action for item in plan.items} == {"add"} and not plan.notes
    plan.apply(allow_definitions=True)
    assert setup_text(setup_of(store)) == example


def test_the_code_runs() -> None:
    names: dict[str, object] = {}
    exec(_block("python"), names)
    assert repr(names["plan"]).startswith("<ImportPlan setup.json: 1 to add")


def test_every_key_is_documented() -> None:
    keys = [*Setup.model_fields, *SetupConfig.model_fields]
    assert [key for key in keys if f"`{key}`" not in TEXT] == []


def test_the_published_schema_is_that_of_the_model() -> None:
    published = (DOCS / "setup.schema.json").read_text()
    assert published == json.dumps(json_schema(), indent=2) + "\n", (
        "docs/setup.schema.json is not up to date: write json.dumps(json_schema(), indent=2) into it."
    )


def test_the_schema_takes_the_example_and_refuses_what_the_code_refuses() -> None:
    schema, example = json_schema(), json.loads(_block("json"))
    jsonschema.validate(example, schema)
    for wrong in ({"version": 2}, {"config": []}, {"configs": [{"name": "a"}]}, {"digest": "x"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**example, **wrong}, schema)
