"""Time limits that hold whatever the work is stuck in: a name look-up, a slow drip, a key dialog.

The work runs in a daemon thread. When its time is over the caller goes on; the thread
ends by itself as soon as its work does, and never keeps the process alive.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def within(seconds: float, work: Callable[[], T]) -> T:
    """Return what `work` returns, if it does so within `seconds`.

    Raises
    ------
    TimeoutError
        If it takes longer.
    Exception
        Whatever `work` raises.

    Examples
    --------
    >>> within(5, lambda: 6 * 7)
    42
    """
    return _started(work).result(seconds)


async def awithin(seconds: float, work: Callable[[], T]) -> T:
    """Return what `work` returns, like :func:`within`; the event loop goes on meanwhile."""
    return await asyncio.wait_for(asyncio.wrap_future(_started(work)), seconds)


def _started(work: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()
    # Running from the start, so that whoever stops waiting cannot take it from under the thread.
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="orchstate-call", daemon=True).start()
    return future
