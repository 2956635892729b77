"""The SQLite engine: one file, many processes, every commit durable.

What it guarantees beyond SQLite:

- A commit and every checkpoint happen under a lock on a file beside the store, so that
  waiting processes queue instead of polling, and no two of them checkpoint at once.
- A row is verified against its checksum whenever it is read; SQLite's own check does not
  see most changed bytes.
- The store's file is never opened by other means than SQLite: closing such a handle would
  drop the locks of this process.
- In a forked child every use raises, and nothing of the parent is disturbed.

It keeps two connections, one for committing and one for reading, each used by one thread
at a time; a store in memory has a single one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
import threading
from typing import TYPE_CHECKING, Any

from orchstate.errors import (
    ClosedError,
    CorruptStoreError,
    ForkedStoreError,
    ReadOnlyError,
    StoreError,
    StoreLockedError,
    StoreWriteError,
)
from orchstate.locks import FileLock
from orchstate.storage import forks, schema, tables
from orchstate.storage.bell import Bell
from orchstate.storage.engine import Commit, Decision, Revision, Row
from orchstate.storage.placement import JournalMode, journal_mode
from orchstate.storage.switching import quick_switching

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from orchstate.models.intent import Intent
    from orchstate.storage.engine import Decide, Snapshot, Write

logger = logging.getLogger(__name__)


class SqliteEngine:
    """A store in a SQLite file, or in memory.

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
        If the path is a folder, is not a database, or is another program's.
    ReadOnlyError
        If the file may not be written and `read_only` is not set.
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
        self._closed = self._forked = False
        self._write_mutex = threading.RLock()
        self._read_mutex = threading.RLock()
        self._lock = FileLock(path.with_name(f"{path.name}.lock")) if path and not read_only else None
        if path:
            _prepare(path, read_only=read_only)
        try:
            self._writing = self._connect()
            self._set_up(mode)
            self._reading = self._connect() if path else self._writing
        except sqlite3.Error as error:
            raise _translated(error, path) from error
        if not path:
            self._read_mutex = self._write_mutex
        self._bell = Bell(path)
        self._version = self._data_version()
        forks.guard(self)

    # -- writing --------------------------------------------------------------------

    def commit(self, writer: str, intents: Sequence[Intent], decide: Decide) -> Commit:
        """Apply intents exactly once, all in one durable transaction.

        Raises
        ------
        StoreError
            If it could not be done now; nothing was applied.
        """
        if self.read_only:
            raise ReadOnlyError(f"{str(self.path)!r} is open for reading only.")
        with self._write_mutex:
            self._check_usable()
            try:
                with quick_switching(), self._locked(), _transaction(self._writing):
                    commit = self._apply(writer, intents, decide)
            except sqlite3.Error as error:
                raise _translated(error, self.path) from error
        if commit.revisions:
            self._bell.ring()
        return commit

    def _apply(self, writer: str, intents: Sequence[Intent], decide: Decide) -> Commit:
        run = self._writing.execute
        before = seq = run("SELECT seq FROM clock").fetchone()[0]
        done = self._applied(self._writing, writer)
        present = tables.Live(lambda sql, values: self._writing.execute(sql, values).fetchall())
        revisions: list[Revision] = []
        decisions: dict[int, Decision] = {}
        for intent in intents:
            if intent.n <= done:
                continue
            done = intent.n
            decision = decisions[intent.n] = decide(present, intent, writer)
            for write in decision.writes:
                seq += 1
                revisions.append(self._write(write, intent, seq, writer, present.get(write.id)))
            if not decision.writes and decision.outcome in ("rejected", "conflict"):
                self._park(writer, intent, decision, seq)
        run("INSERT OR REPLACE INTO applied VALUES (?, ?)", [writer, done])
        if seq != before:
            run("UPDATE clock SET seq = ?", [seq])
        return Commit(before, revisions, decisions)

    def _write(self, write: Write, intent: Intent, seq: int, writer: str, old: Row | None) -> Revision:
        row = Row(
            id=write.id,
            kind=write.kind,
            name=write.name,
            revision=old.revision + 1 if old else 1,
            seq=seq,
            schema=write.schema,
            created_us=write.created_us,
            updated_us=write.updated_us,
            user=write.user,
            deleted=write.verb == "delete",
            body=write.body,
            writer=writer,
            foreign_seq=0 if not old else old.foreign_seq if old.writer == writer else old.seq,
        )
        revision = Revision(
            row, write.verb, write.diff, intent.at_us, intent.txn, intent.label, intent.origin, intent.n
        )
        tables.insert(self._writing, revision)
        return revision

    def _park(self, writer: str, intent: Intent, decision: Decision, seq: int) -> None:
        self._writing.execute(
            "INSERT OR REPLACE INTO parked VALUES (?, ?, ?, ?, ?, ?, ?)",
            [writer, intent.n, decision.outcome, decision.reason, decision.error, seq, intent.encode()],
        )

    # -- reading --------------------------------------------------------------------

    def changes_since(self, seq: int, *, until: int | None = None, id: str | None = None) -> list[Revision]:
        """Return the revisions after `seq` in commit order.

        Raises
        ------
        CorruptStoreError
            If one of them is damaged; it names the documents.
        """
        return tables.revisions(self._query, seq, until=until, id=id)

    def snapshot(self, seq: int | None = None) -> Snapshot:
        """Return the documents as they are (None), or were at `seq`."""
        return tables.Live(self._query) if seq is None else tables.Past(self._query, seq)

    def seq(self) -> int:
        """Return the number of the last commit."""
        return int(self._query("SELECT seq FROM clock")[0][0])

    def applied(self, writer: str) -> int:
        """Return the number of the last intent of a writer that has an outcome, 0 if none."""
        with self._write_mutex:
            self._check_usable()
            return self._applied(self._writing, writer)

    def parked(self, writer: str) -> dict[int, Decision]:
        """Return what became of a writer's intents that were not committed, by number."""
        rows = self._query("SELECT n, outcome, reason, error FROM parked WHERE writer = ?", [writer])
        return {n: Decision(outcome, (), reason, error) for n, outcome, reason, error in rows}

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a reading SQL statement."""
        return self._query(sql, parameters)

    def _applied(self, connection: sqlite3.Connection, writer: str) -> int:
        row = connection.execute("SELECT n FROM applied WHERE writer = ?", [writer]).fetchone()
        return row[0] if row else 0

    def _query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._read_mutex:
            self._check_usable()
            try:
                return self._reading.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                raise _translated(error, self.path) from error

    # -- waiting --------------------------------------------------------------------

    def wait(self, timeout_s: float) -> bool:
        """Sleep until woken, or until others may have committed; return whether they may have."""
        self._check_usable()
        rung = self._bell.wait(min(timeout_s, self._bell.poll_s) if self.path else timeout_s)
        version = self._data_version()
        moved, self._version = version != self._version, version
        return rung or moved

    def wake(self) -> None:
        """End a running or the next :meth:`wait`, from any thread."""
        self._bell.wake()

    def _data_version(self) -> int:
        with self._write_mutex:
            try:
                return int(self._writing.execute("PRAGMA data_version").fetchone()[0])
            except sqlite3.Error:
                # Locked just now: look at the data themselves.
                return -1

    # -- care -----------------------------------------------------------------------

    def backup(self, path: Path) -> None:
        """Write a consistent copy to a new file while others go on working."""
        if path.exists():
            raise StoreError(f"{str(path)!r} exists. Choose a new file, so that nothing is overwritten.")
        with self._read_mutex:
            self._check_usable()
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            with contextlib.closing(sqlite3.connect(path)) as target:
                self._reading.backup(target)

    def check(self) -> list[str]:
        """Return one sentence per damage found in the stored data; empty when sound."""
        found = [f"SQLite: {line}" for (line,) in self._query("PRAGMA integrity_check") if line != "ok"]
        for table in ("doc", "rev"):
            found += [f"{table}: {row} is damaged." for row in tables.damaged(self._query, table)]
        return found

    def close(self) -> None:
        """Release everything; harmless when repeated."""
        if self._closed or self._forked:
            return
        with self._write_mutex, self._read_mutex:
            self._closed = True
            # Closing the last WAL connection checkpoints, so it happens under the lock too.
            with contextlib.suppress(StoreError), self._locked():
                self._reading.close()
                self._writing.close()
            self._reading.close()
            self._writing.close()
        self._bell.close()

    # -- forks ----------------------------------------------------------------------

    def before_fork(self) -> None:
        """Wait for running statements, so that the child inherits no half-done one."""
        self._write_mutex.acquire()
        self._read_mutex.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._read_mutex.release()
        self._write_mutex.release()

    def after_fork_in_child(self) -> None:
        """Disable the inherited engine without touching what the parent uses."""
        self._forked = True
        self._bell.abandon()
        self._read_mutex.release()
        self._write_mutex.release()

    # -- connections ----------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        target = (
            f"{self.path.absolute().as_uri()}?mode={'ro' if self.read_only else 'rw'}"
            if self.path
            else ":memory:"
        )
        return sqlite3.connect(
            target,
            uri=bool(self.path),
            timeout=self._timeout_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=64,
        )

    def _set_up(self, mode: JournalMode | None) -> None:
        connection = self._writing
        if self.path:
            schema.check_identity(connection, self.path)
        if self.path and not self.read_only:
            wanted = mode or journal_mode(self.path)
            with self._locked():
                # Fails harmlessly while others have it open in WAL; then that is what it is.
                with contextlib.suppress(sqlite3.OperationalError):
                    connection.execute(f"PRAGMA journal_mode = {wanted}")
                schema.migrate(connection)
            connection.execute("PRAGMA synchronous = FULL")
        elif not self.path:
            schema.migrate(connection)
        self.journal_mode = str(connection.execute("PRAGMA journal_mode").fetchone()[0])
        (self.store_id,) = connection.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._lock:
            yield
            return
        if not self._lock.acquire(timeout_s=self._timeout_s):
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


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _prepare(path: Path, *, read_only: bool) -> None:
    """Make a missing file, private to its owner; refuse what can be no store."""
    if path.is_dir():
        raise StoreError(f"{str(path)!r} is a folder. Name a file in it, such as {str(path / 'store.db')!r}.")
    if not path.exists():
        if read_only:
            raise StoreError(f"{str(path)!r} does not exist, so it cannot be opened for reading.")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Closing a handle on a file that nobody has open yet drops no locks.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return
        except OSError as error:
            raise StoreWriteError(
                f"Cannot make {str(path)!r}: {error}. Choose a folder you may write in."
            ) from error
    elif not read_only and not _is_writable(path):
        raise ReadOnlyError(
            f"{str(path)!r} may not be written. Open it with read_only=True, or make it writable."
        )


def _is_writable(path: Path) -> bool:
    # A file without any write permission is meant to be left alone, even by root.
    return bool(path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)) and os.access(
        path, os.W_OK
    )


def _translated(error: sqlite3.Error, path: Path | None) -> StoreError:
    where, text = repr(str(path)), str(error)
    if "not a database" in text:
        return StoreError(f"{where} is not a database. Choose another path; the file was not touched.")
    if "locked" in text or "busy" in text:
        return StoreLockedError(f"{where} is locked by another program. Close it there, or try again.")
    if "readonly" in text:
        return ReadOnlyError(f"{where} may not be written. Open it with read_only=True, or make it writable.")
    if "malformed" in text or "corrupt" in text:
        return CorruptStoreError(f"{where} is damaged: {text}. Run: orchstate doctor")
    return StoreWriteError(f"{where} could not be used: {text}.")
