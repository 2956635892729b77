"""What worker processes do: each reads requests, one JSON list a line, and prints one answer to each.

The first line it prints says that it is ready; the end of its input ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import socket
import sqlite3
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import bare
from benchmarks.measuring import timed
from benchmarks.places import open_store
from orchstate.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# Together some 1,800 edits a second, which two cores do without being busy all the time: where they are, what
# is measured is how long the queue is.
TASK_PACE_S: Final = 0.1
THREAD_PACE_S: Final = 0.01
BEAT_S: Final = 0.005


def writer(path: str, name: str) -> None:
    """Edit one config of a store: ``[count, pace_s]`` gives the microseconds of each edit."""
    with open_store(Path(path)) as store:
        config = store.configs[name]

        def edit(number: int) -> None:
            config.temperature = bare.temperature(number)

        _serve(lambda count, pace_s: _paced(edit, count, pace_s, store.flush))


def sqlite_writer(path: str, id: str) -> None:
    """Do the same with sqlite3 alone, WAL and NORMAL."""
    raw = bare.Sqlite(Path(path), journal_mode="wal", synchronous="normal")
    _serve(lambda count, pace_s: _paced(lambda number: raw.edit(bare.temperature(number), id), count, pace_s))


def holder(path: str) -> None:
    """Sit in mid-commit with every lock of a store: ``["hold"]`` begins it, ``["let go"]`` ends it."""
    with open_store(Path(path)) as store:
        engine = store._engine
        assert isinstance(engine, SqliteEngine) and engine._lock

        def answer(request: str) -> None:
            if request == "hold":
                engine._write_mutex.acquire()
                engine._lock.acquire(5)
                engine._writing.execute("BEGIN IMMEDIATE")
            else:
                engine._writing.execute("ROLLBACK")
                engine._lock.release()
                engine._write_mutex.release()

        _serve(answer)


def watcher(path: str, name: str) -> None:
    """Observe one config as an idle kernel does: ``["seen"]`` gives ``[[value, monotonic_ns], ...]`` so far.

    ``["cpu"]`` gives the seconds of CPU time that the process has used.
    """
    asyncio.run(_watch(path, name))


async def _watch(path: str, name: str) -> None:
    seen: list[tuple[float, int]] = []
    with open_store(Path(path)) as store:
        config = store.configs[name]
        config.observe(lambda change: seen.append((change.new, time.monotonic_ns())), "temperature")
        await asyncio.to_thread(_serve, lambda request: _report(request, seen))


def announcer(path: str, name: str, first: str) -> None:
    """Edit one config of a store: ``[count, pace_s]`` gives ``[[value, monotonic_ns], ...]``.

    These are the edits and when they began; values grow from `first` on.
    """
    numbers = itertools.count(int(first))
    with open_store(Path(path)) as store:
        config = store.configs[name]

        def announce(count: int, pace_s: float) -> list[tuple[float, int]]:
            moments = []
            for _ in range(count):
                value, begin = next(numbers) / 1_000_000, time.monotonic_ns()
                config.temperature = value
                moments.append((value, begin))
                time.sleep(pace_s)
            store.flush()
            return moments

        _serve(announce)


def watcher_of_many(path: str, *names: str) -> None:
    """Do what :func:`watcher` does for many configs: ``["seen"]`` gives a list for each."""
    asyncio.run(_watch_many(path, names))


async def _watch_many(path: str, names: Sequence[str]) -> None:
    seen: dict[str, list[tuple[float, int]]] = {name: [] for name in names}
    with open_store(Path(path)) as store:
        for name, found in seen.items():
            config = store.configs[name]
            config.observe(
                lambda change, found=found: found.append((change.new, time.monotonic_ns())), "temperature"
            )
        await asyncio.to_thread(_serve, lambda request: seen)


def busy(path: str, threads: str, tasks: str) -> None:
    """Have threads and tasks edit a store: ``[count, slower]`` gives the milliseconds a heartbeat was late.

    With 2 as `slower` they edit half as often as usual.
    """
    asyncio.run(_beat_over(partial(_work_on_store, path), int(threads), int(tasks)))


def busy_bare(threads: str, tasks: str) -> None:
    """Do the same with plain traitlets, which wait for nothing."""
    asyncio.run(_beat_over(_work_on_traits, int(threads), int(tasks)))


@contextlib.contextmanager
def _work_on_store(path: str) -> Iterator[Callable[[int], Callable[[], object] | None]]:
    with open_store(Path(path)) as store:
        configs = list(store.configs.values())[:10]
        for config in configs:
            config.observe(lambda change: None, "temperature")

        def edit(number: int) -> Callable[[], object] | None:
            config = configs[number % len(configs)]
            if number % 10 == 0:
                with store.transaction():
                    config.temperature = bare.temperature(number)
                    configs[(number + 1) % len(configs)].max_tokens = 1 + number
            else:
                config.temperature = bare.temperature(number)
            # Some wait until all is on disk, without stopping the loop.
            return store.aflush if number % 25 == 0 else None

        yield edit


@contextlib.contextmanager
def _work_on_traits() -> Iterator[Callable[[int], Callable[[], object] | None]]:
    objects = [bare.Traits() for _ in range(10)]
    yield lambda number: setattr(objects[number % 10], "temperature", bare.temperature(number))


async def _beat_over(place: Any, threads: int, tasks: int) -> None:
    loop = asyncio.get_running_loop()
    with place() as edit:

        def answer(count: int, slower: float) -> list[float]:
            beating = asyncio.run_coroutine_threadsafe(_beats(edit, count, slower, threads, tasks), loop)
            return beating.result()

        await asyncio.to_thread(_serve, answer)


async def _beats(edit: Any, count: int, slower: float, threads: int, tasks: int) -> list[float]:
    late_ms: list[float] = []
    numbers = itertools.count(1)
    each = count // 2

    async def task(number: int) -> None:
        # They do not march in step: that would be one long edit.
        await asyncio.sleep(slower * TASK_PACE_S * number / tasks)
        for _ in range(each // tasks):
            flush = edit(next(numbers))
            if flush:
                await flush()
            await asyncio.sleep(slower * TASK_PACE_S)

    def thread() -> None:
        for _ in range(each // threads):
            edit(next(numbers))
            time.sleep(slower * THREAD_PACE_S)

    async def beat() -> None:
        while True:
            begin = time.perf_counter()
            await asyncio.sleep(BEAT_S)
            late_ms.append(1_000 * (time.perf_counter() - begin - BEAT_S))

    heart = asyncio.create_task(beat())
    running = [threading.Thread(target=thread) for _ in range(threads)]
    for one in running:
        one.start()
    await asyncio.gather(*map(task, range(tasks)))
    await asyncio.to_thread(lambda: [one.join() for one in running])
    heart.cancel()
    return late_ms


def sqlite_watcher(path: str, address: str) -> None:
    """Do the same with a datagram that says which row to read, and sqlite3."""
    connection = sqlite3.connect(path, isolation_level=None)
    ears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ears.bind(address)
    seen: list[tuple[float, int]] = []
    threading.Thread(target=_listen, args=(ears, path, seen), daemon=True).start()
    _serve(lambda request: _report(request, seen))
    connection.close()


def idle() -> None:
    """Run an event loop with nothing to do: ``["cpu"]`` as in :func:`watcher`."""

    async def run() -> None:
        await asyncio.to_thread(_serve, lambda request: _report(request, []))

    asyncio.run(run())


def _listen(ears: socket.socket, path: str, seen: list[tuple[float, int]]) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    while True:
        id = ears.recv(100).decode()
        (text,) = connection.execute("SELECT body FROM doc WHERE id = ?", [id]).fetchone()
        seen.append((json.loads(text)["temperature"], time.monotonic_ns()))


def _report(request: str, seen: list[tuple[float, int]]) -> Any:
    return list(seen) if request == "seen" else time.process_time()


def _paced(
    run: Callable[[int], object], count: int, pace_s: float, settle: Callable[[], object] = lambda: None
) -> list[float]:
    samples = timed(run, count, rest=lambda: time.sleep(pace_s))
    settle()
    return samples


def _serve(answer: Callable[..., Any]) -> None:
    print(json.dumps(os.getpid()), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(*json.loads(line))), flush=True)


if __name__ == "__main__":
    _ROLES: dict[str, Callable[..., None]] = {
        "writer": writer,
        "sqlite_writer": sqlite_writer,
        "holder": holder,
        "watcher": watcher,
        "watcher_of_many": watcher_of_many,
        "announcer": announcer,
        "busy": busy,
        "busy_bare": busy_bare,
        "sqlite_watcher": sqlite_watcher,
        "idle": idle,
    }
    _ROLES[sys.argv[1]](*sys.argv[2:])
