"""Presence: whether the path of an open store still leads to it.

Files are removed, moved and replaced while notebooks have them open: by ``rm``, ``cp``,
``git checkout``. SQLite would go on with a file that nobody finds any more, or with pages
of another one. So the path is looked at around every commit and with all news; what is not
the opened store, or a copy that goes on where it was, gets no commit.
"""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from orchstate.errors import CorruptStoreError, StoreError, StoreMovedError
from orchstate.storage import schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchstate.locks import FileLock
    from orchstate.storage.engine import Revision

# What tells one store from another, and one state of it from an older one.
_CONTENT: Final = """
    SELECT (SELECT value FROM meta WHERE key = 'store_id'), clock.seq, last.txn, last.writer, last.n,
        (SELECT txn FROM rev WHERE rev.seq = ?)
    FROM clock LEFT JOIN rev AS last ON last.seq = clock.seq"""
# A compaction may have removed the revision that was the last one. It was there if its intent has been
# applied: that is known of every writer for ever.
_WAS_COMPACTED: Final = """
    SELECT 1 FROM applied WHERE writer = ? AND n >= ?
        AND EXISTS (SELECT 1 FROM compaction WHERE horizon > ?)"""
# What SQLite says of a file that is none of ours; all else may be a fault of the moment, or damage.
_NO_STORE: Final = ("not a database", "no such table", "no such column")
# File systems count time in steps, the longest of 2 s. What was written so shortly before it was looked at
# may have been written once more in the same step.
DOUBT_NS: Final = 2_000_000_000

_MAX_REMEMBERED: Final = 100
# The end of the name of a new file that is whole, and about to replace a damaged one.
READY: Final = ".salvaged"


class Content(NamedTuple):
    """What was in the file when it was looked at last.

    Parameters
    ----------
    store_id
        The id of the store.
    seq
        Number of its last commit.
    txn, writer, n
        The transaction of that commit, who made it, and its number among theirs; None while there is none.
    """

    store_id: str
    seq: int
    txn: str | None
    writer: str | None
    n: int | None

    def goes_on_in(self, connection: sqlite3.Connection) -> Content | None:
        """Return what a file holds if it is this, or more that was added to it; else None."""
        content = connection.execute(_CONTENT, [self.seq]).fetchone()
        if content is None:
            return None
        *found, then = content
        now = Content(*found)
        is_same = now.store_id == self.store_id and now.seq >= self.seq
        return now if is_same and (then == self.txn or self._was_compacted(connection, then)) else None

    def _was_compacted(self, connection: sqlite3.Connection, then: str | None) -> bool:
        if then is not None:
            return False
        return bool(connection.execute(_WAS_COMPACTED, [self.writer, self.n, self.seq]).fetchone())


class FileState(NamedTuple):
    """What the file system says of a file, and says otherwise once somebody wrote into it.

    Parameters
    ----------
    mtime_ns
        When it was written last; anybody may set that.
    ctime_ns
        When it or what is said of it was changed last; nobody can set that.
    size
        Its size in bytes.
    """

    mtime_ns: int
    ctime_ns: int
    size: int


class Presence:
    """Where the file of an open store was found, and what was in it.

    Parameters
    ----------
    path
        The store's file, just opened.
    connection
        A connection to it.
    store_id
        The id of the store in it.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, store_id: str) -> None:
        self._path = path
        found = self._stat()
        self._file = (found.st_dev, found.st_ino)
        self._note(_stamp_of(found))
        content = connection.execute(_CONTENT, [0]).fetchone()
        if content is None:
            raise CorruptStoreError(f"{str(path)!r} is malformed: the number of its last commit is gone.")
        _, *values, _ = content
        self._content = Content(store_id, *values)

    @property
    def has_moved(self) -> bool:
        """Whether the path leads elsewhere, or nowhere."""
        return _file_at(self._path) != self._file

    def check(self) -> None:
        """Refuse where the path leads elsewhere, or nowhere.

        Raises
        ------
        StoreMovedError
            If it does.
        """
        if self.has_moved:
            raise self._moved("replaced by another file") if self._path.exists() else self._removed()

    @property
    def seq(self) -> int:
        """Number of the last commit, as of the last look into the file; 0 where damage has left none."""
        return self._content.seq or 0

    def check_content(self, connection: sqlite3.Connection) -> bool:
        """Refuse where somebody wrote something else into the file; return whether it had to be looked into.

        Raises
        ------
        StoreMovedError
            If it holds another store, or an older state of this one.
        """
        stamp = _stamp_of(self._stat())
        if stamp == self._stamp and time.time_ns() < self._doubtful_from_ns:
            return False
        # A copy over the file can look to SQLite as if nothing had happened: in its cache, and in its log.
        connection.execute("PRAGMA shrink_memory")
        self._content = self._successor(connection)
        if _size_of(self._path.with_name(f"{self._path.name}-wal")):
            self._check_below()
        self._note(stamp)
        return True

    def seq_in(self, connection: sqlite3.Connection) -> int:
        """Return the number of the last commit as a transaction finds it, which is about to add to it.

        Raises
        ------
        StoreMovedError
            If the file holds another store, or an older state of this one.
        """
        return self._successor(connection).seq

    def committed(self, last: Revision) -> None:
        """Take over that we committed, and what was the last of it."""
        row = last.row
        self._content = Content(self._content.store_id, row.seq, last.txn, row.writer, last.n)
        self._note(_stamp_of(self._stat()))

    def follow(self) -> None:
        """Take another file at the path for the store, if it goes on in it.

        Raises
        ------
        StoreMovedError
            If it does not, or if that cannot be seen yet.
        """
        file = _file_at(self._path)
        if file is None:
            raise self._removed()
        if has_companions(self._path):
            # They belong to one of the two files, and only a new opening may decide to which.
            raise self._moved("replaced by another file")
        try:
            with peeking(self._path) as connection:
                self._successor(connection)
        except sqlite3.Error as error:
            raise self._moved("replaced by something that cannot be read") from error
        self._file, self._stamp = file, FileState(0, 0, 0)

    def _note(self, stamp: FileState) -> None:
        """Know what is said of a file whose content is known, and from when on that is not enough."""
        now_ns = time.time_ns()
        is_young = now_ns - stamp.mtime_ns < DOUBT_NS
        self._stamp = stamp
        # Not at once: own commits, one after another, would each have to look.
        self._doubtful_from_ns = now_ns + DOUBT_NS if is_young else math.inf

    def _successor(self, connection: sqlite3.Connection) -> Content:
        try:
            found = self._content.goes_on_in(connection)
            is_same_store = not found and self._content.store_id == _store_id(connection)
        except sqlite3.DatabaseError as error:
            if not any(sign in str(error) for sign in _NO_STORE):
                raise
            raise self._moved("replaced by something that is no store") from error
        if found:
            return found
        raise self._copied() if is_same_store else self._moved("replaced by another store")

    def _stat(self) -> os.stat_result:
        try:
            return os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self._removed() from error

    def _check_below(self) -> None:
        """Refuse where the file, without what SQLite has beside it, is another store."""
        with contextlib.suppress(sqlite3.Error), peeking(self._path) as connection:
            if _store_id(connection) not in ("", self._content.store_id):
                raise self._moved("replaced by another store")

    def _removed(self) -> StoreMovedError:
        if self._path.parent.exists():
            return self._moved("removed or moved away")
        return self._error(
            f"The folder of {str(self._path)!r} was removed or moved away while the store was open, so "
            "nothing is committed. What was changed since is in this notebook alone. Put the folder back, "
            "and it goes on by itself; or save what is seen here elsewhere: store.export('setup.json')."
        )

    def _moved(self, how: str) -> StoreMovedError:
        return self._error(
            f"{str(self._path)!r} was {how} while it was open, so nothing is committed to it. What was "
            f"changed since is kept in {str(outboxes(self._path))!r}. Put the file back, and it goes on by "
            "itself. Or save what is seen here: store.export('setup.json'); then close() the store, and "
            "opening it again begins with what is there."
        )

    def _copied(self) -> StoreMovedError:
        return self._error(
            f"{str(self._path)!r} was replaced by another copy of this store while it was open, so nothing "
            f"is committed to it. What was changed since is kept in {str(outboxes(self._path))!r}. To go "
            "on with the copy, close() the store and open it again: these changes are then added to it. "
            "Or put the earlier file back."
        )

    def _error(self, message: str) -> StoreMovedError:
        return StoreMovedError(message, path=self._path)


def log_at(path: str) -> tuple[int, int] | None:
    """Return what tells the log beside a file in WAL mode from another one; None if there is none."""
    return _file_at(path) if path else None


def place_of(path: Path) -> str:
    """Return what tells a file from a copy of it."""
    # The number of the file alone: that of its device may change from one mount to the next.
    return f"{path.stat().st_ino:x}"


def outboxes(path: Path) -> Path:
    """Return the folder of the outboxes of a store's file."""
    return path.with_name(f"{path.name}.outbox")


def has_companions(path: Path) -> bool:
    """Whether SQLite left something beside a file that it would put into it."""
    return any(_size_of(path.with_name(f"{path.name}{suffix}")) for suffix in ("-journal", "-wal"))


def is_interrupted(path: Path) -> bool:
    """Whether somebody died while replacing a damaged file: a whole one lies beside it."""
    return path.with_name(f"{path.name}{READY}").exists()


def remember(lock: FileLock, store_id: str) -> None:
    """Write into the lock's file whose store it guards; called with the lock held."""
    with contextlib.suppress(OSError):
        # It only helps to see a mix-up, so a full disk does not matter.
        content = f"{store_id} {schema.sum_of_id(store_id)}".encode()
        if os.pread(lock.fileno(), _MAX_REMEMBERED, 0) != content:
            os.ftruncate(lock.fileno(), 0)
            os.pwrite(lock.fileno(), content, 0)


def remembered_in(lock: Path) -> str:
    """Return the id of the store that a lock's file guards; ``""`` where that is not certain.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with lock.open("rb") as file:
        # Those of earlier versions have no sum.
        id, _, found = file.read(_MAX_REMEMBERED).decode(errors="replace").partition(" ")
    return id if schema.is_id(id) and found in ("", schema.sum_of_id(id)) else ""


def check_companions(path: Path, lock: Path) -> None:
    """Refuse to open a file beside which lies what SQLite would put into it, and is another store's.

    Raises
    ------
    StoreError
        If that is so.
    """
    if not has_companions(path):
        return
    with contextlib.suppress(OSError, sqlite3.Error), peeking(path) as connection:
        known, found = remembered_in(lock), _store_id(connection)
        if known and found and known != found:
            raise StoreError(
                f"{str(path)!r} was replaced by another store, and unfinished work on the earlier one still "
                f"lies beside it: {path.name}-journal or {path.name}-wal. Move these to the earlier file, or "
                "away, and open again; nothing was touched."
            )


@contextlib.contextmanager
def peeking(path: Path) -> Iterator[sqlite3.Connection]:
    """Look into a file as it is, without what lies beside it, and without a trace."""
    with contextlib.closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    ) as connection:
        yield connection


def _store_id(connection: sqlite3.Connection) -> str:
    row = connection.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone()
    return str(row[0]) if row else ""


def _file_at(path: Path | str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _stamp_of(found: os.stat_result) -> FileState:
    return FileState(found.st_mtime_ns, found.st_ctime_ns, found.st_size)


def _size_of(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
