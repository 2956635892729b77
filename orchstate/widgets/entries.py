"""What people write, as values; what makes no sense as one is left to the store to refuse."""

from __future__ import annotations

import contextlib
import re
from typing import Final

from orchstate.errors import Issue, ValidationError
from orchstate.models.key_shapes import shown

_SPELLED: Final = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}
_SPELLING: Final = {char: f"\\{name}" for name, char in _SPELLED.items()}


def map_in(text: str, path: str) -> dict[str, str]:
    r"""Return what the lines of a text say.

    Examples
    --------
    >>> map_in("X-Title: notes\n\nX-Tag: a:b", "headers")
    {'X-Title': 'notes', 'X-Tag': 'a:b'}
    """
    found: dict[str, str] = {}
    for line in filter(str.strip, text.splitlines()):
        name, colon, value = line.partition(":")
        if not colon:
            problem = f"{shown(line.strip())} has no colon. Write one 'Name: value' in each line."
        elif name.strip() in found:
            problem = f"{shown(name.strip())} is there twice. Keep one of the two."
        else:
            found[name.strip()] = value.strip()
            continue
        raise ValidationError.of([Issue(path, "error", problem)])
    return found


def verbatim_in(text: str) -> str:
    r"""Return what a text says in which line breaks and the like are spelled out.

    Examples
    --------
    >>> verbatim_in(r"\n\nUser:"), verbatim_in(r"C:\\new")
    ('\n\nUser:', 'C:\\new')
    """
    return re.sub(r"\\(.)", lambda found: _SPELLED.get(found[1], found[0]), text)


def verbatim_out(text: str) -> str:
    r"""Return a text with line breaks and the like spelled out, since an entry has one line.

    Examples
    --------
    >>> print(verbatim_out("\n\nUser:"))
    \n\nUser:
    """
    return "".join(_SPELLING.get(char, char) for char in text)


def number_in(text: str, *, is_whole: bool) -> int | float | str | None:
    """Return the number that a text says, None for an empty one, or the text if it says none.

    Examples
    --------
    >>> number_in("0.5", is_whole=False), number_in("1e3", is_whole=True), number_in(" ", is_whole=True)
    (0.5, 1000, None)
    >>> number_in("2.5", is_whole=True), number_in("many", is_whole=True)
    (2.5, 'many')
    """
    text = text.strip()
    if not text:
        return None
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            number: int | float = kind(text)
            is_round = isinstance(number, float) and is_whole and number.is_integer()
            return int(number) if is_round else number
    return text
