"""The outbox: the append-only file in which a process accepts its edits.

An edit is accepted by ONE ``write`` of a checksummed record, so it survives ``kill -9``
of the process at any moment: either the whole record is in the file, or a torn tail that
reading cuts off. The process holds a lock on its file for as long as it lives; a file
whose lock is free belongs to a dead process, and whoever opens the store next adopts it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import struct
import threading
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from orchstate.errors import StoreWriteError
from orchstate.locks import FileLock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

logger = logging.getLogger(__name__)

_HEAD: Final = struct.Struct("<II")
_ID: Final = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FORMAT: Final = "orchstate.outbox"
_VERSION: Final = 1
# Hardly an edit comes near it; keeps a damaged length from asking for gigabytes.
MAX_RECORD_BYTES: Final = 64 * 1024 * 1024
# Below it the file is left to grow, since truncating costs more than appending.
RESET_BYTES: Final = 256 * 1024
# Somebody who takes dead outboxes over may be at it for as long as a commit takes.
A_MOMENT_S: Final = 0.1
SUFFIX: Final = ".outbox"
DAMAGED_SUFFIX: Final = ".damaged"


@dataclass(frozen=True, slots=True)
class Scan:
    """What reading an outbox found.

    Parameters
    ----------
    records
        The payloads, in order.
    end
        Where the last sound record ends, in bytes.
    damaged
        The bytes that are part of no sound record; a torn tail does not count.
    torn
        The tail, if it is the beginning of a record: its process died in writing it, so it was not
        accepted; or the file was cut off.
    """

    records: tuple[bytes, ...]
    end: int
    damaged: bytes
    torn: bytes

    @property
    def damaged_bytes(self) -> int:
        """How many bytes are damaged."""
        return len(self.damaged)


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
        self._start = self._size = os.fstat(self._fd).st_size
        self._is_torn = False
        self.is_doubtful = False
        """Whether its header, which says for which store it is, cannot be read."""

    @classmethod
    def create(cls, folder: Path, *, store_id: str, writer: str) -> Outbox:
        """Make the file of a new writer.

        Raises
        ------
        StoreWriteError
            If the folder cannot be written.
        """
        path = folder / f"{writer}{SUFFIX}"
        lock = FileLock(path)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not lock.acquire(timeout_s=5):
                raise OSError(f"{path.name} is locked")
            outbox = cls(lock, path, writer)
            outbox._begin(_header(store_id, writer))
        except OSError as error:
            lock.release()
            raise StoreWriteError(
                f"Cannot write in {str(folder)!r}: {error}. Make the folder writable, or free some space."
            ) from error
        return outbox

    def append(self, payload: bytes) -> None:
        """Accept a record with one write; on failure the file is as before.

        Raises
        ------
        StoreWriteError
            If the record is too large, or could not be written whole; nothing happened.
        """
        if len(payload) > MAX_RECORD_BYTES:
            raise StoreWriteError(
                f"The edit was not accepted: it has {len(payload):,} bytes, and {MAX_RECORD_BYTES:,} is the "
                "limit. Nothing was changed. Divide it into smaller edits."
            )
        record = _record(payload)
        with self._mutex:
            self._check_there()
            try:
                self._write(record)
            except OSError as error:
                self._cut()
                raise StoreWriteError(
                    f"The edit was not accepted: {error}. Nothing was changed. Mend it and repeat the edit."
                ) from error
            self._size += len(record)

    def _check_there(self) -> None:
        """Refuse to accept into a file that vanishes with this process."""
        if not os.fstat(self._fd).st_nlink:
            raise StoreWriteError(
                f"The edit was not accepted: {str(self.path)!r} was removed while the store was open, and "
                "edits are kept there until they are committed. Nothing was changed. Save what is seen here: "
                "store.export('setup.json'); then close() the store and open it again."
            )

    def _begin(self, header: bytes) -> None:
        try:
            self._write(_record(header))
        except OSError:
            self.close(keep=False)
            raise
        self._start = self._size = os.fstat(self._fd).st_size

    def _write(self, record: bytes) -> None:
        if self._is_torn:
            os.ftruncate(self._fd, self._size)
            self._is_torn = False
        written = os.write(self._fd, record)
        if written != len(record):
            raise OSError(f"only {written} of {len(record)} bytes fit on the disk")

    @property
    def is_large(self) -> bool:
        """Whether the file has grown enough to be worth a reset."""
        return self._size >= RESET_BYTES

    def reset(self) -> None:
        """Forget all records; they all have an outcome."""
        with self._mutex:
            os.ftruncate(self._fd, self._start)
            self._size, self._is_torn = self._start, False

    def records(self) -> Scan:
        """Return the sound records behind the header, cutting nothing."""
        found = scan(self._read())
        has_header = bool(found.records) and _is_header(found.records[0])
        return replace(found, records=found.records[has_header:])

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

    def set_aside(self) -> Path:
        """Release a damaged file under another name, for people to look at; returns its new path."""
        aside = self.path.with_name(self.path.name + DAMAGED_SUFFIX)
        with contextlib.suppress(OSError):
            self.path.rename(aside)
        self.close(keep=True)
        return aside

    def abandon(self) -> None:
        """Close the inherited handles of a forked child, leaving the parent's lock in force."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _cut(self) -> None:
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            # Nothing is appended behind a torn record: cutting later would take it along.
            self._is_torn = True

    def _read(self) -> bytes:
        return os.pread(self._fd, os.fstat(self._fd).st_size, 0)


def adopt_all(folder: Path, *, store_id: str) -> Iterator[Outbox]:
    """Yield the outboxes of dead processes of this user, locked by us until closed.

    Files of other users, of another store, or of a newer version are left alone. One whose
    header is damaged is doubtful: it may be for another store.
    """
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        outbox = _try_adopt(path, store_id)
        if outbox:
            yield outbox


def is_held(path: Path) -> bool:
    """Whether a process has an outbox open, or dead ones are just being taken over.

    Whoever takes them over has to find them free, so this is asked in turn with them.
    """
    turn, lock = FileLock(path.parent, must_exist=True), FileLock(path, must_exist=True)
    try:
        # Where a folder cannot be locked, nobody takes turns.
        with contextlib.suppress(OSError):
            if not turn.acquire(A_MOMENT_S):
                return True
        return not lock.try_acquire()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    finally:
        lock.release()
        turn.release()


def bytes_in(folder: Path) -> int:
    """Return the size of all outboxes together, those of living processes among them."""
    sizes = 0
    for path in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(OSError):
            sizes += path.stat().st_size
    return sizes


def scan(data: bytes) -> Scan:
    """Return the sound records in the bytes of an outbox.

    Examples
    --------
    >>> scan(b"")
    Scan(records=(), end=0, damaged=b'', torn=b'')
    """
    records: list[bytes] = []
    damaged = b""
    position = end = 0
    while position + _HEAD.size <= len(data):
        payload = _payload_at(data, position)
        if payload is None:
            # Look for the next sound record: what lies between is damage, not a torn tail.
            position += 1
            continue
        damaged += data[end:position]
        records.append(payload)
        position = end = position + _HEAD.size + len(payload)
    tail = data[end:]
    if len(tail) < _HEAD.size:
        return Scan(tuple(records), end, damaged, tail)
    length, checksum = _HEAD.unpack_from(tail)
    rest = tail[_HEAD.size :]
    if rest and _checksum(rest) == checksum:
        # Of the last record, the length alone is damaged.
        return Scan((*records, rest), len(data), damaged, b"")
    if len(rest) < length <= MAX_RECORD_BYTES:
        return Scan(tuple(records), end, damaged, tail)
    return Scan(tuple(records), end, damaged + tail, b"")


def store_of(found: Scan) -> str:
    """Return the id of the store that an outbox is for; ``""`` where its header cannot be read."""
    if not found.records or not _is_header(found.records[0]):
        return ""
    return str(json.loads(found.records[0]).get("store", ""))


def ids_in(data: bytes) -> tuple[str, ...]:
    """Return what may be ids of documents in damaged bytes.

    Examples
    --------
    >>> ids_in(b'"6ba7b812-9dad-11d1-80b4-00c04fd430c8",{"seed"')
    ('6ba7b812-9dad-11d1-80b4-00c04fd430c8',)
    """
    return tuple(dict.fromkeys(found.decode() for found in _ID.findall(data)))


def _payload_at(data: bytes, position: int) -> bytes | None:
    length, checksum = _HEAD.unpack_from(data, position)
    start = position + _HEAD.size
    if not 0 < length <= min(MAX_RECORD_BYTES, len(data) - start):
        return None
    payload = data[start : start + length]
    return payload if _checksum(payload) == checksum else None


def _record(payload: bytes) -> bytes:
    return _HEAD.pack(len(payload), _checksum(payload)) + payload


def _checksum(payload: bytes) -> int:
    # It begins with the length, so that it belongs to this length alone.
    return zlib.crc32(payload, len(payload))


def _header(store_id: str, writer: str) -> bytes:
    header = {"format": _FORMAT, "version": _VERSION, "store": store_id, "writer": writer}
    return json.dumps(header).encode()


def _try_adopt(path: Path, store_id: str) -> Outbox | None:
    # Made anew, one that another process has just adopted would look as one that was emptied.
    lock = FileLock(path, must_exist=True)
    try:
        if path.lstat().st_uid != os.getuid() or not lock.try_acquire():
            return None
        outbox = Outbox(lock, path, path.name.removesuffix(SUFFIX))
        data = outbox._read()
    except OSError:
        lock.release()
        return None
    expected = _header(store_id, outbox.writer)
    records = scan(data).records
    if records[:1] == (expected,):
        return outbox
    if not records or not _is_header(records[0]):
        outbox.is_doubtful = True
        return outbox
    outbox.close(keep=True)
    if len(records) > 1:
        logger.warning("The outbox %s is not for this store and is kept. Run: orchstate doctor", path)
    return None


def _is_header(record: bytes) -> bool:
    try:
        header = json.loads(record)
    except ValueError:
        return False
    return isinstance(header, dict) and header.get("format") == _FORMAT
