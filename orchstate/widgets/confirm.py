"""A button for what cannot be taken back: it asks once more, where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipywidgets import Box

from orchstate.display import html_note
from orchstate.widgets.style import is_shown, make, show, text
from orchstate.widgets.turns import Button

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
    ask
        The button, which stays where it is.
    box
        The question with its two buttons, for a place where it moves nothing but what comes after it.
    yes, no
        Its buttons.
    """

    def __init__(self, label: str, act: Callable[[], object]) -> None:
        self.question = ""
        self._act = act
        self.ask = make(Button, description=label)
        self.yes = make(Button, "orch-danger", description=f"Yes, {label.lower()}")
        self.no = make(Button, description="Keep")
        self._text = text()
        self.box = make(Box, "orch-confirm", children=(self._text, self.yes, self.no))
        self.ask.on_click(lambda _: self._end() if is_shown(self.box) else self._begin())
        self.no.on_click(lambda _: self._end())
        self.yes.on_click(lambda _: self._confirm())
        self.stop()

    def stop(self) -> None:
        """Ask no more."""
        show(self.box, False)

    # The button that was pressed is hidden then, and the keyboard would be lost with it.

    def _begin(self) -> None:
        self._text.value = html_note(self.question, "warning")
        show(self.box)
        self.no.focus()

    def _end(self) -> None:
        self.stop()
        self.ask.focus()

    def _confirm(self) -> None:
        self._end()
        self._act()
