"""Delivery: observers and listeners run outside every lock, in the thread that owns the store.

News from elsewhere wait here until the owner's event loop gets to them, or until the
owner next touches the store, whichever comes first: so they also arrive while a cell runs.
A loop that comes after another one is the owner's from the first edit, observer or news in it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from orchstate.loops import running_loop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)

# Observers may edit, and others observe what they edit, and so on. Nobody means to come back to one
# document so often that way, or to go on for so long at all.
MAX_RETURNS: Final = 50
MAX_ROUNDS: Final = 10_000


class _Later(threading.local):
    """Deliveries that wait until a thread has done something else, in the order in which they came."""

    waiting: dict[Callable[[], object], None] | None = None


_later = _Later()


@contextlib.contextmanager
def later() -> Iterator[None]:
    """Have what edits of the block have to tell in this thread be told after it."""
    if _later.waiting is not None:
        yield
        return
    waiting: dict[Callable[[], object], None] = {}
    _later.waiting = waiting
    try:
        yield
    finally:
        _later.waiting = None
        for deliver in waiting:
            deliver()


def put_off(deliver: Callable[[], object]) -> bool:
    """Have a delivery wait for the end of the running block of :func:`later`; False if none runs."""
    if _later.waiting is None:
        return False
    _later.waiting[deliver] = None
    return True


class _Round:
    """An edit, and the one whose observer made it."""

    __slots__ = ("about", "before", "number")

    def __init__(self, before: _Round | None, about: str) -> None:
        self.before = before
        self.about = about
        self.number: int = before.number + 1 if before else 1

    def is_endless(self, about: str) -> bool:
        """Whether one more edit of a document would be one too many."""
        if self.number < MAX_RETURNS:
            return False
        step: _Round | None = self
        returns = 0
        while step and returns < MAX_RETURNS:
            returns, step = returns + (step.about == about), step.before
        return returns >= MAX_RETURNS or self.number >= MAX_ROUNDS


_Item = tuple["Callable[[], object]", "_Round | None"]


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
        self._waiting: deque[_Item] = deque()
        # Up to which the running delivery goes.
        self._last: _Item | None = None
        self._is_running = False
        self._round: _Round | None = None
        # The loop that has a call to come; one that has ended keeps no other from being called.
        self._woken: asyncio.AbstractEventLoop | None = None
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
            # What has arrived since the one before has ended has woken nobody.
            loop.call_soon(self._arrive, loop)

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

    def is_endless(self, about: str) -> bool:
        """Whether an edit of a document answers an answer to an answer, in a circle."""
        last = self._round if threading.get_ident() == self._owner_id else None
        return last is not None and last.is_endless(about)

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to deliver."""
        return bool(self._waiting)

    def put(self, notify: Callable[[], object], about: str = "") -> None:
        """Add a notification, to be delivered in order; `about` is the id of a document that was edited."""
        # An edit that an observer makes is one round further than the edit that it was told of.
        is_answer = self._is_answering
        before = self._round if is_answer else None
        item = (notify, _Round(before, about) if about else before)
        self._waiting.append(item)
        if is_answer:
            self._last = item

    def put_once(self, notify: Callable[[], object]) -> None:
        """Add a notification that looks for itself what is new, unless it waits already as the last one.

        A worker that edits for hours while the owner waits for it would else fill the memory.
        """
        with contextlib.suppress(IndexError):
            last = self._waiting[-1]
            if last[0] == notify:
                if self._is_answering:
                    self._last = last
                return
        self.put(notify)

    @property
    def _is_answering(self) -> bool:
        return self._is_running and threading.get_ident() == self._owner_id

    def run(self) -> None:
        """Deliver what waits; for the owner.

        Called by an observer, it returns at once: the running delivery goes on with what
        was added, so that all observers see all changes in one order. What other threads add
        meanwhile waits for the next time: they may add for ever.
        """
        if self._is_running:
            return
        self._is_running = True
        try:
            self._last = self._waiting[-1] if self._waiting else None
            while self._last is not None:
                item = self._waiting.popleft()
                if item is self._last:
                    self._last = None
                notify, self._round = item
                _call(notify)
        finally:
            self._is_running = False
            self._round = None

    def in_turn(self, calls: Iterator[Callable[[], object]]) -> None:
        """Tell several of one thing; where one of them is interrupted, the others are told the next time."""
        for call in calls:
            try:
                call()
            except BaseException:
                self._waiting.appendleft((partial(self.in_turn, calls), self._round))
                raise

    def wake(self) -> None:
        """Have the owner's loop catch up soon; from any thread."""
        loop = self._loop
        if loop is None or self._woken is loop:
            return
        self._woken = loop
        try:
            loop.call_soon_threadsafe(self._arrive, loop)
        except RuntimeError:
            # It is closed: the next access delivers, or the next loop.
            return
        except BaseException:
            # Interrupted, perhaps before the call: one too many does no harm.
            self._woken = None
            raise

    def _arrive(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._woken is loop:
            self._woken = None
        self._catch_up()


def _call(notify: Callable[[], object]) -> None:
    try:
        notify()
    except Exception:
        logger.exception("An observer of the store raised; the others go on")
