"""Moments: what people may say for a point in the history, and the seq that it means."""

from __future__ import annotations

import math
import operator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, SupportsIndex

from orchstate.errors import NotFoundError, ValidationError
from orchstate.models.names import name_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchstate.storage.sqlite import SqliteEngine

When = SupportsIndex | datetime | str
# Words that people use for a time; what they mean changes, so no snapshot has such a name.
_TIMES: Final = ("now", "today", "yesterday", "tomorrow")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def check_snapshot_name(name: object) -> None:
    """Refuse a name that would be taken for a seq or a time.

    Raises
    ------
    ValidationError
        If it would.

    Examples
    --------
    >>> check_snapshot_name("before 2026-11-20")
    """
    if isinstance(name, str) and (name.strip().casefold() in _TIMES or _is_number(name) or _is_time(name)):
        raise ValidationError(
            f"{name!r} is not a valid name of a snapshot: at() would take it for a seq or a time. "
            f"Add a word, such as 'version {name}'."
        )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text.strip())
    except ValueError:
        return False
    return True


def seq_of(
    when: When, engine: SqliteEngine, snapshots: Mapping[str, int], *, before_all: int | None = None
) -> int:
    """Return the last seq that belongs to a moment.

    Parameters
    ----------
    when
        A seq; a datetime (without a zone: local time); the name of a snapshot, in any
        case; or ISO text such as ``"2026-11-20 14:30"``.
    engine
        Where the history is.
    snapshots
        Seqs by :func:`name_key` of the name.
    before_all
        What a time before the first change means; None if it is an error.

    Raises
    ------
    NotFoundError
        If there was no store at that moment, or no snapshot of that name.
    ValidationError
        If `when` is something else.
    """
    if isinstance(when, str):
        if name_key(when) in snapshots:
            return snapshots[name_key(when)]
        when = _parsed(when, snapshots)
    # pandas' "no time" is a datetime that is not even equal to itself.
    if isinstance(when, datetime) and when == when:
        return _at_time(when, engine, before_all)
    # The index of a DataFrame has integers that are no int.
    if isinstance(when, bool) or not isinstance(when, SupportsIndex):
        raise ValidationError(
            f"{when!r} is no moment. Give a seq, a datetime, ISO text or a snapshot's name."
        )
    return _checked(operator.index(when), engine.seq())


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


def _at_time(moment: datetime, engine: SqliteEngine, before_all: int | None) -> int:
    wanted_us = (_utc(moment) - _EPOCH) // timedelta(microseconds=1)
    # By commit, since an edit may have waited for it. Seqs are in its order and the clock need not be.
    found = engine.query("SELECT max(seq) FROM rev WHERE committed_us <= ?", [wanted_us])[0][0]
    if found is None and before_all is None:
        raise NotFoundError(
            f"{moment.isoformat(sep=' ')} is before this store's first change. Give a later time, or 0 for "
            "the empty store."
        )
    return int(found) if found is not None else before_all or 0


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        # At an end of the calendar, where another zone would lie outside of it; hours do not matter there.
        return moment.replace(tzinfo=UTC)
