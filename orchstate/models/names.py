"""What a name may be, and when two names are the same."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final

from orchstate.errors import Issue, ValidationError

MAX_NAME_LENGTH: Final = 100


def check_name(name: object) -> str:
    """Return `name` if it is a valid name.

    A name has 1 to 100 characters, no slash or backslash, no line break or other
    control character, and no space at either end.

    Raises
    ------
    ValidationError
        If it is not; the message says which rule is broken.

    Examples
    --------
    >>> check_name("gpt (fast)")
    'gpt (fast)'
    """
    problem = _problem(name)
    if problem:
        shown = repr(name) if len(repr(name)) <= 60 else repr(name)[:57] + "..."
        raise ValidationError.of([Issue("name", "error", f"{shown} is not a valid name: {problem}")])
    return str(name)


@lru_cache(maxsize=4096)
def name_key(name: str) -> str:
    """Return the form in which names are compared.

    Examples
    --------
    >>> name_key("GPT") == name_key("gpt")
    True
    """
    return unicodedata.normalize("NFKC", name).casefold()


def _problem(name: object) -> str:
    if not isinstance(name, str):
        return "a name is text."
    if not name.strip():
        return "it is empty. Give it at least one letter or digit."
    if len(name) > MAX_NAME_LENGTH:
        return f"it has {len(name)} characters, {MAX_NAME_LENGTH} is the limit."
    if name != name.strip():
        return "it begins or ends with a space."
    if "/" in name or "\\" in name:
        return "slashes are not allowed. Use '-' instead."
    if not name.isprintable() and any(
        unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs") for char in name
    ):
        return "line breaks and control characters are not allowed."
    return ""
