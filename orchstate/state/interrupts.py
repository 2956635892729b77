"""Ctrl-C and the stop button: they come after an edit or before it, never into the middle.

An edit that was written and not yet counted would be taken for another one later. So for
the microseconds from its validation to its place in the queue the signal is remembered,
and what it would have done is done then.
"""

from __future__ import annotations

# The public functions convert to enums and back, which takes longer than everything else here.
from _signal import getsignal, signal  # type: ignore[import-not-found]
from signal import SIGINT
from threading import get_ident, main_thread
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType


class Uninterrupted:
    """A block that the interrupt signal does not break into.

    It concerns the main thread alone, where Python runs the handlers of signals; elsewhere
    it does nothing.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._usual: Callable[..., Any] | None = None
        self._remembered: tuple[Any, ...] | None = None

    def __enter__(self) -> None:
        if get_ident() != main_thread().ident:
            return
        if not self._depth:
            usual = getsignal(SIGINT)
            # What is not Python's ends the process, and the outbox is made for that.
            if callable(usual):
                self._remembered = None
                signal(SIGINT, self._remember)
                self._usual = usual
        self._depth += 1

    def __exit__(self, *exc: object) -> None:
        if get_ident() != main_thread().ident:
            return
        self._depth -= 1
        usual = self._usual
        if self._depth or usual is None:
            return
        self._usual = None
        signal(SIGINT, usual)
        remembered, self._remembered = self._remembered, None
        if remembered:
            usual(*remembered)

    def _remember(self, *arguments: Any) -> None:
        self._remembered = arguments


uninterrupted = Uninterrupted()


class Ends:
    """Sees to blocks at whose beginning or end an interrupt comes, which Python then does not close.

    Parameters
    ----------
    *codes
        Of the methods that begin and end a block: an interrupt that breaks into them has it given up.
    """

    def __init__(self, *codes: CodeType) -> None:
        self._codes = frozenset(codes)
        self._open: WeakSet[Any] = WeakSet()
        self._usual: Callable[..., Any] | None = None

    def watch(self, block: Any) -> None:
        """Look after a block from now on."""
        if get_ident() != main_thread().ident:
            return
        is_first = not self._open
        self._open.add(block)
        usual = getsignal(SIGINT)
        # A handler that was set in a block is that block's, and not what was there before it.
        if is_first and callable(usual) and usual != self._handle:
            self._usual = usual
            signal(SIGINT, self._handle)

    def forget(self, block: Any) -> None:
        """Let a block be that was closed; harmless when repeated."""
        self._open.discard(block)
        if get_ident() == main_thread().ident:
            self._step_down()

    def _step_down(self) -> None:
        # Somebody else's handler stays, and so does ours beneath it.
        if not self._open and getsignal(SIGINT) == self._handle:
            signal(SIGINT, self._usual)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        try:
            if self._usual:
                self._usual(number, frame)
        except BaseException as error:
            # A handler that raises nothing, as asyncio's does at first, breaks into no block.
            step = frame
            while step is not None:
                block: Any = step.f_locals.get("self") if step.f_code in self._codes else None
                if block in self._open:
                    block.give_up(error)
                step = step.f_back
            raise
        finally:
            self._step_down()
