"""What keys look like, so that one that was put into the wrong field is noticed.

Two questions are kept apart. :func:`holds_key` is asked before something is stored in
plain text, and answers yes only where there is no doubt. :func:`looks_like_key` is asked
for a warning, and may be wrong now and then. Neither knows all keys: those of many
providers are nothing but letters and digits.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from orchstate.errors import is_random as is_random
from orchstate.errors import may_be_key, quoted, stretches_without_words

if TYPE_CHECKING:
    from collections.abc import Iterable

REFUSAL: Final = (
    "this is a key, and what stands here is kept in plain text, and in the history for ever. Put it into the "
    "key field instead. If it was stored here before, make a new key and withdraw this one."
)

# Nothing shorter is looked at: every edit of a document comes by here.
_SHORTEST: Final = 16
# No key is longer, nor what is pasted around it.
_LONGEST: Final = 20_000
_looked_at: Final[dict[bytes, bool]] = {}
_MOST_LOOKED_AT: Final = 1_000
# Not in the midst of a word, unless that is the one that people paste along.
_START: Final = r"(?:(?<![A-Za-z0-9])|(?<=[Bb]earer))"
# Of Groq, Cerebras, xAI, Perplexity and NVIDIA; Hugging Face, Replicate and Together; Google; GitHub, GitLab
# and LangSmith. The lengths are well below the real ones, and well above what names have behind such a
# beginning: "xai-grok-4", "pplx-70b-online", "hf_mirror".
_CERTAIN: Final = re.compile(
    _START + r"(?:"
    r"(?:gsk_|csk-|xai-|pplx-|r8_|hf_|gh[opsur]_)[A-Za-z0-9]{30,}"
    r"|(?:nvapi-|tgp_v1_|github_pat_)[\w-]{40,}|lsv2_[a-z]{2}_[0-9a-f]{32}|glpat-[\w-]{20,}"
    r"|AIza[\w-]{30,}"
    r")"
)
# Of OpenAI, Anthropic and OpenRouter; Fireworks; and of many others. Names begin in these ways, too, and are
# long: "sk-ant-colony-optimizer". So what follows must not be words, at this length in all.
_OWN: Final = re.compile(
    _START + r"(?:(?P<named>sk-(?:proj|svcacct|admin|ant|or-v1)-|fw_)|sk-)(?P<rest>[\w-]{16,})"
)
_RANDOM_IF_NAMED: Final = 16
_RANDOM: Final = 20
# What a provider's pattern begins with before it allows anything: "sk-" of "sk-[A-Za-z0-9]{16,}".
_FIXED_BEGINNING: Final = re.compile(r"[\w-]{3,}(?![*+?{|])")


def holds_key(text: str) -> bool:
    """Whether there is certainly a key in `text`: it begins, and goes on, as those of a known provider.

    Examples
    --------
    >>> holds_key("https://example.com/sk-proj-0123456789abcdef/v1")
    True
    >>> holds_key("sk-admin-dashboard-assistant"), holds_key("xai-grok-4-fast-reasoning")
    (False, False)
    """
    if len(text) < _SHORTEST:
        return False
    if "%" in text:
        # As addresses have it.
        text = unquote(text)
    if _CERTAIN.search(text):
        return True
    return any(
        _count_random(found["rest"]) >= (_RANDOM_IF_NAMED if found["named"] else _RANDOM)
        for found in _OWN.finditer(text)
    )


def looks_like_key(text: str, patterns: Iterable[str] = ()) -> bool:
    """Whether `text` may well be a key, or hold one.

    Parameters
    ----------
    text
        Any text, also an address.
    patterns
        Regular expressions of keys, as provider definitions have them; one without a fixed
        beginning fits too much and is left out. A text of many pages is not compared with them.

    Examples
    --------
    >>> looks_like_key("gsk_0123456789abcdef"), looks_like_key("gpt-4o-mini-2024-07-18")
    (True, False)
    >>> looks_like_key("lab-00112233", ["lab-[0-9]{8}"])
    True
    """
    if len(text.strip()) > _LONGEST:
        return _is_with_key(text)
    if holds_key(text) or may_be_key(text):
        return True
    usable = (pattern for pattern in patterns if "|" not in pattern and _FIXED_BEGINNING.match(pattern))
    return is_random(text, 8) and any(re.fullmatch(pattern, text.strip()) for pattern in usable)


def _is_with_key(text: str) -> bool:
    """Whether a text of many pages looks as if it held a key; asked anew with every edit of other fields."""
    # What was looked at is not kept, since there may be a key in it.
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    found = _looked_at.get(digest)
    if found is None:
        if len(_looked_at) >= _MOST_LOOKED_AT:
            _looked_at.clear()
        found = _looked_at[digest] = holds_key(text) or may_be_key(text)
    return found


def shown(value: Any) -> str:
    """Return a value as messages show it, and something else for what looks like a key.

    Examples
    --------
    >>> shown("gpt"), shown("sk-proj-0123456789abcdef")
    ("'gpt'", 'What looks like a key')
    """
    is_key = isinstance(value, str) and looks_like_key(value)
    return "What looks like a key" if is_key else quoted(value)


def _count_random(text: str) -> int:
    """Return how many letters and digits stand in `text` mixed, as no words have them."""
    stretches = stretches_without_words(text)
    return sum(len(found) for found in stretches if not found.isalpha() and not found.isdigit())
