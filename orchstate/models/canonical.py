"""One text for one value: canonical JSON, strict reading, fingerprints.

Canonical JSON has sorted keys, no spaces, UTF-8 characters as they are, and no NaN
or infinity, so equal values give equal bytes on every machine.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, Final

_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False
).encode
# Deeper than any document of ours; keeps hostile files away from the recursion limit.
MAX_DEPTH: Final = 64


def canonical(value: Any) -> str:
    """Return the canonical JSON text of a plain value.

    Raises
    ------
    ValueError
        If `value` holds NaN, an infinity, or something JSON has no form for.

    Examples
    --------
    >>> canonical({"b": 1.0, "a": ["é", None]})
    '{"a":["é",null],"b":1.0}'
    """
    try:
        return _encode(value)
    except TypeError as error:
        raise ValueError(str(error)) from error


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON as 64 hexadecimal digits.

    Examples
    --------
    >>> fingerprint({})[:16]
    '44136fa355b3678a'
    """
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def parse(text: str | bytes) -> Any:
    """Return the value of a JSON text from an untrusted source.

    Raises
    ------
    ValueError
        If the text is not JSON, is nested deeper than 64 levels, repeats a key, or
        holds NaN, an infinity, a number of thousands of digits, or half a character. The
        message says where.

    Examples
    --------
    >>> parse('{"a": [1, null]}')
    {'a': [1, None]}
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except RecursionError:
        raise ValueError(f"is nested deeper than {MAX_DEPTH} levels") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from error
    _check_depth(value)
    _check_characters(value)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"has the key {twice!r} twice in one object")
    return value


def _refuse_constant(text: str) -> None:
    raise ValueError(f"has {text}, which is not a JSON number")


def _finite(text: str) -> float:
    # Python reads 1e999 as infinity.
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"has {text}, which is too large for a number")
    return number


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        # Python's limit, since reading one takes quadratic time.
        raise ValueError(f"has a number of {len(text)} digits, which is too large") from None


def _check_characters(value: Any) -> None:
    # JSON can escape half of a surrogate pair, which no file and no database takes.
    try:
        canonical(value).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"has text with half a character in it: {error.object[error.start]!a}") from None


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())
        ]
        if not level:
            return
    raise ValueError(f"is nested deeper than {MAX_DEPTH} levels")
