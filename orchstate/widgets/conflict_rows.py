"""The open conflicts that no form on the page shows: of what was deleted, of settings, of other configs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ipywidgets import Box, VBox

from orchstate.display import html_note
from orchstate.errors import OrchstateError
from orchstate.origin import place
from orchstate.widgets.binding import is_over, is_writable
from orchstate.widgets.style import make, show, text
from orchstate.widgets.turns import Button
from orchstate.widgets.view import close

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchstate.conflicts import Conflict
    from orchstate.store import Store

SHOWN: Final = 5
"""So many at most; who has more decides about them in a cell."""


class ConflictRows:
    """One row per open conflict, with a button for each side.

    Parameters
    ----------
    store
        Whose conflicts.
    origin
        Where the history says that decisions come from.
    leave
        Called when a button was pressed that goes with its row, so that the keyboard has another place.

    Attributes
    ----------
    box
        The widget.
    rows
        The rows, oldest conflict first.
    """

    def __init__(self, store: Store, origin: str, leave: Callable[[], object]) -> None:
        self._store = store
        self._origin = origin
        self._leave = leave
        self.rows: list[ConflictRow] = []
        self._except_for = ""
        self._list = make(VBox)
        self._more = text("", "orch-note")
        self._message = text("", "orch-note")
        self.box = make(VBox, "orch-conflicts", children=(self._list, self._more, self._message))

    def update(self, except_for: str) -> None:
        """Show what is open now, but for what is about the document of an id."""
        self._except_for = except_for
        state = self._store._state
        found = [] if is_over(state) else [*self._store.conflicts.values()]
        others = [one for one in found if one.target != except_for]
        before = {row.id: row for row in self.rows}
        self.rows = [before.get(one.id) or ConflictRow(one, self._decide) for one in others[:SHOWN]]
        self._list.children = [row.box for row in self.rows]
        for id in before.keys() - {row.id for row in self.rows}:
            close(before[id].box)
        for row in self.rows:
            row.update(is_writable=is_writable(state))
        more = len(others) - len(self.rows)
        self._more.value = html_note(f"And {more} more in store.conflicts." if more else "")
        show(self.box, bool(others or self._message.value))

    def _decide(self, row: ConflictRow, choice: str) -> None:
        self._message.value = ""
        try:
            with place(self._origin):
                row.conflict.resolve(choice)
            self._leave()
        except OrchstateError as error:
            self._message.value = html_note(f"Not possible: {error}", "warning")
        self.update(self._except_for)


class ConflictRow:
    """What one conflict is about, and the two ways to end it.

    Parameters
    ----------
    conflict
        Which one.
    decide
        Called with the row and with ``"ours"`` or ``"theirs"`` when a person has decided.
    """

    def __init__(self, conflict: Conflict, decide: Callable[[ConflictRow, str], object]) -> None:
        self.conflict = conflict
        self.id = conflict.id
        self._text = text("", "orch-status-text")
        self.ours = make(Button)
        self.theirs = make(Button)
        self.box = make(Box, "orch-status", children=(self._text, self.ours, self.theirs))
        self.ours.on_click(lambda _: decide(self, "ours"))
        self.theirs.on_click(lambda _: decide(self, "theirs"))

    def update(self, *, is_writable: bool) -> None:
        """Show both sides as they are now."""
        to_decide = self.conflict.question
        sentence = f"Conflict about {self.conflict.target_name}: {to_decide.sentence}"
        self._text.value = html_note(sentence, "error")
        self.ours.description, self.theirs.description = to_decide.ours, to_decide.theirs
        for button in (self.ours, self.theirs):
            button.disabled = not is_writable
