"""The config document: one configured provider instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, Field

from orchstate.models.canonical import fingerprint
from orchstate.models.document import Document
from orchstate.models.key_shapes import REFUSAL, holds_key
from orchstate.models.secret import is_reference
from orchstate.models.values import FrozenMap, PlainMap, Text

if TYPE_CHECKING:
    from collections.abc import Mapping


def _check_prompt(prompt: str | None) -> str | None:
    if prompt is None or not prompt.strip():
        return None
    if holds_key(prompt):
        raise ValueError(REFUSAL)
    return prompt


class ConfigDocument(Document):
    """What every config has; a provider definition adds the fields of its provider."""

    kind: ClassVar[str] = "config"
    groups: ClassVar[tuple[frozenset[str], ...]] = (frozenset({"provider", "auth", "model", "base_url"}),)

    provider: str
    auth: str = ""
    system_prompt: Annotated[Text | None, AfterValidator(_check_prompt)] = Field(
        default=None, title="System prompt", description="What the model is told before every question."
    )
    stash: PlainMap = Field(default_factory=FrozenMap)
    """Values of providers this config had before, by provider id; they come back with the provider."""


def config_fingerprint(document: ConfigDocument) -> str:
    """Return the SHA-256 over provider and every non-secret value that is set.

    Id, name, tags, times and stashed values do not count: equal settings give equal
    fingerprints on any machine, also on one that lacks the provider's definition. So a
    value is a secret if it looks like a reference to one: there nobody knows better.
    """
    return body_fingerprint(document.body())


def body_fingerprint(body: Mapping[str, Any]) -> str:
    """Return :func:`config_fingerprint` of a stored body, whatever is defined on this machine."""
    settings = {
        path: value
        for path, value in body.items()
        if path not in _BESIDE and value not in _UNSET and not is_reference(value)
    }
    return fingerprint(settings)


COMMON: Final = frozenset({"name", "provider", "stash", "system_prompt", "tags"})
"""Paths of what a config keeps when its provider changes; all else is put away and comes back with it."""

_BESIDE: Final = ("name", "tags", "stash")
_UNSET: Final[tuple[Any, ...]] = (None, "", [], {})
