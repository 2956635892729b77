"""What worker processes do: each reads requests, one JSON list a line, and prints one answer to each.

The first line it prints says that it is ready; the end of its input ends it.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import bare
from benchmarks.measuring import timed
from benchmarks.places import open_store

if TYPE_CHECKING:
    from collections.abc import Callable


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
        "watcher": watcher,
        "sqlite_watcher": sqlite_watcher,
        "idle": idle,
    }
    _ROLES[sys.argv[1]](*sys.argv[2:])
