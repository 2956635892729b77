"""What a name may be, and when two names are the same."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final

from orchstate.errors import Issue, ValidationError, quoted
from orchstate.models.key_shapes import REFUSAL, holds_key, shown

MAX_NAME_LENGTH: Final = 100
MAX_LABEL_LENGTH: Final = 1_000
_JOINERS: Final = "\u200c\u200d"
# Hangul fillers and the empty Braille pattern: letters and symbols to Unicode, and nothing to see.
_BLANK: Final = "\u115f\u1160\u2800\u3164\uffa0"


def check_name(name: object) -> str:
    """Return `name` if it is a valid name.

    A name has 1 to 100 characters, at least one of them visible, no slash or backslash,
    no line break, other control character or invisible one, and no space at either end.
    Joiners inside emoji, and inside words of scripts that need them, are fine.

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
        raise ValidationError.of([Issue("name", "error", f"{shown(name)} is not a valid name: {problem}")])
    return str(name)


def check_new_name(name: str) -> None:
    """Refuse a key as the name of something new; what has such a name already can still be read.

    Raises
    ------
    ValidationError
        If there is a key in it; the message does not show it.

    Examples
    --------
    >>> check_new_name("gpt")
    """
    if holds_key(name):
        del name
        raise ValidationError.of([Issue("name", "error", REFUSAL)])


def check_label(label: object) -> str:
    """Return `label` if it can stand in the history: text of up to 1,000 characters, and no key.

    Raises
    ------
    ValidationError
        If it cannot.

    Examples
    --------
    >>> check_label("tuning")
    'tuning'
    """
    if not isinstance(label, str) or not is_text(label):
        problem = f"{quoted(label)} is no text. Give the label as text, such as 'tuning'."
    elif len(label) > MAX_LABEL_LENGTH:
        problem = f"it has {len(label):,} characters, {MAX_LABEL_LENGTH:,} is the limit."
    else:
        problem = REFUSAL if holds_key(label) else ""
    if problem:
        del label
        raise ValidationError.of([Issue("label", "error", problem)])
    return str(label)


@lru_cache(maxsize=4096)
def name_key(name: str) -> str:
    """Return the form in which names are compared.

    Examples
    --------
    >>> name_key("GPT") == name_key("gpt")
    True
    """
    return unicodedata.normalize("NFKC", name).casefold()


def is_text(name: str) -> bool:
    """Whether a text can be stored at all: it has no half of a surrogate pair."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _problem(name: object) -> str:
    return _problem_of(name) if isinstance(name, str) else "a name is text."


# Every edit of a document looks at its name.
@lru_cache(maxsize=4096)
def _problem_of(name: str) -> str:
    if not is_text(name):
        return "it has half a character in it. Type it again."
    if not any(map(_is_visible, name)):
        return "it is empty. Give it at least one visible character."
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
    if not name.isprintable() and any(_is_hidden(name, place) for place in range(len(name))):
        return "invisible characters are not allowed. Type it again by hand."
    return ""


def _is_visible(char: str) -> bool:
    return char not in _BLANK and unicodedata.category(char)[0] not in "CMZ"


def _is_hidden(name: str, place: int) -> bool:
    char, around = name[place], name[max(0, place - 1) : place + 2]
    if unicodedata.category(char) != "Cf":
        return False
    # Between letters of such a script a joiner changes how they look, and it makes one emoji of two.
    return char not in _JOINERS or len(around) < 3 or (around[0] + around[2]).isascii() or " " in around
