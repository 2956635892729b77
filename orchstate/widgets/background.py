"""Slow work beside the notebook: a thread does it, and the event loop hears of the result.

Without an event loop, as in a plain script, there is nobody to keep waiting, and the
work is done on the spot.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from orchstate.loops import running_loop
from orchstate.widgets.turns import turns

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

Result = TypeVar("Result")
logger = logging.getLogger(__name__)


class Task(Generic[Result]):
    """Work for :meth:`start` to begin.

    Parameters
    ----------
    work
        What to do, in a thread. It handles the errors that it expects.
    then
        Called with the result, in the thread of the event loop; with None if the work
        failed in a way that nobody expects, which is logged.
    """

    def __init__(self, work: Callable[[], Result], then: Callable[[Result | None], object]) -> None:
        self._work = work
        self._then: Callable[[Result | None], object] | None = then
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin."""
        self._loop = running_loop()
        if self._loop is None:
            self._finish(self._result())
        else:
            threading.Thread(target=self._run, name="orchstate-form", daemon=True).start()

    def cancel(self) -> None:
        """Ignore the result; the work itself goes on to its end, which its time limit sets."""
        self._then = None

    def _run(self) -> None:
        result = self._result()
        # The loop may have been closed meanwhile, and with it everything that could show the result.
        with contextlib.suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._finish, result)

    def _result(self) -> Result | None:
        try:
            return self._work()
        except Exception as error:
            # Not the traceback: the work may have had a key in its hands.
            logger.error("The form's work in the background failed: %s", type(error).__name__)
            return None

    def _finish(self, result: Result | None) -> None:
        with turns.take():
            then, self._then = self._then, None
            if then is not None:
                then(result)
