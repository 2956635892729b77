"""A disk that is full from one write to another, below the outbox and below SQLite.

Imitations that can be had everywhere and at an exact write; a real small disk has a test of its own.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import sqlite3
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from orchstate.storage import outbox

if TYPE_CHECKING:
    import pytest

How = Literal["none", "short"]
_WRITES = re.compile(r"BEGIN|INSERT|UPDATE|DELETE|COMMIT|SAVEPOINT|RELEASE|CREATE|PRAGMA (user|journal|app)")


class Disk:
    """Counts writes, and has no space from write `first` on, for `count` writes.

    Parameters
    ----------
    first
        The first write that fails, from 1.
    count
        How many fail.

    Attributes
    ----------
    failed
        First words of the statements that have failed.
    """

    def __init__(self, first: int, count: int) -> None:
        self.failing = range(first, first + count)
        self.writes = 0
        self.failed: set[str] = set()

    def is_full(self) -> bool:
        """Count a write, and say whether there is no space for it."""
        self.writes += 1
        return self.writes in self.failing

    @property
    def is_over(self) -> bool:
        """Whether all writes that fail have been tried."""
        return self.writes >= self.failing.stop - 1


class _Os:
    """The module `os` for the outbox, with another `write`."""

    def __init__(self, disk: Disk, how: How) -> None:
        self._disk, self._how = disk, how

    def write(self, fd: int, data: bytes) -> int:
        if not self._disk.is_full():
            return os.write(fd, data)
        if self._how == "none":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(fd, data[: self._disk.writes * 7 % len(data)])

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


class _Connection(sqlite3.Connection):
    disk: ClassVar[Disk]

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        self._check(sql)
        return super().execute(sql, *args)

    def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
        self._check(sql)
        return super().executemany(sql, *args)

    def _check(self, sql: str) -> None:
        if _WRITES.match(sql) and self.disk.is_full():
            self.disk.failed.add(sql.split()[0])
            raise sqlite3.OperationalError("database or disk is full")


def below_the_outbox(monkeypatch: pytest.MonkeyPatch, disk: Disk, how: How) -> None:
    """Have outboxes write to this disk."""
    monkeypatch.setattr(outbox, "os", _Os(disk, how))


def below_sqlite(monkeypatch: pytest.MonkeyPatch, disk: Disk) -> None:
    """Have SQLite write to this disk: each statement and each COMMIT counts as a write."""
    monkeypatch.setattr(_Connection, "disk", disk, raising=False)
    monkeypatch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=_Connection))
