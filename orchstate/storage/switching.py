"""Quick thread switches for as long as a commit runs.

A busy notebook cell holds the interpreter for 5 ms at a time, and a committing thread
gives it up at every statement: without this a commit of eight statements would take 40 ms
while it holds the lock that other processes wait for.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

QUICK_S: Final = 0.0002

_mutex = threading.Lock()
_running = 0
_usual_s = 0.005


@contextlib.contextmanager
def quick_switching() -> Iterator[None]:
    """Lower the interpreter's switch interval inside the block; blocks may overlap."""
    _watch_forks()
    with _mutex:
        _enter()
    try:
        yield
    finally:
        with _mutex:
            _leave()


# The order of the steps matters: a fork between any two of them finds a count above 0, and
# the usual interval, for as long as the interval is short.
def _enter() -> None:
    global _running, _usual_s
    if not _running:
        _usual_s = sys.getswitchinterval()
    _running += 1
    if _running == 1:
        sys.setswitchinterval(min(QUICK_S, _usual_s))


def _leave() -> None:
    global _running
    if _running == 1:
        sys.setswitchinterval(_usual_s)
    # In a child forked inside the block it is over already.
    _running = max(0, _running - 1)


@cache
def _watch_forks() -> None:
    # Once per process, and at first use: importing changes nothing.
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_end_in_child)


def _end_in_child() -> None:
    """End the blocks of the parent's other threads, which nobody would ever leave in the child."""
    global _mutex, _running
    _mutex = threading.Lock()
    if _running:
        sys.setswitchinterval(_usual_s)
    _running = 0
