from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

from orchstate.widgets.background import Task

if TYPE_CHECKING:
    import pytest


def test_without_an_event_loop_the_work_is_done_on_the_spot() -> None:
    results: list[object] = []
    Task(threading.current_thread, results.append).start()
    assert results == [threading.main_thread()]


def test_with_an_event_loop_a_thread_works_and_the_loop_hears_of_it() -> None:
    async def work() -> tuple[object, object]:
        done: asyncio.Future[tuple[object, object]] = asyncio.get_running_loop().create_future()
        Task(
            threading.current_thread, lambda work: done.set_result((work, threading.current_thread()))
        ).start()
        assert not done.done()
        return await done

    worker, hearer = asyncio.run(work())
    assert worker is not threading.main_thread()
    assert hearer is threading.main_thread()


def test_a_cancelled_task_is_not_heard_of() -> None:
    async def work() -> list[int]:
        results: list[int | None] = []
        release = threading.Event()
        task = Task(lambda: release.wait(5), results.append)
        task.start()
        task.cancel()
        release.set()
        await asyncio.sleep(0.1)
        return results

    assert asyncio.run(work()) == []


def test_a_failure_is_logged_without_what_it_says(caplog: pytest.LogCaptureFixture) -> None:
    results: list[object] = []

    def fail() -> object:
        raise RuntimeError("sk-in-the-message")

    with caplog.at_level(logging.ERROR):
        Task(fail, results.append).start()
    assert results == [None]
    assert "RuntimeError" in caplog.text
    assert "sk-in-the-message" not in caplog.text
