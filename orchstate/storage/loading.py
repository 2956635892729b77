"""Loading: what has to be done to an engine's data before anybody may read them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Loading:
    """Work that comes before all other use; where there is none, nobody waits.

    Examples
    --------
    >>> loading = Loading()
    >>> loading.wait()
    True
    >>> loading.expect()
    >>> loading.wait(timeout_s=0.01)
    False
    >>> done = []
    >>> loading.begin(lambda: done.append("looked over"), lambda: None)
    >>> loading.wait(), done
    (True, ['looked over'])
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
                ended, self._ended = self._ended, None
                if ended:
                    ended.set()
                then()

        self._thread = threading.Thread(target=run, name="orchstate-loading", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Return once the work has ended, at once in its own thread; False if that is not so in time.

        Never called with a lock that the work may need.
        """
        ended = self._ended
        return ended is None or threading.current_thread() is self._thread or ended.wait(timeout_s)

    def abandon(self) -> None:
        """Have nobody wait in a forked child, where nobody does the work."""
        # Whoever waited in the parent is not here; to set the event could need a lock of one of them.
        self._ended = None
