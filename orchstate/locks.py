"""One holder at a time, among threads and processes: a lock on a file.

The lock is the operating system's (``flock``), so it is free again the moment its
holder dies, however it dies. The file is a sidecar that nobody but its holder writes; it is
never removed. Should somebody remove or replace it all the same, a holder notices before it
believes to have the lock: the path must still name the file that was locked.

Linux and macOS. The Windows branch (``msvcrt``) is untested; it knows no shared locks,
so readers exclude each other there.
"""

from __future__ import annotations

import functools
import math
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

# flock() knows no time limit, so the lock is asked for again and again: 0.2 ms is the shortest
# sleep that the scheduler keeps, and 5 ms is late enough for nobody and costs next to nothing.
FIRST_SLEEP_S: Final = 0.0002
LONGEST_SLEEP_S: Final = 0.005

_open_fds: set[int] = set()


class FileLock:
    """A lock on the file or folder at `path`; a file is created with mode 0600 when missing.

    One object is one holder: threads that should exclude each other need one each.
    After ``fork()`` the lock stays the parent's, and the child may take it anew.

    Parameters
    ----------
    path
        The file to lock; its folder must exist.
    shared
        True for a reader: any number of readers, and no writer, hold the lock at once.
    must_exist
        True for what others remove: to lock it is ``FileNotFoundError`` then, and not a new file.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "store.lock"
    >>> with FileLock(path) as lock:
    ...     FileLock(path).acquire(timeout_s=0.01)
    False
    >>> lock
    <FileLock store.lock (free)>
    """

    def __init__(
        self, path: str | os.PathLike[str], *, shared: bool = False, must_exist: bool = False
    ) -> None:
        self.path = Path(path)
        self.shared = shared
        self._must_exist = must_exist
        self._fd: int | None = None
        self._pid = 0

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock in this process."""
        return self._fd is not None and self._pid == os.getpid()

    def acquire(self, timeout_s: float) -> bool:
        """Wait until the lock is ours and return True, or False after the time limit.

        Parameters
        ----------
        timeout_s
            Seconds to wait at most; 0 asks once, ``math.inf`` waits for ever.

        Raises
        ------
        OSError
            If the file cannot be opened, or its file system knows no locks.
        RuntimeError
            If this object holds the lock already.
        """
        deadline = time.monotonic() + timeout_s
        sleep_s = FIRST_SLEEP_S
        while not self.try_acquire():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            time.sleep(min(sleep_s, left_s))
            sleep_s = min(2 * sleep_s, LONGEST_SLEEP_S)
        return True

    def try_acquire(self) -> bool:
        """Return whether the lock could be had at once; raises as `acquire` does."""
        if self.is_held:
            raise RuntimeError(f"{self!r} is held already; release() it first.")
        while True:
            fd = _open(self.path, self.shared, self._must_exist)
            outcome = _take(fd, self.path, self.shared)
            if outcome is not None:
                break
        if outcome:
            self._fd, self._pid = fd, os.getpid()
        return outcome

    def release(self) -> None:
        """Give the lock back; without effect when it is not held here."""
        fd, ours = self._fd, self.is_held
        self._fd = None
        if fd is not None and ours:
            try:
                _unlock(fd)
            finally:
                _close(fd)

    def fileno(self) -> int:
        """Return the descriptor of the locked file.

        Raises
        ------
        ValueError
            If the lock is not held.
        """
        if self._fd is None or not self.is_held:
            raise ValueError(f"{self!r} is not held.")
        return self._fd

    def __enter__(self) -> Self:
        # Held already: the caller had a time limit, asked acquire() itself, and wants the release alone.
        if not self.is_held:
            self.acquire(math.inf)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        state = "held" if self.is_held else "free"
        return f"<FileLock {self.path.name} ({'shared, ' if self.shared else ''}{state})>"


class FairLock(FileLock):
    """A lock that a busy holder cannot have again and again while others wait.

    Who waits for a plain `FileLock` sleeps between its tries, and a process that lets go
    only to lock again is always faster. Here everybody passes a gate first, and the one
    who waits for the lock keeps the gate shut meanwhile: the busy one has to queue too.

    Parameters
    ----------
    path
        The file to lock; the gate is a file of its own beside it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._gate = FileLock(self.path.with_name(f"{self.path.name}.gate"))

    def acquire(self, timeout_s: float) -> bool:
        """Wait until the lock is ours and return True, or False after the time limit; see `FileLock`."""
        if self.is_held:
            raise RuntimeError(f"{self!r} is held already; release() it first.")
        deadline = time.monotonic() + timeout_s
        if not self._gate.acquire(timeout_s):
            return False
        try:
            return super().acquire(max(0.0, deadline - time.monotonic()))
        finally:
            self._gate.release()


def _take(fd: int, path: Path, shared: bool) -> bool | None:
    """Return True with the lock, False if somebody has it, None if `fd` is no more the file at `path`."""
    outcome: bool | None = False
    try:
        if _try_lock(fd, shared):
            outcome = True if _is_at(path, fd) else None
    finally:
        if not outcome:
            _close(fd)
    return outcome


def _is_at(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def _open(path: Path, shared: bool, must_exist: bool = False) -> int:
    # Descriptors of os.open() are close-on-exec (PEP 446), so no child program keeps a lock alive.
    while True:
        try:
            fd = _open_existing(path, shared)
        except FileNotFoundError:
            if must_exist:
                raise
            try:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                continue
            _make_private(fd)
        _watch_forks()
        _open_fds.add(fd)
        return fd


def _open_existing(path: Path, shared: bool) -> int:
    try:
        return os.open(path, os.O_RDWR)
    except OSError:
        if not (shared or path.is_dir()):
            raise
        # A reader may lock what it may not write, a store in a read-only folder; and nobody writes a folder.
        return os.open(path, os.O_RDONLY)


def _make_private(fd: int) -> None:
    # The umask can only take rights away, but it may take the owner's.
    if hasattr(os, "fchmod"):
        os.fchmod(fd, 0o600)


def _close(fd: int) -> None:
    _open_fds.discard(fd)
    os.close(fd)


@functools.cache
def _watch_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_close_inherited)


def _close_inherited() -> None:
    # A child's copy of the descriptor would keep the lock after its parent has died. Closing the copy
    # leaves the parent's lock alone; unlocking it would not.
    while _open_fds:
        os.close(_open_fds.pop())


if sys.platform == "win32":
    import msvcrt

    def _try_lock(fd: int, shared: bool) -> bool:
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def _unlock(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(fd: int, shared: bool) -> bool:
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)
