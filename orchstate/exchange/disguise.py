"""Keys out of what is shown: whoever edits a setup, or types a command, may put one anywhere."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from orchstate.exchange.items import ImportResult, Missing, PlanItem
from orchstate.models.key_shapes import looks_like_key

if TYPE_CHECKING:
    from collections.abc import Iterable

HIDDEN: Final = "<what looks like a key>"
# Nothing shorter looks like a key; plans of thousands of configs consist of short texts.
_SHORTEST: Final = 12
_WORD: Final = re.compile(r"[^\s'\"`/\\,;:=()\[\]{}<>]+")


def without_keys(text: str) -> str:
    """Return text in which every word that looks like a key is covered.

    Examples
    --------
    >>> without_keys("configs[0].sk-proj-0123456789abcdef: there is no such key.")
    'configs[0].<what looks like a key>: there is no such key.'
    """
    return text if len(text) < _SHORTEST else _WORD.sub(_covered, text)


def disguised(value: Any) -> Any:
    """Return a plain value in which whatever looks like a key is covered.

    Examples
    --------
    >>> disguised({"headers.X-Team": ["sk-proj-0123456789abcdef", 1]})
    {'headers.X-Team': ['<what looks like a key>', 1]}
    """
    if isinstance(value, str):
        return without_keys(value)
    if isinstance(value, dict):
        return {disguised(key): disguised(item) for key, item in value.items()}
    return [disguised(item) for item in value] if isinstance(value, list | tuple) else value


def disguised_items(items: Iterable[PlanItem]) -> tuple[PlanItem, ...]:
    """Return what of a plan people may see."""
    return tuple(
        replace(
            item,
            name=without_keys(item.name),
            changes={
                without_keys(path): (disguised(here), disguised(there))
                for path, (here, there) in item.changes.items()
            },
            note=without_keys(item.note),
        )
        for item in items
    )


def disguised_needs(needs: Iterable[Missing]) -> tuple[Missing, ...]:
    """Return what of that which is missing people may see."""
    return tuple(
        Missing(need.kind, *map(without_keys, (need.name, need.config, need.next_step))) for need in needs
    )


def disguised_result(result: ImportResult) -> ImportResult:
    """Return what of an import's outcome people may see."""
    return ImportResult(
        added=tuple(map(without_keys, result.added)),
        changed=tuple(map(without_keys, result.changed)),
        skipped=tuple(map(without_keys, result.skipped)),
        missing=disguised_needs(result.missing),
    )


def _covered(found: re.Match[str]) -> str:
    word = found[0]
    if not looks_like_key(word):
        return word
    if ".eyJ" in word:
        # A token has dots itself.
        return HIDDEN
    parts = [HIDDEN if looks_like_key(part) else part for part in word.split(".")]
    return ".".join(parts) if HIDDEN in parts else HIDDEN
