"""Moments: what people may say for a point in the history, and the seq that it means."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchstate.errors import NotFoundError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchstate.storage.sqlite import SqliteEngine

When = int | datetime | str


def seq_of(when: When, engine: SqliteEngine, snapshots: Mapping[str, int]) -> int:
    """Return the last seq that belongs to a moment.

    Parameters
    ----------
    when
        A seq; a datetime (without a zone: local time); the name of a snapshot; or ISO
        text such as ``"2026-11-20 14:30"``.
    engine
        Where the history is.
    snapshots
        Seqs by name.

    Raises
    ------
    NotFoundError
        If there was no store at that moment, or no snapshot of that name.
    ValidationError
        If `when` is something else.
    """
    if isinstance(when, bool) or not isinstance(when, int | datetime | str):
        raise ValidationError(
            f"{when!r} is no moment. Give a seq, a datetime, ISO text or a snapshot's name."
        )
    if isinstance(when, int):
        return _checked(when, engine.seq())
    if isinstance(when, str):
        if when in snapshots:
            return snapshots[when]
        when = _parsed(when, snapshots)
    return _at_time(when, engine)


def _checked(seq: int, last: int) -> int:
    if not 0 <= seq <= last:
        raise NotFoundError(f"There is no revision {seq}; the history goes from 0 to {last}.")
    return seq


def _parsed(text: str, snapshots: Mapping[str, Any]) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        hint = "Or give a seq, a datetime or ISO text."
        raise NotFoundError.among("snapshot", text, snapshots, hint=hint) from None


def _at_time(moment: datetime, engine: SqliteEngine) -> int:
    wanted_us = int(moment.astimezone(UTC).timestamp() * 1_000_000)
    # Seqs are in commit order, the clock need not be: the last revision not later than the moment.
    found = engine.query("SELECT max(seq) FROM rev WHERE at_us <= ?", [wanted_us])[0][0]
    if found is None:
        raise NotFoundError(f"{moment.isoformat(sep=' ')} is before this store's first change.")
    return int(found)
