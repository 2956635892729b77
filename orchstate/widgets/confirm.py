"""A button for what cannot be taken back: it asks once more, where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipywidgets import Box, Button

from orchstate.display import html_note
from orchstate.widgets.style import make, show, text

if TYPE_CHECKING:
    from collections.abc import Callable


class Confirm:
    """A button that has to be pressed twice.

    Parameters
    ----------
    label
        What it does, such as ``"Delete"``.
    act
        Called when it was pressed and confirmed.

    Attributes
    ----------
    box
        The widget.
    ask, yes, no
        Its buttons: the one that is there at first, and the two that then take its place.
    """

    def __init__(self, label: str, act: Callable[[], object]) -> None:
        self.question = ""
        self._act = act
        self.ask = make(Button, description=label)
        self.yes = make(Button, "orch-danger", description=f"Yes, {label.lower()}")
        self.no = make(Button, description="Keep")
        self._text = text()
        self.box = make(Box, "orch-confirm", children=(self.ask, self._text, self.yes, self.no))
        self.ask.on_click(lambda _: self._begin())
        self.no.on_click(lambda _: self._end())
        self.yes.on_click(lambda _: self._confirm())
        self._turn(is_asking=False)

    # The button that was pressed is hidden then, and the keyboard would be lost with it.

    def _begin(self) -> None:
        self._turn(is_asking=True)
        self.no.focus()

    def _end(self) -> None:
        self._turn(is_asking=False)
        self.ask.focus()

    def _confirm(self) -> None:
        self._end()
        self._act()

    def _turn(self, *, is_asking: bool) -> None:
        self._text.value = html_note(self.question, "warning")
        show(self.ask, not is_asking)
        for widget in (self._text, self.yes, self.no):
            show(widget, is_asking)
