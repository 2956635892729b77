"""Own edits that were not committed: what they wanted, and what is said of them until that is dealt with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from orchstate.errors import OrchstateError
    from orchstate.models.intent import Intent

# Documents tell of so many conflicts, open or decided; the store lists those that are open without end.
_MAX_WAITING: Final = 10_000


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
        self._waiting: dict[str, tuple[str, ...]] = {}

    def of(self, id: str) -> list[Refused]:
        """Return those of a document, oldest first."""
        return [one for one in self._of.get(id, ()) if one.conflict is None or self._is_open(one.conflict)]

    def last(self, id: str) -> Refused | None:
        """Return the last one of a document; None if there is none."""
        # Asked for with every change of a document, and almost always there is nothing.
        return next(reversed(self.of(id)), None) if id in self._of else None

    def add(self, ids: Collection[str], refused: Refused) -> None:
        """Take over one that concerns the documents of these ids."""
        for id in ids:
            if refused.conflict is None:
                self.supersede(id)
            self._of[id] = (*self._of.get(id, ()), refused)
        if refused.conflict is None:
            return
        self._waiting[refused.conflict] = tuple(ids)
        while len(self._waiting) > _MAX_WAITING:
            oldest = next(iter(self._waiting))
            for id in self._waiting.pop(oldest):
                self._keep(id, [one for one in self._of.get(id, ()) if one.conflict != oldest])

    def supersede(self, id: str) -> None:
        """Put away what nobody is asked about, as a later edit of the document was committed."""
        self._keep(id, [one for one in self._of.get(id, ()) if one.conflict])

    def dismiss(self, intent: Intent) -> list[str]:
        """Put an edit away that nobody is asked about; return the ids of the documents that it concerns."""
        concerned = [id for id, known in list(self._of.items()) if any(one.intent is intent for one in known)]
        for id in concerned:
            self._keep(id, [one for one in self._of[id] if one.intent is not intent])
        return concerned

    def concerned_by(self, conflicts: Iterable[str]) -> list[str]:
        """Return the ids of the documents of which edits wait in conflicts, of any ids."""
        return [id for conflict in conflicts for id in self._waiting.get(conflict, ())]

    def _keep(self, id: str, refused: list[Refused]) -> None:
        if refused:
            self._of[id] = tuple(refused)
        else:
            self._of.pop(id, None)
