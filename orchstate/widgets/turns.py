"""One thing at a time: what a page sends and what the store tells never meet in a widget.

Newer kernels handle what pages send in a thread of its own, a subshell, so that forms answer
while a cell runs; observers of a store run in the thread that opened it. Widgets are not
made for two threads: an entry could be taken for the echo of something that is shown in
the same moment, and be lost. So everything that happens to our widgets waits for its turn.

A page's turn lasts as long as the store takes to accept an edit: usually microseconds, and
seconds where another program has locked the store's file. A cell does not wait for that: what
it wants shown is left to the page's thread. Observers of people's own are never called in
a turn, so whatever they wait for, it is not us.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import ipywidgets

from orchstate.state.delivery import later

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)

PATIENCE_S: Final = 0.02
"""How long a cell waits for its turn before it leaves what it wants to the one whose turn it is."""


class Turns:
    """Lets one thread at a time touch our widgets."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._left: deque[Callable[[], object]] = deque()

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        """Wait for the turn, and have it in the block; what its edits tell is told after it."""
        with later():
            self._lock.acquire()
            with self._ending():
                yield

    def do(self, call: Callable[[], object]) -> None:
        """Call something in a turn: now, or if another thread does not end its own, at the end of that."""
        if self._lock.acquire(timeout=PATIENCE_S):
            with self._ending():
                call()
        else:
            self._left.append(call)
            self._catch_up()

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            self._lock.release()
            self._catch_up()

    def _catch_up(self) -> None:
        """Do what was left; if another thread has the turn, it does so at its end."""
        if self._left and not self._depth and self._lock.acquire(blocking=False):
            with self._ending(), contextlib.suppress(IndexError):
                while True:
                    self._call(self._left.popleft())

    def _call(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception:
            logger.exception("A form could not show a change; the others go on")


turns: Final = Turns()


class _InTurn:
    """A widget that hears pages when it is its turn."""

    def _handle_msg(self, msg: dict[str, Any]) -> None:
        with turns.take():
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
