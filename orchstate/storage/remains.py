"""Remains: what can be believed of the rows in a damaged file, and what is missing.

A row counts if its checksum fits. Of each document the newest such row is the present one,
whether it stood among the present rows or in the history. What does not fit still says
which documents there were: by an id, a name, or a seq, in a row or in an index.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from orchstate.errors import CorruptStoreError
from orchstate.models.intent import Origin
from orchstate.models.names import name_key
from orchstate.storage import progress, tables
from orchstate.storage.engine import Revision, Row
from orchstate.storage.horizon import compaction_from
from orchstate.storage.losses import Loss, Owned, in_words, lost_seqs, reports, runs, unreadable
from orchstate.storage.pieces import Reader, mend

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchstate.storage.horizon import Compaction
    from orchstate.storage.pages import Record, Values

_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PAIR: Final = 2
_TYPES: Final = (str, str, str, int, int, int, int, int, str, int, str, str, int)
# A number so far beyond all that is there was written by nobody.
FAR: Final = 1_000_000


@dataclass(slots=True)
class Remains:
    """The sound rows of a file, and the traces of others."""

    rows: dict[str, Row] = field(default_factory=dict)
    """The newest row of each document."""
    revisions: dict[int, Revision] = field(default_factory=dict)
    applied: dict[str, int] = field(default_factory=dict)
    unsure: dict[str, int] = field(default_factory=dict)
    """How far writers got as rows without a checksum say it."""
    parked: dict[tuple[str, int], Values] = field(default_factory=dict)
    meta: dict[str, str] = field(default_factory=dict)
    pieces: dict[bytes, bytes] = field(default_factory=dict)
    pins: set[tuple[str, int]] = field(default_factory=set)
    compactions: dict[int, Compaction] = field(default_factory=dict)
    seq: int = 0
    clocks: list[int] = field(default_factory=list)
    """What is said to be the number of the last commit."""
    owners: dict[int, str] = field(default_factory=dict)
    """Whose revision a seq is, as far as anything says so."""
    names: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Kind and name by id, as far as anything says so."""
    in_history: dict[int, str] = field(default_factory=dict)
    """Whose revision a seq is, as a damaged row of the history itself says."""
    in_index: dict[int, str] = field(default_factory=dict)
    """The same, as the index of the history says it of all."""

    @property
    def is_empty(self) -> bool:
        """Whether no document is left."""
        return not (self.rows or self.revisions)

    def add_row(self, row: Row) -> None:
        """Take over a sound row."""
        known = self.rows.get(row.id)
        if known is None or known.seq < row.seq:
            self.rows[row.id] = row
        self.seq = max(self.seq, row.seq)

    def lost(self) -> list[Loss]:
        """Return one loss per document that is older than it was, or gone, and one for what nobody knows."""
        missing = self.missing()
        unknown = [seq for seq in missing if seq not in self.owners and seq not in self._own_seqs()]
        last: dict[str, list[int]] = {}
        for seq in missing:
            if seq in self.owners:
                last.setdefault(self.owners[seq], []).append(seq)
        losses = [
            self._older(self.rows[id], seqs) for id, seqs in last.items() if self._is_older(id, seqs[-1])
        ]
        there = {(row.kind, name_key(row.name)) for row in self.rows.values()}
        # An id that nothing else says, of a document that is there, was misread itself.
        named = {id for id, (kind, name) in self.names.items() if (kind, name_key(name)) not in there}
        gone = ({id for id in last if id not in self.names} | named) - set(self.rows)
        losses += [self._gone(id) for id in sorted(gone)]
        if unknown:
            losses.append(Loss("", "", "", _of_nobody(unknown)))
        if unreadable(self.meta):
            losses.append(Loss("", "", "", "What had been noted of earlier losses is damaged too."))
        if not self.clocks and self.seq:
            what = f"The last change that is known is {self.seq}; later ones may be lost."
            losses.append(Loss("", "", "", what))
        return losses

    def missing(self) -> list[int]:
        """Return the seqs of which there is no revision, whose loss was not known and that nobody removed."""
        known = {seq for start, end in lost_seqs(self.meta) for seq in range(start, end + 1)}
        horizon = max((done.horizon for done in self.compactions.values()), default=0)
        seqs = (seq for seq in range(1, self.seq + 1) if seq >= horizon or seq in self.owners)
        return [seq for seq in seqs if seq not in self.revisions and seq not in known]

    def owned(self, missing: Sequence[int]) -> dict[str, Owned]:
        """Return by document what is missing, where two places say of each whose it was; else nothing.

        Asked before others stand in for what is missing: of one that nobody knows any document may have been.
        """
        found: dict[str, list[int]] = {}
        for seq in missing:
            id = self.in_history.get(seq)
            if id is not None and self.in_index.get(seq) == id:
                found.setdefault(id, []).append(seq)
        if sum(map(len, found.values())) != self.count_missing():
            return {}
        return {id: Owned(self._called(id), list(runs(seqs))) for id, seqs in found.items()}

    def _called(self, id: str) -> str:
        kind, name = self.names.get(id, ("document", id))
        row = self.rows.get(id)
        return f"{row.kind} {row.name!r}" if row else f"{kind} {name!r}"

    def count_missing(self) -> int:
        """Return how many revisions are missing, known or not; what is known from before does not count."""
        removed = max((done.removed_in_all for done in self.compactions.values()), default=0)
        before: int = sum(report["count"] for report in reports(self.meta))
        return max(0, self.seq - len(self.revisions) - removed - before)

    def stand_in(self) -> None:
        """Put present rows into the history whose revision is lost there: others may read it from there."""
        for row in self.rows.values():
            if row.seq not in self.revisions:
                when = (row.updated_us, row.updated_us, "", "salvaged")
                self.revisions[row.seq] = Revision(row, "update", "{}", *when, Origin("", "", ""), 0)

    def _own_seqs(self) -> set[int]:
        return {row.seq for row in self.rows.values()}

    def _is_older(self, id: str, seq: int) -> bool:
        return id in self.rows and self.rows[id].seq < seq

    def _older(self, row: Row, missing: list[int]) -> Loss:
        seqs = [seq for seq in missing if seq > row.seq]
        lost = f"its change {seqs[0]} is lost" if len(seqs) == 1 else f"its changes {in_words(seqs)} are lost"
        what = f"{row.kind} {row.name!r} is as it was at {row.seq}: {lost}."
        return Loss(row.id, row.kind, row.name, what)

    def _gone(self, id: str) -> Loss:
        kind, name = self.names.get(id, ("", ""))
        what = f"{kind or 'A document'} {name!r} ({id}) is lost." if name else f"The document {id} is lost."
        return Loss(id, kind, name, what, is_gone=True)


def remains_of(records: Iterable[Record], known: Iterable[Row] = (), seq: int = 0) -> Remains:
    """Return what can be believed of the rows of a file, and of what is known by other means."""
    remains = Remains(clocks=[seq])
    records = list(records)
    for record in records:
        # Long texts are in pieces, which have to be there first; what is in them is verified when it is used.
        if record.rowid is not None and len(record.values) == _PAIR:
            key, data = record.values
            if isinstance(key, bytes) and isinstance(data, bytes):
                remains.pieces[key] = data
    mend(remains.pieces)
    read = Reader(lambda sql, values: [(remains.pieces[key],) for key in values if key in remains.pieces])
    for record in records:
        # By their number of columns alone: anything else may be damaged.
        take = _TAKERS.get((record.rowid is not None, len(record.values)))
        if take:
            take(remains, record, read)
    for row in known:
        remains.add_row(row)
    for revision in remains.revisions.values():
        remains.add_row(revision.row)
        _raise(remains.applied, revision.row.writer, revision.n)
    for done in remains.compactions.values():
        for writer, n in done.applied.items():
            _raise(remains.applied, writer, n)
    _believe(remains)
    _drop_removed(remains)
    return remains


def _drop_removed(remains: Remains) -> None:
    """Leave out revisions that a compaction had removed: free pages may still have them."""
    if not remains.compactions:
        return
    done = remains.compactions[max(remains.compactions)]
    last: dict[tuple[int, str], int] = {}
    for seq, revision in remains.revisions.items():
        for moment in (*done.kept, done.horizon):
            key = moment, revision.row.id
            last[key] = max(last.get(key, 0), seq if seq <= moment else 0)
    needed = set(last.values())
    for seq, (row, *_) in list(remains.revisions.items()):
        is_pinned = (row.id, row.revision) in remains.pins
        if seq < done.horizon and seq not in needed and not is_pinned:
            del remains.revisions[seq]


def _believe(remains: Remains) -> None:
    """Take over what has no checksum, such as the number of the last commit, as far as it can be true."""
    end = remains.seq + FAR
    remains.owners = {seq: id for seq, id in remains.owners.items() if 0 < seq < end}
    remains.clocks = [seq for seq in remains.clocks if 0 < seq < end]
    remains.seq = max([remains.seq, *remains.clocks])
    for writer, n in remains.unsure.items():
        if n <= remains.applied.get(writer, 0) + progress.UNTRACED:
            _raise(remains.applied, writer, n)


def _take_present(remains: Remains, record: Record, read: Reader) -> None:
    values = record.values
    row = tables.row_from(read, (*values[:3], *values[4:14]))
    if _is_row(row) and _is_true(row, values[14]):
        remains.add_row(row)
    else:
        _suspect(remains, row.seq, row.id, row.kind, row.name)


def _take_revision(remains: Remains, record: Record, read: Reader) -> None:
    values = record.values
    ordered = (*values[1:5], record.rowid, *values[5:])
    revision = tables.revision_from(read, ordered)
    if _is_row(revision.row) and _is_true(revision, ordered[13]):
        remains.revisions[revision.row.seq] = revision
    else:
        _suspect(remains, revision.row.seq, *values[1:4])
        if isinstance(record.rowid, int) and isinstance(values[1], str):
            remains.in_history[record.rowid] = values[1]


def _take_applied(remains: Remains, record: Record, read: Reader) -> None:
    writer, n, checksum = record.values
    if isinstance(writer, str) and isinstance(n, int) and checksum == progress.applied_sum(writer, n):
        _raise(remains.applied, writer, n)


def _take_pair(remains: Remains, record: Record, read: Reader) -> None:
    key, value = record.values
    if not (isinstance(key, str) and _is_storable(record.values)):
        return
    if isinstance(value, str):
        remains.meta[key] = value
    elif isinstance(value, int) and _ID.fullmatch(key):
        remains.pins.add((key, value))
    elif isinstance(value, int):
        # How far a writer got, from before these had checksums.
        _raise(remains.unsure, key, value)


def _take_clock(remains: Remains, record: Record, read: Reader) -> None:
    seq = record.values[1]
    if isinstance(seq, int) and record.rowid == 1:
        remains.clocks.append(seq)


def _take_compaction(remains: Remains, record: Record, read: Reader) -> None:
    with contextlib.suppress(CorruptStoreError, TypeError, ValueError):
        done = compaction_from((record.rowid, *record.values[1:]))
        remains.compactions[done.n] = done


def _take_parked(remains: Remains, record: Record, read: Reader) -> None:
    writer, _, *rest = record.values
    n = progress.number_of_parked(writer, rest[-1]) if isinstance(writer, str) else None
    if isinstance(writer, str) and n:
        remains.parked[writer, n] = (writer, n, *rest)
        _raise(remains.applied, writer, n)


def _take_key(remains: Remains, record: Record, read: Reader) -> None:
    """Learn from an index who there was: ``kind, name_key, id``, or ``id, seq`` with the seq once more."""
    one, two, three = record.values
    if isinstance(three, str) and isinstance(one, str) and isinstance(two, str):
        _suspect(remains, None, three, one, two)
    elif isinstance(three, bytes):
        _take_applied(remains, record, read)
    else:
        _suspect(remains, three, one)
        if isinstance(one, str) and isinstance(two, int) and two == three:
            remains.in_index[two] = one


def _suspect(remains: Remains, seq: object, id: object, kind: object = None, name: object = None) -> None:
    if not (isinstance(id, str) and _ID.fullmatch(id)):
        return
    if isinstance(seq, int):
        remains.owners.setdefault(seq, id)
    if isinstance(kind, str) and isinstance(name, str) and not name.startswith("\0"):
        remains.names.setdefault(id, (kind, name))


def _is_row(row: Row) -> bool:
    """Whether values are of the types that they have in a row; their checksum is over texts."""
    return tuple(map(type, row)) == _TYPES and row.deleted in (0, 1)


def _is_true(found: Row | Revision, checksum: object) -> bool:
    try:
        # Damage makes anything, also of what is summed up.
        values = [*found] if isinstance(found, Row) else [*found.row, *found, *found.origin]
        return _is_storable(values) and found.checksum() == checksum
    except (TypeError, ValueError):
        return False


def _is_storable(values: Iterable[object]) -> bool:
    """Whether values can be stored again: damage makes of texts what is none."""
    try:
        "".join(value for value in values if isinstance(value, str)).encode()
    except UnicodeEncodeError:
        return False
    return True


def _raise(applied: dict[str, int], writer: str, n: int) -> None:
    applied[writer] = max(n, applied.get(writer, 0))


def _of_nobody(seqs: list[int]) -> str:
    return f"Of what was changed at {in_words(seqs)} nothing is left that says of which document it was."


_TAKERS: Final = {
    (False, 15): _take_present,
    (True, 24): _take_revision,
    (False, 7): _take_parked,
    (False, 3): _take_key,
    (False, 2): _take_pair,
    (True, _PAIR): _take_clock,
    (True, 11): _take_compaction,
}
