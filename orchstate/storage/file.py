"""The file of a store: opened, locked, watched, and closed before forks.

- What is committed, and every checkpoint, happens under a lock on a file beside the store,
  so that waiting processes queue instead of polling, and no two of them checkpoint at once.
- The file is never opened by other means than SQLite: closing such a handle would drop the
  locks of this process. A notebook may do just that, so what those locks guard is guarded
  by the lock beside the store as well: only its holder may roll back what looks like the
  unfinished commit of a dead process, and nobody removes the log of others by closing.
- It survives forks: it is closed before one and opened again when next needed. In the
  child every use raises, and nothing of the parent is disturbed.

There are two connections to it, each used by one thread at a time: one for committing,
under the lock, and one that cannot write. A store in memory has a single one.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from orchstate.errors import (
    ClosedError,
    ForkedStoreError,
    ReadOnlyError,
    StoreError,
    StoreLockedError,
    StoreMovedError,
    StoreWriteError,
)
from orchstate.locks import LONGEST_SLEEP_S, FairLock
from orchstate.storage import forks, schema
from orchstate.storage.bell import Bell
from orchstate.storage.connection import (
    connect,
    fetch,
    impatience,
    is_unfinished,
    translated,
    unopened,
)
from orchstate.storage.placement import JournalMode, discard, journal_mode, prepare
from orchstate.storage.presence import (
    Presence,
    check_companions,
    has_companions,
    is_interrupted,
    log_at,
    place_of,
    remember,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_Read = TypeVar("_Read")
# A fork waits this long for processes that are just committing, and then goes on without.
_FORK_PATIENCE_S: Final = 0.2
# How long to wait for a thread that is reading before it is asked to make haste.
_SHORT_S: Final = 0.05


class StoreFile:
    """A store's SQLite file as one process has it open, or a database in memory.

    Parameters
    ----------
    path
        The file, made with its folders when missing; None for a store in memory.
    read_only
        Whether nothing may be written; then the file has to exist.
    mode
        Journal mode; None for the fastest one that is safe for the file.
    timeout_s
        How long to wait for a lock that another program holds, in seconds.

    Raises
    ------
    StoreError
        If the path is a folder, may not be read, is not a database, or is another program's.
    ReadOnlyError
        If the file or its folder may not be written and `read_only` is not set.
    StoreLockedError
        If another program keeps the file locked.
    NewerSchemaError
        If a newer version wrote it.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        read_only: bool = False,
        mode: JournalMode | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        self.path = path
        self.read_only = read_only
        self._timeout_s = timeout_s
        self.journal_mode = ""
        self._closed = self._forked = False
        self._write_mutex = threading.RLock()
        self._read_mutex = threading.RLock() if path else self._write_mutex
        self._writing_or_none: sqlite3.Connection | None = None
        self._reading_or_none: sqlite3.Connection | None = None
        self._presence: Presence | None = None
        self._log: tuple[int, int] | None = None
        # Its path is looked at with every use.
        self._log_path = f"{path}-wal" if path else ""
        self._is_in_memory = path is None
        self._lock = FairLock(path.with_name(f"{path.name}.lock")) if path and not read_only else None
        # What was moved away for a moment is not to be made anew.
        self._made = prepare(path, read_only=read_only) if path and not is_interrupted(path) else ()
        try:
            self._set_up(mode)
        except BaseException as error:
            self._close_connections(patience_s=None)
            discard(self._made)
            if isinstance(error, sqlite3.Error):
                raise unopened(error, path, read_only=read_only) from error
            raise
        self._bell = Bell(path)
        self._version = self._data_version()
        forks.guard(self)

    @property
    def place(self) -> str:
        """What tells this file from a copy of it; for a store in memory, its id."""
        return place_of(self.path) if self.path else self.store_id[:8]

    # -- being there ----------------------------------------------------------------

    def verify(self) -> int:
        """Return the number of the last commit, where the store's file is still the one that was opened.

        Raises
        ------
        StoreMovedError
            If it was, by something else than a copy that goes on where it was.
        """
        with self._write_mutex:
            self._check_place()
            if self._presence and self._read(self._presence.check_content):
                if self._writing_or_none:
                    self._writing_or_none.execute("PRAGMA shrink_memory")
                return self._presence.seq
        return self.seq()

    def _check_place(self) -> None:
        self._check_usable()
        if self._presence and self._presence.has_moved:
            self._follow(self._presence)

    def _follow(self, presence: Presence) -> None:
        """Go on in the file that is at the path now, if it is the store."""
        try:
            presence.follow()
        except StoreMovedError:
            if self.path is None or not has_companions(self.path) or (self._lock and self._lock.is_held):
                raise
            # Perhaps of somebody's commit to that file, which is over once we have the lock.
            with self._locked():
                presence.follow()
        self._reopen()

    def _check_content(self) -> None:
        """Refuse to write, with the lock held, into what is not the opened store any more."""
        self._check_log()
        if self._presence:
            self._presence.check_content(self._writing)

    def _check_log(self) -> None:
        """Open the file anew where its log was removed, replaced or made: others use another one now."""
        is_open = self._writing_or_none or self._reading_or_none
        if self._is_in_memory or not is_open or log_at(self._log_path) == self._log:
            return
        # Of a file that is gone, with its log, what is open can still be read.
        if not (self._presence and self._presence.has_moved):
            self._reopen()

    def _reopen(self) -> None:
        with self._write_mutex, self._read_mutex:
            self._close_connections(0.0)
            self._version = -1

    # -- reading --------------------------------------------------------------------

    def seq(self) -> int:
        """Return the number of the last commit."""
        return int(self._read(lambda connection: fetch(connection, "SELECT seq FROM clock"))[0][0])

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a reading SQL statement."""
        return self._read(lambda connection: fetch(connection, sql, parameters))

    def _read(self, read: Callable[[sqlite3.Connection], _Read]) -> _Read:
        """Return what is read, once no commit is unfinished that only a holder of the lock may roll back."""
        deadline = time.monotonic() + self._timeout_s
        self._check_log()
        while True:
            with self._read_mutex:
                self._check_usable()
                try:
                    return read(self._reading)
                except sqlite3.Error as error:
                    if not is_unfinished(error) or time.monotonic() > deadline:
                        raise translated(error, self.path) from error
            # Not with the mutex: who commits here holds the lock, and wants the mutex to open the file anew.
            self._finish()

    def _finish(self) -> None:
        """Have SQLite roll back what a dead process left unfinished, or wait for the living one."""
        # Another holder than whoever commits in this process; its thread may be waiting for the lock, too.
        lock = FairLock(self._lock.path) if self._lock else None
        with contextlib.suppress(sqlite3.Error, OSError):
            if lock and lock.acquire(self._timeout_s):
                with lock, contextlib.closing(connect(self.path, read_only=False, timeout_s=self._timeout_s)):
                    return
        time.sleep(LONGEST_SLEEP_S)

    # -- waiting --------------------------------------------------------------------

    def wait(self, timeout_s: float) -> bool:
        """Sleep until woken, or until others may have committed; return whether they may have."""
        self._check_usable()
        rung = self._bell.wait(min(timeout_s, self._bell.poll_s) if self.path else timeout_s)
        if self._presence and self._presence.has_moved:
            return True
        version = self._data_version()
        moved, self._version = version != self._version, version
        return rung or moved

    def wake(self) -> None:
        """End a running or the next :meth:`wait`, from any thread."""
        self._bell.wake()

    def _data_version(self) -> int:
        with self._write_mutex:
            self._check_usable()
            self._check_log()
            with contextlib.suppress(sqlite3.Error, StoreError), self._locked(0.0):
                with impatience(self._writing, self._timeout_s):
                    return int(self._writing.execute("PRAGMA data_version").fetchone()[0])
            # Locked just now: look at the data themselves.
            return -1

    # -- forks ----------------------------------------------------------------------

    def before_fork(self) -> None:
        """Wait for running statements and close the file: a child must inherit nothing of SQLite's."""
        self._stop_all()
        if not self._is_in_memory:
            self._close_connections(_FORK_PATIENCE_S)

    def after_fork_in_parent(self) -> None:
        """Go on; the file is opened again when it is next needed."""
        self._let_go_on()

    def after_fork_in_child(self) -> None:
        """Disable the inherited engine without touching what the parent uses."""
        self._forked = True
        self._bell.abandon()
        self._let_go_on()

    def _stop_all(self) -> None:
        """Return once no other thread uses the file; none does until :meth:`_let_go_on`."""
        self._write_mutex.acquire()
        while not self._read_mutex.acquire(timeout=_SHORT_S):
            self._hasten()

    def _let_go_on(self) -> None:
        self._read_mutex.release()
        self._write_mutex.release()

    def _hasten(self) -> None:
        """End what takes long, where it can be begun again."""

    # -- connections ----------------------------------------------------------------

    def close(self) -> None:
        """Release everything; harmless when repeated."""
        self._stop_all()
        try:
            if self._closed or self._forked:
                return
            self._empty_log()
            self._close_connections(self._timeout_s)
            self._closed = True
        finally:
            self._let_go_on()
        self._bell.close()

    def _empty_log(self) -> None:
        """Leave a file that is whole by itself, where nobody else is at it just now."""
        if self._log and not self.read_only:
            with contextlib.suppress(sqlite3.Error, StoreError), self._locked(0.0):
                with impatience(self._writing, self._timeout_s):
                    self._writing.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @property
    def _writing(self) -> sqlite3.Connection:
        if self._writing_or_none is None:
            self._writing_or_none = self._connected(read_only=self.read_only)
        return self._writing_or_none

    @property
    def _reading(self) -> sqlite3.Connection:
        if self._is_in_memory:
            return self._writing
        if self._reading_or_none is None:
            self._reading_or_none = self._connected(read_only=True)
        return self._reading_or_none

    def _connected(self, *, read_only: bool) -> sqlite3.Connection:
        if self._presence:
            self._presence.check()
        connection = connect(self.path, read_only=read_only, timeout_s=self._timeout_s)
        self._log = log_at(self._log_path)
        return connection

    def _close_connections(self, patience_s: float | None) -> None:
        # Closing a WAL connection may checkpoint, so it happens under the lock where that can be had.
        lock = self._lock if patience_s is not None and not (self._lock and self._lock.is_held) else None
        with contextlib.suppress(OSError):
            if lock:
                lock.acquire(patience_s or 0.0)
        try:
            if self._log and self._writing_or_none and not self.read_only:
                with contextlib.suppress(sqlite3.Error, StoreError):
                    # SQLite takes who closes last for alone, and removes the log: it cannot see others that
                    # have lost their locks. But a connection that may not write removes nothing.
                    _ = self._reading
            for connection in (self._writing_or_none, self._reading_or_none):
                if connection:
                    connection.close()
            self._reading_or_none = self._writing_or_none = None
        finally:
            if lock:
                lock.release()

    def _set_up(self, mode: JournalMode | None) -> None:
        if self.path:
            check_companions(self.path, self.path.with_name(f"{self.path.name}.lock"))
            self._check_identity(self.path)
        with self._locked():
            connection = self._writing
            if not self.read_only:
                self._prepare(connection, mode)
            elif not schema.version_of(connection):
                raise StoreError(f"{str(self.path)!r} is empty, so there is nothing to read. Check the path.")
            self.journal_mode = str(connection.execute("PRAGMA journal_mode").fetchone()[0])
            self.store_id = self._identified(connection)
            if self._lock:
                # On a full disk, another time.
                with contextlib.suppress(sqlite3.OperationalError):
                    schema.vouch(connection)
                remember(self._lock, self.store_id)
            if self.path:
                self._presence = Presence(self.path, connection, self.store_id)
                self._log = log_at(self._log_path)

    def _check_identity(self, path: Path) -> None:
        """Refuse another program's database, before a lock's file is made beside it."""
        try:
            with contextlib.closing(connect(path, read_only=True, timeout_s=self._timeout_s)) as connection:
                schema.check_identity(connection, path)
        except sqlite3.OperationalError as error:
            if not is_unfinished(error):
                raise

    def _prepare(self, connection: sqlite3.Connection, mode: JournalMode | None) -> None:
        if self.path:
            schema.check_identity(connection, self.path)
            # Fails harmlessly while others have it open in WAL; then that is what it is.
            with contextlib.suppress(sqlite3.OperationalError):
                connection.execute(f"PRAGMA journal_mode = {mode or journal_mode(self.path)}")
        schema.migrate(connection)

    def _identified(self, connection: sqlite3.Connection) -> str:
        """Return the id of the store in the file."""
        return schema.store_id(connection)

    @contextlib.contextmanager
    def _locked(self, timeout_s: float | None = None) -> Iterator[None]:
        if not self._lock:
            yield
            return
        try:
            is_ours = self._lock.acquire(self._timeout_s if timeout_s is None else timeout_s)
        except PermissionError as error:
            raise ReadOnlyError(
                f"{error.filename!r} may not be written: {error.strerror}. "
                "Open the store with read_only=True, or make this file writable."
            ) from error
        except OSError as error:
            raise StoreWriteError(
                f"{str(self._lock.path)!r} could not be used: {error}. Mend it, or open the store elsewhere."
            ) from error
        if not is_ours:
            raise StoreLockedError(
                f"{str(self.path)!r} has been locked by another process for {self._timeout_s:g} s. "
                "Close the program that holds it, or try again."
            )
        try:
            yield
        finally:
            self._lock.release()

    def _check_usable(self) -> None:
        if self._forked:
            raise ForkedStoreError("This store was opened before fork(). Call orchstate.open() in the child.")
        if self._closed:
            raise ClosedError("This store is closed. Open it again with orchstate.open().")

    def __repr__(self) -> str:
        state = "closed" if self._closed else self.journal_mode
        return f"<{type(self).__name__} {self.path or ':memory:'}: {state}>"
