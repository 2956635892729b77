"""Delivery: observers and listeners run outside every lock, in the thread that owns the store.

News from elsewhere wait here until the owner's event loop gets to them, or until the
owner next touches the store, whichever comes first: so they also arrive while a cell runs.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from orchstate.loops import running_loop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

logger = logging.getLogger(__name__)

# Observers may edit, and others observe what they edit, and so on: nobody means to go on for so long.
MAX_ROUNDS: Final = 100


class Delivery:
    """A queue of notifications with one owner thread: the one that opened the store.

    Parameters
    ----------
    catch_up
        Called on the owner's event loop when there is something to deliver.
    """

    def __init__(self, catch_up: Callable[[], object]) -> None:
        self._catch_up = catch_up
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[tuple[Callable[[], object], int]] = deque()
        self._is_running = False
        self._round = 0
        self._is_woken = False
        self.own()

    def own(self) -> None:
        """Make the calling thread the owner."""
        self._owner = threading.current_thread()
        self._owner_id = threading.get_ident()
        self.attach()

    def attach(self) -> None:
        """Have the event loop that runs in the owner's thread, if one does, deliver what arrives."""
        loop = running_loop()
        if loop is not None and loop is not self._loop and threading.get_ident() == self._owner_id:
            self._loop = loop
            # The one before may have stopped with a call in it.
            self._is_woken = False

    @property
    def is_owner(self) -> bool:
        """Whether the calling thread owns the store; if the owner has ended, it does from now on."""
        if threading.get_ident() == self._owner_id:
            return True
        if self._owner.is_alive():
            return False
        self.own()
        return True

    @property
    def is_running(self) -> bool:
        """Whether notifications are being delivered just now."""
        return self._is_running

    @property
    def is_endless(self) -> bool:
        """Whether the caller answers a notification that answers one, and so on for too long."""
        return self._round >= MAX_ROUNDS and threading.get_ident() == self._owner_id

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to deliver."""
        return bool(self._waiting)

    def put(self, notify: Callable[[], object]) -> None:
        """Add a notification, to be delivered in order."""
        is_answer = self._is_running and threading.get_ident() == self._owner_id
        self._waiting.append((notify, self._round + 1 if is_answer else 0))

    def run(self) -> None:
        """Deliver what waits; for the owner.

        Called by an observer, it returns at once: the running delivery goes on with what
        was added, so that all observers see all changes in one order.
        """
        if self._is_running:
            return
        self._is_running = True
        try:
            while self._waiting:
                notify, self._round = self._waiting.popleft()
                _call(notify)
        finally:
            self._is_running = False
            self._round = 0

    def wake(self) -> None:
        """Have the owner's loop catch up soon; from any thread."""
        loop = self._loop
        if loop is None or self._is_woken:
            return
        self._is_woken = True
        try:
            loop.call_soon_threadsafe(self._arrive)
        except RuntimeError:
            # The loop is closed; the next access delivers.
            self._is_woken = False
            self._loop = None

    def _arrive(self) -> None:
        self._is_woken = False
        self._catch_up()


def _call(notify: Callable[[], object]) -> None:
    try:
        notify()
    except Exception:
        logger.exception("An observer of the store raised; the others go on")
