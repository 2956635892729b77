"""What the value of a secret may be."""

from __future__ import annotations

import unicodedata
from typing import Final

from orchstate.errors import Issue, ValidationError

# Characters that nobody sees and that come along when a key is copied from a web page.
_INVISIBLE: Final = "\ufeff\u200b\u200c\u200d\u2060"
_MASK_CHARACTERS: Final = frozenset("*\u2022\u25cf")


def clean_secret(value: object) -> tuple[str, str | None]:
    r"""Return the key in `value`, and a warning if something had to be taken off its ends.

    Spaces, line breaks and invisible characters at the ends come from copying and are
    taken off. Inside, a space is kept; a line break or control character is refused.

    Raises
    ------
    ValidationError
        If `value` is not text, is empty, holds a line break or control character, or
        is the row of asterisks that stands for a key. The message does not show it.

    Examples
    --------
    >>> clean_secret("sk-1")
    ('sk-1', None)
    >>> clean_secret("sk-1\n")
    ('sk-1', 'Spaces or line breaks around the key were taken off.')
    """
    kind, text = type(value).__name__, _stripped(value)
    changed = text != value
    problem = _problem(kind, text)
    # A traceback keeps the locals of its frames, so the value must be out of them before the error is raised.
    del value
    if text is None or problem:
        del text
        raise ValidationError(problem, issues=[Issue("", "error", problem)])
    return text, "Spaces or line breaks around the key were taken off." if changed else None


def _stripped(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    text = str(value)
    while text != (shorter := text.strip().strip(_INVISIBLE)):
        text = shorter
    return text


def _problem(kind: str, text: str | None) -> str:
    if text is None:
        return f"A key is text, not {kind}. Give the key itself, or a reference such as orch.env('NAME')."
    if not text:
        return "The key is empty. Type it, or set it to None if the provider needs none."
    if _MASK_CHARACTERS.issuperset(text):
        return "This is the mask that stands for a key, not the key. Type the key itself."
    place = next((i for i, char in enumerate(text) if unicodedata.category(char) in _REFUSED), None)
    if place is not None:
        return (
            f"The key has a line break or control character at position {place + 1} of {len(text)}. "
            "Copy it again, in one piece."
        )
    return ""


# Control, format (invisible), surrogate, line and paragraph separator.
_REFUSED: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
