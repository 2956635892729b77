"""Event loops, for those who may not need one: asyncio takes longer to import than this package."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_P = ParamSpec("_P")
_T = TypeVar("_T")


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, if one does.

    Examples
    --------
    >>> print(running_loop())
    None
    """
    # Where nobody has imported asyncio, or another thread is just doing so, no loop runs.
    running = getattr(sys.modules.get("asyncio"), "_get_running_loop", None)
    loop: asyncio.AbstractEventLoop | None = running() if running else None
    return loop


async def in_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Return what a slow function returns, while the event loop goes on."""
    import asyncio

    return await asyncio.to_thread(function, *args, **kwargs)
