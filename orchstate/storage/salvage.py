"""Salvage: a new file with everything that is sound in a damaged one, which is kept.

The new file is complete, and on the disk, before anything is moved: under a name of its
own, ``store.db.salvaged``. Whoever finds such a file knows that a salvage was interrupted,
and begins it again, with what is in it as well. So a ``kill -9`` at any moment costs time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from dataclasses import asdict, dataclass
from itertools import chain, count
from typing import TYPE_CHECKING, Final

from orchstate.durable import durable
from orchstate.errors import CorruptStoreError, NewerSchemaError, ReadOnlyError, StoreError
from orchstate.storage import pages, progress, schema, tables
from orchstate.storage.connection import connect, transaction
from orchstate.storage.horizon import write_compaction
from orchstate.storage.losses import PREFIX, Loss, doubtful, note, report_of, unreadable
from orchstate.storage.outbox import SUFFIX, is_held, scan, store_of
from orchstate.storage.pieces import Pieces
from orchstate.storage.placement import beside
from orchstate.storage.presence import READY, has_companions, outboxes, place_of, remembered_in
from orchstate.storage.remains import remains_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from orchstate.storage.engine import Row
    from orchstate.storage.remains import Remains

logger = logging.getLogger(__name__)

_NEW, _KEPT = ".salvaging", ".damaged-"
# The write-ahead log first: without it, what follows may not be put beside another file.
_COMPANIONS: Final = ("-wal", "-journal")
# What SQLite says of a file whose structure is damaged; and what else, of one that cannot be opened for it.
_SIGNS: Final = ("malformed", "not a database", "corrupt")
_SIGNS_IN_OPENING: Final = (
    *(*_SIGNS, "no such table", "no such column", "unsupported", "already exists", "duplicate column"),
    *("has lost its id", "datatype mismatch"),
)
# The key of the note of the places that a store had, see the sweeping of keys.
PLACES: Final = "places"
_NO_VERSION: Final = 1024
# Characters of an id that a damaged bit or byte changes.
_FEW: Final = 2


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What became of a damaged store.

    Parameters
    ----------
    path
        The store, whole again.
    kept
        Where the damaged file is now; None where nothing was to be written.
    documents, revisions
        How many were saved.
    losses
        What is not as it was.
    doubt
        What is said of the moments that are not certain any more; ``""`` if all are.
    """

    path: Path
    kept: Path | None
    documents: int
    revisions: int
    losses: tuple[Loss, ...]
    doubt: str = ""

    def plain(self) -> dict[str, object]:
        """Return it as plain JSON."""
        paths = {"path": str(self.path), "kept": str(self.kept) if self.kept else None}
        counts = {"documents": self.documents, "revisions": self.revisions}
        losses = [asdict(loss) for loss in self.losses]
        return {**paths, **counts, "losses": losses, "doubt": self.doubt.strip()}

    def error(self) -> CorruptStoreError:
        """Return what people are told."""
        lost = " ".join(loss.what for loss in self.losses) or "Nothing is lost of any document."
        lost += self.doubt
        kept = f", and the damaged file is kept as {str(self.kept)!r}" if self.kept else ""
        return CorruptStoreError(
            f"{str(self.path)!r} was damaged. {self.documents:,} documents and {self.revisions:,} revisions "
            f"were saved{kept}. {lost} When you have seen this, call store.refresh().",
            ids=[loss.id for loss in self.losses if loss.id],
        )


def is_damage(error: BaseException) -> bool:
    """Whether an error says that the structure of a file is damaged."""
    return isinstance(error, sqlite3.DatabaseError) and any(sign in str(error) for sign in _SIGNS)


def is_unopenable(error: BaseException) -> bool:
    """Whether an error in opening says that the structure of a file is damaged."""
    is_ours = isinstance(error, sqlite3.DatabaseError | CorruptStoreError)
    # SQLite quotes damaged text in what it says of it, which is no text then.
    is_no_text = isinstance(error, UnicodeError) or "Could not decode" in str(error)
    return is_no_text or (is_ours and any(sign in str(error) for sign in _SIGNS_IN_OPENING))


def kept_files(path: Path) -> list[Path]:
    """Return the damaged files that were kept of a store, oldest first."""
    found = path.parent.glob(f"{path.name}{_KEPT}*")
    return sorted(file for file in found if not file.name.endswith(_COMPANIONS))


def remembered_store(path: Path) -> str:
    """Return the id of the store that was in a file, as what lies beside it says; ``""`` if nothing does."""
    with contextlib.suppress(OSError):
        if found := remembered_in(beside(path, ".lock")):
            return found
    for file in sorted(outboxes(path).glob(f"*{SUFFIX}")):
        with contextlib.suppress(OSError):
            if found := store_of(scan(file.read_bytes())):
                return found
    return ""


def is_misread(store_id: str, remembered: str) -> bool:
    """Whether an id is the remembered one but for damage: no two ids are so alike by chance."""
    differences = sum(one != other for one, other in zip(store_id, remembered, strict=False))
    return not schema.is_id(store_id) or (bool(remembered) and 0 < differences <= _FEW)


def is_doubtful(error: BaseException, path: Path) -> bool:
    """Whether an error may come from a damaged head of a file that was a store.

    Called without a connection to the file in this process.
    """
    # A version that there will never be; a database that is not ours any more, or that may not be written.
    is_newer = isinstance(error, NewerSchemaError) and pages.version_in_head(path) >= _NO_VERSION
    is_of_the_head = isinstance(error, ReadOnlyError | sqlite3.Error) and not pages.has_sound_head(path)
    return is_newer or is_of_the_head or type(error) is StoreError


def holds_a_store(path: Path) -> bool:
    """Whether anything of a store is in a file, whatever it is.

    Called without a connection to the file in this process.
    """
    return not remains_of(pages.records(path)).is_empty


def has_damage_beside(path: Path) -> bool:
    """Whether what SQLite left beside a file is damaged; it would use the part before, and say nothing.

    Called with the store's lock held.
    """
    if pages.read_journal(beside(path, "-journal")).is_damaged:
        return True
    # While others have it open, they have verified it.
    is_at_rest = has_companions(path) and not any(map(is_held, outboxes(path).glob(f"*{SUFFIX}")))
    return is_at_rest and pages.read_log(beside(path, "-wal")).is_damaged


def salvage(path: Path, *, store_id: str, known: Iterable[Row] = (), seq: int = 0) -> Salvaged:
    """Replace a damaged file by one with all that is sound in it, and keep it under another name.

    Called with the store's lock held, and without a connection to the file in this process.

    Parameters
    ----------
    path
        The damaged file.
    store_id
        The id of the store, where the file does not say it; ``""`` if that is not known.
    known
        Rows of documents that are known from elsewhere.
    seq
        Number of a commit that there was.

    Raises
    ------
    CorruptStoreError
        If there is nothing of a store in it; it is left as it is.
    """
    remains = _remains(path, known, seq)
    new = beside(path, _NEW)
    new.unlink(missing_ok=True)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    kept = _name_to_keep(path)
    try:
        with contextlib.closing(connect(new, read_only=False, timeout_s=5)) as connection:
            remains.meta[PLACES] = _places(remains, path, new)
            losses, doubt = fill(connection, remains, store_id, kept.name)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    new.replace(beside(path, READY))
    durable(path.parent)
    _swap(path, kept)
    done = Salvaged(path, kept, len(remains.rows), len(remains.revisions), tuple(losses), doubt)
    logger.error("%s", done.error())
    return done


def salvage_into(connection: sqlite3.Connection, path: Path, *, store_id: str) -> Salvaged:
    """Fill a new database with all that is sound in a damaged file, which is left as it is.

    Raises
    ------
    CorruptStoreError
        If there is nothing of a store in it.
    """
    remains = _remains(path, (), 0)
    losses, doubt = fill(connection, remains, store_id, "")
    return Salvaged(path, None, len(remains.rows), len(remains.revisions), tuple(losses), doubt)


def fill(
    connection: sqlite3.Connection, remains: Remains, store_id: str, kept: str
) -> tuple[list[Loss], str]:
    """Make the tables of a new store and fill them with remains; returns what is lost, and what in doubt."""
    schema.migrate(connection)
    doubt = ""
    losses, missing, count = remains.lost(), remains.missing(), remains.count_missing()
    owned = remains.owned(missing)
    remains.stand_in()
    damaged = unreadable(remains.meta)
    meta = {key: value for key, value in remains.meta.items() if key not in damaged}
    found = meta.get("store_id", "")
    if not schema.is_vouched_for(meta) and is_misread(found, store_id):
        # The last is a new one.
        found = store_id or schema.store_id(connection)
    meta |= schema.vouchers(found)
    with transaction(connection):
        homeless = tables.put(
            connection,
            sorted(remains.rows.values(), key=lambda row: -row.seq),
            (remains.revisions[seq] for seq in sorted(remains.revisions)),
            Pieces(),
        )
        losses += [_homeless(row) for row in homeless]
        if losses or count:
            # What stands in for a lost revision is one.
            count = remains.count_missing()
            report = report_of(missing, owned, count, remains.seq, kept, losses)
            meta[f"{PREFIX}{time.time_ns():020d}"], doubt = note(report), doubtful(report)
        for writer, n in remains.applied.items():
            values = [writer, n, progress.applied_sum(writer, n)]
            connection.execute("INSERT INTO applied (writer, n, checksum) VALUES (?, ?, ?)", values)
        connection.executemany("INSERT INTO parked VALUES (?, ?, ?, ?, ?, ?, ?)", remains.parked.values())
        connection.executemany("INSERT INTO pin VALUES (?, ?)", remains.pins)
        for done in remains.compactions.values():
            write_compaction(connection, done)
        connection.execute("UPDATE clock SET seq = ?", [remains.seq])
        for key, value in meta.items():
            if value:
                connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [key, value])
    return losses, doubt


def _remains(path: Path, known: Iterable[Row], seq: int) -> Remains:
    found = chain(pages.records(path), pages.records(beside(path, READY)))
    remains = remains_of(found, known, seq)
    if remains.is_empty:
        raise CorruptStoreError(
            f"{str(path)!r} was a store, and nothing of it is left in the file. It was not touched. Restore "
            "it from a backup; or move it away, and opening begins a new store."
        )
    return remains


def earlier_places(noted: object, place: str) -> list[str]:
    """Return where a store was before it was salvaged, if it was salvaged to this place: a copy was not."""
    at, *earlier = noted.split() if isinstance(noted, str) else ("",)
    return earlier if at == place else []


def _places(remains: Remains, path: Path, new: Path) -> str:
    """Return what is noted of places: that of the new file, and those of the store before."""
    noted = remains.meta.get(PLACES)
    before = [place_of(file) for file in (path, beside(path, READY)) if file.exists()]
    earlier = [place for at in before for place in (at, *earlier_places(noted, at))]
    return " ".join([place_of(new), *dict.fromkeys(earlier)])


def _homeless(row: Row) -> Loss:
    what = f"{row.kind} {row.name!r} is in the history alone, since another {row.kind} has its name now."
    return Loss(row.id, row.kind, row.name, what, is_gone=True)


def _name_to_keep(path: Path) -> Path:
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = chain([f"{_KEPT}{moment}"], (f"{_KEPT}{moment}-{number}" for number in count(2)))
    return next(kept for kept in (beside(path, name) for name in names) if not kept.exists())


def _swap(path: Path, kept: Path) -> None:
    """Move the damaged file and what SQLite left beside it away, and the new one to its place."""
    for companion, kept_companion in ((beside(path, suffix), beside(kept, suffix)) for suffix in _COMPANIONS):
        with contextlib.suppress(FileNotFoundError):
            companion.rename(kept_companion) if companion.stat().st_size else companion.unlink()
    # SQLite makes it anew from the others.
    beside(path, "-shm").unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        try:
            # So that there is a file at every moment.
            os.link(path, kept)
        except OSError:
            path.rename(kept)
    beside(path, READY).replace(path)
    durable(path.parent)
