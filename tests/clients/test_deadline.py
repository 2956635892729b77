"""Time limits that hold."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from orchstate.clients.deadline import awithin, within


def fail() -> None:
    raise LookupError("gone")


def test_the_result_comes_back():
    assert within(5, lambda: 6 * 7) == 42
    assert asyncio.run(awithin(5, lambda: 6 * 7)) == 42


def test_what_the_work_raises_is_raised():
    with pytest.raises(LookupError, match="gone"):
        within(5, fail)
    with pytest.raises(LookupError, match="gone"):
        asyncio.run(awithin(5, fail))


def test_work_that_hangs_is_left_behind_in_time():
    forever = threading.Event()
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        within(0.1, forever.wait)
    with pytest.raises(TimeoutError):
        asyncio.run(awithin(0.1, forever.wait))
    assert time.monotonic() - started < 20
    forever.set()


def test_the_work_runs_in_a_daemon_thread_of_its_own():
    assert within(5, lambda: threading.current_thread().daemon)
    assert within(5, threading.current_thread) is not threading.current_thread()
