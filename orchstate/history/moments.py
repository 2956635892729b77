"""Moments: what people may say for a point in the history, and the seq that it means."""

from __future__ import annotations

import operator
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final, SupportsIndex

from orchstate.errors import NotFoundError, ValidationError, quoted
from orchstate.models.names import name_key
from orchstate.storage.horizon import check_time
from orchstate.storage.timeline import accepted_by, last_by

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchstate.storage.sqlite import SqliteEngine

When = SupportsIndex | date | str
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
    if isinstance(name, str) and (name.strip().casefold() in _TIMES or _is_number_or_time(name)):
        raise ValidationError(
            f"{name!r} is not a valid name of a snapshot: at() would take it for a seq or a time. "
            f"Add a word, such as 'version {name}'."
        )


def _is_number_or_time(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return _time(text.strip()) is not None
    return True


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def seq_of(
    when: When, engine: SqliteEngine, snapshots: Mapping[str, int], *, before_all: int | None = None
) -> int:
    """Return the last seq that belongs to a moment.

    Parameters
    ----------
    when
        A seq; a datetime (without a zone: local time); a date, for the beginning of that day;
        the name of a snapshot, in any case; or ISO text such as ``"2026-11-20 14:30"``.
    engine
        Where the history is.
    snapshots
        Seqs by :func:`name_key` of the name.
    before_all
        What a time before the first change means; None if it is an error, and if what the store was
        at the moment has to be there still.

    Raises
    ------
    NotFoundError
        If there was no store at that moment, or no snapshot of that name, or it was compacted away.
    ValidationError
        If `when` is something else.
    """
    if isinstance(when, str):
        if name_key(when) in snapshots:
            return snapshots[name_key(when)]
        moment = _time(when)
        if moment is None:
            hint = "Or give a seq, a datetime or ISO text."
            raise NotFoundError.among("snapshot", when, snapshots, hint=hint)
        when = moment
    if isinstance(when, date) and not isinstance(when, datetime):
        # As the ISO text of a day.
        when = datetime.combine(when, time())
    # pandas' "no time" is a datetime that is not even equal to itself.
    if isinstance(when, datetime) and when == when:
        return _at_time(when, engine, before_all)
    # The index of a DataFrame has integers that are no int.
    if isinstance(when, bool) or not isinstance(when, SupportsIndex):
        raise ValidationError(
            f"{quoted(when)} is no moment. Give a seq, a datetime, ISO text or a snapshot's name."
        )
    return _checked(operator.index(when), engine.seq())


def _checked(seq: int, last: int) -> int:
    if not 0 <= seq <= last:
        raise NotFoundError(f"There is no revision {seq}; the history goes from 0 to {last}.")
    return seq


def _at_time(moment: datetime, engine: SqliteEngine, before_all: int | None) -> int:
    wanted_us = (_utc(moment) - _EPOCH) // timedelta(microseconds=1)
    # By commit, whose order is that of the seqs; and what was on its way by then, as frames tell the time.
    found = last_by(engine.query, wanted_us)
    found = accepted_by(engine.query, wanted_us, found or 0) or found
    if before_all is None:
        check_time(engine.query, found, moment.isoformat(sep=" "))
    if found is None and before_all is None:
        raise NotFoundError(
            f"{moment.isoformat(sep=' ')} is before this store's first change. Give a later time, or 0 for "
            "the empty store."
        )
    return found if found is not None else before_all or 0


def _utc(moment: datetime) -> datetime:
    try:
        # Of pandas' own kind, one without a zone is no local time.
        return datetime.combine(moment.date(), moment.time(), moment.tzinfo).astimezone(UTC)
    except (ValueError, OverflowError):
        # At an end of the calendar, where another zone would lie outside of it; hours do not matter there.
        return moment.replace(tzinfo=UTC)
