"""Writers to be killed: a process that has everything imported and forks one writer per command.

Each writer logs what it is about to do and what was acknowledged with one ``write`` per
line to a file of its own, outside everything that it tests. Run as a script:
``python writers.py``, with one JSON command per line on standard input.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import queue
import random
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

from orchstate import opening
from orchstate.storage import outbox
from orchstate.storage.outbox import MemoryJournal, Outbox
from orchstate.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    from pathlib import Path


class QueueJournal(MemoryJournal):
    """A negative control: accepts into a queue in memory."""

    def __init__(self, writer: str) -> None:
        super().__init__(writer)
        self._queue: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def append(self, payload: bytes) -> None:
        self._queue.put(payload)

    @classmethod
    def create(cls, folder: Path, *, store_id: str, writer: str) -> QueueJournal:
        return cls(writer)


class BufferedJournal(MemoryJournal):
    """A negative control: accepts into a file through Python's own buffer, as ``open(path, "ab")`` does."""

    def __init__(self, folder: Path, writer: str) -> None:
        super().__init__(writer)
        folder.mkdir(exist_ok=True)
        self._file = (folder / f"{writer}.buffered").open("ab")

    def append(self, payload: bytes) -> None:
        self._file.write(payload)

    @classmethod
    def create(cls, folder: Path, *, store_id: str, writer: str) -> BufferedJournal:
        return cls(folder, writer)


class LoggedOutbox(Outbox):
    """The outbox itself, which also logs that it was reset."""

    log = -1

    def reset(self) -> None:
        super().reset()
        os.write(self.log, b'{"reset": []}\n')


class HastyOutbox(LoggedOutbox):
    """A negative control: forgets records without waiting for their outcome."""

    def append(self, payload: bytes) -> None:
        if self.is_large:
            self.reset()
        super().append(payload)


JOURNALS: dict[str, Any] = {
    "outbox": LoggedOutbox,
    "hasty": HastyOutbox,
    "queue": QueueJournal,
    "buffered": BufferedJournal,
}
# Ten edits: kills should meet writers that reset their outbox all the time.
RESET_BYTES = 2_000


def write_until_killed(store: str, log: str, *, number: int, mode: str, journal: str, seed: int) -> None:
    """Edit one config of this writer and one of all writers, in bursts of any length, for ever."""
    opening.SqliteEngine = functools.partial(SqliteEngine, mode=mode)  # type: ignore[assignment, misc]
    opening.Outbox = JOURNALS[journal]
    outbox.RESET_BYTES = RESET_BYTES  # type: ignore[misc]
    chance = random.Random(seed)
    out = LoggedOutbox.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    opened = opening.open(store, actor=f"writer {number}")
    own = opened.configs.upsert(f"own {number}", "openai")
    shared = opened.configs.upsert("shared", "openai")
    opened.flush()
    os.write(out, b'{"ready": true}\n')
    for count in itertools.count(1):
        # No value is ever written twice, by nobody.
        value = (seed * 10 + number) * 1_000_000 + count
        config, name = (shared, "shared") if chance.random() < 0.2 else (own, f"own {number}")
        os.write(out, json.dumps({"about": [name, value]}).encode() + b"\n")
        config.seed = value
        os.write(out, json.dumps({"done": [name, value]}).encode() + b"\n")
        if chance.random() < 0.03:
            # Kills should also meet a writer that has caught up, and resets its outbox with the next edit.
            if chance.random() < 0.5:
                opened.flush()
            time.sleep(chance.uniform(0, 0.01))


def main() -> None:
    """Fork a writer for each command and print its process id."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        command = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                write_until_killed(command.pop("store"), command.pop("log"), **command)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
