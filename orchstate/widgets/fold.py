"""A part of a form that is folded away until somebody wants it.

Not an accordion of ipywidgets, whose headers cannot be reached with the keyboard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipywidgets import VBox

from orchstate.widgets.style import is_shown, make, show
from orchstate.widgets.turns import Button

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Fold:
    """A button that shows and hides what is below it.

    Parameters
    ----------
    label
        What the button shows and hides, such as ``"advanced"``.
    fill
        Returns what is folded away; called when it is first wanted.

    Attributes
    ----------
    box
        The widget.
    button
        Its button.
    """

    def __init__(self, label: str, fill: Callable[[], Sequence[Any]]) -> None:
        self.label = label
        self._fill: Callable[[], Sequence[Any]] | None = fill
        self.button = make(Button, "orch-fold")
        self._content = make(VBox, "orch-fields")
        self.box = make(VBox, "orch-folded", children=(self.button, self._content))
        self.button.on_click(lambda _: self.turn(is_open=not self.is_open))
        self.turn(is_open=False)

    @property
    def is_open(self) -> bool:
        """Whether the content is shown."""
        return is_shown(self._content)

    def rename(self, label: str) -> None:
        """Have the button say something else."""
        self.label = label
        self.turn(is_open=self.is_open)

    def turn(self, *, is_open: bool) -> None:
        """Show the content, or hide it."""
        if is_open and self._fill:
            self._content.children, self._fill = self._fill(), None
        show(self._content, is_open)
        self.button.description = f"{'▾ Hide' if is_open else '▸ Show'} {self.label}"
