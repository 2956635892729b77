"""Rows of the SQLite tables: written, read back, and verified whenever they are read.

Every present row stands in the history too, so a damaged one is read from there. What a
row says of itself counts only once it is verified: damage must not hide it from a query.
What is long in a row stands elsewhere, see :mod:`orchstate.storage.pieces`; here every row is whole.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final

from orchstate.errors import CorruptStoreError
from orchstate.models.intent import Origin
from orchstate.models.names import name_key
from orchstate.storage.engine import Revision, Row
from orchstate.storage.horizon import check_moment, removed_by_compactions
from orchstate.storage.losses import UNKNOWN, count_lost, has_unreadable
from orchstate.storage.pieces import LIMIT, is_packed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orchstate.models.intent import Intent
    from orchstate.storage.damages import Damages
    from orchstate.storage.engine import Write
    from orchstate.storage.pieces import Pieces, Reader

logger = logging.getLogger(__name__)

_FIELDS: Final = (
    "id, kind, name, revision, seq, schema, created_us, updated_us, user, deleted, body, writer, foreign_seq"
)
_CHANGE: Final = "verb, diff, at_us, committed_us, txn, label, actor, notebook, cell, n"
_ROW_LENGTH: Final = len(_FIELDS.split(","))
# Where the texts stand that may be long.
_BODY: Final = _FIELDS.split(", ").index("body")
_SEQ: Final = _FIELDS.split(", ").index("seq")
_DIFF: Final = _ROW_LENGTH + 1 + _CHANGE.split(", ").index("diff")
# Only constants of this module are put into SQL texts, values never are.
_UPSERT: Final = ", ".join(
    f"{name} = excluded.{name}" for name in f"{_FIELDS}, checksum, name_key".split(", ")
)
_INSERT_DOC: Final = (
    f"INSERT INTO doc ({_FIELDS}, checksum, name_key) VALUES ({', '.join('?' * 15)}) "  # noqa: S608
    f"ON CONFLICT (id) DO UPDATE SET {_UPSERT}"
)
_INSERT_REV: Final = f"INSERT INTO rev ({_FIELDS}, checksum, {_CHANGE}) VALUES ({', '.join('?' * 24)})"  # noqa: S608
_DOC: Final = f"SELECT {_FIELDS}, checksum FROM doc"  # noqa: S608
_REV: Final = f"SELECT {_FIELDS}, checksum, {_CHANGE} FROM rev"  # noqa: S608
# Rows that their own revision knows as living: damage has hidden them.
_HIDDEN: Final = f"""{_DOC} WHERE deleted <> 0
    AND EXISTS (SELECT 1 FROM rev WHERE rev.seq = doc.seq AND rev.deleted = 0)"""  # noqa: S608
# Kinds of which a row stands in the history under another one: damage has made them up. A look at
# one row of each is enough, since no damage turns one real kind into another.
_MADE_UP: Final = """SELECT kind FROM doc
    WHERE id IN (SELECT min(id) FROM doc WHERE deleted = 0 GROUP BY kind)
    AND EXISTS (SELECT 1 FROM rev WHERE rev.seq = doc.seq AND rev.kind <> doc.kind)"""
_ALL: Final = f"{_DOC} WHERE deleted = 0 UNION ALL {_HIDDEN} ORDER BY created_us, seq"
_OF_KIND: Final = (
    f"{_DOC} WHERE deleted = 0 AND kind IN (SELECT ? UNION {_MADE_UP}) "
    f"UNION ALL {_HIDDEN} AND kind = ? ORDER BY created_us, seq"
)
_GONE: Final = "SELECT id FROM doc WHERE kind = ? AND deleted <> 0"
# The last revision of each document at a moment. The index is entered once per document and not read
# through, so that the length of the history does not matter.
_IDS: Final = """WITH RECURSIVE ids(id) AS (
    SELECT min(id) FROM rev
    UNION ALL SELECT (SELECT min(id) FROM rev WHERE id > ids.id) FROM ids WHERE ids.id IS NOT NULL)"""
_LAST: Final = "(SELECT max(seq) FROM rev AS one WHERE one.id = ids.id AND one.seq <= ?)"
_FIRST: Final = "(SELECT min(seq) FROM rev AS one WHERE one.id = ids.id)"
_OF_REV: Final = ", ".join(f"rev.{name}" for name in f"{_FIELDS}, checksum, {_CHANGE}".split(", "))
_PAST: Final = (
    f"{_IDS} SELECT {_OF_REV} "  # noqa: S608
    f"FROM ids JOIN rev ON rev.seq = {_LAST} ORDER BY created_us, seq"
)
_PAST_SEQS: Final = f"{_IDS} SELECT rev.seq FROM ids JOIN rev ON rev.seq = {_LAST}"  # noqa: S608
_PAST_IDS: Final = f"""{_IDS} SELECT ids.id FROM ids JOIN rev ON rev.seq = {_LAST}
    WHERE rev.kind = ? OR (SELECT kind FROM rev WHERE rev.seq = {_FIRST}) = ?"""  # noqa: S608
# No name begins with a NUL, so a freed one is in nobody's way.
_FREE_NAME: Final = "UPDATE doc SET name_key = char(0) || id WHERE id = ?"


class Live:
    """The documents as they are at the moment of each call."""

    def __init__(self, read: Reader, damages: Damages | None = None) -> None:
        self._read = read
        self._damages = damages

    def get(self, id: str) -> Row | None:
        """Return the row of an id, also of a deleted document.

        Raises
        ------
        CorruptStoreError
            If it is damaged, and so is its place in the history.
        """
        return next(map(self._verified, self._read(f"{_DOC} WHERE id = ?", [id])), None)

    def find(self, kind: str, name: str) -> Row | None:
        """Return the living document of a name; raises as :meth:`get` does."""
        for are_deleted in ("deleted = 0", "deleted <> 0"):
            found = self._read(
                f"{_DOC} WHERE kind = ? AND name_key = ? AND {are_deleted}", [kind, name_key(name)]
            )
            for row in map(self._verified, found):
                if _lives(row, kind):
                    return row
        return None

    def rows(self, kind: str | None = None) -> Iterator[Row]:
        """Return all living documents, by creation; those damaged beyond help are left out and logged."""
        for found in self._read(_OF_KIND, [kind, kind]) if kind else self._read(_ALL, []):
            try:
                row = self._verified(found)
            except CorruptStoreError as error:
                self._report(error, found)
                continue
            if _lives(row, kind):
                yield row

    def gone(self, kind: str) -> list[str]:
        """Return the ids of all deleted documents of a kind."""
        return [str(id) for (id,) in self._read(_GONE, [kind])]

    def _verified(self, found: tuple[Any, ...]) -> Row:
        row = row_from(self._read, found)
        if row.checksum() == found[_ROW_LENGTH]:
            return row
        now = self._read(f"{_DOC} WHERE id = ?", [row.id]) if is_packed(found[_BODY]) else ()
        if now and now[0] != found:
            # It was written anew between the look at it and the look at its pieces.
            return self._verified(now[0])
        return self._from_history(row)

    def _from_history(self, damaged: Row) -> Row:
        sql = f"{_REV} WHERE id = ? ORDER BY seq DESC LIMIT 1"
        for values in self._read(sql, [damaged.id]):
            revision = revision_from(self._read, values)
            if _is_sound(revision, values):
                logger.warning("%s is damaged and was read from the history.", _described(revision.row))
                return revision.row
        raise _damage(damaged)

    def _names(self, damaged: Row) -> set[tuple[str, str]]:
        """Return what a damaged row, and earlier ones of its document, say that it is called."""
        earlier = (revision.row for revision in revisions(self._read, 0, until=None, id=damaged.id))
        return {(row.kind, row.name) for row in (damaged, *earlier)}

    def reread(self, after: str, count: int) -> tuple[list[Row], list[Row], str]:
        """Return so many present rows behind an id, those among them that are damaged, and the last id.

        A damaged one is as its history says; what cannot be read is named in the damages, and left out.
        """
        rows, mended, last = [], [], after
        for found in self._read(f"{_DOC} WHERE id > ? ORDER BY id LIMIT ?", [after, count]):
            last = str(found[0])
            try:
                row = self._verified(found)
            except CorruptStoreError as error:
                self._report(error, found)
                continue
            rows.append(row)
            if row != row_from(self._read, found):
                mended.append(row)
        return rows, mended, last

    def _report(self, error: CorruptStoreError, found: tuple[Any, ...]) -> None:
        logger.error("%s", error)
        if self._damages is not None:
            self._damages.add(error, self._names(row_from(self._read, found)))


class Met(Live):
    """The documents as an intent meets them: each is read once, since nobody else writes meanwhile."""

    def __init__(self, read: Reader) -> None:
        super().__init__(read)
        self._rows: dict[str, Row | None] = {}

    def get(self, id: str) -> Row | None:
        """Return the row of an id as it was at the first look."""
        if id not in self._rows:
            self._rows[id] = super().get(id)
        return self._rows[id]


class Past:
    """The documents as they were after the commit `seq`.

    Every answer is checked for the moment to be still there: another process may have compacted
    the history since. What is gone then is told by ``NotFoundError``, and never left out silently.
    """

    def __init__(self, read: Reader, seq: int) -> None:
        self._read = read
        self._seq = seq

    def get(self, id: str) -> Row | None:
        """Return the row of an id, also of a deleted document.

        Raises
        ------
        CorruptStoreError
            If it is damaged.
        NotFoundError
            If the moment was compacted away.
        """
        sql = f"{_REV} WHERE id = ? AND seq <= ? ORDER BY seq DESC LIMIT 1"
        found = self._read(sql, [id, self._seq])
        revisions = [(revision_from(self._read, values), values) for values in found]
        check_moment(self._read, self._seq)
        for revision, values in revisions:
            if not _is_sound(revision, values):
                raise _damage(revision.row)
            return revision.row
        return None

    def find(self, kind: str, name: str) -> Row | None:
        """Return the document that had the name then; raises as :meth:`rows` does."""
        wanted = name_key(name)
        return next((row for row in self.rows(kind) if name_key(row.name) == wanted), None)

    def rows(self, kind: str | None = None) -> list[Row]:
        """Return all documents that lived then, by creation; damaged ones are left out and logged.

        Raises
        ------
        NotFoundError
            If the moment was compacted away.
        """
        found = _sound(self._read, self._read(_PAST, [self._seq]))
        rows = [revision.row for revision in found if _lives(revision.row, kind)]
        check_moment(self._read, self._seq)
        return rows

    def gone(self, kind: str) -> list[str]:
        """Return the ids of all documents of a kind deleted by then; raises as :meth:`rows` does."""
        lived = {row.id for row in self.rows(kind)}
        found = self._read(_PAST_IDS, [self._seq, kind, kind])
        check_moment(self._read, self._seq)
        return [str(id) for (id,) in found if id not in lived]


def revisions(read: Reader, seq: int, *, until: int | None, id: str | None) -> Iterator[Revision]:
    """Yield the revisions after `seq`, at most up to `until`, of one document or of all.

    Damaged ones are left out and logged.
    """
    conditions, values = ["seq > ?"], [seq]
    if until is not None:
        conditions.append("seq <= ?")
        values.append(until)
    of_id: list[Any] = [] if id is None else [id]
    conditions += ["id = ?"] * len(of_id)
    found = read(f"{_REV} WHERE {' AND '.join(conditions)} ORDER BY seq", [*values, *of_id])
    return _sound(read, found)


def revision(read: Reader, id: str, number: int) -> Revision | None:
    """Return one revision of a document, None if the history does not have it.

    Raises
    ------
    CorruptStoreError
        If it is damaged.
    """
    for values in read(f"{_REV} WHERE id = ? AND revision = ?", [id, number]):
        found = revision_from(read, values)
        if not _is_sound(found, values):
            raise _damage(found.row)
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
        if len(present[_BODY]) > LIMIT:
            present[_BODY] = past[_BODY] = pieces.packed(connection, present[_BODY])
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
        past[_BODY], past[_DIFF] = (pieces.packed(connection, past[at]) for at in (_BODY, _DIFF))
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
        for found in read(f"{_DOC} WHERE id = ?", [row.id]):
            if row_from(read, found).checksum() != found[_ROW_LENGTH]:
                _put_row(connection, row, pieces)


def free_name(connection: sqlite3.Connection, id: str) -> None:
    """Let another document have the name of this one, which is about to be written anew."""
    connection.execute(_FREE_NAME, [id])


def damaged(read: Reader) -> Iterator[str]:
    """Yield one sentence per row whose checksum or key does not fit, and per gap in the history."""
    for values in read(f"SELECT {_FIELDS}, checksum, name_key FROM doc", []):  # noqa: S608
        row = row_from(read, values)
        if row.checksum() != values[_ROW_LENGTH]:
            yield f"The present row of {_described(row)} is damaged."
        elif name_key(row.name) != values[-1]:
            yield f"The present row of {_described(row)} is not found by its name."
    seqs = 0
    for values in read(f"{_REV} ORDER BY seq", []):
        revision = revision_from(read, values)
        seqs += 1
        if not _is_sound(revision, values):
            yield f"The history of {_described(revision.row)} is damaged at {revision.row.seq}."
    if has_unreadable(read):
        yield UNKNOWN
    ((last,),) = read("SELECT seq FROM clock", [])
    removed, lost = removed_by_compactions(read), count_lost(read)
    if seqs + removed + lost != last:
        compacted = f", {removed} were removed by compactions" if removed else ""
        yield f"The history has {seqs} revisions{compacted}, and the clock says {last}."


def last_seqs(read: Reader, seq: int) -> list[int]:
    """Return the seqs of the last revision of each document at a moment."""
    return [int(found) for (found,) in read(_PAST_SEQS, [seq])]


def packed_texts(read: Reader) -> Iterator[str]:
    """Yield all texts that are stored without their long values, as they are stored."""
    for table, column in (("doc", "body"), ("rev", "body"), ("rev", "diff")):
        sql = f"SELECT {column} FROM {table} WHERE substr({column}, 1, 1) = ' '"  # noqa: S608
        yield from (text for (text,) in read(sql, []) if is_packed(text))


def _sound(read: Reader, found: Sequence[tuple[Any, ...]]) -> Iterator[Revision]:
    for values in found:
        revision = revision_from(read, values)
        if _is_sound(revision, values):
            yield revision
        elif not _was_removed(read, values):
            logger.error("%s", _damage(revision.row))


def _was_removed(read: Reader, values: Sequence[Any]) -> bool:
    """Whether a row was compacted away between the look at it and the look at its pieces."""
    is_in_pieces = is_packed(values[_BODY]) or is_packed(values[_DIFF])
    return is_in_pieces and not read("SELECT 1 FROM rev WHERE seq = ?", [values[_SEQ]])


def _lives(row: Row, kind: str | None) -> bool:
    return not row.deleted and kind in (None, row.kind)


def row_from(read: Reader, values: Sequence[Any]) -> Row:
    """Return the row in a row of a table; not verified."""
    row = Row(*values[:_ROW_LENGTH])
    return row._replace(body=read.whole(row.body)) if is_packed(row.body) else row


def revision_from(read: Reader, values: Sequence[Any]) -> Revision:
    """Return the revision in a row of the history: row, checksum, change; not verified."""
    verb, diff, at_us, committed_us, txn, label, actor, notebook, cell, n = values[_ROW_LENGTH + 1 :]
    origin = Origin(actor, notebook, cell)
    whole = read.whole(diff) if is_packed(diff) else diff
    return Revision(row_from(read, values), verb, whole, at_us, committed_us, txn, label, origin, n)


def _is_sound(revision: Revision, values: Sequence[Any]) -> bool:
    return bool(revision.checksum() == values[_ROW_LENGTH])


def _damage(row: Row) -> CorruptStoreError:
    return CorruptStoreError(
        f"{_described(row)} is damaged, so it is not used. Run: orchstate doctor", ids=[str(row.id)]
    )


def _described(row: Row) -> str:
    return f"{row.kind} {row.name!r} ({row.id}), revision {row.revision}"
