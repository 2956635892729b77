"""Setups that tests import, as somebody would write them by hand."""

from __future__ import annotations

from typing import Any, Final

HEAD: Final = {"format": "orchstate.setup", "version": 1}
LAB: Final[dict[str, Any]] = {
    "format": "orchstate.provider",
    "version": 1,
    "id": "lab",
    "label": "Our lab",
    "sdk": "openai",
    "base_url": "http://127.0.0.1:8000/v1",
    "auth": [{"id": "token", "label": "Token", "fields": ["token"]}],
    "fields": [
        {"name": "token", "type": "secret", "label": "Token"},
        {"name": "model", "type": "model", "label": "Model"},
        {"name": "base_url", "type": "url", "label": "Base URL"},
    ],
}


def setup(*configs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**HEAD, "configs": list(configs), **more}


def openai(name: str = "gpt", **values: Any) -> dict[str, Any]:
    return {"name": name, "provider": "openai", "values": values}
