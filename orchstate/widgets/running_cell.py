"""Tells what must not be used while a cell runs when one begins, and when it has ended.

While a cell runs, the kernel does not listen to the page, and what is entered there waits
there. IPython says when a cell begins and ends; outside IPython no cell ever runs, and
nothing here does anything.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Protocol

from orchstate.origin import shell

if TYPE_CHECKING:
    from collections.abc import Callable


class Pausing(Protocol):
    """What is not used while a cell runs."""

    def pause(self) -> None:
        """A cell runs now."""

    def resume(self) -> None:
        """It has ended."""


class RunningCell:
    """Tells its followers of every cell; it knows them weakly, and without any it follows nothing itself."""

    def __init__(self) -> None:
        self._followers: weakref.WeakSet[Pausing] = weakref.WeakSet()
        self._events: Any = None
        self._is_running = False

    def tell(self, follower: Pausing) -> None:
        """Tell a follower of cells from now on, also of the one that runs already."""
        self._hook()
        self._followers.add(follower)
        if self._is_running:
            follower.pause()

    def forget(self, follower: Pausing) -> None:
        """Tell a follower nothing any more; harmless when repeated."""
        self._followers.discard(follower)
        if not self._followers:
            self._unhook()

    def _hook(self) -> None:
        running = shell()
        if running is None or running.events is self._events:
            return
        self._unhook()
        self._events, self._is_running = running.events, _is_in_cell(running)
        for event, listener in self._listeners().items():
            self._events.register(event, listener)

    def _unhook(self) -> None:
        events, self._events, self._is_running = self._events, None, False
        for event, listener in self._listeners().items():
            if events is not None and listener in events.callbacks[event]:
                events.unregister(event, listener)

    def _listeners(self) -> dict[str, Callable[[Any], None]]:
        return {"pre_run_cell": self._begin, "post_run_cell": self._end}

    def _begin(self, info: object) -> None:
        self._is_running = True
        for follower in list(self._followers):
            follower.pause()
        if not self._followers:
            self._unhook()

    def _end(self, result: object) -> None:
        self._is_running = False
        for follower in list(self._followers):
            follower.resume()


def _is_in_cell(running: Any) -> bool:
    """Return whether the kernel is at work for a cell, and not for a button that was pressed."""
    request = running.get_parent() if hasattr(running, "get_parent") else {}
    return bool(request.get("header", {}).get("msg_type") == "execute_request")
