"""One document in the view: its confirmed row, and the own edits that are replayed on it."""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from orchstate.models.document import Document, datetime_of
from orchstate.state.decide import build, envelope_of

if TYPE_CHECKING:
    import weakref
    from collections.abc import Sequence

    from orchstate.models.intent import Operation
    from orchstate.state.kinds import Kinds
    from orchstate.state.record import Record
    from orchstate.storage.engine import Row


class Pending(NamedTuple):
    """An own edit of one document that has no outcome yet."""

    n: int
    at_us: int
    user: str
    operation: Operation


class Entry:
    """One document in the view."""

    __slots__ = (
        "_decoded",
        "_document",
        "_seen_as",
        "blank",
        "id",
        "is_misled",
        "kind",
        "pending",
        "record",
        "row",
    )

    def __init__(self, id: str, kind: str, row: Row | None) -> None:
        self.id = id
        self.kind = kind
        self.row = row
        self.pending: deque[Pending] = deque()
        self._seen_as: tuple[str, bool] | None = None
        self.record: weakref.ref[Record] | None = None
        self.is_misled = False
        """Whether what is pending may have been made on top of something else than what was committed."""
        self.blank: Document | None = None
        self._document: Document | None = None
        self._decoded = False

    def document(self, kinds: Kinds) -> Document | None:
        """Return the document as this process sees it; None when it does not exist."""
        if not self._decoded:
            stored = self.row or self.pending
            self._document = (_replay(self.row, self.pending, kinds) if stored else None) or self.blank
            self._decoded = True
        return self._document

    def last(self, kinds: Kinds) -> Document | None:
        """Return the document as it was last seen here, deleted or not; None if it was never committed."""
        if self.row is None:
            return None
        kept = [edit for edit in self.pending if edit.operation.verb != "delete"]
        return _replay(self.row._replace(deleted=False), kept, kinds)

    def show(self, document: Document | None) -> None:
        """Take over a document that is known to be what a replay would give."""
        self._document = document or self.blank
        self._decoded = True

    def redo(self, kinds: Kinds) -> bool:
        """Replay again what was decoded before; return whether something else comes of it."""
        if not self._decoded:
            return False
        shown = self._document
        self.forget()
        if self.document(kinds) != shown:
            return True
        self._document = shown
        return False

    def forget(self) -> None:
        """Have the next :meth:`document` replay again."""
        self._document = None
        self._decoded = False

    def push(self, edit: Pending) -> None:
        """Add an own edit that was just accepted."""
        self._seen_as = _seen_after(edit.operation, self._name_and_existence())
        self.pending.append(edit)

    def take(self, n: int) -> Pending | None:
        """Remove and return the pending edit of a number; None if there is none."""
        if self.pending and self.pending[0].n == n:
            found: Pending | None = self.pending.popleft()
        else:
            found = next((edit for edit in self.pending if edit.n == n), None)
            self.pending = deque(edit for edit in self.pending if edit is not found)
        if found and _is_decisive(found.operation):
            self._seen_as = None
        return found

    def confirm(self, row: Row | None) -> None:
        """Take over what the engine has now."""
        old, self.row = self.row, row
        if not (old and row) or (old.name, bool(old.deleted)) != (row.name, bool(row.deleted)):
            self._seen_as = None

    @property
    def name(self) -> str:
        """The name it is seen under."""
        return self._name_and_existence()[0]

    @property
    def exists(self) -> bool:
        """Whether the document is seen at all."""
        return self._name_and_existence()[1]

    def _name_and_existence(self) -> tuple[str, bool]:
        # Kept, since a burst of edits has thousands pending, and few of them rename or delete.
        seen = self._seen_as
        if seen is None:
            seen = (self.row.name, not self.row.deleted) if self.row else ("", False)
            for edit in self.pending:
                seen = _seen_after(edit.operation, seen)
            self._seen_as = seen
        return seen


def _is_decisive(operation: Operation) -> bool:
    return operation.verb != "update" or "name" in operation.set


def _seen_after(operation: Operation, seen: tuple[str, bool]) -> tuple[str, bool]:
    """Return name and existence after an operation, as the replay of whole documents has them."""
    name, exists = seen
    if operation.verb == "create":
        return operation.name, True
    if operation.verb == "delete":
        return name, False
    return (operation.name if "name" in operation.set and exists else name), exists


def _replay(row: Row | None, pending: Sequence[Pending], kinds: Kinds) -> Document | None:
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
        envelope["updated_at"] = max(at, envelope.get("created_at", at))
    return build(kinds, kind, body, envelope) if body is not None else None
