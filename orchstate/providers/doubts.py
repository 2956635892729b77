"""What is allowed and yet most likely wrong, such as a key in a field that is not for one: a warning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from orchstate.errors import Issue
from orchstate.models.key_shapes import looks_like_key
from orchstate.models.secret import is_reference

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from orchstate.models.config import ConfigDocument

_MESSAGE: Final = (
    "This looks like a key. It is stored in plain text, and in the history. Put it into the key field, and "
    "make a new key at the provider's, since this one is in the history."
)

_CALL: Final = re.compile(
    r"/(chat/completions|completions|responses|messages|embeddings|api/chat|api/generate)/?$"
)
_OF_CALL: Final = "{!r} at the end is the path of one call, which is added to the base URL. Leave it out."


def doubts(document: ConfigDocument, patterns: Collection[str] = ()) -> tuple[Issue, ...]:
    """Return a warning for every field of a config that is doubtful; what looks like a key is not shown.

    Parameters
    ----------
    document
        The config.
    patterns
        What keys of all known providers look like, as regular expressions.
    """
    body = document.body()
    fields = dict.fromkeys(field for field, _ in suspects(body, patterns))
    found = tuple(Issue(field, "warning", _MESSAGE) for field in fields)
    call = _CALL.search(str(body.get("base_url", "")))
    return (*found, Issue("base_url", "warning", _OF_CALL.format(call[0]))) if call else found


def suspects(values: Mapping[str, Any], patterns: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """Yield path and text of all in plain values that looks like a key, apart from references to keys."""
    for path, value in values.items():
        yield from ((field, text) for field, text in _texts_in(path, value) if looks_like_key(text, patterns))


def _texts_in(field: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, list | tuple):
        yield from (found for item in value for found in _texts_in(field, item))
    elif isinstance(value, Mapping) and not is_reference(value):
        for name, item in value.items():
            yield field, str(name)
            # A path is shown, so a name that may be a key is no part of it.
            yield from _texts_in(field if looks_like_key(str(name)) else f"{field}.{name}", item)
