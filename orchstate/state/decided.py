"""What is said of own edits in conflict: it goes when somebody decides, and an undo brings it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchstate.models.conflict import conflict_id
from orchstate.state.undo import MAX_UNDO

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchstate.state.entry import Entry, Refused
    from orchstate.state.view import Shift, View


class Decided:
    """The errors of own edits whose conflict was decided.

    Parameters
    ----------
    view
        Where the errors of documents are.
    writer
        Id of this process among those that write.
    tell
        Called with every change of what is seen.
    """

    def __init__(self, view: View, writer: str, tell: Callable[[Shift], object]) -> None:
        self._view = view
        self._writer = writer
        self._tell = tell
        self._errors: dict[str, list[tuple[Entry, Refused]]] = {}

    def ended(self, conflict: str) -> None:
        """Put the error away of an own edit whose conflict was decided, by anybody."""
        for entry in self._view.refused():
            if entry.refused and conflict_id(self._writer, entry.refused.intent.n) == conflict:
                self._errors.setdefault(conflict, []).append((entry, entry.refused))
                self._tell(self._view.forgive(entry))
        while len(self._errors) > MAX_UNDO:
            self._errors.pop(next(iter(self._errors)))

    def opened(self, conflict: str) -> None:
        """Bring the error back with a conflict that is open again, unless there is a later one."""
        for entry, refused in self._errors.pop(conflict, ()):
            if entry.refused is None:
                self._tell(self._view.blame(entry, refused))
