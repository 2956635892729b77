"""A small definition that tests change in one place."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchstate.providers.documents import document_class
from orchstate.providers.reading import read_definition

if TYPE_CHECKING:
    from orchstate.models.config import ConfigDocument
    from orchstate.providers.definition import ProviderDefinition

NOW = datetime(2026, 7, 2, tzinfo=UTC)

LAB: dict[str, Any] = {
    "format": "orchstate.provider",
    "version": 1,
    "id": "lab",
    "label": "Our lab's server",
    "sdk": "openai",
    "base_url": "http://127.0.0.1:8000/v1",
    "auth": [{"id": "key", "label": "Key", "fields": ["api_key"]}],
    "fields": [
        {"name": "api_key", "type": "secret", "label": "API key", "env": ["LAB_KEY", "LAB_TOKEN"]},
        {"name": "model", "type": "model", "label": "Model"},
        {"name": "base_url", "type": "url", "label": "Base URL"},
        {"name": "heat", "type": "number", "label": "Heat", "minimum": 0, "maximum": 2, "parameter": "heat"},
        {"name": "limit", "type": "integer", "label": "Limit", "minimum": 1, "parameter": "options.limit"},
        {"name": "fast", "type": "boolean", "label": "Fast", "parameter": "options.fast"},
        {"name": "size", "type": "choice", "label": "Size", "choices": ["small", "large"]},
        {"name": "note", "type": "text", "label": "Note", "excludes": ["size"]},
        {"name": "headers", "type": "map", "label": "Headers", "classification": "confidential"},
    ],
}


def lab(**changes: Any) -> ProviderDefinition:
    """Return the definition, with some of its top-level keys changed."""
    return read_definition(lab_text(**changes), "lab.json")


def lab_text(**changes: Any) -> str:
    """Return the definition's JSON text, with some of its top-level keys changed."""
    return json.dumps(copy.deepcopy(LAB) | changes)


def with_field(**spec: Any) -> str:
    """Return the JSON text of a definition that has one field."""
    return lab_text(auth=[], fields=[{"name": "depth", "type": "number", "label": "Depth"} | spec])


def document(definition: ProviderDefinition, *, name: str = "gpt", **values: Any) -> ConfigDocument:
    """Return a config document of the provider."""
    return document_class(definition)(
        id="1", name=name, created_at=NOW, updated_at=NOW, provider=definition.id, **values
    )
