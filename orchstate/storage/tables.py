"""Rows of the SQLite tables: written, read back, and verified whenever they are read.

What is long in a row stands elsewhere, see :mod:`orchstate.storage.pieces`; here every row is whole.
"""

from __future__ import annotations

import logging
import operator
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final

from orchstate.errors import CorruptStoreError
from orchstate.models.intent import Origin
from orchstate.models.names import name_key
from orchstate.storage.engine import CHANGE_COLUMNS, Revision, Row, change_sum, row_sum
from orchstate.storage.horizon import removed_by_compactions
from orchstate.storage.losses import UNKNOWN, count_lost, has_unreadable
from orchstate.storage.pieces import LIMIT, is_packed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orchstate.models.intent import Intent
    from orchstate.storage.damages import Damages
    from orchstate.storage.engine import Change, Write
    from orchstate.storage.pieces import Pieces, Reader

logger = logging.getLogger(__name__)

FIELDS: Final = (
    "id, kind, name, revision, seq, schema, created_us, updated_us, user, deleted, body, writer, foreign_seq"
)
CHANGE: Final = "verb, diff, at_us, committed_us, txn, label, actor, notebook, cell, n"
ROW_LENGTH: Final = len(FIELDS.split(","))
# Where the texts stand that may be long.
BODY: Final = FIELDS.split(", ").index("body")
_SEQ: Final = FIELDS.split(", ").index("seq")
_DIFF: Final = ROW_LENGTH + 1 + CHANGE.split(", ").index("diff")
_IN_REV: Final = f"{FIELDS}, checksum, {CHANGE}".split(", ")
_CHANGE_OF: Final = operator.itemgetter(*(_IN_REV.index(name) for name in CHANGE_COLUMNS))
# Only constants of this module are put into SQL texts, values never are.
_UPSERT: Final = ", ".join(
    f"{name} = excluded.{name}" for name in f"{FIELDS}, checksum, name_key".split(", ")
)
_INSERT_DOC: Final = (
    f"INSERT INTO doc ({FIELDS}, checksum, name_key) VALUES ({', '.join('?' * 15)}) "  # noqa: S608
    f"ON CONFLICT (id) DO UPDATE SET {_UPSERT}"
)
_INSERT_REV: Final = f"INSERT INTO rev ({FIELDS}, checksum, {CHANGE}) VALUES ({', '.join('?' * 24)})"  # noqa: S608
DOC: Final = f"SELECT {FIELDS}, checksum FROM doc"  # noqa: S608
REV: Final = f"SELECT {FIELDS}, checksum, {CHANGE} FROM rev"  # noqa: S608
# No name begins with a NUL, so a freed one is in nobody's way.
_FREE_NAME: Final = "UPDATE doc SET name_key = char(0) || id WHERE id = ?"


def revisions(
    read: Reader, seq: int, *, until: int | None, id: str | None, damages: Damages | None = None
) -> Iterator[Revision]:
    """Yield the revisions after `seq`, at most up to `until`, of one document or of all.

    Damaged ones are left out, logged, and named in the damages.
    """
    return sound(read, _between(read, seq, until=until, id=id), damages)


def changes(
    read: Reader, seq: int, *, until: int | None, id: str | None, damages: Damages | None = None
) -> Iterator[Change]:
    """Do what :func:`revisions` does for a table: with the values of its columns alone, in less time."""
    for values in _between(read, seq, until=until, id=id):
        whole = values
        if is_packed(values[BODY]) or is_packed(values[_DIFF]):
            whole = tuple(
                read.whole(value) if at in (BODY, _DIFF) else value for at, value in enumerate(values)
            )
        if change_sum(row_sum(whole[:ROW_LENGTH]), whole[ROW_LENGTH + 1 :]) == whole[ROW_LENGTH]:
            yield _CHANGE_OF(whole)
        else:
            leave_out(read, values, damages)


def _between(read: Reader, seq: int, *, until: int | None, id: str | None) -> Sequence[tuple[Any, ...]]:
    conditions, values = ["seq > ?"], [seq]
    if until is not None:
        conditions.append("seq <= ?")
        values.append(until)
    of_id: list[Any] = [] if id is None else [id]
    conditions += ["id = ?"] * len(of_id)
    return read(f"{REV} WHERE {' AND '.join(conditions)} ORDER BY seq", [*values, *of_id])


def revision(read: Reader, id: str, number: int) -> Revision | None:
    """Return one revision of a document, None if the history does not have it.

    Raises
    ------
    CorruptStoreError
        If it is damaged.
    """
    for values in read(f"{REV} WHERE id = ? AND revision = ?", [id, number]):
        found = revision_from(read, values)
        if not is_sound(found, values):
            raise damage(found.row)
        return found
    return None


def revision_of(write: Write, intent: Intent, seq: int, writer: str, old: Row | None) -> Revision:
    """Return the revision that a write becomes, on top of the row that was there."""
    row = Row(
        id=write.id,
        kind=write.kind,
        name=write.name,
        revision=old.revision + 1 if old else 1,
        seq=seq,
        schema=write.schema,
        created_us=write.created_us,
        updated_us=write.updated_us,
        user=write.user,
        deleted=write.verb == "delete",
        body=write.body,
        writer=writer,
        foreign_seq=0 if not old else old.foreign_seq if old.writer == writer else old.seq,
    )
    now_us = time.time_ns() // 1000
    circumstances = (intent.at_us, now_us, intent.txn, intent.label, intent.origin, intent.n)
    return Revision(row, write.verb, write.diff, *circumstances)


def insert(connection: sqlite3.Connection, revisions: Iterable[Revision], pieces: Pieces) -> None:
    """Write revisions to the history and make their rows the present ones."""
    values = [_values(revision) for revision in revisions]
    for present, past in values:
        if len(present[BODY]) > LIMIT:
            present[BODY] = past[BODY] = pieces.packed(connection, present[BODY])
        if len(past[_DIFF]) > LIMIT:
            past[_DIFF] = pieces.packed(connection, past[_DIFF])
    connection.executemany(_INSERT_DOC, [present for present, _ in values])
    connection.executemany(_INSERT_REV, [past for _, past in values])


def _values(revision: Revision) -> tuple[list[Any], list[Any]]:
    row, origin = revision.row, revision.origin
    fields = [
        row.id,
        row.kind,
        row.name,
        row.revision,
        row.seq,
        row.schema,
        row.created_us,
        row.updated_us,
        row.user,
        int(row.deleted),
        row.body,
        row.writer,
        row.foreign_seq,
    ]
    change = [
        revision.verb,
        revision.diff,
        revision.at_us,
        revision.committed_us,
        revision.txn,
        revision.label,
    ]
    place = [origin.actor, origin.notebook, origin.cell, revision.n]
    checksum = row.checksum()
    return (
        [*fields, checksum, name_key(row.name)],
        [*fields, revision.checksum(checksum), *change, *place],
    )


def put(
    connection: sqlite3.Connection, rows: Iterable[Row], revisions: Iterable[Revision], pieces: Pieces
) -> list[Row]:
    """Fill empty tables; returns the rows that found no place, since another document has their name."""
    for revision in revisions:
        past = _values(revision)[1]
        past[BODY], past[_DIFF] = (pieces.packed(connection, past[at]) for at in (BODY, _DIFF))
        connection.execute(_INSERT_REV, past)
    return [row for row in rows if not _put_row(connection, row, pieces)]


def _put_row(connection: sqlite3.Connection, row: Row, pieces: Pieces) -> bool:
    stored = row._replace(body=pieces.packed(connection, row.body))
    try:
        connection.execute(_INSERT_DOC, [*stored, row.checksum(), name_key(row.name)])
    except sqlite3.IntegrityError:
        return False
    return True


def mend(connection: sqlite3.Connection, read: Reader, rows: Iterable[Row], pieces: Pieces) -> None:
    """Write present rows anew that are damaged, unless somebody has written them meanwhile."""
    for row in rows:
        for found in read(f"{DOC} WHERE id = ?", [row.id]):
            if row_from(read, found).checksum() != found[ROW_LENGTH]:
                _put_row(connection, row, pieces)


def free_name(connection: sqlite3.Connection, id: str) -> None:
    """Let another document have the name of this one, which is about to be written anew."""
    connection.execute(_FREE_NAME, [id])


def damaged(read: Reader) -> Iterator[str]:
    """Yield one sentence per row whose checksum or key does not fit, and per gap in the history."""
    for values in read(f"SELECT {FIELDS}, checksum, name_key FROM doc", []):  # noqa: S608
        row = row_from(read, values)
        if row.checksum() != values[ROW_LENGTH]:
            yield f"The present row of {described(row)} is damaged."
        elif name_key(row.name) != values[-1]:
            yield f"The present row of {described(row)} is not found by its name."
    seqs = 0
    for values in read(f"{REV} ORDER BY seq", []):
        revision = revision_from(read, values)
        seqs += 1
        if not is_sound(revision, values):
            yield f"The history of {described(revision.row)} is damaged at {revision.row.seq}."
    if has_unreadable(read):
        yield UNKNOWN
    ((last,),) = read("SELECT seq FROM clock", [])
    removed, lost = removed_by_compactions(read), count_lost(read)
    if seqs + removed + lost != last:
        compacted = f", {removed} were removed by compactions" if removed else ""
        yield f"The history has {seqs} revisions{compacted}, and the clock says {last}."


def packed_texts(read: Reader) -> Iterator[str]:
    """Yield all texts that are stored without their long values, as they are stored."""
    for table, column in (("doc", "body"), ("rev", "body"), ("rev", "diff")):
        sql = f"SELECT {column} FROM {table} WHERE substr({column}, 1, 1) = ' '"  # noqa: S608
        yield from (text for (text,) in read(sql, []) if is_packed(text))


def sound(
    read: Reader, found: Sequence[tuple[Any, ...]], damages: Damages | None = None
) -> Iterator[Revision]:
    """Yield the revisions in rows of the history; damaged ones are left out, logged, and in the damages."""
    for values in found:
        revision = revision_from(read, values)
        if is_sound(revision, values):
            yield revision
        else:
            leave_out(read, values, damages)


def leave_out(read: Reader, values: Sequence[Any], damages: Damages | None) -> None:
    """Tell that a row of the history is damaged, and left out."""
    is_in_pieces = is_packed(values[BODY]) or is_packed(values[_DIFF])
    # It may have been compacted away between the look at it and the look at its pieces.
    if not is_in_pieces or read("SELECT 1 FROM rev WHERE seq = ?", [values[_SEQ]]):
        row = row_from(read, values)
        logger.error("%s", damage(row))
        if damages is not None:
            # Without its id: what it is now is another matter.
            message = f"The history of {described(row)} is damaged at {row.seq}, and left out."
            damages.add(CorruptStoreError(f"{message} Run: orchstate doctor"))


def row_from(read: Reader, values: Sequence[Any]) -> Row:
    """Return the row in a row of a table; not verified."""
    row = Row(*values[:ROW_LENGTH])
    return row._replace(body=read.whole(row.body)) if is_packed(row.body) else row


def revision_from(read: Reader, values: Sequence[Any]) -> Revision:
    """Return the revision in a row of the history: row, checksum, change; not verified."""
    verb, diff, at_us, committed_us, txn, label, actor, notebook, cell, n = values[ROW_LENGTH + 1 :]
    origin = Origin(actor, notebook, cell)
    whole = read.whole(diff) if is_packed(diff) else diff
    return Revision(row_from(read, values), verb, whole, at_us, committed_us, txn, label, origin, n)


def is_sound(revision: Revision, values: Sequence[Any]) -> bool:
    """Whether a revision is the one of which the row of the history has the sum."""
    return bool(revision.checksum() == values[ROW_LENGTH])


def damage(row: Row) -> CorruptStoreError:
    """Return the error of a row that is damaged beyond help."""
    return CorruptStoreError(
        f"{described(row)} is damaged, so it is not used. Run: orchstate doctor", ids=[str(row.id)]
    )


def described(row: Row) -> str:
    """Return how messages of damage call a row."""
    return f"{row.kind} {row.name!r} ({row.id}), revision {row.revision}"
