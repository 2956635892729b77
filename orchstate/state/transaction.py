"""Transactions: edits that are seen by their own block only, until all of them are accepted at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from orchstate.loops import running_loop
from orchstate.models.names import name_key
from orchstate.state.steps import combine

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchstate.models.document import Document
    from orchstate.models.intent import Intent
    from orchstate.state.entry import Entry
    from orchstate.state.receipt import Receipt
    from orchstate.state.steps import Step

Mark = tuple[dict[str, "Step"], dict[str, "Document | None"], tuple["Intent", ...]]


class Transaction:
    """The edits of one ``with store.transaction():`` block, not accepted yet.

    Parameters
    ----------
    label
        What the block is called in the history.
    receipt
        Follows all of its edits.
    """

    def __init__(self, label: str, receipt: Receipt) -> None:
        self.label = label
        self.receipt = receipt
        self.steps: dict[str, Step] = {}
        self.documents: dict[str, Document | None] = {}
        self.entries: dict[str, Entry] = {}
        # Up to where the block had seen what others did to a document when it first edited it.
        self.bases: dict[str, int] = {}
        # Every document that had a name in this block, perhaps only for a while.
        self._ids: dict[tuple[str, str], dict[str, None]] = {}
        # Refused edits of which nothing is to be said any more once this is accepted.
        self.dismissed: tuple[Intent, ...] = ()
        self.afterwards: list[Callable[[], object]] = []
        self._is_open = True
        self._place = _place()

    @property
    def is_here(self) -> bool:
        """Whether the calling code is part of the block.

        Threads and tasks that the block starts inherit its context, and are not.
        """
        return self._is_open and self._place == _place()

    def end(self) -> None:
        """Let nothing be added any more."""
        self._is_open = False

    def add(self, step: Step) -> None:
        """Add a step; two of one document become one, or none when they cancel out."""
        id = step.operation.id
        known = self.steps.get(id)
        combined = combine(known, step) if known else step
        if combined:
            self.steps[id] = combined
        else:
            self.steps.pop(id, None)
        self.documents[id] = step.after
        if step.after:
            self._ids.setdefault((step.after.kind, name_key(step.after.name)), {})[id] = None

    def find(self, kind: str, name_or_id: str) -> str | None:
        """Return the id of a document that has this name, or id, because of this block."""
        wanted = name_key(name_or_id)
        for id in self._ids.get((kind, wanted), ()):
            document = self.documents.get(id)
            if document and name_key(document.name) == wanted:
                return id
        document = self.documents.get(name_or_id)
        return name_or_id if document and document.kind == kind else None

    def mark(self) -> Mark:
        """Return what a nested block goes back to when it fails."""
        return dict(self.steps), dict(self.documents), self.dismissed

    def go_back(self, mark: Mark) -> None:
        """Forget everything since a mark."""
        self.steps, self.documents, self.dismissed = dict(mark[0]), dict(mark[1]), mark[2]


def _place() -> tuple[int, object]:
    return threading.get_ident(), _current_task()


def _current_task() -> object:
    if running_loop() is None:
        return None
    import asyncio

    return asyncio.current_task()
