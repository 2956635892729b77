"""Reads: what a piece of code looks at, noted while it runs, and who is to look again when that changes.

While nobody is noted this costs nothing: the reads of records then take the short way, past
everything here.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakSet

from orchstate.models.names import name_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

Key = str | tuple[str, str]
"""One thing that can be read: the id of a document, or one of those below."""

STORE: Final[Key] = ("", "")
"""What belongs to no document: status, pending edits, the last error."""


def listing(kind: str) -> Key:
    """Return the key of all names of a kind."""
    return (kind, "")


def naming(kind: str, name: str) -> Key:
    """Return the key of which document of a kind has a name."""
    return (kind, name_key(name))


def progress(id: str) -> Key:
    """Return the key of a document's revision, sync state and error."""
    return ("", id)


class Reader(Protocol):
    """Whoever is to look again."""

    @property
    def number(self) -> int:
        """Its place in the order in which readers were made."""

    def spoil(self) -> None:
        """Learn that something that was read has changed; from any thread, with the state's lock held."""

    def refresh(self) -> None:
        """Look again, if it has to; in the owner's thread."""

    def tell(self) -> None:
        """Tell observers what came of it; in the owner's thread."""


class Reads:
    """Who reads what.

    Attributes
    ----------
    noting
        How many readers are being noted just now, in all threads.
    runs
        How often one of them has looked.
    """

    def __init__(self) -> None:
        self.noting = self.runs = 0
        self._lock = threading.Lock()
        self._here = threading.local()
        self._readers: dict[Key, WeakSet[Reader]] = {}
        self._stale: WeakSet[Reader] = WeakSet()
        self._held: set[Reader] = set()

    @property
    def reader_here(self) -> Reader | None:
        """The reader whose look the calling thread is in."""
        reader: Reader | None = getattr(self._here, "reader", None)
        return reader

    @contextlib.contextmanager
    def by(self, reader: Reader) -> Iterator[set[Key]]:
        """Note what the block reads; gives the keys, which are complete at its end."""
        outer = self.reader_here, getattr(self._here, "keys", None)
        keys: set[Key] = set()
        self._here.reader, self._here.keys = reader, keys
        with self._lock:
            self.noting += 1
        try:
            yield keys
        finally:
            self._here.reader, self._here.keys = outer
            with self._lock:
                self.noting -= 1

    def note(self, key: Key) -> None:
        """Note that the calling thread reads something; to be called before it is read."""
        reader = self.reader_here
        if reader is None or key in self._here.keys:
            return
        self._here.keys.add(key)
        with self._lock:
            self._readers.setdefault(key, WeakSet()).add(reader)

    def drop(self, reader: Reader, keys: Iterable[Key]) -> None:
        """Forget that a reader has read something."""
        with self._lock:
            for key in keys:
                readers = self._readers.get(key)
                if readers is not None:
                    readers.discard(reader)
                    if not readers:
                        del self._readers[key]

    def spoil(self, keys: Collection[Key]) -> None:
        """Have all who have read one of the keys look again; with the state's lock held."""
        with self._lock:
            readers = {reader for key in keys for reader in self._readers.get(key, ())}
            for key in keys:
                if not self._readers.get(key, True):
                    # All who had read it are gone.
                    del self._readers[key]
        for reader in readers:
            reader.spoil()

    def mark(self, reader: Reader) -> None:
        """Have a reader look again in the next :meth:`settle`."""
        with self._lock:
            self._stale.add(reader)

    def settle(self) -> None:
        """Have those who must look again do so, all of them before any tells of it."""
        with self._lock:
            # Before they look: what changes from then on counts anew.
            batch = sorted(self._stale, key=lambda reader: reader.number)
            self._stale.clear()
        if not batch:
            return
        try:
            for reader in batch:
                reader.refresh()
            for reader in batch:
                reader.tell()
        except BaseException:
            # Interrupted: the next round does all of it.
            for reader in batch:
                self.mark(reader)
            raise

    def hold(self, reader: Reader) -> None:
        """Keep a reader alive that is observed."""
        self._held.add(reader)

    def let_go(self, reader: Reader) -> None:
        """Let a reader be collected."""
        self._held.discard(reader)

    def __len__(self) -> int:
        with self._lock:
            return len({reader for readers in self._readers.values() for reader in readers})
