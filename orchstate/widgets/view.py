"""What all our views have in common: they bring the stylesheet, and closing one closes all of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ipywidgets import Layout, VBox

from orchstate.widgets.reruns import note_shown
from orchstate.widgets.style import stylesheet
from orchstate.widgets.turns import turns

if TYPE_CHECKING:
    from collections.abc import Callable


class View(VBox):  # type: ignore[misc]
    """A box of widgets that shows something of a store.

    The kernel holds a view until :meth:`close`, since it is not told when an output is
    cleared. A cell that is run again closes what it has shown before; any other view that
    nobody sees costs little: what it observes knows it weakly, and through one observer.

    Parameters
    ----------
    css_class
        What the stylesheet knows it by.
    """

    def __init__(self, css_class: str) -> None:
        self._ends: list[Callable[[], None]] = []
        self._stylesheet = stylesheet()
        # Not the one that all share: whoever shows the view may want to change it.
        self._own_layout = Layout(width="100%")
        super().__init__(layout=self._own_layout, _dom_classes=("orch", css_class))

    def fill(self, *children: Any) -> None:
        """Show these widgets."""
        self.children = (self._stylesheet, *children)

    def close_with(self, end: Callable[[], None]) -> None:
        """Have `end` called when the view is closed."""
        self._ends.append(end)

    def close(self) -> None:
        """End what the view observes, and close all its widgets; harmless when repeated."""
        turns.do(self.end)

    def __del__(self) -> None:
        # Not while Python shuts down: there is nobody left to tell, and half of what telling takes is gone.
        if not sys.is_finalizing():
            # Out of turn: it is collected in any thread, which may hold any lock.
            self.end()

    def end(self) -> None:
        """Do what :meth:`close` does, whosever turn it is."""
        if self.comm is None:
            return
        while self._ends:
            self._ends.pop()()
        for child in self.children:
            if child is not self._stylesheet:
                close(child)
        super().close()
        self._own_layout.close()

    def describe(self) -> str:
        """Return what the view shows as text, for where there is no front end."""
        return repr(self)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        note_shown(self)
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options)
        return {**bundle, "text/plain": self.describe()}


def close(widget: Any) -> None:
    """Close a widget and all that is in it."""
    if isinstance(widget, View):
        widget.end()
        return
    for child in getattr(widget, "children", ()):
        close(child)
    widget.close()
