"""Transactions: edits that are seen by their own block only, until all of them are accepted at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchstate.models.names import name_key
from orchstate.state.steps import combine

if TYPE_CHECKING:
    from orchstate.models.document import Document
    from orchstate.state.steps import Step
    from orchstate.state.view import Entry


class Transaction:
    """The edits of one ``with store.transaction():`` block, not accepted yet.

    Parameters
    ----------
    label
        What the block is called in the history.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self.steps: dict[str, Step] = {}
        self.documents: dict[str, Document | None] = {}
        self.entries: dict[str, Entry] = {}

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

    def find(self, kind: str, name_or_id: str) -> str | None:
        """Return the id of a document that has this name, or id, because of this block."""
        wanted = name_key(name_or_id)
        for id, document in self.documents.items():
            if document is None or document.kind != kind:
                continue
            if id == name_or_id or name_key(document.name) == wanted:
                return id
        return None

    def mark(self) -> tuple[dict[str, Step], dict[str, Document | None]]:
        """Return what a nested block goes back to when it fails."""
        return dict(self.steps), dict(self.documents)

    def go_back(self, mark: tuple[dict[str, Step], dict[str, Document | None]]) -> None:
        """Forget everything since a mark."""
        self.steps, self.documents = dict(mark[0]), dict(mark[1])
