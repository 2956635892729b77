"""One thing at a time: what a page sends and what the store tells never meet in a widget.

Newer kernels handle what pages send in a thread of its own, a subshell, so that forms answer
while a cell runs; observers of a store run in the thread that opened it. Widgets are not
made for two threads: an entry could be taken for the echo of something that is shown in
the same moment, and be lost. So everything that happens to our widgets waits for its turn,
which is over when the store has accepted an edit, and never takes longer.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import ipywidgets

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

turn: Final[AbstractContextManager[bool]] = threading.RLock()


class _InTurn:
    """A widget that hears pages when it is its turn."""

    def _handle_msg(self, msg: dict[str, Any]) -> None:
        with turn:
            super()._handle_msg(msg)  # type: ignore[misc]


class Button(_InTurn, ipywidgets.Button):  # type: ignore[misc]
    """A button."""


class Checkbox(_InTurn, ipywidgets.Checkbox):  # type: ignore[misc]
    """A box to tick."""


class Combobox(_InTurn, ipywidgets.Combobox):  # type: ignore[misc]
    """One line of text with suggestions."""


class Dropdown(_InTurn, ipywidgets.Dropdown):  # type: ignore[misc]
    """A choice of one."""


class FloatSlider(_InTurn, ipywidgets.FloatSlider):  # type: ignore[misc]
    """A slider for any number."""


class IntSlider(_InTurn, ipywidgets.IntSlider):  # type: ignore[misc]
    """A slider for whole numbers."""


class Password(_InTurn, ipywidgets.Password):  # type: ignore[misc]
    """One line of text that is not shown."""


class Text(_InTurn, ipywidgets.Text):  # type: ignore[misc]
    """One line of text."""


class Textarea(_InTurn, ipywidgets.Textarea):  # type: ignore[misc]
    """Several lines of text."""
