"""The horizon: how far back the history is whole, and which moments before it are there all the same.

A compaction removes revisions for good and leaves a row that says so: from which seq on
every moment is exact, which earlier ones are, what was removed, when and by whom. The last
such row counts; those before it are a record for people.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchstate.errors import CorruptStoreError, NotFoundError
from orchstate.models.intent import Origin
from orchstate.storage.engine import checksum_of
from orchstate.storage.losses import check_lost
from orchstate.storage.schema import has_table

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from orchstate.storage.connection import Query

_FIELDS: Final = "n, at_us, actor, notebook, cell, horizon, removed, removed_in_all, kept, lost"
_SELECT: Final = f"SELECT {_FIELDS}, checksum FROM compaction"  # noqa: S608
_INSERT: Final = f"INSERT INTO compaction ({_FIELDS}, checksum) VALUES ({', '.join('?' * 11)})"  # noqa: S608
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Compaction(NamedTuple):
    """What one compaction did.

    Parameters
    ----------
    n
        Its number, from 1.
    at_us
        When, in microseconds since 1970 (UTC).
    origin
        Who did it, and where.
    horizon
        The first seq from which on every moment is exact.
    removed, removed_in_all
        How many revisions it removed, and all compactions so far.
    kept
        Earlier moments that are exact, in order.
    lost
        What was given up by request: names of snapshots, and stamps as ``[id, revision]``.
    applied
        Number of the last intent of each writer of which the history says it no more.
    """

    n: int
    at_us: int
    origin: Origin
    horizon: int
    removed: int
    removed_in_all: int
    kept: tuple[int, ...]
    lost: dict[str, list[Any]]
    applied: dict[str, int]

    def has(self, seq: int) -> bool:
        """Whether a moment is exact."""
        return seq >= self.horizon or seq == 0 or seq in self.kept


def compactions(query: Query) -> list[Compaction]:
    """Return all compactions of a store, in order.

    Raises
    ------
    CorruptStoreError
        If the row of one is damaged.
    """
    return [compaction_from(values) for values in _rows(query, f"{_SELECT} ORDER BY n")]


def last_compaction(query: Query) -> Compaction | None:
    """Return the compaction that counts, None if there was none; raises as :func:`compactions` does."""
    rows = _rows(query, f"{_SELECT} ORDER BY n DESC LIMIT 1")
    return compaction_from(rows[0]) if rows else None


def removed_by_compactions(query: Query) -> int:
    """Return how many revisions are not there any more; raises as :func:`compactions` does."""
    last = last_compaction(query)
    return last.removed_in_all if last else 0


def check_moment(query: Query, seq: int) -> None:
    """Refuse a moment that is not exact any more.

    Raises
    ------
    NotFoundError
        If it was compacted away; names the nearest moments that are there.
    CorruptStoreError
        If that cannot be told.
    """
    last = last_compaction(query)
    if last is not None and not last.has(seq):
        raise _gone(last, f"What the store was at revision {seq}", seq)
    check_lost(query, seq)


def check_time(query: Query, seq: int | None, shown: str) -> None:
    """Refuse a time of which it is not certain any more what was there; raises as `check_moment` does.

    Parameters
    ----------
    query
        Returns the rows of a reading SQL statement.
    seq
        The last revision at that time, among those that are there; None if there is none.
    shown
        The time, for the message.
    """
    if seq:
        check_lost(query, seq)
    last = last_compaction(query)
    # Between a snapshot's revision and the next one that is left others may have been.
    if last is not None and (seq or 0) < last.horizon:
        raise _gone(last, f"What the store was at {shown}", seq or 0)


def _gone(last: Compaction, what: str, seq: int) -> NotFoundError:
    there = [0, *last.kept, last.horizon]
    below = max(moment for moment in there if moment <= seq)
    above = min(moment for moment in there if moment > seq)
    at = (_EPOCH + timedelta(microseconds=last.at_us)).isoformat(sep=" ", timespec="seconds")
    return NotFoundError(
        f"{what} was removed by a compaction, at {at} by {last.origin.actor!r}. The nearest revisions whose "
        f"moments are there: {below} and {above}; from {last.horizon} on, all are."
    )


def write_compaction(connection: sqlite3.Connection, done: Compaction) -> None:
    """Record a compaction in the transaction that does it."""
    values = _values(done)
    connection.execute(_INSERT, [*values, _checksum(values)])


def _rows(query: Query, sql: str) -> Sequence[tuple[Any, ...]]:
    # A file that is only read may be of a format that knows no compactions yet.
    return query(sql, []) if has_table(query, "compaction") else ()


def _values(done: Compaction) -> list[Any]:
    numbers = [done.horizon, done.removed, done.removed_in_all]
    # In one column, so that the table is as it was.
    lost = done.lost | {"applied": done.applied} if done.applied else done.lost
    return [done.n, done.at_us, *done.origin, *numbers, json.dumps(done.kept), json.dumps(lost)]


def compaction_from(found: Sequence[Any]) -> Compaction:
    """Return the compaction in a row.

    Raises
    ------
    CorruptStoreError
        If it is damaged.
    """
    *values, checksum = found
    if _checksum(values) != checksum:
        raise CorruptStoreError(
            "The record of what was removed from the history is damaged, so no past moment is certain. "
            "Run: orchstate doctor"
        )
    n, at_us, actor, notebook, cell, horizon, removed, in_all, kept, lost = values
    origin, lost = Origin(actor, notebook, cell), json.loads(lost)
    applied = lost.pop("applied", {})
    return Compaction(n, at_us, origin, horizon, removed, in_all, tuple(json.loads(kept)), lost, applied)


def _checksum(values: Sequence[Any]) -> bytes:
    return checksum_of("\x1f".join(map(str, values)))
