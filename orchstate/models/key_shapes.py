"""What keys look like, so that one that was put into the wrong field is noticed.

Two questions are kept apart. :func:`holds_key` is asked before something is stored in
plain text, and answers yes only where there is no doubt. :func:`looks_like_key` is asked
for a warning, and may be wrong now and then. Neither knows all keys: those of many
providers are nothing but letters and digits.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from orchstate.errors import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable

REFUSAL: Final = (
    "this is a key, and what stands here is kept in plain text, and in the history for ever. Put it into the "
    "key field instead. If it was stored here before, make a new key and withdraw this one."
)

# Nothing shorter is looked at: every edit of a document comes by here.
_SHORTEST: Final = 16
# Of OpenAI, Anthropic and OpenRouter; Groq, Cerebras, xAI, Perplexity and NVIDIA; Hugging Face, Replicate,
# Fireworks and Together; Google; GitHub, GitLab and LangSmith. The lengths are well below the real ones,
# and well above what names have behind such a beginning: "xai-grok-4", "pplx-70b-online", "hf_mirror".
_CERTAIN: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"sk-(?:proj|svcacct|admin|ant|or-v1)-[\w-]{16,}"
    r"|(?:gsk_|csk-|xai-|pplx-|r8_|hf_|gh[opsur]_)[A-Za-z0-9]{30,}|fw_[A-Za-z0-9]{22,}"
    r"|(?:nvapi-|tgp_v1_|github_pat_)[\w-]{40,}|lsv2_[a-z]{2}_[0-9a-f]{32}|glpat-[\w-]{20,}"
    r"|AIza[\w-]{30,}"
    r")"
)
_PLAIN_SK: Final = re.compile(r"(?<![A-Za-z0-9])sk-[\w-]{16,}")
_BEGINNINGS: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:c?sk[-_]|[pr]k[-_]|gsk_|hf_|r8_|fw_|tgp_|gh[opsur]_|github_pat_|glpat-|lsv2_|xai-|pplx-"
    r"|nvapi-|AIza|ya29\.|xox[abp]-)[\w-]{10,}"
)
_TOKEN: Final = re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.|(?i:\bbearer\s+)(?=\S*[0-9])\S{10,}")
_STRETCH: Final = re.compile(r"[A-Za-z0-9]+")
_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_LONG: Final = 32
# Between neighbours in random letters and digits the kind changes six times in ten, in words far less often.
_CHANGES: Final = 0.4
# What a provider's pattern begins with before it allows anything: "sk-" of "sk-[A-Za-z0-9]{16,}".
_FIXED_BEGINNING: Final = re.compile(r"[\w-]{3,}(?![*+?{|])")


def holds_key(text: str) -> bool:
    """Whether there is certainly a key in `text`: the beginning and the length of a known provider's.

    Examples
    --------
    >>> holds_key("https://example.com/sk-proj-0123456789abcdef/v1")
    True
    >>> holds_key("sk-learn-text-classifier-2024"), holds_key("xai-grok-4-fast-reasoning")
    (False, False)
    """
    if len(text) < _SHORTEST:
        return False
    if _CERTAIN.search(text):
        return True
    return any(is_random(found, 16) for found in _PLAIN_SK.findall(text))


def looks_like_key(text: str, patterns: Iterable[str] = ()) -> bool:
    """Whether `text` may well be a key, or hold one.

    Parameters
    ----------
    text
        Any text, also an address.
    patterns
        Regular expressions of keys, as provider definitions have them; one without a fixed
        beginning fits too much and is left out.

    Examples
    --------
    >>> looks_like_key("gsk_0123456789abcdef"), looks_like_key("gpt-4o-mini-2024-07-18")
    (True, False)
    >>> looks_like_key("lab-00112233", ["lab-[0-9]{8}"])
    True
    """
    if holds_key(text) or any(is_random(found, 10) for found in _BEGINNINGS.findall(text)):
        return True
    if _TOKEN.search(text) or ("://" not in text and any(map(_is_opaque, _STRETCH.findall(text)))):
        return True
    usable = (pattern for pattern in patterns if "|" not in pattern and _FIXED_BEGINNING.match(pattern))
    return is_random(text, 8) and any(re.fullmatch(pattern, text.strip()) for pattern in usable)


def is_random(text: str, length: int) -> bool:
    """Whether letters and digits stand in `text` at such length as no word has them.

    Words are in one case, maybe but for the first letter, and have no digits among them.

    Examples
    --------
    >>> is_random("key-1b2c3d4e5f6a", 12), is_random("INTERNATIONALIZATION_KEY", 12)
    (True, False)
    """
    stretches = (found for found in _STRETCH.findall(text) if len(found) >= length)
    return any(not _WORDS.fullmatch(found) for found in stretches)


def shown(value: Any) -> str:
    """Return a value as messages show it, and something else for what looks like a key.

    Examples
    --------
    >>> shown("gpt"), shown("sk-proj-0123456789abcdef")
    ("'gpt'", 'What looks like a key')
    """
    is_key = isinstance(value, str) and looks_like_key(value)
    return "What looks like a key" if is_key else quoted(value)


def _is_opaque(stretch: str) -> bool:
    if len(stretch) < _LONG or sum(map(str.isdigit, stretch)) < 2:
        return False
    if stretch == stretch.lower() or stretch == stretch.upper():
        # Digests and ids.
        return False
    kinds = [(char.isdigit(), char.isupper()) for char in stretch]
    changes = sum(one != other for one, other in pairwise(kinds))
    return changes >= _CHANGES * len(stretch)
