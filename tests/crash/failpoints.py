"""Failpoints: named places of the product at which a process kills itself, put there from outside.

Nothing in the product knows of them. A place is a function (``module:name``), which is
wrapped, or an SQL statement, which is met in a connection of our own class; the kill comes
before it, after it, inside it, or with half of a record written.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
import signal
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from orchstate.storage import schema

if TYPE_CHECKING:
    from collections.abc import Callable

When = Literal["before", "after", "inside"]
Only = Literal["", "header", "record", "commit lock"]


class Trap:
    """Counts how often a place is met, and kills the process at the chosen time.

    Parameters
    ----------
    name
        Of the place, for the log.
    at
        The hit that kills, from 1.
    log
        Descriptor of the log.
    """

    # Kept, since a failpoint may wrap what the trap uses.
    _write, _kill = staticmethod(os.write), staticmethod(os.kill)

    def __init__(self, name: str, at: int, log: int) -> None:
        self._name, self._at, self._log = name, at, log
        self._hits = 0

    def is_sprung(self) -> bool:
        """Count a hit, and say whether it is the one."""
        self._hits += 1
        return self._hits == self._at

    def kill(self) -> None:
        """End the process as ``kill -9`` does."""
        self._write(self._log, json.dumps({"killed": self._name}).encode() + b"\n")
        self._kill(os.getpid(), signal.SIGKILL)

    def hit(self) -> None:
        """Count a hit, and end the process if it is the one."""
        if self.is_sprung():
            self.kill()


@dataclass(frozen=True)
class Call:
    """A function as a place.

    Parameters
    ----------
    where
        ``module:name`` or ``module:Class.name``.
    when
        Before or after it.
    only
        Which of its calls count; "" for all.
    """

    where: str
    when: When
    only: Only = ""

    def arm(self, trap: Trap) -> None:
        """Wrap the function."""
        owner, name = _found(self.where)
        usual = owner.__dict__[name]
        is_class_method = isinstance(usual, classmethod)
        function = usual.__func__ if is_class_method else usual

        @functools.wraps(function)
        def trapped(*args: Any, **options: Any) -> Any:
            counts = _COUNTS[self.only](*args)
            if counts and self.when == "before":
                trap.hit()
            value = function(*args, **options)
            if counts and self.when == "after":
                trap.hit()
            return value

        setattr(owner, name, classmethod(trapped) if is_class_method else trapped)


@dataclass(frozen=True)
class Torn:
    """A record of an outbox of which only the first part reaches the file."""

    only: Only

    def arm(self, trap: Trap) -> None:
        """Wrap the one function that writes records."""
        owner, name = _found("orchstate.storage.outbox:Outbox._write")
        usual = owner.__dict__[name]

        def torn(outbox: Any, record: bytes) -> None:
            if _COUNTS[self.only](outbox, record) and trap.is_sprung():
                os.write(outbox._fd, record[: 1 + hash(record) % (len(record) - 1)])
                trap.kill()
            usual(outbox, record)

        setattr(owner, name, torn)


@dataclass(frozen=True)
class Statement:
    """An SQL statement as a place.

    Parameters
    ----------
    pattern
        What it begins with: a regular expression.
    when
        Before it, after it, or at one of the steps of SQLite's machine inside it.
    """

    pattern: str
    when: When

    def arm(self, trap: Trap) -> None:
        """Have every new connection look at its statements."""
        _Watched.place, _Watched.trap = self, trap
        sqlite3.connect = functools.partial(sqlite3.connect, factory=_Watched)  # type: ignore[assignment]


class _Watched(sqlite3.Connection):
    place: ClassVar[Statement]
    trap: ClassVar[Trap]

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        return self._watch(super().execute, sql, *args)

    def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
        return self._watch(super().executemany, sql, *args)

    def close(self) -> None:
        self._watch(lambda _: super(_Watched, self).close(), "close")

    def _watch(self, run: Callable[..., Any], sql: str, *args: Any) -> Any:
        if not re.match(self.place.pattern, sql):
            return run(sql, *args)
        if self.place.when == "before":
            self.trap.hit()
        if self.place.when == "inside":
            self.set_progress_handler(self.trap.hit, 1)
        try:
            value = run(sql, *args)
        finally:
            if self.place.when == "inside":
                self.set_progress_handler(None, 0)
        if self.place.when == "after":
            self.trap.hit()
        return value


def _found(where: str) -> tuple[Any, str]:
    module, _, path = where.partition(":")
    *owners, name = path.split(".")
    return functools.reduce(getattr, owners, importlib.import_module(module)), name


def _is_header(outbox: Any, record: bytes) -> bool:
    return b"orchstate.outbox" in record


_COUNTS: dict[str, Callable[..., bool]] = {
    "": lambda *args: True,
    "header": _is_header,
    "record": lambda outbox, record: not _is_header(outbox, record),
    "commit lock": lambda lock, *args: type(lock).__name__ == "FairLock",
}


@dataclass(frozen=True)
class Failpoint:
    """A place, what a process does until it gets there, and how often it may pass by.

    Parameters
    ----------
    place
        Where the kill comes.
    play
        What the process does: a name in :data:`crash.victims.PLAYS`.
    passes
        The kill comes at a random hit up to this one.
    """

    place: Call | Torn | Statement
    play: str = "edit"
    passes: int = 30


_OUTBOX = "orchstate.storage.outbox:Outbox"
_SALVAGE = "orchstate.storage.salvage"
_LAST_STEP = f"PRAGMA user_version = {len(schema._STEPS)}$"

FAILPOINTS: dict[str, Failpoint] = {
    # A store comes to be.
    "file made": Failpoint(Call("orchstate.storage.file:prepare", "after"), "birth", 3),
    "journal mode set": Failpoint(Statement("PRAGMA journal_mode =", "after"), "birth", 3),
    "first table made": Failpoint(Statement("CREATE TABLE meta", "after"), "birth", 3),
    "inside a table's making": Failpoint(Statement("CREATE TABLE", "inside"), "birth", 100),
    "half of the tables made": Failpoint(Statement("CREATE TABLE rev", "after"), "birth", 3),
    "first step before its commit": Failpoint(Statement("PRAGMA user_version = 1$", "after"), "birth", 3),
    "between the steps": Failpoint(Statement("CREATE INDEX doc_deleted", "before"), "birth", 3),
    "last step before its commit": Failpoint(Statement(_LAST_STEP, "after"), "birth", 3),
    "lock's file emptied": Failpoint(Call("os:pwrite", "before"), "birth", 3),
    "lock's file written": Failpoint(Call("os:pwrite", "after"), "birth", 3),
    "outbox made": Failpoint(Call(f"{_OUTBOX}._write", "before", "header"), "birth", 3),
    "outbox header torn": Failpoint(Torn("header"), "birth", 3),
    "outbox header written": Failpoint(Call(f"{_OUTBOX}._write", "after", "header"), "birth", 3),
    # An edit is accepted.
    "before a record": Failpoint(Call(f"{_OUTBOX}._write", "before", "record")),
    "torn record": Failpoint(Torn("record")),
    "after a record": Failpoint(Call(f"{_OUTBOX}._write", "after", "record")),
    "accepted and not on its way": Failpoint(Call("orchstate.state.writer:Writer.submit", "before")),
    "before a reset": Failpoint(Call(f"{_OUTBOX}.reset", "before"), passes=3),
    "after a reset": Failpoint(Call(f"{_OUTBOX}.reset", "after"), passes=3),
    # It is committed.
    "lock taken": Failpoint(Call("orchstate.locks:FairLock.acquire", "after"), passes=10),
    "begun": Failpoint(Statement("BEGIN IMMEDIATE", "after"), passes=10),
    "before the present row": Failpoint(Statement("INSERT INTO doc", "before")),
    "inside the present row": Failpoint(Statement("INSERT INTO doc", "inside"), passes=2000),
    "before the history's row": Failpoint(Statement("INSERT INTO rev", "before")),
    "inside the history's row": Failpoint(Statement("INSERT INTO rev", "inside"), passes=2000),
    "applied noted": Failpoint(Statement("INSERT OR REPLACE INTO applied", "after"), passes=10),
    "clock set": Failpoint(Statement("UPDATE clock", "after"), passes=10),
    "before COMMIT": Failpoint(Statement("COMMIT", "before"), passes=10),
    "after COMMIT": Failpoint(Statement("COMMIT", "after"), passes=10),
    "lock not yet released": Failpoint(
        Call("orchstate.locks:FileLock.release", "before", "commit lock"), passes=10
    ),
    "lock released": Failpoint(Call("orchstate.locks:FileLock.release", "after", "commit lock"), passes=10),
    "before the ring": Failpoint(Call("orchstate.storage.bell:Bell.ring", "before"), passes=10),
    "after the ring": Failpoint(Call("orchstate.storage.bell:Bell.ring", "after"), passes=10),
    "before a receipt": Failpoint(Call("orchstate.state.receipt:Receipt.settle", "before")),
    "after a receipt": Failpoint(Call("orchstate.state.receipt:Receipt.settle", "after")),
    "before delivery": Failpoint(Call("orchstate.state.present:Present._deliver", "before"), passes=10),
    "after delivery": Failpoint(Call("orchstate.state.present:Present._deliver", "after"), passes=10),
    # It is refused.
    "refused, taken back": Failpoint(Statement("ROLLBACK TO intent", "after"), passes=3),
    "before parking": Failpoint(Statement("INSERT OR REPLACE INTO parked", "before"), passes=3),
    "after parking": Failpoint(Statement("INSERT OR REPLACE INTO parked", "after"), passes=3),
    # The store is closed.
    "before the outbox goes": Failpoint(Call(f"{_OUTBOX}.close", "before"), passes=2),
    "after the outbox went": Failpoint(Call(f"{_OUTBOX}.close", "after"), passes=2),
    "before a connection's end": Failpoint(Statement("close", "before"), passes=4),
    "after a connection's end": Failpoint(Statement("close", "after"), passes=4),
    # Edits of the dead are taken over.
    "adoption not begun": Failpoint(Call("orchstate.adoption:adopted", "before"), "adopt", 1),
    "adoption between batches": Failpoint(
        Call("orchstate.storage.sqlite:SqliteEngine.commit", "after"), "adopt", 3
    ),
    "adoption before the end of the outbox": Failpoint(
        Call("orchstate.adoption:adopted", "after"), "adopt", 1
    ),
    "before a damaged outbox is set aside": Failpoint(Call(f"{_OUTBOX}.set_aside", "before"), "damaged", 1),
    "after a damaged outbox was set aside": Failpoint(Call(f"{_OUTBOX}.set_aside", "after"), "damaged", 1),
    # A damaged file is replaced by one with all that is sound in it.
    "salvage begun": Failpoint(Call(f"{_SALVAGE}:fill", "before"), "salvage", 1),
    "salvaged, and not yet ready": Failpoint(Call(f"{_SALVAGE}:fill", "after"), "salvage", 1),
    "ready, and not in its place": Failpoint(Call(f"{_SALVAGE}:_swap", "before"), "salvage", 1),
    "before the damaged file is kept": Failpoint(Call("os:link", "before"), "salvage", 1),
    "damaged file kept": Failpoint(Call("os:link", "after"), "salvage", 1),
    "salvaged file in its place": Failpoint(Call(f"{_SALVAGE}:_swap", "after"), "salvage", 1),
    # Keys, and copies.
    "key kept, its document not": Failpoint(Call("crash.victims:Keys.set", "after"), "keys", 5),
    "before an old key goes": Failpoint(Call("crash.victims:Keys.delete", "before"), "keys", 5),
    "copied, and not yet durable": Failpoint(Call("orchstate.storage.sqlite:durable", "before"), "copy", 8),
    "copied, and durable": Failpoint(Call("orchstate.storage.sqlite:durable", "after"), "copy", 8),
}


def arm(name: str, at: int, log: int) -> None:
    """Have this process kill itself at the hit `at` of a failpoint."""
    FAILPOINTS[name].place.arm(Trap(name, at, log))
