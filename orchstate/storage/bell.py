"""The doorbell: tells other processes on this machine that there is something to read.

A lost ring costs time, never a change: whoever waits also looks by itself, seldom where
there is a bell and often where there is none.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import secrets
import select
import socket
import stat
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# A process that rings itself is awake at once; nobody else may look this seldom without a bell.
POLL_WITH_BELL_S: Final = 0.5
POLL_WITHOUT_BELL_S: Final = 0.025
_BASE: Final = Path("/tmp")  # noqa: S108 - what is made in it is private, and checked to be


class Bell:
    """A Unix datagram socket per process, all of one store in one folder.

    Parameters
    ----------
    store
        What processes have in common: the path of the store's file. None for a bell that
        only wakes its own process.
    """

    def __init__(self, store: Path | None) -> None:
        self._folder = _folder(store) if store else None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._inner, self._waker = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (self._socket, self._inner, self._waker):
            end.setblocking(False)
        # Not select(), which knows no descriptor above 1,023.
        self._ears = select.poll()
        for end in (self._inner, self._socket):
            self._ears.register(end, select.POLLIN)
        self._address = self._bind()
        # A number that was just closed may be another file's by then, so closing waits for who writes to it.
        self._lock = threading.RLock()
        # Found here, since whoever edits should not wait for an import.
        self._write = _write()

    @property
    def poll_s(self) -> float:
        """How long to trust the bell before looking oneself, in seconds."""
        return POLL_WITH_BELL_S if self._address else POLL_WITHOUT_BELL_S

    def ring(self) -> None:
        """Ring at all others; never waits, never fails."""
        if not self._folder:
            return
        for address in self._others():
            try:
                self._socket.sendto(b"!", address)
            except (ConnectionRefusedError, FileNotFoundError):
                # Its owner is gone.
                with contextlib.suppress(OSError):
                    os.unlink(address)
            except OSError:
                continue

    def wait(self, timeout_s: float) -> bool:
        """Sleep until rung or woken; return whether another process rang."""
        ready = {descriptor for descriptor, _ in self._ears.poll(math.ceil(timeout_s * 1_000))}
        if not ready:
            return False
        for end in (self._inner, self._socket):
            if end.fileno() in ready:
                _drain(end)
        return self._socket.fileno() in ready

    def wake(self) -> None:
        """End this process's own wait, from any thread."""
        # A full pipe is as good as one more ring, and a closed bell has nobody to wake.
        with self._lock, contextlib.suppress(OSError):
            self._write(self._waker.fileno(), b"!", 1)

    def close(self) -> None:
        """Stop listening."""
        if self._address:
            with contextlib.suppress(OSError):
                os.unlink(self._address)
            self._address = ""
        self._close_ends()

    def abandon(self) -> None:
        """Close this process's handles and leave the address to the parent (after a fork)."""
        # A thread that is not here may have held it.
        self._lock = threading.RLock()
        self._close_ends()

    def _close_ends(self) -> None:
        with self._lock:
            for end in (self._socket, self._inner, self._waker):
                end.close()

    def _bind(self) -> str:
        if not self._folder:
            return ""
        address = str(self._folder / f"{os.getpid()}-{secrets.token_hex(4)}")
        try:
            self._socket.bind(address)
        except OSError:
            return ""
        return address

    def _others(self) -> list[str]:
        try:
            names = os.listdir(self._folder)
        except OSError:
            return []
        addresses = (f"{self._folder}/{name}" for name in names)
        return [address for address in addresses if address != self._address]


def _folder(store: Path) -> Path | None:
    """Return a private folder that all processes find whatever their environment says.

    Its path is short, since socket addresses have 104 bytes at most.
    """
    digest = hashlib.sha256(os.fsencode(store.resolve())).hexdigest()[:16]
    folder = _BASE / f"orchstate-{os.getuid()}" / digest
    return folder if _is_private(folder.parent) and _is_private(folder) else None


def _is_private(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


@cache
def _write() -> Callable[[int, bytes, int], object]:
    """Return the system's write() as a function that does not give the interpreter up.

    Python's own does, and the thread that was woken takes it: whoever edits would then
    wait, some 0.5 ms, for what that thread does first.
    """
    try:
        import ctypes

        write = ctypes.PyDLL(None).write
    except (ImportError, OSError, AttributeError):
        # A Python that was built without it.
        return lambda descriptor, text, count: os.write(descriptor, text)
    write.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
    write.restype = ctypes.c_ssize_t
    return write


def _drain(end: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            end.recv(16)
