"""Journals and engines of another make: negative controls, with which the attacks have to find a fault."""

from __future__ import annotations

import os
import queue
from typing import TYPE_CHECKING, Any

from orchstate.locks import FairLock
from orchstate.storage.outbox import MemoryJournal, Outbox
from orchstate.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from orchstate.storage.placement import JournalMode


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


class LocklessEngine(SqliteEngine):
    """A negative control: trusts SQLite's own locks, as most programs do."""

    def _set_up(self, mode: JournalMode | None) -> None:
        if self.path:
            # One of each process's own, which keeps nobody away.
            self._lock = FairLock(self.path.with_name(f"{os.getpid()}.lock"))
        super()._set_up(mode)

    def _check_log(self) -> None:
        """Trust the log that is open."""

    def _empty_log(self) -> None:
        """Leave it to SQLite, which removes it with the last connection, as far as it can see."""

    def _close_connections(self, patience_s: float | None) -> None:
        self._log = None
        super()._close_connections(patience_s)

    def _connected(self, *, read_only: bool) -> sqlite3.Connection:
        return super()._connected(read_only=False)
