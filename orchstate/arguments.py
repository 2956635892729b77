"""Arguments of commands: from what was typed to a value, or one line that says what it should be."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path
from typing import Final

from orchstate.errors import quoted
from orchstate.models.key_shapes import holds_key

_LAST_PORT: Final = 65535


def path(text: str) -> Path:
    """Return a path; refuse what is none, and a key, which would become the name of a file."""
    # Else a text in braces would be read as the content of a setup.
    if not text:
        raise ArgumentTypeError("'' is no path; name a file, such as setup.json")
    if holds_key(text):
        raise ArgumentTypeError("this is a key; name a file, such as setup.json")
    if "://" in text:
        raise ArgumentTypeError(f"{quoted(text)} is an address; name a file, such as setup.json")
    return Path(text)


def count(text: str) -> int:
    """Return a number of changes; 0 means all."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"{quoted(text)} is no number of changes; 0 means all")
    return int(text)


def port(text: str) -> int:
    """Return a port to listen at; 0 means any free one."""
    if not text.isdecimal() or int(text) > _LAST_PORT:
        raise ArgumentTypeError(f"{quoted(text)} is no port: 1 to {_LAST_PORT}, or 0 for any free one")
    return int(text)
