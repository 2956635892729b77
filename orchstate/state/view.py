"""The view: what this process sees, always *confirmed rows + own pending edits replayed in order*.

A pending edit that is rejected disappears by being left out of the replay, so there is no
inverse patch that could be wrong. Rows are decoded when their document is first asked for,
and documents that nobody asked for are not even loaded.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchstate.models.document import Document, datetime_of
from orchstate.models.names import name_key
from orchstate.state.decide import build, envelope_of

if TYPE_CHECKING:
    import weakref
    from collections.abc import Iterable

    from orchstate.errors import OrchstateError
    from orchstate.models.intent import Operation
    from orchstate.state.events import Cause
    from orchstate.state.kinds import Kinds
    from orchstate.state.record import Record
    from orchstate.state.steps import Step
    from orchstate.storage.engine import Engine, Revision, Row

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pending:
    """An own edit of one document that has no outcome yet."""

    n: int
    at_us: int
    user: str
    operation: Operation


@dataclass(frozen=True, slots=True)
class Shift:
    """A change of what is seen: the reason to tell observers.

    Parameters
    ----------
    entry
        The document's place in the view.
    before, after
        The document; None where it does not exist.
    cause
        Why.
    """

    entry: Entry
    before: Document | None
    after: Document | None
    cause: Cause


class Entry:
    """One document in the view."""

    __slots__ = ("_decoded", "_document", "blank", "error", "id", "kind", "pending", "record", "row")

    def __init__(self, id: str, kind: str, row: Row | None) -> None:
        self.id = id
        self.kind = kind
        self.row = row
        self.pending: tuple[Pending, ...] = ()
        self.record: weakref.ref[Record] | None = None
        self.error: OrchstateError | None = None
        self.blank: Document | None = None
        self._document: Document | None = None
        self._decoded = False

    def document(self, kinds: Kinds) -> Document | None:
        """Return the document as this process sees it; None when it does not exist."""
        if not self._decoded:
            stored = self.row or self.pending
            self._document = _replay(self.row, self.pending, kinds) if stored else self.blank
            self._decoded = True
        return self._document

    def show(self, document: Document | None) -> None:
        """Take over a document that is known to be what a replay would give."""
        self._document = document
        self._decoded = True

    def forget(self) -> None:
        """Have the next :meth:`document` replay again."""
        self._document = None
        self._decoded = False

    @property
    def name(self) -> str:
        """The name it is seen under."""
        if self.pending:
            return self.pending[-1].operation.name
        return self.row.name if self.row else ""

    @property
    def exists(self) -> bool:
        """Whether the document is seen at all."""
        if self.pending:
            return self.pending[-1].operation.verb != "delete"
        return self.row is not None and not self.row.deleted


class View:
    """All documents of a store as this process sees them.

    Parameters
    ----------
    engine
        Where rows come from that are not loaded yet.
    kinds
        The kinds of documents that are known.
    writer
        Id of this process among those that write.
    """

    def __init__(self, engine: Engine, kinds: Kinds, writer: str) -> None:
        self._engine = engine
        self._kinds = kinds
        self._writer = writer
        self._entries: dict[str, Entry] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._complete: set[str] = set()
        self.cursor = engine.seq()

    # -- looking up -----------------------------------------------------------------

    def get(self, id: str) -> Entry | None:
        """Return the entry of an id, also of a deleted document."""
        entry = self._entries.get(id)
        if entry is None:
            row = self._engine.snapshot().get(id)
            entry = self._load(row) if row else None
        return entry

    def find(self, kind: str, name: str) -> Entry | None:
        """Return the entry of the existing document of a name."""
        id = self._names.get((kind, name_key(name)))
        if id is not None:
            return self._entries[id]
        if kind in self._complete:
            return None
        row = self._engine.snapshot().find(kind, name)
        if row is None or row.id in self._entries:
            # A document that is loaded and not found by its name has been renamed or deleted here.
            return None
        return self._load(row)

    def all(self, kind: str) -> list[Entry]:
        """Return the entries of all existing documents of a kind, by creation."""
        if kind not in self._complete:
            for row in self._engine.snapshot().rows(kind):
                if row.id not in self._entries:
                    self._load(row)
            self._complete.add(kind)
        found = [entry for entry in self._entries.values() if entry.kind == kind and entry.exists]
        return sorted(found, key=_age)

    def document(self, entry: Entry) -> Document | None:
        """Return the document of an entry."""
        return entry.document(self._kinds)

    def adopt(self, entry: Entry) -> None:
        """Take over an entry that a transaction made for a new document."""
        self._entries.setdefault(entry.id, entry)

    def reserve(self, id: str, blank: Document) -> None:
        """Show `blank` where nothing is stored yet under an id."""
        if self.get(id) is None:
            entry = self._entries[id] = Entry(id, blank.kind, None)
            entry.blank = blank

    def loaded(self) -> Iterable[Entry]:
        """Return the entries that are in memory."""
        return self._entries.values()

    # -- changing -------------------------------------------------------------------

    def accept(self, n: int, at_us: int, user: str, steps: Iterable[Step]) -> list[Shift]:
        """Show an own edit that was just accepted."""
        shifts = []
        for step in steps:
            operation = step.operation
            entry = self._entries.get(operation.id)
            if entry is None:
                entry = self._entries[operation.id] = Entry(operation.id, operation.kind, None)
            old_name = entry.name if entry.exists else None
            entry.pending = (*entry.pending, Pending(n, at_us, user, operation))
            entry.error = None
            entry.show(step.after)
            self._index(entry, old_name)
            shifts.append(Shift(entry, step.before, step.after, "edit"))
        return shifts

    def arrive(self, revisions: Iterable[Revision], refused: set[int]) -> list[Shift]:
        """Take over what the engine committed, and drop own edits that it refused.

        Parameters
        ----------
        revisions
            Everything after :attr:`cursor`, in order.
        refused
            Numbers of own intents that did not become revisions.
        """
        shifts = []
        for revision in revisions:
            if revision.row.seq > self.cursor:
                self.cursor = revision.row.seq
                shifts += self._confirm(revision)
        if refused:
            for entry in list(self._entries.values()):
                if any(pending.n in refused for pending in entry.pending):
                    left = tuple(pending for pending in entry.pending if pending.n not in refused)
                    shifts += self._reshow(entry, entry.row, left, "rollback")
        return shifts

    def _confirm(self, revision: Revision) -> list[Shift]:
        row = revision.row
        entry = self._entries.get(row.id)
        if entry is None:
            if row.kind in self._complete and not row.deleted:
                entry = self._entries[row.id] = Entry(row.id, row.kind, None)
                return self._reshow(entry, row, (), "external")
            return []
        if entry.row and row.revision <= entry.row.revision:
            return []
        own = row.writer == self._writer
        left = tuple(pending for pending in entry.pending if not own or pending.n != revision.n)
        is_as_shown = own and len(left) < len(entry.pending) and self._continues(entry, row)
        if is_as_shown:
            entry.row, entry.pending = row, left
            return [Shift(entry, entry.document(self._kinds), entry.document(self._kinds), "edit")]
        return self._reshow(entry, row, left, "merge" if own else "external")

    def _continues(self, entry: Entry, row: Row) -> bool:
        """Whether an own commit found exactly the row that its edit was made on."""
        known = entry.row.revision if entry.row else 0
        return row.revision == known + 1

    def _reshow(
        self, entry: Entry, row: Row | None, pending: tuple[Pending, ...], cause: Cause
    ) -> list[Shift]:
        before = entry.document(self._kinds)
        old_name = entry.name if entry.exists else None
        entry.row, entry.pending = row, pending
        entry.forget()
        self._index(entry, old_name)
        return [Shift(entry, before, entry.document(self._kinds), cause)]

    def _load(self, row: Row) -> Entry:
        entry = self._entries[row.id] = Entry(row.id, row.kind, row)
        self._index(entry, None)
        return entry

    def _index(self, entry: Entry, old_name: str | None) -> None:
        key = (entry.kind, name_key(entry.name)) if entry.exists else None
        old = (entry.kind, name_key(old_name)) if old_name is not None else None
        if old and old != key and self._names.get(old) == entry.id:
            del self._names[old]
        if key:
            self._names[key] = entry.id


def _replay(row: Row | None, pending: tuple[Pending, ...], kinds: Kinds) -> Document | None:
    body: dict[str, Any] | None = None
    envelope: dict[str, Any] = {}
    kind = row.kind if row else pending[0].operation.kind
    if row:
        envelope = envelope_of(row)
        body = None if row.deleted else json.loads(row.body)
    for edit in pending:
        operation, at = edit.operation, datetime_of(edit.at_us)
        if operation.verb == "delete":
            body = None
        elif operation.verb == "create":
            body = dict(operation.set)
            envelope = {"id": operation.id, "created_at": at, "user_id": edit.user} | envelope
        elif body is not None:
            body = {
                path: value for path, value in (body | operation.set).items() if path not in operation.drop
            }
        envelope["updated_at"] = at
    return build(kinds, kind, body, envelope) if body is not None else None


def _age(entry: Entry) -> tuple[int, int]:
    if entry.row:
        return entry.row.created_us, entry.row.seq
    return entry.pending[0].at_us, entry.pending[0].n
