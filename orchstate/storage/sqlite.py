"""The SQLite engine: one file, many processes, every commit durable.

What it guarantees beyond SQLite:

- A row is verified against its checksum whenever it is read; SQLite's own check does not
  see most changed bytes.
- An intent that cannot be applied is rejected and parked, and is in nobody's way.

How the file is opened, locked, watched and kept from forks is in :mod:`orchstate.storage.file`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, overload

from orchstate.durable import durable
from orchstate.errors import CorruptStoreError, ReadOnlyError, StoreError, StoreMovedError, StoreWriteError
from orchstate.models.names import name_key
from orchstate.storage import compaction, progress, snapshots, tables
from orchstate.storage.connection import (
    connect,
    fetch,
    is_operational,
    is_unfinished,
    transaction,
    translated,
)
from orchstate.storage.engine import Commit, Decision
from orchstate.storage.mending import MendedFile
from orchstate.storage.pieces import Pieces, Reader
from orchstate.storage.placement import discard, prepare
from orchstate.storage.presence import log_at
from orchstate.storage.switching import quick_switching

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from orchstate.models.intent import Intent
    from orchstate.storage.compaction import Plan, Wish
    from orchstate.storage.engine import Change, Decide, Revision, Row, Snapshot, Write
    from orchstate.storage.placement import JournalMode


class Shrunk(NamedTuple):
    """What a compaction did or would do, and the size of the store before and after it in bytes."""

    plan: Plan
    bytes_before: int
    bytes_after: int


logger = logging.getLogger(__name__)

# Rows that are verified between two looks at what else there is to do.
_REREAD_AT_ONCE: Final = 500


class SqliteEngine(MendedFile):
    """A store in a SQLite file, or in memory; how it is opened says :class:`~.file.StoreFile`.

    Examples
    --------
    >>> engine = SqliteEngine(None)
    >>> engine.seq()
    0
    >>> engine.close()
    """

    def __init__(
        self,
        path: Path | None,
        *,
        read_only: bool = False,
        mode: JournalMode | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        super().__init__(path, read_only=read_only, mode=mode, timeout_s=timeout_s)
        self._pieces = Pieces()
        self._reader = Reader(self.query, self._pieces)
        self._meeting = Reader(self._fetch, self._pieces)

    # -- writing --------------------------------------------------------------------

    def commit(self, writer: str, intents: Sequence[Intent], decide: Decide) -> Commit:
        """Apply intents exactly once, all in one durable transaction.

        An intent that can never be applied, whatever the reason, is rejected and parked;
        the others are not affected by it.

        Raises
        ------
        StoreError
            If it could not be done now; nothing was applied, and it can be tried again.
        """
        if self.read_only:
            raise ReadOnlyError(f"{str(self.path)!r} is open for reading only. Open it to edit.")
        self.loading.wait()
        commit = self.mended(lambda: self._commit_locked(writer, intents, decide))
        if commit.revisions:
            self._bell.ring()
        return commit

    def _commit_locked(self, writer: str, intents: Sequence[Intent], decide: Decide) -> Commit:
        with self._write_mutex:
            self._check_place()
            try:
                with quick_switching(), self._locked():
                    self._check_content()
                    commit = self._commit(writer, intents, decide)
                    self._check_arrived(commit)
            except sqlite3.Error as error:
                raise translated(error, self.path) from error
        return commit

    def _check_arrived(self, commit: Commit) -> None:
        """Refuse to say that something is committed while its file was being taken away."""
        if self._presence:
            self._presence.check()
            if log_at(self._log_path) != self._log:
                raise StoreWriteError(f"{str(self.path)!r}: another program removed its log in mid-commit.")
            for last in commit.revisions[-1:]:
                self._presence.committed(last)

    def _commit(self, writer: str, intents: Sequence[Intent], decide: Decide) -> Commit:
        try:
            with transaction(self._writing):
                return self._apply(writer, intents, partial(self._apply_one, decide))
        except Exception as error:
            if is_operational(error):
                raise
        # One of them cannot be applied: once more, each on its own ground.
        with transaction(self._writing):
            return self._apply(writer, intents, partial(self._apply_or_reject, decide))

    def _apply(self, writer: str, intents: Sequence[Intent], apply: Any) -> Commit:
        run = self._writing.execute
        before = self._presence.seq_in(self._writing) if self._presence else self.seq()
        done = was_done = self._applied(writer)
        revisions: list[Revision] = []
        decisions: dict[int, Decision] = {}
        for intent in intents:
            if intent.n <= done:
                decisions[intent.n] = decisions.get(intent.n) or self._outcome(writer, intent.n)
                continue
            done = intent.n
            decision, made = apply(writer, intent, before + len(revisions))
            decisions[intent.n] = decision
            revisions += made
        if done != was_done:
            values = [writer, done, progress.applied_sum(writer, done)]
            run("INSERT OR REPLACE INTO applied (writer, n, checksum) VALUES (?, ?, ?)", values)
        if revisions:
            run("UPDATE clock SET seq = ?", [before + len(revisions)])
        return Commit(before, revisions, decisions)

    def _apply_one(
        self, decide: Decide, writer: str, intent: Intent, seq: int
    ) -> tuple[Decision, list[Revision]]:
        intent = self._without_pins(intent)
        present = snapshots.Met(self._meeting)
        decision = decide(present, intent, writer)
        old = {write.id: present.get(write.id) for write in decision.writes}
        for write in decision.writes if len(decision.writes) > 1 else ():
            # Names may be exchanged among them, and no two rows have one name even for a moment.
            if _gives_its_name_up(old[write.id], write):
                tables.free_name(self._writing, write.id)
        revisions = [
            tables.revision_of(write, intent, number, writer, old[write.id])
            for number, write in enumerate(decision.writes, seq + 1)
        ]
        tables.insert(self._writing, revisions, self._pieces)
        if decision.outcome in ("rejected", "conflict"):
            self._park(writer, intent, decision, seq)
        return decision, revisions

    def _apply_or_reject(
        self, decide: Decide, writer: str, intent: Intent, seq: int
    ) -> tuple[Decision, list[Revision]]:
        self._writing.execute("SAVEPOINT intent")
        try:
            decision, revisions = self._apply_one(decide, writer, intent, seq)
        except Exception as error:
            if is_operational(error):
                raise
            self._writing.execute("ROLLBACK TO intent")
            decision, revisions = _rejection(error), []
            self._park(writer, intent, decision, seq)
        self._writing.execute("RELEASE intent")
        return decision, revisions

    def _without_pins(self, intent: Intent) -> Intent:
        """Note what an intent wants kept, which is nobody's decision, and return the rest of it."""
        pins = [operation for operation in intent.operations if operation.verb == "pin"]
        if not pins:
            return intent
        values = [(operation.id, operation.set["revision"]) for operation in pins]
        self._writing.executemany("INSERT OR IGNORE INTO pin VALUES (?, ?)", values)
        return intent._replace(operations=tuple(each for each in intent.operations if each not in pins))

    def _fetch(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        return fetch(self._writing, sql, values)

    def _park(self, writer: str, intent: Intent, decision: Decision, seq: int) -> None:
        self._writing.execute(
            "INSERT OR REPLACE INTO parked VALUES (?, ?, ?, ?, ?, ?, ?)",
            [writer, intent.n, decision.outcome, decision.reason, decision.error, seq, intent.encode()],
        )

    def _applied(self, writer: str) -> int:
        return progress.applied(self._meeting, writer)

    def _outcome(self, writer: str, n: int) -> Decision:
        sql = "SELECT outcome, reason, error FROM parked WHERE writer = ? AND n = ?"
        for outcome, reason, error in self._writing.execute(sql, [writer, n]):
            return Decision(outcome, (), reason, error)
        return Decision("committed")

    # -- reading --------------------------------------------------------------------

    def changes_since(self, seq: int, *, until: int | None = None, id: str | None = None) -> list[Revision]:
        """Return the revisions after `seq` in commit order; damaged ones are left out, and in the damages."""
        return list(tables.revisions(self._reader, seq, until=until, id=id, damages=self.damages))

    def change_values(self, seq: int, *, until: int | None = None, id: str | None = None) -> Iterator[Change]:
        """Do what :meth:`changes_since` does, with plain tuples of the values that tables of changes show.

        One by one, since long texts, all at once, may fill the memory.
        """
        return tables.changes(self._reader, seq, until=until, id=id, damages=self.damages)

    def revision(self, id: str, number: int) -> Revision | None:
        """Return one revision of a document, None if the history does not have it.

        Raises
        ------
        CorruptStoreError
            If it is damaged.
        """
        return tables.revision(self._reader, id, number)

    @overload
    def snapshot(self, seq: None = None) -> snapshots.Live: ...

    @overload
    def snapshot(self, seq: int) -> snapshots.Past: ...

    @overload
    def snapshot(self, seq: int | None = None) -> Snapshot: ...

    def snapshot(self, seq: int | None = None) -> Snapshot:
        """Return the documents as they are (None), or were at `seq`."""
        if seq is None:
            return snapshots.Live(self._reader, self.damages)
        return snapshots.Past(self._reader, seq, self.damages)

    def applied(self, writer: str) -> int:
        """Return the number of the last intent of a writer that has an outcome, 0 if none."""
        return progress.applied(self._reader, writer)

    def reread(self) -> Iterator[list[Row]]:
        """Yield all present rows, verified again, a few at a time; damaged ones are written anew.

        Afterwards the history is verified. What is damaged beyond help is named in :attr:`damages`.
        """
        self._pieces.forget()
        if self._presence and self._presence.has_moved:
            with self._write_mutex, contextlib.suppress(StoreMovedError):
                self._check_place()
        self.inspect()
        last, is_more = "", True
        while is_more:
            rows, damaged, after = snapshots.Live(self._reader, self.damages).reread(last, _REREAD_AT_ONCE)
            if damaged and not self.read_only:
                self._mend_rows(damaged)
            yield rows
            last, is_more = after, after != last
        self.acknowledge()
        for seq in range(0, self.seq(), _REREAD_AT_ONCE):
            for _ in self.change_values(seq, until=seq + _REREAD_AT_ONCE):
                # Verified on the way; what is damaged is named in the damages.
                pass

    def known_anew(self) -> list[Row]:
        """Return what is stored by now of the documents of :attr:`known_rows`, also of deleted ones.

        What is damaged is left out, and named in :attr:`damages`.
        """
        snapshot, rows = self.snapshot(), []
        for known in self.known_rows():
            try:
                row = snapshot.get(known.id)
            except CorruptStoreError as error:
                self.damages.add(error)
                continue
            if row:
                rows.append(row)
        return rows

    def _mend_rows(self, rows: Sequence[Row]) -> None:
        try:
            with self._write_mutex, self._locked(), transaction(self._writing):
                tables.mend(self._writing, self._meeting, rows, self._pieces)
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        logger.warning("%d damaged rows were written anew from the history.", len(rows))

    def name_of(self, id: str) -> str:
        """Return kind and name of a document as messages of damage show them, ``""`` if there is none."""
        for kind, name in self.query("SELECT kind, name FROM doc WHERE id = ?", [id]):
            return f"{kind} {name!r}"
        return ""

    # -- care -----------------------------------------------------------------------

    def backup(self, path: Path) -> None:
        """Write a consistent copy to a new file while others go on working.

        Raises
        ------
        StoreError
            If the file exists, or cannot be written; then none is left behind.
        """
        if path.exists():
            raise StoreError(f"{str(path)!r} exists. Choose a new file, so that nothing is overwritten.")
        self.loading.wait()
        # Under its name only when it is whole, so that nobody takes half a copy for a backup.
        partial = path.with_name(f"{path.name}.{os.urandom(4).hex()}.partial")
        made = prepare(partial, read_only=False)
        try:
            self._copy(partial)
            durable(partial)
            partial.rename(path)
            durable(path.parent)
        except BaseException as error:
            partial.unlink(missing_ok=True)
            discard(made)
            if isinstance(error, sqlite3.Error):
                raise translated(error, path) from error
            if isinstance(error, OSError) and not isinstance(error, StoreError):
                raise StoreWriteError(
                    f"{str(path)!r} could not be written: {error}. Mend it and try again."
                ) from error
            raise

    def _copy(self, path: Path) -> None:
        def copy(connection: sqlite3.Connection) -> None:
            try:
                connection.backup(target)
            except sqlite3.Error as error:
                # It may be either's; only of locks and unfinished commits is it sure whose.
                if is_unfinished(error) or "locked" in str(error):
                    raise
                raise translated(error, path) from error

        with contextlib.closing(connect(path, read_only=False, timeout_s=self._timeout_s)) as target:
            self._read(copy)

    def compact(self, wish: Wish, *, preview: bool = False) -> Shrunk:
        """Remove revisions for good, or say which with `preview`, and make the file smaller.

        Raises
        ------
        ReadOnlyError
            If the store is open for reading only.
        CorruptStoreError
            If something in it is damaged: what would be removed might help to mend it.
        StoreError
            If it could not be done now; nothing was removed.
        """
        if self.read_only:
            raise ReadOnlyError(f"{str(self.path)!r} is open for reading only. Open it to compact it.")
        if problems := self.check():
            raise CorruptStoreError(
                f"The store is damaged, so nothing is removed from its history: {problems[0]} "
                "Run: orchstate doctor"
            )
        before = compaction.size_of(self._reader)
        if preview:
            return Shrunk(compaction.plan(self._reader, wish), before, before)
        with self._write_mutex:
            self._check_place()
            try:
                with self._locked():
                    self._check_content()
                    plan = compaction.compact(self._writing, self._meeting, wish)
                    if self._presence:
                        self._presence.check()
                    if plan.removed:
                        compaction.shrink(self._writing, self._meeting, self.path)
                    return Shrunk(plan, before, compaction.size_of(self._meeting))
            except sqlite3.Error as error:
                raise translated(error, self.path) from error

    def check(self) -> list[str]:
        """Return one sentence per damage found in the stored data; empty when sound."""
        try:
            found = [f"SQLite: {line}" for (line,) in self._look() if line != "ok"]
            return found + list(tables.damaged(Reader(self.query)))
        except CorruptStoreError as error:
            return [str(error)]


def _gives_its_name_up(row: Row | None, write: Write) -> bool:
    return row is not None and (write.verb == "delete" or name_key(row.name) != name_key(write.name))


def _rejection(error: Exception) -> Decision:
    name = type(error).__name__
    reason = str(error) if isinstance(error, StoreError) else f"It could not be applied: {name}: {error}"
    return Decision("rejected", (), reason, name)
