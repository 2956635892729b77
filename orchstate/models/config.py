"""The config document: one configured provider instance."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from orchstate.models.canonical import fingerprint
from orchstate.models.document import Document, leaves
from orchstate.models.secret import SecretRef
from orchstate.models.values import FrozenMap, PlainMap, to_plain


class ConfigDocument(Document):
    """What every config has; a provider definition adds the fields of its provider."""

    kind: ClassVar[str] = "config"
    groups: ClassVar[tuple[frozenset[str], ...]] = (frozenset({"provider", "auth", "model", "base_url"}),)

    provider: str
    auth: str = ""
    stash: PlainMap = Field(default_factory=FrozenMap)
    """Values of providers this config had before, by provider id; they come back with the provider."""


def config_fingerprint(document: ConfigDocument) -> str:
    """Return the SHA-256 over provider and every non-secret value that is set.

    Id, name, tags, times and stashed values do not count: equal settings give equal
    fingerprints on any machine.
    """
    return fingerprint(settings_of(document))


def settings_of(document: ConfigDocument) -> dict[str, Any]:
    """Return the plain values that decide how a config behaves, without secrets."""
    return {
        path: to_plain(document.at(path))
        for path, info in leaves(type(document)).items()
        if path not in ("name", "tags", "stash")
        and info.annotation is not SecretRef
        and document.at(path) not in (None, "", (), {})
    }
