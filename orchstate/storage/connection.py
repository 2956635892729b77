"""Connections to a SQLite file: opened, read in bounded time, and their errors in our words."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

from orchstate.errors import (
    CorruptStoreError,
    ReadOnlyError,
    StoreError,
    StoreLockedError,
    StoreWriteError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    Query = Callable[[str, Sequence[Any]], Sequence[tuple[Any, ...]]]
    """Returns the rows of a reading SQL statement."""


def connect(path: Path | None, *, read_only: bool, timeout_s: float) -> sqlite3.Connection:
    """Return a connection to an existing file, or to a new database in memory.

    Parameters
    ----------
    path
        The file; None for a database in memory.
    read_only
        Whether nothing may be written through it.
    timeout_s
        How long a statement waits for a lock that another program holds, in seconds.
    """
    target = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}" if path else ":memory:"
    connection = sqlite3.connect(
        target,
        uri=path is not None,
        timeout=timeout_s,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=64,
    )
    try:
        # Both look into the file, so that its log is open from here on, too.
        connection.execute("PRAGMA schema_version" if read_only else "PRAGMA synchronous = FULL").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Make the statements of the block one transaction: all of them, or none."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def impatience(connection: sqlite3.Connection, timeout_s: float) -> Iterator[None]:
    """Have the statements of the block fail at once where another program holds a lock."""
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout = {int(timeout_s * 1000)}")


def fetch(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Return the rows of a statement; damaged text comes with lone surrogates, so that sums detect it."""
    try:
        return connection.execute(sql, parameters).fetchall()
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            raise
    connection.text_factory = lambda raw: raw.decode(errors="surrogateescape")
    try:
        return connection.execute(sql, parameters).fetchall()
    finally:
        connection.text_factory = str


def is_operational(error: Exception) -> bool:
    """Whether an error says nothing about the data at hand, so that trying again may help."""
    # The base class itself stands for a file that cannot be used as a whole.
    return type(error) in (
        sqlite3.OperationalError,
        sqlite3.DatabaseError,
        sqlite3.InternalError,
        MemoryError,
    )


def is_unfinished(error: sqlite3.Error) -> bool:
    """Whether reading found a commit that is not finished, which only a writing connection may roll back."""
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_READONLY_ROLLBACK


def is_interrupt(error: BaseException | None) -> bool:
    """Whether a statement was interrupted by another thread."""
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT


def translated(error: sqlite3.Error, path: Path | None) -> StoreError:
    """Return the error of this package that stands for one of SQLite's."""
    where, text = repr(str(path)), str(error)
    if "not a database" in text:
        return StoreError(f"{where} is not a database. Choose another path; the file was not touched.")
    if "locked" in text or "busy" in text:
        return StoreLockedError(f"{where} is locked by another program. Close it there, or try again.")
    if "readonly" in text:
        return ReadOnlyError(f"{where} may not be written. Open it with read_only=True, or make it writable.")
    if "malformed" in text or "corrupt" in text:
        return CorruptStoreError(f"{where} is damaged: {text}. Run: orchstate doctor")
    if "full" in text or "I/O" in text:
        return StoreWriteError(
            f"{where} could not be used: {text}. Free some space on its disk and try again."
        )
    return StoreWriteError(f"{where} could not be used: {text}. Mend it and try again.")


def unopened(error: sqlite3.Error, path: Path | None, *, read_only: bool) -> StoreError:
    """Return the error of this package that stands for one of SQLite's while opening."""
    text = str(error)
    if read_only and ("readonly" in text or "unable to open" in text):
        # Even reading takes files beside a database that its writer left in WAL mode, or in mid-commit.
        return StoreError(
            f"{str(path)!r} could not be opened: {text}. Make its folder writable, or open a copy of it."
        )
    return translated(error, path)
