"""What the value of a secret may be."""

from __future__ import annotations

import os
import re
import unicodedata
from typing import Final

from orchstate.errors import Issue, ValidationError

# Servers take 8 to 16 kB of headers in all. The longest keys, a service account's JSON, have 2.4 kB.
MAX_CHARACTERS: Final = 16_384
# Characters that nobody sees and that come along when a key is copied from a web page.
_INVISIBLE: Final = "\ufeff\u200b\u200c\u200d\u2060"
_MASK_CHARACTERS: Final = frozenset("*\u2022\u25cf")
# Control, format (invisible), surrogate, line and paragraph separator.
_REFUSED: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

# What stands around a key where it is copied from, and what is said when it was taken off.
_QUOTES: Final = "\"'`\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb"
_AROUND: Final = (
    (
        # A line of a .env file or of Python. Keys may have a "=" themselves, mostly at the end.
        re.compile(
            r"(?:(?:export|set)\s+|\$env:)?(?:[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|api_key|token|key)\s*=\s*"
            r"([^;\s][^;]{7,});?"
        ),
        "The name of a variable before the key was taken off.",
    ),
    (
        re.compile(r"(?i:(?:authorization\s*:\s*)?bearer)\s+(\S.*)"),
        "The word 'Bearer' before the key was taken off.",
    ),
    (re.compile(rf"[{_QUOTES}](.*)[{_QUOTES}][,;]?"), "Quotation marks around the key were taken off."),
)
_SPACES: Final = "Spaces or line breaks around the key were taken off."
_VARIABLE: Final = re.compile(
    r"\$[A-Za-z_]\w*|\$\{\w+\}|%[A-Z_][A-Z0-9_]*%|\$env:\w+|(?:os\.)?(?:environ\b|getenv\().*"
)
_NAME: Final = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
_LONGEST_PLACEHOLDER: Final = 100
_PLACEHOLDER: Final = re.compile(
    r"(?i:.*(?:\.\.\.|\u2026)|<[^<>]*>|change[-_ ]?(?:me|this|it)|placeholder|(?:[a-z]{1,6}[-_])*x{3,}"
    r"|(?:[a-z]+[-_ ])*your[-_ ](?:[a-z]+[-_ ])*(?:key|token|secret)(?:[-_ ][a-z]+)*)"
    r"|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*_(?:KEY|TOKEN|SECRET)=?"
)
_DOUBT: Final = "This looks like a placeholder, not like a key."


def clean_secret(value: object) -> tuple[str, str | None]:
    r"""Return the key in `value`, and a warning if it is doubtful, or something around it was taken off.

    Spaces, line breaks and invisible characters at the ends come from copying, as do
    quotation marks, ``Bearer`` and the ``NAME=`` of a line that sets a variable: all are
    taken off. Inside, a space is kept; a line break or control character is refused. What
    looks like a placeholder is a key for some local servers, so it is no more than doubtful.

    Raises
    ------
    ValidationError
        If `value` is not text, is empty, has more than 16,384 characters, a line break or
        control character or one beyond ASCII; or if it only stands for a key: a row of
        asterisks, ``$NAME``, the name of a variable that is set. The message does not show it.

    Examples
    --------
    >>> clean_secret("sk-1")
    ('sk-1', None)
    >>> clean_secret("sk-1\n")
    ('sk-1', 'Spaces or line breaks around the key were taken off.')
    >>> clean_secret("Bearer sk-1")
    ('sk-1', "The word 'Bearer' before the key was taken off.")
    >>> clean_secret("your-key")
    ('your-key', 'This looks like a placeholder, not like a key.')
    """
    kind = type(value).__name__
    text, warning = _peeled(str(value)) if isinstance(value, str) else (None, None)
    problem = _problem(kind, text)
    # A traceback keeps the locals of its frames, so the value must be out of them before the error is raised.
    del value
    if text is None or problem:
        del text
        raise ValidationError(problem, issues=[Issue("", "error", problem)])
    return text, " ".join(filter(None, [warning, _doubt(text)])) or None


def _peeled(text: str) -> tuple[str, str | None]:
    """Return the key alone, and what was taken off."""
    told: dict[str, None] = {}
    while (found := _less(text)) is not None:
        text, note = found
        told[note] = None
    return text, " ".join(told) or None


def _less(text: str) -> tuple[str, str] | None:
    """Return a text without one of the things around it, and which one that was; None if there is none."""
    shorter = text.strip().strip(_INVISIBLE)
    if shorter != text:
        return shorter, _SPACES
    for pattern, note in _AROUND if len(text) <= MAX_CHARACTERS else ():
        match = pattern.fullmatch(text)
        if match:
            return match[match.lastindex or 1], note
    return None


def _problem(kind: str, text: str | None) -> str:
    if text is None:
        return f"A key is text, not {kind}. Give the key itself, or a reference such as orch.env('NAME')."
    if not text:
        return "The key is empty. Type it, or set it to None if the provider needs none."
    if len(text) > MAX_CHARACTERS:
        return (
            f"The key has {len(text):,} characters, and servers take no more than {MAX_CHARACTERS:,}. "
            "Copy the key alone."
        )
    if _MASK_CHARACTERS.issuperset(text):
        return "This is the mask that stands for a key, not the key. Type the key itself."
    if _VARIABLE.fullmatch(text) or (_NAME.fullmatch(text) and text in os.environ):
        return (
            "This is the name of an environment variable, not a key. To use the variable, assign "
            "orch.env('NAME') with its name; or type the key itself."
        )
    return _character_problem(text)


def _character_problem(text: str) -> str:
    place = next((i for i, char in enumerate(text) if unicodedata.category(char) in _REFUSED), None)
    if place is not None:
        return (
            f"The key has a line break or control character at position {place + 1} of {len(text)}. "
            "Copy it again, in one piece."
        )
    place = next((i for i, char in enumerate(text) if not char.isascii()), None)
    if place is not None:
        return (
            f"The key has a character beyond ASCII at position {place + 1} of {len(text)}, "
            "which cannot be sent. Copy it again: letters of some alphabets look like others."
        )
    return ""


def _doubt(text: str) -> str:
    return _DOUBT if len(text) <= _LONGEST_PLACEHOLDER and _PLACEHOLDER.fullmatch(text) else ""
