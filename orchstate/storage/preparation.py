"""Preparation: what has to be done to an engine's data before anybody may read them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Preparation:
    """Work that comes before all other use; where there is none, nobody waits.

    Examples
    --------
    >>> preparation = Preparation()
    >>> preparation.expect()
    >>> preparation.begin(lambda: print("looked over"), lambda: print("ready"))
    looked over
    ready
    >>> preparation.wait()
    True
    """

    def __init__(self) -> None:
        self._ended: threading.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether others have to wait."""
        return self._ended is not None

    def expect(self) -> None:
        """Have everybody wait from now on for work that is about to begin."""
        self._ended = threading.Event()

    def begin(self, work: Callable[[], object], then: Callable[[], object]) -> None:
        """Do the work in a thread of its own, and then something for which nobody has to wait any more."""

        def run() -> None:
            try:
                work()
            finally:
                self.end()
                then()

        self._thread = threading.Thread(target=run, name="orchstate-loading", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Return once the work has ended, at once in its own thread; False if that is not so in time.

        Never called with a lock that the work may need.
        """
        ended = self._ended
        return ended is None or threading.current_thread() is self._thread or ended.wait(timeout_s)

    def end(self) -> None:
        """Let everybody go on, as in a forked child, where nobody does the work."""
        ended, self._ended = self._ended, None
        if ended:
            ended.set()
