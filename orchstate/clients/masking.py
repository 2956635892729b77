"""Secrets out of text: SDKs and servers quote what they were sent."""

from __future__ import annotations

import json
import urllib.parse
from typing import TYPE_CHECKING

from orchstate.models.secret import MASK

if TYPE_CHECKING:
    from collections.abc import Iterable


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with every secret in it covered, also where it is escaped or quoted.

    Examples
    --------
    >>> mask("Incorrect key: sk-1+2, sent as sk-1%2B2", ["sk-1+2"])
    'Incorrect key: ********, sent as ********'
    """
    forms = {form for secret in secrets for form in _forms(secret)}
    # The longest first: one secret may be part of another.
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, MASK)
    return text


def _forms(secret: str) -> set[str]:
    forms = set()
    for value in {secret, secret.strip()} - {""}:
        forms |= {
            value,
            repr(value)[1:-1],
            # As an error of a lower layer shows the bytes of a header.
            repr(value.encode())[2:-1],
            json.dumps(value)[1:-1],
            json.dumps(value, ensure_ascii=False)[1:-1],
            urllib.parse.quote(value, safe=""),
            urllib.parse.quote(value),
            urllib.parse.quote_plus(value),
        }
    return forms
