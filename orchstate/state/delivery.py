"""Delivery: observers and listeners run outside every lock, in the thread that owns the store.

News from elsewhere wait here until the owner's event loop gets to them, or until the
owner next touches the store, whichever comes first: so they also arrive while a cell runs.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)


class Delivery:
    """A queue of notifications with one owner thread.

    Parameters
    ----------
    catch_up
        Called on the owner's event loop when there is something to deliver.
    """

    def __init__(self, catch_up: Callable[[], object]) -> None:
        self._catch_up = catch_up
        self._owner = threading.get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[Callable[[], object]] = deque()
        self._running = False
        self._woken = False
        self.attach()

    def attach(self) -> None:
        """Remember the event loop that runs in this thread, if one does."""
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._owner = threading.get_ident()

    @property
    def is_owner(self) -> bool:
        """Whether the calling thread owns the store."""
        return threading.get_ident() == self._owner

    @property
    def is_running(self) -> bool:
        """Whether notifications are being delivered just now."""
        return self._running

    def put(self, notify: Callable[[], object]) -> None:
        """Add a notification, to be delivered in order."""
        self._waiting.append(notify)

    def run(self) -> None:
        """Deliver what waits, if this is the owner; wake the owner if not.

        Called by an observer, it returns at once: the running delivery goes on with what
        was added, so that all observers see all changes in one order.
        """
        if not self._waiting or self._running:
            return
        if not self.is_owner:
            self.wake()
            return
        self._running = True
        try:
            while self._waiting:
                _call(self._waiting.popleft())
        finally:
            self._running = False

    def wake(self) -> None:
        """Have the owner's loop catch up soon; from any thread."""
        loop = self._loop
        if loop is None or self._woken:
            return
        self._woken = True
        try:
            loop.call_soon_threadsafe(self._arrive)
        except RuntimeError:
            # The loop is closed; the next access delivers.
            self._woken = False
            self._loop = None

    def _arrive(self) -> None:
        self._woken = False
        self._catch_up()


def _call(notify: Callable[[], object]) -> None:
    try:
        notify()
    except Exception:
        logger.exception("An observer of the store raised; the others go on")
