"""Names of headers and URL parameters under which keys are sent.

What stands under such a name would be stored in plain text, so it is refused. Names are
looked at word by word: ``X-Author`` has no word in common with ``X-Auth``.
"""

from __future__ import annotations

import re
from typing import Final

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_KEY_WORDS: Final = frozenset(
    "key keys apikey token accesstoken authtoken secret auth oauth authorization authentication bearer jwt "
    "cookie credential credentials password passwd passphrase pwd sig signature".split()
)
# Behind one of those words they make it the name of something else: Token-Limit, Auth-Type.
_ABOUT: Final = frozenset(
    "budget count email header id limit method mode name provider scheme scope scopes size type user "
    "version".split()
)
# In front of "key" they do the same: Idempotency-Key.
_OTHER_KEYS: Final = frozenset("cache foreign idempotency partition primary public routing sort".split())


def is_key_name(name: str) -> bool:
    """Whether what is sent under a name is most likely a key.

    Examples
    --------
    >>> is_key_name("X-Auth-Key"), is_key_name("api_key"), is_key_name("accessToken")
    (True, True, True)
    >>> is_key_name("X-Author"), is_key_name("Idempotency-Key"), is_key_name("X-Token-Limit")
    (False, False, False)
    """
    words = [word.casefold() for word in _WORD.findall(name)]
    if not words or words[-1] in _ABOUT:
        return False
    return any(
        word in _KEY_WORDS and not (word == "key" and before in _OTHER_KEYS)
        for before, word in zip(["", *words], words, strict=False)
    )
