"""What a row says of a text that is in its entry and not in the store, and what can be done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipywidgets import Box

from orchstate.display import html_note
from orchstate.widgets.style import make, mark, show, text
from orchstate.widgets.turns import Button

if TYPE_CHECKING:
    from collections.abc import Callable


class Unsaved:
    """A sentence, and two buttons: to save what is in the entry, or to let it be.

    Parameters
    ----------
    label
        The name of the field.
    save, discard
        Called when the button was pressed.

    Attributes
    ----------
    box
        The widget; the stylesheet hides it from whoever is still typing, unless it is urgent.
    save, discard
        Its buttons.
    """

    def __init__(self, label: str, save: Callable[[], object], discard: Callable[[], object]) -> None:
        self._label = label
        self._text = text()
        self.save = make(Button)
        self.discard = make(Button)
        self.box = make(Box, "orch-unsaved", children=(self._text, self.save, self.discard))
        self.save.on_click(lambda _: save())
        self.discard.on_click(lambda _: discard())

    def tell(self, sentence: str, *, theirs: str | None = None) -> None:
        """Say why it is not saved; `theirs` is what the store has instead, if that is news."""
        is_urgent = theirs is not None
        self._text.value = html_note(sentence, "warning")
        self.save.description = "Keep mine" if is_urgent else f"Save {self._label}"
        self.discard.description = "Take theirs" if is_urgent else "Discard what is typed"
        self.save.tooltip = f"{self._label}: save what is in the field"
        self.discard.tooltip = f"{self._label}: go back to {theirs or 'what is saved'}"
        mark(self.box, "orch-urgent", is_urgent)
        show(self.box)

    def hide(self) -> None:
        """Say nothing."""
        show(self.box, False)
