"""Mending: a store's file in which damage is found before it does harm, and left behind.

The structure of the file is checked at openings; what SQLite would take for sound
although it is not, its log and its journal, before it does so. Damage that is met later is
dealt with where it is met: what is sound is salvaged, and what was to be done is done again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from orchstate.errors import CorruptStoreError, StoreError
from orchstate.storage import schema
from orchstate.storage.connection import connect, fetch, is_interrupt, transaction, translated
from orchstate.storage.damages import Damages
from orchstate.storage.file import StoreFile
from orchstate.storage.loading import Loading
from orchstate.storage.losses import PREFIX, UNKNOWN, lost_names, reports, told, unreadable
from orchstate.storage.presence import Presence, check_companions, has_companions, is_interrupted
from orchstate.storage.remains import FAR
from orchstate.storage.salvage import (
    PLACES,
    earlier_places,
    has_damage_beside,
    holds_a_store,
    is_damage,
    is_doubtful,
    is_misread,
    is_unopenable,
    remembered_store,
    salvage,
    salvage_into,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from orchstate.storage.engine import Row
    from orchstate.storage.placement import JournalMode
    from orchstate.storage.salvage import Salvaged

_Done = TypeVar("_Done")
# What is looked at in some milliseconds is looked at every time.
_SMALL_BYTES: Final = 4 * 1024 * 1024
_ONE_DAY_S: Final = 24 * 3600
_INSPECTED: Final = "inspected_s"
_ACKNOWLEDGED: Final = "acknowledged"
_ALL_META: Final = "SELECT key, value FROM meta"


class MendedFile(StoreFile):
    """A store's file that is mended when it is found damaged; see :class:`StoreFile`.

    Attributes
    ----------
    damages
        What was found damaged, here and since it was opened.
    salvaged
        What became of the file when it was damaged as a whole, None if it was not.
    known_rows
        Returns rows that are known from before, should the file be damaged.
    places
        The place of the file, and those it had before it was salvaged.
    loading
        What has to be done before it is read; others wait for it.
    replacements
        How often another file has taken its place: what is known from before may not be in that.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        read_only: bool = False,
        mode: JournalMode | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        self.damages = Damages()
        self.salvaged: Salvaged | None = None
        self.known_rows: Callable[[], Iterable[Row]] = tuple
        self.places: tuple[str, ...] = ()
        self.loading = Loading()
        self.replacements = 0
        # The keys of the notes of losses that were read.
        self._notes: frozenset[str] = frozenset()
        # The connection through which the whole file is being looked at.
        self._looked_at: sqlite3.Connection | None = None
        # The id of the store as what lies beside its file says it.
        self._remembered = ""
        super().__init__(path, read_only=read_only, mode=mode, timeout_s=timeout_s)
        self.places = self.places or (self.place,)

    def inspect(self, *, anew: bool = True) -> None:
        """Look whether the structure of the file is sound, and salvage what is in it if not.

        Parameters
        ----------
        anew
            Whether also if it was looked at today and is large, so that it takes long. What is read
            of it is verified in any case, whenever it is read.

        Raises
        ------
        CorruptStoreError
            If it is not, and nothing could be salvaged.
        """
        # The present in any case: a name that an index has lost is not to be taken for one that is free.
        is_whole = anew or not self._was_inspected()
        found = [str(line) for (line,) in self._look("" if is_whole else "(doc)") if line != "ok"]
        if found:
            self._mend(sqlite3.DatabaseError(f"malformed: {found[0]}"))
        elif is_whole:
            self._note_inspection()
        self.check_clock()

    def _look(self, at: str = "") -> list[tuple[Any, ...]]:
        """Return what SQLite finds wrong in the file, or in a table of it with its indexes."""
        self.loading.wait()
        while True:
            try:
                return self._read(partial(self._look_through, at))
            except StoreError as error:
                if not is_interrupt(error.__cause__):
                    raise

    def _look_through(self, at: str, connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
        self._looked_at = connection
        try:
            return fetch(connection, f"PRAGMA integrity_check{at}")
        finally:
            self._looked_at = None

    def check_clock(self) -> None:
        """Do what :meth:`inspect` does where nothing but the number of the last commit is damaged."""
        ((seq, last),) = self.query("SELECT seq, (SELECT coalesce(max(seq), 0) FROM rev) FROM clock")
        if not last <= seq < last + FAR:
            self._mend(sqlite3.DatabaseError("malformed: the clock is wrong"))

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a reading SQL statement, once the file is prepared."""
        self.loading.wait()
        return super().query(sql, parameters)

    def after_fork_in_child(self) -> None:
        """Disable what was inherited; nobody waits for a thread that is not there."""
        super().after_fork_in_child()
        self.loading.abandon()

    def _hasten(self) -> None:
        # A long look at the whole file begins again afterwards, if it is still open then.
        looked_at = self._looked_at
        if looked_at is not None:
            with contextlib.suppress(sqlite3.Error):
                looked_at.interrupt()

    @property
    def is_large(self) -> bool:
        """Whether it takes long to find out if the structure of the file is sound."""
        with contextlib.suppress(OSError):
            return self.path is not None and os.path.getsize(self.path) > _SMALL_BYTES
        return False

    def _was_inspected(self) -> bool:
        """Whether a large file was found sound not long ago."""
        found = self.query("SELECT value FROM meta WHERE key = ?", [_INSPECTED]) if self.is_large else []
        age_s = _now_s() - int(found[0][0]) if found and str(found[0][0]).isdecimal() else _ONE_DAY_S
        return 0 <= age_s < _ONE_DAY_S

    def _note_inspection(self) -> None:
        if self.read_only or not self.is_large:
            return
        values = [_INSPECTED, str(_now_s())]
        with contextlib.suppress(sqlite3.Error, StoreError), self._write_mutex, self._locked():
            with transaction(self._writing):
                self._writing.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", values)

    def acknowledge(self) -> None:
        """Note that losses have been seen, so that the next opening does not tell of them."""
        if self.read_only or not self._notes or self._is_in_memory:
            return
        values = [_ACKNOWLEDGED, max(self._notes)]
        with contextlib.suppress(sqlite3.Error, StoreError), self._write_mutex, self._locked():
            with transaction(self._writing):
                self._writing.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", values)

    def salvage(self) -> Salvaged | None:
        """Begin a new file with all that is sound in this one, damaged or not; None if others just did.

        Raises
        ------
        CorruptStoreError
            If there is nothing of a store in it.
        """
        self.salvaged = None
        self._mend(sqlite3.DatabaseError("malformed, or thought to be"))
        return self.salvaged

    def mended(self, do: Callable[[], _Done]) -> _Done:
        """Do something; where it meets damage, mend the file and do it again."""
        try:
            return do()
        except StoreError as error:
            cause = error.__cause__
            if not (isinstance(cause, sqlite3.Error) and is_damage(cause)):
                raise
            self._mend(cause)
        return do()

    def _read(self, read: Callable[[sqlite3.Connection], _Done]) -> _Done:
        # Named, since a lambda has no arguments for super() to find.
        again = super()._read
        return self.mended(lambda: again(read))

    def _mend(self, error: sqlite3.Error) -> None:
        """Go on in a file with all that is sound; called without the store's lock."""
        path, presence = self.path, self._presence
        if not (path and presence):
            raise translated(error, path) from error
        with self._write_mutex, self._read_mutex:
            if presence is not self._presence:
                # Another thread was faster.
                return
            if presence.has_moved:
                # And here another process.
                self._follow(presence)
                return
            before = self.salvaged
            self._salvage(path, path.stat().st_ino, error)
            if not self._is_in_memory:
                self._presence = None
                self._presence = Presence(path, self._writing, self.store_id)
                self._remember(self._writing, is_told=self.salvaged is before)
            self._version = -1
            self.replacements += 1

    def _follow(self, presence: Presence) -> None:
        super()._follow(presence)
        self.replacements += 1
        self._read(partial(self._remember, is_told=True))

    def _set_up(self, mode: JournalMode | None) -> None:
        path = self.path
        if path is None or self._made:
            super()._set_up(mode)
            return
        check_companions(path, path.with_name(f"{path.name}.lock"))
        self._remembered = remembered = remembered_store(path)
        file = path.stat().st_ino if path.exists() else 0
        try:
            self._set_up_sound(path, mode, remembered)
        except (sqlite3.DatabaseError, StoreError, UnicodeError) as error:
            self._close_connections(patience_s=None)
            self._presence = None
            if not (is_unopenable(error) or (remembered and is_doubtful(error, path))):
                raise
            if not (remembered or holds_a_store(path)):
                if "malformed" not in str(error):
                    raise
                step = "Restore it from a backup; or move it away, and opening begins a new store."
                raise CorruptStoreError(
                    f"{str(path)!r} is damaged, and nothing in it is of a store. {step}"
                ) from error
            self._salvage(path, file, error)
            if not self._is_in_memory:
                super()._set_up(mode)
        if not self._is_in_memory:
            self._remember(self._writing)

    def _set_up_sound(self, path: Path, mode: JournalMode | None, remembered: str) -> None:
        """Do what :class:`StoreFile` does, and refuse what SQLite would take for sound."""
        if remembered or is_interrupted(path):
            with self._locked():
                if is_interrupted(path) or has_damage_beside(path):
                    raise CorruptStoreError(f"{str(path)!r} is malformed.")
                if not path.stat().st_size and not has_companions(path):
                    raise CorruptStoreError(f"{str(path)!r} is malformed: it is empty.")
        super()._set_up(mode)
        # All of it is needed at once, so that damage to it is met here.
        fetch(self._writing, _ALL_META)

    def _identified(self, connection: sqlite3.Connection) -> str:
        id = super()._identified(connection)
        if not schema.is_vouched_for(schema.meta(connection)) and is_misread(id, self._remembered):
            raise CorruptStoreError("The store's file has lost its id.")
        return id

    def _salvage(self, path: Path, file: int, error: Exception) -> None:
        """Have a sound file instead of a damaged one, unless somebody was faster."""
        remembered = remembered_store(path)
        with self._locked():
            self._close_connections(patience_s=None)
            if path.exists() and path.stat().st_ino != file:
                return
            try:
                done = self._salvage_in_memory(path, remembered) if self.read_only else self._replace(path)
            except CorruptStoreError as nothing:
                raise (nothing if remembered and is_unopenable(error) else error) from error
            except StoreError:
                raise
            except (sqlite3.Error, OSError) as problem:
                raise CorruptStoreError(
                    f"{str(path)!r} is damaged ({error}), and what is sound in it could not be saved: "
                    f"{problem}. Nothing was changed. Free some space on its disk, and open it again."
                ) from problem
        self.salvaged = done
        self.damages.add(done.error())

    def _replace(self, path: Path) -> Salvaged:
        seq = self._presence.seq if self._presence else 0
        return salvage(path, store_id=remembered_store(path), known=self.known_rows(), seq=seq)

    def _salvage_in_memory(self, path: Path, remembered: str) -> Salvaged:
        connection = connect(None, read_only=False, timeout_s=0)
        done = salvage_into(connection, path, store_id=remembered)
        self._writing_or_none = self._reading_or_none = connection
        self._is_in_memory, self._presence, self._log = True, None, None
        self.store_id, self.journal_mode = schema.store_id(connection), "memory"
        self._remember(connection)
        return done

    def _remember(self, connection: sqlite3.Connection, *, is_told: bool = False) -> None:
        """Know what is lost; with `is_told` people are told of what was not noted before."""
        found = fetch(connection, _ALL_META)
        # Damage makes other things of keys.
        meta = {key: value for key, value in found if isinstance(key, str)}
        known, self._notes = self._notes, frozenset(key for key in meta if key.startswith(PREFIX))
        if not (is_told or self.salvaged):
            # Nobody need have been there to see it: it is told until somebody has.
            known = frozenset(key for key in self._notes if key <= meta.get(_ACKNOWLEDGED, ""))
        elif not is_told:
            known = self._notes
        for report in reports({key: meta[key] for key in self._notes - known}):
            if self.path and (is_told or report["lost"]):
                self.damages.add(told(report, self.path))
        place = self.place
        self.places = (place, *earlier_places(meta.get(PLACES), place))
        if unreadable(meta):
            self.damages.add(CorruptStoreError(UNKNOWN))
        for kept, loss in lost_names(meta):
            where = f" The damaged file was kept as {kept!r}." if kept else ""
            error = CorruptStoreError(f"{loss.what}{where} Make it anew, or restore a backup.", ids=[loss.id])
            self.damages.add_gone(error, loss.kind, loss.name)


def _now_s() -> int:
    return time.time_ns() // 1_000_000_000
