"""Rows of the SQLite tables: written, read back, and verified whenever they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from orchstate.errors import CorruptStoreError
from orchstate.models.intent import Origin
from orchstate.models.names import name_key
from orchstate.storage.engine import Revision, Row

if TYPE_CHECKING:
    import sqlite3

Query = Callable[[str, Sequence[Any]], Sequence[tuple[Any, ...]]]

_ROW: Final = (
    "id, kind, name, revision, seq, schema, created_us, updated_us, user, deleted, body, writer, "
    "foreign_seq, checksum"
)
_REV: Final = f"{_ROW}, verb, diff, at_us, txn, label, actor, notebook, cell, n"
# Only constants of this module are put into SQL texts, values never are.
_INSERT_DOC: Final = f"INSERT OR REPLACE INTO doc ({_ROW}, name_key) VALUES ({', '.join('?' * 15)})"  # noqa: S608
_INSERT_REV: Final = f"INSERT INTO rev ({_REV}) VALUES ({', '.join('?' * 23)})"  # noqa: S608
_DOC: Final = f"SELECT {_ROW} FROM doc WHERE"  # noqa: S608
_PAST: Final = f"SELECT {_ROW} FROM rev WHERE"  # noqa: S608
_HISTORY: Final = f"SELECT {_REV} FROM rev WHERE"  # noqa: S608


class Live:
    """The documents as they are at the moment of each call."""

    def __init__(self, query: Query) -> None:
        self._query = query

    def get(self, id: str) -> Row | None:
        """Return the row of an id, also of a deleted document."""
        return _first(self._query(f"{_DOC} id = ?", [id]))

    def find(self, kind: str, name: str) -> Row | None:
        """Return the living document of a name."""
        return _first(
            self._query(f"{_DOC} kind = ? AND name_key = ? AND deleted = 0", [kind, name_key(name)])
        )

    def rows(self, kind: str | None = None) -> Iterator[Row]:
        """Return all living documents, by creation."""
        of_kind, values = ("AND kind = ?", [kind]) if kind else ("", [])
        return map(_verified, self._query(f"{_DOC} deleted = 0 {of_kind} ORDER BY created_us, seq", values))


class Past:
    """The documents as they were after the commit `seq`."""

    def __init__(self, query: Query, seq: int) -> None:
        self._query = query
        self._seq = seq

    def get(self, id: str) -> Row | None:
        """Return the row of an id, also of a deleted document."""
        return _first(self._query(f"{_PAST} id = ? AND seq <= ? ORDER BY seq DESC LIMIT 1", [id, self._seq]))

    def find(self, kind: str, name: str) -> Row | None:
        """Return the document that had the name then."""
        wanted = name_key(name)
        return next((row for row in self.rows(kind) if name_key(row.name) == wanted), None)

    def rows(self, kind: str | None = None) -> Iterator[Row]:
        """Return all documents that lived then, by creation."""
        of_kind, values = ("AND kind = ?", [kind]) if kind else ("", [])
        latest = f"SELECT max(seq) FROM rev WHERE seq <= ? {of_kind} GROUP BY id"  # noqa: S608
        sql = f"{_PAST} seq IN ({latest}) AND deleted = 0 ORDER BY created_us, seq"
        return map(_verified, self._query(sql, [self._seq, *values]))


def revisions(query: Query, seq: int, *, until: int | None, id: str | None) -> list[Revision]:
    """Return the revisions after `seq`, at most up to `until`, of one document or of all."""
    conditions, values = ["seq > ?"], [seq]
    if until is not None:
        conditions.append("seq <= ?")
        values.append(until)
    of_id: list[Any] = [] if id is None else [id]
    conditions += ["id = ?"] * len(of_id)
    found = query(f"{_HISTORY} {' AND '.join(conditions)} ORDER BY seq", [*values, *of_id])
    return [_revision(row) for row in found]


def insert(connection: sqlite3.Connection, revision: Revision) -> None:
    """Write a revision to the history and make its row the present one."""
    row, origin = revision.row, revision.origin
    stored = [
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
        row.checksum(),
    ]
    circumstances = [revision.verb, revision.diff, revision.at_us, revision.txn, revision.label]
    connection.execute(_INSERT_DOC, [*stored, name_key(row.name)])
    connection.execute(
        _INSERT_REV, [*stored, *circumstances, origin.actor, origin.notebook, origin.cell, revision.n]
    )


def damaged(query: Query, table: str) -> list[str]:
    """Return a description of every row of ``doc`` or ``rev`` that its checksum does not fit."""
    rows = query(f"SELECT {_ROW} FROM {table}", [])  # noqa: S608
    return [
        f"{row.kind} {row.name!r} ({row.id}), revision {row.revision},"
        for row, checksum in ((_row(values), values[13]) for values in rows)
        if row.checksum() != checksum
    ]


def _first(found: Sequence[tuple[Any, ...]]) -> Row | None:
    return _verified(found[0]) if found else None


def _row(values: Sequence[Any]) -> Row:
    return Row(*values[:13])


def _verified(values: Sequence[Any]) -> Row:
    row = _row(values)
    if row.checksum() != values[13]:
        raise CorruptStoreError(
            f"The stored {row.kind} {row.name!r} ({row.id}) is damaged, so it is not used. "
            "Run: orchstate doctor",
            ids=[row.id],
        )
    return row


def _revision(values: Sequence[Any]) -> Revision:
    verb, diff, at_us, txn, label, actor, notebook, cell, n = values[14:]
    return Revision(_verified(values), verb, diff, at_us, txn, label, Origin(actor, notebook, cell), n)
