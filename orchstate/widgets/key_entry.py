"""A password field that hands over what was typed once, and keeps nothing.

The value of a plain password field is part of the widget's state: it is sent to every
page that shows it, and saved with the notebook. Ours is emptied before anybody else gets
to see it, its state in the kernel is empty at any time, and what one page sends is not
repeated to others.

The page that sends it keeps it until the kernel has emptied it, and a notebook that is
saved there meanwhile, with the state of its widgets, holds it. So nothing can be typed
while the kernel would not hear of it: while a cell runs the field is disabled, and where
the kernel has gone the stylesheet hides it (after a shutdown in JupyterLab only, whose
toolbar knows of it). What remains is

- the time that a message takes, some milliseconds: for a key that is entered just when a
  cell begins, or entered or half typed just when the kernel goes;
- a kernel that is busy with something else than a cell, such as the button of another
  widget: nobody tells us that it is.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr
from traitlets import Unicode

from orchstate.widgets.running_cell import RunningCell
from orchstate.widgets.turns import Password, turns

if TYPE_CHECKING:
    from collections.abc import Callable

PAUSED: Final = "available when the running cell has ended"
"""What an empty field shows while a cell runs."""

_running_cell: Final = RunningCell()


class KeyEntry(Password):
    """A password field; Enter, or leaving it, hands over what was typed."""

    value = Unicode(help="Always empty, but for the moment in which it is taken.").tag(
        sync=True, echo_update=False, to_json=lambda value, widget: ""
    )

    def __init__(self, **traits: Any) -> None:
        self._taker: Callable[[SecretStr], object] = lambda secret: None
        self._is_disabled = self._is_paused = False
        self._hint: str = traits.get("placeholder", "")
        super().__init__(continuous_update=False, **traits)
        self.observe(self._take, "value")
        _running_cell.tell(self)

    def on_typed(self, taker: Callable[[SecretStr], object]) -> None:
        """Have `taker` called with what was typed."""
        self._taker = taker

    def hint(self, text: str) -> None:
        """Have the empty entry show a text."""
        self._hint = text
        if not self._is_paused:
            self.placeholder = text

    def disable(self) -> None:
        """Let nothing be typed any more."""
        self._is_disabled = self.disabled = True

    def pause(self) -> None:
        """Let nothing be typed for now, and say why; the page forgets what is half typed."""
        turns.do(partial(self._show_pause, is_paused=True))

    def resume(self) -> None:
        """End what :meth:`pause` began."""
        turns.do(partial(self._show_pause, is_paused=False))

    def _show_pause(self, *, is_paused: bool) -> None:
        self._is_paused = is_paused
        with self.hold_sync():
            self.disabled = is_paused or self._is_disabled
            self.placeholder = PAUSED if is_paused else self._hint

    def close(self) -> None:
        """End it, in the kernel and on all pages."""
        _running_cell.forget(self)
        super().close()

    def _take(self, change: Any) -> None:
        if change.new:
            typed = SecretStr(change.new)
            change.new = change.old = ""
            self.value = ""
            self._taker(typed)
