"""Journals and engines of another make: negative controls, with which the attacks have to find a fault."""

from __future__ import annotations

import os
import queue
from typing import TYPE_CHECKING, Any

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


class ForgetfulEngine(SqliteEngine):
    """A negative control: knows of no intent that it has applied it."""

    def applied(self, writer: str) -> int:
        return 0

    def _applied(self, writer: str) -> int:
        return 0
