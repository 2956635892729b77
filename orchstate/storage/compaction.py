"""Compaction: revisions that nobody wants any more leave the history, and the file gets smaller.

What goes is decided and done in one transaction, together with the record of it: killed at
any moment, either all of it has happened or nothing. What stays, for each document, is its
last revision at every moment that is kept, so these moments are exact and everybody who
looks later ends in the right state; and the revisions that stamps refer to.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchstate.models.intent import Intent
from orchstate.storage import snapshots, tables
from orchstate.storage.connection import transaction
from orchstate.storage.horizon import Compaction, last_compaction, write_compaction
from orchstate.storage.outbox import SUFFIX, scan
from orchstate.storage.pieces import unneeded
from orchstate.storage.presence import outboxes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from orchstate.models.intent import Origin
    from orchstate.storage.engine import Snapshot
    from orchstate.storage.pieces import Reader

logger = logging.getLogger(__name__)

_BEFORE: Final = "SELECT seq FROM rev WHERE seq < ? ORDER BY seq"
_PINNED: Final = """SELECT seq, id, revision FROM rev
    WHERE seq < ? AND (id, revision) IN (SELECT id, revision FROM pin)"""
_OF_PIN: Final = "SELECT seq FROM rev WHERE seq < ? AND id = ? AND revision = ?"
_COUNT: Final = "SELECT count(*) FROM rev"
_APPLIED: Final = "SELECT writer, max(n) FROM rev GROUP BY writer"
_SIZE: Final = "SELECT sum(length(body) + length(diff) + length(cell) + 300) FROM rev WHERE seq < ?"
# SQLite makes a copy, and keeps what it writes over until it is done.
_ROOM: Final = 2.5


class Wish(NamedTuple):
    """What a compaction is to do.

    Parameters
    ----------
    horizon
        The seq from which on every moment stays.
    moments
        Returns the seqs of snapshots by their names, given the present documents.
    snapshots, stamps
        Whether what they need stays.
    origin
        Who wants it.
    pins
        Returns id and revision of what stamps refer to that is not committed yet.
    """

    horizon: int
    moments: Callable[[Snapshot], Mapping[str, int]]
    snapshots: bool
    stamps: bool
    origin: Origin
    pins: Callable[[], Iterable[tuple[str, int]]] = tuple


class Plan(NamedTuple):
    """What a compaction removes, and what it leaves.

    Parameters
    ----------
    horizon
        The seq from which on every moment stays.
    kept
        Earlier moments that stay.
    removed
        Seqs of the revisions that go.
    revisions
        How many there are now.
    snapshots
        Names of snapshots whose moment goes.
    stamps
        Id and revision of what stamps refer to and goes.
    freed_bytes
        About what the revisions take.
    """

    horizon: int
    kept: tuple[int, ...]
    removed: tuple[int, ...]
    revisions: int
    snapshots: tuple[str, ...]
    stamps: tuple[tuple[str, int], ...]
    freed_bytes: int


def plan(read: Reader, wish: Wish) -> Plan:
    """Return what a compaction would do; nothing is changed by it."""
    last = last_compaction(read)
    horizon = max(wish.horizon, last.horizon if last else 0)
    named = {
        name: seq
        for name, seq in wish.moments(snapshots.Live(read)).items()
        if 0 < seq < horizon and (last is None or last.has(seq))
    }
    kept = tuple(sorted(set(named.values()))) if wish.snapshots else ()
    needed = {seq for moment in (*kept, horizon) for seq in snapshots.last_seqs(read, moment)}
    # Those on their way first: what is committed meanwhile is then among the others.
    pinned = {seq: pin for pin in wish.pins() for (seq,) in read(_OF_PIN, [horizon, *pin])}
    pinned |= {seq: (id, revision) for seq, id, revision in read(_PINNED, [horizon])}
    lost = () if wish.stamps else tuple(pin for seq, pin in pinned.items() if seq not in needed)
    if wish.stamps:
        needed |= pinned.keys()
    before = [seq for (seq,) in read(_BEFORE, [horizon])]
    removed = tuple(seq for seq in before if seq not in needed)
    ((size,),), ((count,),) = read(_SIZE, [horizon]), read(_COUNT)
    freed_bytes = (size or 0) * len(removed) // max(1, len(before))
    given_up = () if wish.snapshots else tuple(named)
    return Plan(horizon, kept, removed, count, given_up, lost, freed_bytes)


def pins_on_their_way(path: Path | None) -> Iterator[tuple[str, int]]:
    """Yield id and revision of each pin in the outboxes of a store's file, also of living processes."""
    for file in outboxes(path).glob(f"*{SUFFIX}") if path else ():
        with contextlib.suppress(OSError):
            for record in scan(file.read_bytes()).records:
                # Beside the edits there is a header, and what a newer version may have written.
                with contextlib.suppress(ValueError):
                    operations = Intent.decode(record).operations
                    yield from ((each.id, each.set["revision"]) for each in operations if each.verb == "pin")


def compact(connection: sqlite3.Connection, read: Reader, wish: Wish) -> Plan:
    """Remove what is not wanted any more, and record it, in one transaction; returns what was done."""
    with transaction(connection):
        done = plan(read, wish)
        if done.removed:
            before = dict(read(_APPLIED))
            _remove(connection, read, done)
            # Where the row of a writer is damaged, this tells what it had done, so that it is not done twice.
            gone = dict(before.items() - dict(read(_APPLIED)).items())
            write_compaction(connection, _record(read, done, wish.origin)._replace(applied=gone))
    return done


def _remove(connection: sqlite3.Connection, read: Reader, done: Plan) -> None:
    # What is removed is not to be found again in free pages, where the file cannot be made smaller.
    connection.execute("PRAGMA secure_delete = ON")
    connection.executemany("DELETE FROM rev WHERE seq = ?", [(seq,) for seq in done.removed])
    connection.executemany("DELETE FROM pin WHERE id = ? AND revision = ?", done.stamps)
    garbage = unneeded(read, tables.packed_texts(read))
    connection.executemany("DELETE FROM piece WHERE hash = ?", [(key,) for key in garbage])


def _record(read: Reader, done: Plan, origin: Origin) -> Compaction:
    last = last_compaction(read)
    count = len(done.removed)
    lost: dict[str, list[Any]] = {"snapshots": [*done.snapshots], "stamps": [*done.stamps]}
    return Compaction(
        n=last.n + 1 if last else 1,
        at_us=time.time_ns() // 1000,
        origin=origin,
        horizon=done.horizon,
        removed=count,
        removed_in_all=count + (last.removed_in_all if last else 0),
        kept=done.kept,
        lost=lost,
        applied={},
    )


def size_of(read: Reader) -> int:
    """Return the size of a database in bytes."""
    ((pages,),), ((page_bytes,),) = read("PRAGMA page_count"), read("PRAGMA page_size")
    return int(pages * page_bytes)


def shrink(connection: sqlite3.Connection, read: Reader, path: Path | None) -> bool:
    """Give free pages back to the disk; returns whether that could be done now.

    Where it cannot, nothing is lost: the pages are used for what comes next.
    """
    try:
        if path and shutil.disk_usage(path.parent).free < _ROOM * size_of(read):
            logger.warning("%s keeps its size: there is no room on the disk for a smaller copy.", path)
            return False
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except (sqlite3.Error, OSError) as error:
        logger.warning("%s keeps its size: %s. Compact it again when nobody uses it.", path, error)
        return False
    return True
