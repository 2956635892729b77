"""What the name of an environment variable may be: anything but what is more likely a key.

A key that is given for a name by mistake would be stored and shown as one, so nothing
here quotes what it was given.
"""

from __future__ import annotations

import os
import re
from typing import Final

from orchstate.models.key_shapes import is_random

# Of OpenAI, Stripe and others, Groq, Hugging Face, Replicate, Fireworks, Together, GitHub, GitLab,
# LangSmith and Google: those beginnings of keys that could also begin a name.
_KEY: Final = re.compile(
    r"(sk|pk|rk|gsk|hf|r8|fw|tgp|csk|gh[opsur]|github_pat|glpat|lsv2)_(?=\w*[0-9A-Z])\w{8,}"
    r"|AIza\w{20,}|(AKIA|ASIA)[0-9A-Z]{16}"
)
# Words that are longer are written in one case.
_LONG_WORD: Final = 12


def variable_problem(name: object) -> str:
    """Return why `name` cannot be meant as the name of an environment variable, ``""`` if it can.

    The name of a variable that is set always can. Otherwise it has to be an identifier,
    and must not look like a key: begin as keys of providers do, or have long stretches
    of letters in mixed case, or with digits.

    Examples
    --------
    >>> variable_problem("OPENAI_API_KEY"), variable_problem("lab_key")
    ('', '')
    >>> variable_problem("two words")
    "this is not the name of an environment variable, such as 'OPENAI_API_KEY'."
    """
    if isinstance(name, str) and _is_set(name):
        return ""
    if not isinstance(name, str) or not name.isidentifier():
        return "this is not the name of an environment variable, such as 'OPENAI_API_KEY'."
    if _looks_like_a_key(name):
        return (
            "this looks like a key, not like the name of an environment variable, such as 'OPENAI_API_KEY'. "
            "Type a key in the form. If it is a name, set the variable before it is used."
        )
    return ""


def _is_set(name: str) -> bool:
    try:
        return name in os.environ
    except UnicodeEncodeError:
        return False


def _looks_like_a_key(name: str) -> bool:
    # Names in capitals have digits too.
    words = (word for word in name.split("_") if not word.isupper())
    return bool(_KEY.fullmatch(name)) or any(is_random(word, _LONG_WORD) for word in words)
