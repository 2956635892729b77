"""Own edits that were not committed: what they wanted, and what is said of them until that is dealt with."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchstate.state.undo import MAX_UNDO

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from orchstate.errors import OrchstateError
    from orchstate.models.intent import Intent


class Refused(NamedTuple):
    """An own edit that was not committed.

    Parameters
    ----------
    intent
        What it wanted.
    error
        Why it was not committed.
    conflict
        Id of the conflict in which it waits for a decision; None if nobody is asked.
    """

    intent: Intent
    error: OrchstateError
    conflict: str | None = None


class Refusals:
    """Own edits that were not committed, by the documents that they concern.

    One that waits in a conflict is there for as long as the conflict is, so a decision puts it away and an
    undo of the decision brings it back, whoever makes them. Of the others the last one of a document is
    there until a later edit of the document is committed.

    Parameters
    ----------
    is_open
        Whether the conflict of an id is seen here.
    """

    def __init__(self, is_open: Callable[[str], bool]) -> None:
        self._is_open = is_open
        self._of: dict[str, tuple[Refused, ...]] = {}
        # What waits, and what was decided and may come back, each with the ids of its documents.
        self._waiting: dict[str, tuple[Refused, tuple[str, ...]]] = {}
        self._decided: dict[str, tuple[Refused, tuple[str, ...]]] = {}

    def of(self, id: str) -> tuple[Refused, ...]:
        """Return those of a document, oldest first."""
        return self._of.get(id, ())

    def last(self, id: str) -> Refused | None:
        """Return the last one of a document; None if there is none."""
        found = self._of.get(id)
        return found[-1] if found else None

    def add(self, ids: Collection[str], refused: Refused) -> None:
        """Take over one that concerns the documents of these ids."""
        if refused.conflict is not None:
            self._decided[refused.conflict] = refused, tuple(ids)
            self.follow([refused.conflict])
            return
        for id in ids:
            self.supersede(id)
            self._list(id, refused)

    def supersede(self, id: str) -> None:
        """Put away what nobody is asked about, as a later edit of the document was committed."""
        if id in self._of:
            self._keep(id, lambda one: one.conflict is not None)

    def dismiss(self, intent: Intent) -> list[str]:
        """Put an edit away that nobody is asked about; return the ids of the documents that it concerns."""
        ids = [id for id in dict.fromkeys(one.id for one in intent.operations) if id in self._of]
        for id in ids:
            self._keep(id, lambda one: one.conflict is not None or one.intent is not intent)
        return ids

    def follow(self, conflicts: Iterable[str]) -> list[str]:
        """Take over that conflicts may have come or gone; return the ids of the documents concerned."""
        concerned: list[str] = []
        for conflict in conflicts:
            is_open = self._is_open(conflict)
            before, after = (self._decided, self._waiting) if is_open else (self._waiting, self._decided)
            if conflict not in before:
                continue
            refused, ids = after[conflict] = before.pop(conflict)
            for id in ids:
                if is_open:
                    self._list(id, refused)
                else:
                    self._keep(id, refused.__ne__)
            concerned += ids
        # No more of them can come back.
        while len(self._decided) > MAX_UNDO:
            self._decided.pop(next(iter(self._decided)))
        return concerned

    def _list(self, id: str, refused: Refused) -> None:
        # By their numbers, since one can come back with its conflict.
        self._of[id] = tuple(sorted((*self._of.get(id, ()), refused), key=lambda one: one.intent.n))

    def _keep(self, id: str, is_kept: Callable[[Refused], bool]) -> None:
        kept = tuple(filter(is_kept, self._of.get(id, ())))
        if kept:
            self._of[id] = kept
        else:
            self._of.pop(id, None)
