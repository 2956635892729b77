"""The page about definitions: its example runs, its tables are complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchstate.providers.definition import AuthMode, FieldSpec, Links, ModelSuggestions, ProviderDefinition

if TYPE_CHECKING:
    from pydantic import BaseModel

PAGE = (Path(__file__).parents[2] / "docs" / "providers.md").read_text(encoding="utf-8")


def keys_of_tables(heading: str) -> list[list[str]]:
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    tables = re.findall(r"\| key \| value \| \|\n\|---\|---\|---\|\n((?:\|.*\n)+)", section)
    return [re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) for table in tables]


@pytest.mark.parametrize(
    ("heading", "models"),
    [
        ("The definition", [ProviderDefinition]),
        ("Fields", [FieldSpec]),
        ("Ways to authenticate", [AuthMode]),
        ("Links and models", [Links, ModelSuggestions]),
    ],
)
def test_every_table_has_exactly_the_keys_of_the_format(heading: str, models: list[type[BaseModel]]):
    assert keys_of_tables(heading) == [list(model.model_fields) for model in models]


def test_every_type_of_field_is_explained():
    explained = re.findall(
        r"^\| `(\w+)` \|.*\|.*\|$", PAGE.split("| type | holds |")[1].split("\n\n")[0], re.M
    )
    assert explained == list(FieldSpec.model_fields["type"].annotation.__args__)


def test_the_example_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(example, "docs/providers.md", "exec"), {})
