"""Snapshots: the documents as they are, as an intent meets them, or as they were at a moment of the past.

Every present row stands in the history too, so a damaged one is read from there. What a
row says of itself counts only once it is verified: damage must not hide it from a query.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from orchstate.errors import CorruptStoreError
from orchstate.models.names import name_key
from orchstate.storage.horizon import check_moment
from orchstate.storage.losses import doubted
from orchstate.storage.pieces import is_packed
from orchstate.storage.tables import (
    BODY,
    CHANGE,
    DOC,
    FIELDS,
    REV,
    ROW_LENGTH,
    damage,
    described,
    is_sound,
    leave_out,
    revision_from,
    revisions,
    row_from,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchstate.storage.damages import Damages
    from orchstate.storage.engine import Revision, Row
    from orchstate.storage.pieces import Reader

logger = logging.getLogger(__name__)

# Rows that their own revision knows as living: damage has hidden them.
_HIDDEN: Final = f"""{DOC} WHERE deleted <> 0
    AND EXISTS (SELECT 1 FROM rev WHERE rev.seq = doc.seq AND rev.deleted = 0)"""  # noqa: S608
# Kinds of which a row stands in the history under another one: damage has made them up. A look at
# one row of each is enough, since no damage turns one real kind into another.
_MADE_UP: Final = """SELECT kind FROM doc
    WHERE id IN (SELECT min(id) FROM doc WHERE deleted = 0 GROUP BY kind)
    AND EXISTS (SELECT 1 FROM rev WHERE rev.seq = doc.seq AND rev.kind <> doc.kind)"""
_ALL: Final = f"{DOC} WHERE deleted = 0 UNION ALL {_HIDDEN} ORDER BY created_us, seq"
_OF_KIND: Final = (
    f"{DOC} WHERE deleted = 0 AND kind IN (SELECT ? UNION {_MADE_UP}) "
    f"UNION ALL {_HIDDEN} AND kind = ? ORDER BY created_us, seq"
)
_GONE: Final = "SELECT id FROM doc WHERE kind = ? AND deleted <> 0"
# The last revision of each document at a moment. The index is entered once per document and not read
# through, so that the length of the history does not matter.
_IDS: Final = """WITH RECURSIVE ids(id) AS (
    SELECT min(id) FROM rev
    UNION ALL SELECT (SELECT min(id) FROM rev WHERE id > ids.id) FROM ids WHERE ids.id IS NOT NULL)"""
_OF_NAME: Final = tuple(
    f"{rows} AND kind = ? AND name_key = ?" for rows in (f"{DOC} WHERE deleted = 0", _HIDDEN)
)
_LAST: Final = "(SELECT max(seq) FROM rev AS one WHERE one.id = ids.id AND one.seq <= ?)"
_FIRST: Final = "(SELECT min(seq) FROM rev AS one WHERE one.id = ids.id)"
_OF_REV: Final = ", ".join(f"rev.{name}" for name in f"{FIELDS}, checksum, {CHANGE}".split(", "))
_PAST: Final = (
    f"{_IDS} SELECT {_OF_REV} "  # noqa: S608
    f"FROM ids JOIN rev ON rev.seq = {_LAST} ORDER BY created_us, seq"
)
_PAST_SEQS: Final = f"{_IDS} SELECT rev.seq FROM ids JOIN rev ON rev.seq = {_LAST}"  # noqa: S608
_PAST_IDS: Final = f"""{_IDS} SELECT ids.id FROM ids JOIN rev ON rev.seq = {_LAST}
    WHERE rev.kind = ? OR (SELECT kind FROM rev WHERE rev.seq = {_FIRST}) = ?"""  # noqa: S608


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
        return next(map(self._verified, self._read(f"{DOC} WHERE id = ?", [id])), None)

    def find(self, kind: str, name: str) -> Row | None:
        """Return the living document of a name; raises as :meth:`get` does."""
        for sql in _OF_NAME:
            for row in map(self._verified, self._read(sql, [kind, name_key(name)])):
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
        if row.checksum() == found[ROW_LENGTH]:
            return row
        now = self._read(f"{DOC} WHERE id = ?", [row.id]) if is_packed(found[BODY]) else ()
        if now and now[0] != found:
            # It was written anew between the look at it and the look at its pieces.
            return self._verified(now[0])
        return self._from_history(row)

    def _from_history(self, damaged: Row) -> Row:
        sql = f"{REV} WHERE id = ? ORDER BY seq DESC LIMIT 1"
        for values in self._read(sql, [damaged.id]):
            revision = revision_from(self._read, values)
            if is_sound(revision, values):
                logger.warning("%s is damaged and was read from the history.", described(revision.row))
                return revision.row
        raise damage(damaged)

    def _names(self, damaged: Row) -> set[tuple[str, str]]:
        """Return what a damaged row, and earlier ones of its document, say that it is called."""
        earlier = (revision.row for revision in revisions(self._read, 0, until=None, id=damaged.id))
        return {(row.kind, row.name) for row in (damaged, *earlier)}

    def reread(self, after: str, count: int) -> tuple[list[Row], list[Row], str]:
        """Return so many present rows behind an id, those among them that are damaged, and the last id.

        A damaged one is as its history says; what cannot be read is named in the damages, and left out.
        """
        rows, mended, last = [], [], after
        for found in self._read(f"{DOC} WHERE id > ? ORDER BY id LIMIT ?", [after, count]):
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

    def __init__(self, read: Reader, seq: int, damages: Damages | None = None) -> None:
        self._read = read
        self._seq = seq
        self._damages = damages
        self.left_out: set[str] = set()
        """Ids of documents that :meth:`rows` has left out since they are damaged."""

    def get(self, id: str) -> Row | None:
        """Return the row of an id, also of a deleted document.

        Raises
        ------
        CorruptStoreError
            If it is damaged.
        NotFoundError
            If the moment was compacted away.
        """
        sql = f"{REV} WHERE id = ? AND seq <= ? ORDER BY seq DESC LIMIT 1"
        found = self._read(sql, [id, self._seq])
        revisions = [(revision_from(self._read, values), values) for values in found]
        check_moment(self._read, self._seq)
        lost = doubted(self._read, self._seq)
        for revision, values in revisions:
            row = self._row(revision, values, lost)
            if row is None:
                raise self._damage(revision.row, lost)
            return row
        if id in lost:
            raise CorruptStoreError(f"What {id} was at {self._seq} is lost in damage.", ids=[id])
        return None

    def find(self, kind: str, name: str) -> Row | None:
        """Return the document that had the name then; raises as :meth:`get` does."""
        wanted, damaged = name_key(name), None
        lost = doubted(self._read, self._seq)
        for values in self._read(_PAST, [self._seq]):
            revision = revision_from(self._read, values)
            if name_key(str(revision.row.name)) != wanted or not _lives(revision.row, kind):
                continue
            row = self._row(revision, values, lost)
            if row is not None:
                check_moment(self._read, self._seq)
                return row
            damaged = revision.row
        check_moment(self._read, self._seq)
        if damaged is not None:
            raise self._damage(damaged, lost)
        if lost:
            # One of those may have had the name.
            raise CorruptStoreError(
                f"Whether there was a {kind} {name!r} at {self._seq} is not certain: revisions were lost in "
                "damage. Run: orchstate doctor"
            )
        return None

    def rows(self, kind: str | None = None) -> list[Row]:
        """Return all documents that lived then, by creation; damaged ones are left out and logged.

        Raises
        ------
        NotFoundError
            If the moment was compacted away.
        """
        found = self._read(_PAST, [self._seq])
        lost = doubted(self._read, self._seq)
        last = []
        for values in found:
            row = self._row(revision_from(self._read, values), values, lost)
            if row is None:
                self.left_out.add(str(values[0]))
                if values[0] not in lost:
                    leave_out(self._read, values, self._damages)
            elif _lives(row, kind):
                last.append(row)
        check_moment(self._read, self._seq)
        return last

    def _damage(self, row: Row, lost: Mapping[str, int]) -> CorruptStoreError:
        if lost.get(row.id, 0) <= row.seq:
            return damage(row)
        what = f"What {row.kind} {row.name!r} was at {self._seq} is not certain"
        return CorruptStoreError(f"{what}: revisions of it were lost in damage.", ids=[row.id])

    def _row(self, revision: Revision, values: tuple[Any, ...], lost: Mapping[str, int]) -> Row | None:
        """Return the row of a revision; None if it is damaged and not the present one, or not the last."""
        if lost.get(revision.row.id, 0) > revision.row.seq:
            return None
        if is_sound(revision, values):
            return revision.row
        # Of the present one there is another copy, with a sum that needs nothing of the change.
        for found in self._read(f"{DOC} WHERE id = ? AND seq = ?", [revision.row.id, revision.row.seq]):
            row = row_from(self._read, found)
            if row.checksum() == found[ROW_LENGTH]:
                return row
        return None

    def gone(self, kind: str) -> list[str]:
        """Return the ids of all documents of a kind deleted by then; raises as :meth:`rows` does."""
        lived = {row.id for row in self.rows(kind)}
        found = self._read(_PAST_IDS, [self._seq, kind, kind])
        check_moment(self._read, self._seq)
        return [str(id) for (id,) in found if id not in lived]


def last_seqs(read: Reader, seq: int) -> list[int]:
    """Return the seqs of the last revision of each document at a moment."""
    return [int(found) for (found,) in read(_PAST_SEQS, [seq])]


def _lives(row: Row, kind: str | None) -> bool:
    return not row.deleted and kind in (None, row.kind)
