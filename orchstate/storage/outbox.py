"""The outbox: the append-only file in which a process accepts its edits.

An edit is accepted by ONE ``write`` of a checksummed record, so it survives ``kill -9``
of the process at any moment: either the whole record is in the file, or a torn tail that
reading cuts off. The process holds a lock on its file for as long as it lives; a file
whose lock is free belongs to a dead process, and whoever opens the store next adopts it.
"""

from __future__ import annotations

import json
import os
import struct
import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from orchstate.errors import StoreWriteError
from orchstate.locks import FileLock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HEAD: Final = struct.Struct("<II")
# No edit comes near it; keeps a damaged length from asking for gigabytes.
MAX_RECORD_BYTES: Final = 64 * 1024 * 1024
# Below it the file is left to grow, since truncating costs more than appending.
RESET_BYTES: Final = 256 * 1024
SUFFIX: Final = ".outbox"


@dataclass(frozen=True, slots=True)
class Scan:
    """What reading an outbox found.

    Parameters
    ----------
    records
        The payloads, in order.
    end
        Where the last sound record ends, in bytes.
    damaged_bytes
        Bytes *between* sound records that are none; a torn tail does not count.
    """

    records: tuple[bytes, ...]
    end: int
    damaged_bytes: int


class Journal(Protocol):
    """Where a store's edits are accepted."""

    writer: str

    @property
    def is_large(self) -> bool:
        """Whether it is worth being reset."""

    def append(self, payload: bytes) -> None:
        """Accept a record; afterwards it survives the death of this process."""

    def reset(self) -> None:
        """Forget all records; they all have an outcome."""

    def close(self, *, keep: bool) -> None:
        """Release the file, and remove it unless it is to be kept for adoption."""

    def abandon(self) -> None:
        """Release this process's handles without touching the file or its lock (after a fork)."""


class MemoryJournal:
    """Accepts edits of a store that lives in memory, where there is nothing to survive."""

    is_large = False

    def __init__(self, writer: str) -> None:
        self.writer = writer

    def append(self, payload: bytes) -> None:
        """Accept without writing."""

    def reset(self) -> None:
        """Do nothing."""

    def close(self, *, keep: bool) -> None:
        """Do nothing."""

    def abandon(self) -> None:
        """Do nothing."""


class Outbox:
    """One process's outbox file, locked by it.

    Use :meth:`create` or :meth:`adopt_all`.
    """

    def __init__(self, lock: FileLock, path: Path, writer: str) -> None:
        self._lock = lock
        self.path = path
        self.writer = writer
        self._mutex = threading.Lock()
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        self._size = os.fstat(self._fd).st_size

    @classmethod
    def create(cls, folder: Path, *, store_id: str, writer: str) -> Outbox:
        """Make the file of a new writer.

        Raises
        ------
        StoreWriteError
            If the folder cannot be written.
        """
        header = {"format": "orchstate.outbox", "version": 1, "store": store_id, "writer": writer}
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / f"{writer}{SUFFIX}"
            lock = FileLock(path)
            lock.acquire(timeout_s=5)
            outbox = cls(lock, path, writer)
            outbox.append(json.dumps(header).encode())
        except OSError as error:
            raise StoreWriteError(
                f"Cannot write in {str(folder)!r}: {error}. Make the folder writable."
            ) from error
        outbox._start = outbox._size
        return outbox

    _start: int = 0

    def append(self, payload: bytes) -> None:
        """Accept a record with one write; on failure the file is as before.

        Raises
        ------
        StoreWriteError
            If the record could not be written whole; nothing happened.
        """
        record = _HEAD.pack(len(payload), _checksum(payload)) + payload
        with self._mutex:
            try:
                written = os.write(self._fd, record)
            except OSError as error:
                self._cut()
                raise StoreWriteError(f"The edit was not accepted: {error}. Nothing was changed.") from error
            if written != len(record):
                self._cut()
                raise StoreWriteError(
                    f"The edit was not accepted: only {written} of {len(record)} bytes fit on the disk. "
                    "Nothing was changed. Free some space and repeat it."
                )
            self._size += written

    @property
    def is_large(self) -> bool:
        """Whether the file has grown enough to be worth a reset."""
        return self._size >= RESET_BYTES

    def reset(self) -> None:
        """Forget all records; they all have an outcome."""
        with self._mutex:
            os.ftruncate(self._fd, self._start)
            self._size = self._start

    def records(self) -> Scan:
        """Return the sound records behind the header, cutting nothing."""
        found = scan(self._read())
        return Scan(found.records[1:], found.end, found.damaged_bytes)

    def close(self, *, keep: bool) -> None:
        """Release the file; removed unless it is kept for adoption."""
        with self._mutex:
            if self._fd < 0:
                return
            if not keep:
                self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1
            self._lock.release()

    def abandon(self) -> None:
        """Close the inherited handles of a forked child, leaving the parent's lock in force."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _cut(self) -> None:
        # Best effort: should even this fail, reading ends at the torn record.
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            return

    def _read(self) -> bytes:
        return os.pread(self._fd, os.fstat(self._fd).st_size, 0)


def adopt_all(folder: Path, *, store_id: str) -> Iterator[Outbox]:
    """Yield the outboxes of dead processes of this user, locked by us until closed.

    Files of other users, of another store, or without a readable header are left alone.
    """
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        outbox = _try_adopt(path, store_id)
        if outbox:
            yield outbox


def scan(data: bytes) -> Scan:
    """Return the sound records in the bytes of an outbox.

    Examples
    --------
    >>> scan(b"")
    Scan(records=(), end=0, damaged_bytes=0)
    """
    records: list[bytes] = []
    position = end = damaged = 0
    while position + _HEAD.size <= len(data):
        payload = _payload_at(data, position)
        if payload is None:
            # Look for the next sound record: what lies between is damage, not a torn tail.
            position += 1
            continue
        damaged += position - end
        records.append(payload)
        position = end = position + _HEAD.size + len(payload)
    return Scan(tuple(records), end, damaged)


def _payload_at(data: bytes, position: int) -> bytes | None:
    length, checksum = _HEAD.unpack_from(data, position)
    start = position + _HEAD.size
    if not 0 < length <= min(MAX_RECORD_BYTES, len(data) - start):
        return None
    payload = data[start : start + length]
    return payload if _checksum(payload) == checksum else None


def _checksum(payload: bytes) -> int:
    return zlib.crc32(payload, len(payload))


def _try_adopt(path: Path, store_id: str) -> Outbox | None:
    try:
        if path.lstat().st_uid != os.getuid():
            return None
        lock = FileLock(path)
        if not lock.try_acquire():
            return None
    except OSError:
        return None
    try:
        outbox = Outbox(lock, path, path.name.removesuffix(SUFFIX))
        header = _header(outbox)
    except OSError:
        lock.release()
        return None
    if header.get("store") == store_id and header.get("writer") == outbox.writer:
        return outbox
    # An empty file is that of a process that died before it accepted anything.
    outbox.close(keep=os.stat(path).st_size > 0)
    return None


def _header(outbox: Outbox) -> dict[str, object]:
    records = scan(outbox._read()).records
    try:
        header = json.loads(records[0]) if records else {}
    except ValueError:
        return {}
    return header if isinstance(header, dict) else {}
