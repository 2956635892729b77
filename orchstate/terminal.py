"""What commands print: tables for people, JSON for programs, one line for errors."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

from orchstate.display import Table, printable, text_table
from orchstate.exchange.disguise import without_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

# Longer texts are cut in tables, where a fingerprint has room; --json has them whole.
_MAX_CELL: Final = 64


def print_table(columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> int:
    """Print rows of plain JSON values in aligned columns; returns the exit code of success."""
    print(text_table(Table(columns, [[_cell(value) for value in row] for row in rows])))
    return 0


def print_json(value: Any) -> int:
    """Print a plain value as JSON; returns the exit code of success."""
    print(json.dumps(value, ensure_ascii=False, indent=2))
    return 0


def fail(message: str) -> int:
    """Print one line that says why a command failed, without keys; returns its exit code."""
    print(f"orchstate: {printable(' '.join(without_keys(message).split()))}", file=sys.stderr)
    return 1


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as plain JSON."""
    return [{str(key): _plain(value) for key, value in row.items()} for row in frame.to_dict("records")]


def cut_time(value: Any) -> Any:
    """Return a time in ISO text with seconds, which is what people read; other values as they are.

    Examples
    --------
    >>> cut_time("2026-11-20T12:00:00.123456+00:00"), cut_time(0.2)
    ('2026-11-20 12:00:00 UTC', 0.2)
    """
    is_time = isinstance(value, str) and value[10:11] == "T" and value.endswith("+00:00")
    return f"{value[:19].replace('T', ' ')} UTC" if is_time else value


def counted(number: int, noun: str) -> str:
    """Return a number of things in words.

    Examples
    --------
    >>> counted(1, "config"), counted(0, "config")
    ('1 config', '0 configs')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _cell(value: Any) -> str:
    if value is None or isinstance(value, bool):
        text = {None: "", True: "yes", False: "no"}[value]
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_CELL else f"{text[: _MAX_CELL - 3]}..."


def _plain(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    # What pandas has for a missing value is of a type of its own.
    return value if isinstance(value, str | int | float | dict | list) else None
