"""The timeline: which revision was the last one at a time, without reading the whole history.

Seqs are in the order of commits, and their times are too, but for where a clock was set
back, or where two machines with different clocks commit in turns. Each such place is noted
when it happens, so the history is a row of stretches in which times only go up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchstate.storage.schema import has_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchstate.storage.connection import Query

_SLOW: Final = "SELECT max(seq) FROM rev WHERE committed_us <= ?"
_BEGINNING: Final = "SELECT max(seq) FROM backstep WHERE committed_us <= ? AND seq < ?"
_END: Final = "SELECT min(seq) FROM backstep WHERE seq > ?"
# Each on its own: SQLite looks up one end of an index at once, and reads through it for both.
_ENDS: Final = "SELECT (SELECT min(seq) FROM rev WHERE seq >= ?), (SELECT max(seq) FROM rev WHERE seq < ?)"
_NEXT: Final = "SELECT seq, at_us, committed_us FROM rev WHERE seq > ? ORDER BY seq LIMIT 100"
# What was on its way for longer, as with a full disk or a dead process, nobody had seen before its commit.
_MOST_ON_ITS_WAY_US: Final = 10_000_000
_UP_TO: Final = "SELECT seq, committed_us FROM rev WHERE seq <= ? ORDER BY seq DESC LIMIT 1"


def last_by(query: Query, wanted_us: int) -> int | None:
    """Return the last seq whose commit was at a time or before it, None if there is none.

    Parameters
    ----------
    query
        Returns the rows of a reading SQL statement.
    wanted_us
        The time in microseconds since 1970 (UTC).
    """
    # A file that is only read may be of a format that does not note them.
    if not has_table(query, "backstep"):
        found = query(_SLOW, [wanted_us])[0][0]
        return None if found is None else int(found)
    hits = (_last_within(query, wanted_us, *stretch) for stretch in _stretches(query, wanted_us))
    return next((hit for hit in hits if hit is not None), None)


def accepted_by(query: Query, wanted_us: int, seq: int) -> int:
    """Return the seq up to which revisions behind `seq` had been accepted by a time, and were on their way.

    Parameters
    ----------
    query
        Returns the rows of a reading SQL statement.
    wanted_us
        The time in microseconds since 1970 (UTC).
    seq
        Of the last commit by that time, 0 if there was none.
    """
    while found := query(_NEXT, [seq]):
        for next_seq, at_us, committed_us in found:
            if at_us > wanted_us or committed_us - at_us > _MOST_ON_ITS_WAY_US:
                return seq
            seq = int(next_seq)
    return seq


def _stretches(query: Query, wanted_us: int) -> Iterator[tuple[int, int]]:
    """Yield where each stretch that begins by a time begins, and the next one; the last stretch first."""
    before: int | None = 1 << 62
    while before:
        ((first,),) = query(_BEGINNING, [wanted_us, before])
        # None stands before the first stretch of all.
        ((end,),) = query(_END, [first or 0])
        yield first or 0, 1 << 62 if end is None else end
        before = first


def _last_within(query: Query, wanted_us: int, first: int, end: int) -> int | None:
    """Return the last seq of a stretch by a time; some of its revisions may have been removed."""
    ((low, high),) = query(_ENDS, [first, end])
    hit = None
    while None not in (low, high) and low <= high:
        ((seq, committed_us),) = query(_UP_TO, [(low + high) // 2])
        if committed_us <= wanted_us:
            hit, low = seq, (low + high) // 2 + 1
        else:
            high = seq - 1
    return hit
