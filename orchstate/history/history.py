"""The history of a store: every change that was ever committed, as DataFrames."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from orchstate.errors import FlushError, NotFoundError, StoreError, ValidationError, quoted, suggestion
from orchstate.history.compacted import Compacted
from orchstate.history.moments import seq_of
from orchstate.history.past import PastState
from orchstate.loops import in_thread
from orchstate.models.config import ConfigDocument
from orchstate.models.document import Document, datetime_of
from orchstate.models.names import name_key
from orchstate.models.profile import SnapshotDocument
from orchstate.state.decide import decode, flat
from orchstate.state.record import Record
from orchstate.storage.compaction import Wish, pins_on_their_way
from orchstate.storage.horizon import check_moment, compactions, removed_by_compactions
from orchstate.tracebacks import forget

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

    import pandas as pd

    from orchstate.history.moments import When
    from orchstate.models.intent import Origin
    from orchstate.state.state import State
    from orchstate.storage.engine import Change, Row, Snapshot
    from orchstate.storage.sqlite import SqliteEngine

# A question about the history waits this long for edits that are still on their way.
_FLUSH_S = 2.0
# A compaction takes its time anyway, and goes on with nothing that is not committed.
_COMMIT_S = 10.0
# Revisions in memory at once while a DataFrame is made of them: so few that Python does not begin to look
# for garbage among everything that a notebook has.
_BUNDLE = 150


class History:
    """What ``store.history`` is.

    Parameters
    ----------
    engine
        Where the revisions are.
    state
        The present, whose edits are included.
    snapshots
        Returns the seqs of all snapshots by :func:`name_key` of their names.
    origin
        Returns who is here, and where.
    """

    def __init__(
        self,
        engine: SqliteEngine,
        state: State,
        *,
        snapshots: Callable[[], Mapping[str, int]],
        origin: Callable[[], Origin],
    ) -> None:
        self._engine = engine
        self._state = state
        self._kinds = state.kinds
        self._snapshots = snapshots
        self._origin = origin

    def changes(
        self,
        name: str | Record | Document | None = None,
        *,
        field: str | None = None,
        since: When | None = None,
        until: When | None = None,
    ) -> pd.DataFrame:
        """Return who changed what, when, and from where: one row per changed field.

        Parameters
        ----------
        name
            Name of a config, present or past, id of any document, a record, or a document of the past;
            None for everything.
        field
            Path of a field, None for all.
        since, until
            Moments; changes after `since` and up to `until`. None for no limit; a time before
            the store's first change is no limit either, or excludes everything.

        Returns
        -------
        DataFrame
            Indexed by ``seq``: ``at`` (datetime, UTC), ``txn``, ``label``, ``kind``, ``id``,
            ``name``, ``op`` ("create", "update", "delete"), ``field``, ``old``, ``new``
            (plain JSON values; secrets masked), ``actor``, ``notebook``, ``cell``.

        Raises
        ------
        NotFoundError
            If there is nothing of that name, no such field, or no such moment.

        Examples
        --------
        >>> gpt.temperature = 0.9
        >>> store.history.changes("gpt", field="temperature")[["old", "new"]].values.tolist()
        [[None, 0.2], [0.2, 0.9]]
        """
        from orchstate.history.frames import changes_frame

        self._settle()
        try:
            first = self._seq(since, before_all=0) if since is not None else 0
            last = self._seq(until, before_all=0) if until is not None else None
            id = self._id(name) if name is not None else None
            if field is not None:
                self._check_field(field)
        except BaseException as error:
            # One of them may be a key.
            del name, field, since, until
            forget(error)
            raise
        return changes_frame(self._bundles(first, last, id), field=field)

    def achanges(
        self,
        name: str | Record | Document | None = None,
        *,
        field: str | None = None,
        since: When | None = None,
        until: When | None = None,
    ) -> Coroutine[Any, Any, pd.DataFrame]:
        """Do what :meth:`changes` does without stopping the event loop."""
        return self._state.elsewhere(self.changes, name, field=field, since=since, until=until)

    def revisions(self, name: str | Record | Document) -> pd.DataFrame:
        """Return all revisions of one config: one row each, indexed by ``revision``.

        Returns
        -------
        DataFrame
            ``seq`` (int64), ``at`` (datetime, UTC), ``op``, ``actor`` and one object column
            per field that some revision has set.

        Raises
        ------
        NotFoundError
            If there is nothing of that name.

        Parameters
        ----------
        name
            Name or id of a config, also of a deleted one, a record, or a document of the past.

        Examples
        --------
        >>> gpt.temperature = 0.9
        >>> store.history.revisions("gpt")["temperature"].tolist()
        [0.2, 0.9]
        """
        from orchstate.history.frames import revisions_frame

        self._settle()
        try:
            return revisions_frame(self._engine.changes_since(0, id=self._id(name)))
        except BaseException as error:
            # It may be a key.
            del name
            forget(error)
            raise

    def arevisions(self, name: str | Record | Document) -> Coroutine[Any, Any, pd.DataFrame]:
        """Do what :meth:`revisions` does without stopping the event loop."""
        return self._state.elsewhere(self.revisions, name)

    def diff(self, a: When, b: When | None = None) -> pd.DataFrame:
        """Return what differs between two moments, by default from `a` to now.

        Returns
        -------
        DataFrame
            ``kind``, ``id``, ``name``, ``field``, ``old``, ``new``: one row per field. Documents
            that are damaged at one of the moments are left out, and named in ``store.error``.

        Raises
        ------
        NotFoundError
            If there is no such moment.

        Parameters
        ----------
        a, b
            Moments, as in :meth:`Store.at`; `b` None for now.

        Examples
        --------
        >>> gpt.temperature = 0.9
        >>> store.history.diff(1)[["name", "field", "old", "new"]].values.tolist()
        [['gpt', 'temperature', 0.2, 0.9]]
        """
        from orchstate.history.frames import diff_frame

        self._settle()
        try:
            first = self._engine.snapshot(self._moment(a))
            last = self._engine.snapshot(self._engine.seq() if b is None else self._moment(b))
        except BaseException as error:
            # One of them may be a key.
            del a, b
            forget(error)
            raise
        before, after = ({row.id: row for row in moment.rows()} for moment in (first, last))
        # What is damaged at one of them is not known to differ; the store's error names it.
        for id in first.left_out | last.left_out:
            before.pop(id, None)
            after.pop(id, None)
        return diff_frame(before, after, self._values)

    def adiff(self, a: When, b: When | None = None) -> Coroutine[Any, Any, pd.DataFrame]:
        """Do what :meth:`diff` does without stopping the event loop."""
        return self._state.elsewhere(self.diff, a, b)

    def at(self, when: When) -> PastState:
        """Return the store as it was at a moment.

        Raises
        ------
        NotFoundError
            If there is no such moment.

        Parameters
        ----------
        when
            A seq, a datetime, ISO text, or the name of a snapshot.

        Examples
        --------
        >>> store.history.at(1)
        <PastState at revision 1>
        """
        self._settle()
        try:
            seq = self._moment(when)
        except BaseException as error:
            # It may be a key.
            del when
            forget(error)
            raise
        return PastState(seq, self._engine.snapshot(seq), self._state, self.diff)

    def compact(
        self, keep: When | timedelta, *, snapshots: bool = True, stamps: bool = True, preview: bool = False
    ) -> Compacted:
        """Remove old revisions for good, which makes the store smaller; it cannot be undone.

        The present is not touched, and neither is the past from `keep` on: every moment of it is exact.
        From before, what snapshots and stamps need stays as well, unless it is given up by name. What
        was removed, when and by whom is recorded, see :meth:`compactions`. A moment that is gone is
        refused by ``store.at()``, never shown wrong.

        Parameters
        ----------
        keep
            The moment from which on everything stays, as in :meth:`Store.at`; or how far back from
            now that is, as a ``timedelta``.
        snapshots
            Whether the moments of snapshots stay.
        stamps
            Whether the revisions stay that results refer to by a stamp.
        preview
            Whether it is only said what would be removed.

        Returns
        -------
        Compacted
            How many revisions, which snapshots and stamps, and the size before and after, in bytes.

        Raises
        ------
        NotFoundError, ValidationError
            If `keep` is no moment.
        FlushError
            If edits before it could not be committed.
        ReadOnlyError
            If the store is open for reading only.
        CorruptStoreError
            If it is damaged, so that old revisions may be needed to mend it.
        StoreError
            If it could not be done now, such as in a transaction; nothing was removed.

        Examples
        --------
        >>> gpt.temperature = 0.9
        >>> seq = store.snapshot("first")
        >>> gpt.temperature = 1.1
        >>> store.history.compact("first", preview=True)
        <Compacted: would remove 1 of 4 revisions; all of revision 2 and later stays>
        """
        if self._state.transaction_here:
            raise StoreError("A transaction is still running. Call compact() after the end of its block.")
        try:
            self._state.flush(_COMMIT_S)
            horizon = self._seq(_moment_of(keep), before_all=0)
        except BaseException as error:
            # It may be a key.
            del keep
            forget(error)
            raise
        pins = partial(pins_on_their_way, self._engine.path)
        wish = Wish(horizon, _moments_of_snapshots, snapshots, stamps, self._origin(), pins)
        return Compacted.of(self._engine.compact(wish, preview=preview), preview=preview)

    async def acompact(
        self, keep: When | timedelta, *, snapshots: bool = True, stamps: bool = True, preview: bool = False
    ) -> Compacted:
        """Do what :meth:`compact` does without stopping the event loop."""
        try:
            return await in_thread(self.compact, keep, snapshots=snapshots, stamps=stamps, preview=preview)
        except BaseException as error:
            del keep
            forget(error)
            raise

    def compactions(self) -> pd.DataFrame:
        """Return what was removed from the history, when and by whom: one row per compaction.

        Returns
        -------
        DataFrame
            ``at`` (datetime, UTC), ``actor``, ``notebook``, ``cell``, ``kept_from`` (int64, a seq),
            ``revisions`` (int64, how many were removed), ``snapshots`` and ``stamps`` (lists of what
            was given up).

        Raises
        ------
        CorruptStoreError
            If the record is damaged.

        Examples
        --------
        >>> store.history.compactions()["revisions"].sum()
        np.int64(0)
        """
        from orchstate.history.frames import compactions_frame

        return compactions_frame(compactions(self._engine.query))

    def __len__(self) -> int:
        return self._engine.seq() - removed_by_compactions(self._engine.query)

    def __repr__(self) -> str:
        last = self._state.seq
        return f"<History: {last} revision{'' if last == 1 else 's'}>"

    def _bundles(self, first: int, last: int | None, id: str | None) -> Iterator[list[Change]]:
        """Yield the changes after one and up to another, some at a time."""
        if id is not None:
            found = self._engine.change_values(first, until=last, id=id)
            while bundle := list(itertools.islice(found, _BUNDLE)):
                yield bundle
            return
        last = self._engine.seq() if last is None else last
        for seq in range(first, last, _BUNDLE):
            yield list(self._engine.change_values(seq, until=min(seq + _BUNDLE, last)))

    def _seq(self, when: When, *, before_all: int | None = None) -> int:
        return seq_of(when, self._engine, self._snapshots(), before_all=before_all)

    def _moment(self, when: When) -> int:
        seq = self._seq(when)
        check_moment(self._engine.query, seq)
        return seq

    def _values(self, row: Row) -> dict[str, Any]:
        return flat(decode(self._kinds, row)) if row.kind in self._kinds else json.loads(row.body)

    def _check_field(self, field: str) -> None:
        known = {path for kind in self._kinds.values() for path in kind.paths()}
        if field not in known and not self._has_been(field):
            raise NotFoundError.among("field", field, known)

    def _has_been(self, field: str) -> bool:
        """Whether some provider's definition had a field once."""
        path = json.dumps(str(field))
        return bool(self._engine.query("SELECT 1 FROM rev WHERE instr(diff, ?) LIMIT 1", [path]))

    def _id(self, name: str | Record | Document) -> str:
        if isinstance(name, Record) and name._state is not self._state:
            raise ValidationError(
                f"{name!r} is of another store. Ask the history of that one, or give its name."
            )
        if isinstance(name, Record | Document):
            return str(name.id)
        known = self._state.find(ConfigDocument.kind, name) if isinstance(name, str) else None
        id = (known or self._find_deleted(name)) if isinstance(name, str) else None
        if id is None:
            hint = suggestion(str(name), self._names())
            if isinstance(name, str) and name in self._snapshots():
                hint = f" A snapshot has the name: store.at({name!r})."
            raise NotFoundError(f"Nothing called {quoted(name)} is or was in this store.{hint}")
        return id

    def _names(self) -> list[str]:
        sql = "SELECT DISTINCT name FROM rev WHERE kind = ? ORDER BY name"
        return [name for (name,) in self._engine.query(sql, [ConfigDocument.kind])]

    def _find_deleted(self, name: str) -> str | None:
        """Return the id of a config that once had a name; of any document if it is an id."""
        found = self._engine.query("SELECT id, kind, name FROM rev GROUP BY id, name ORDER BY max(seq) DESC")
        wanted = (ConfigDocument.kind, name_key(name))
        return next(
            (id for id, kind, known in found if id == name or (kind, name_key(known)) == wanted), None
        )

    def _settle(self) -> None:
        # Should the engine not answer, what is committed is shown all the same.
        with contextlib.suppress(FlushError):
            self._state.flush(_FLUSH_S)


def _moment_of(keep: When | timedelta) -> When:
    if not isinstance(keep, timedelta):
        return keep
    if keep < timedelta():
        raise ValidationError(f"{keep!r} lies in the future. Give how far back everything is to stay.")
    try:
        return datetime_of(time.time_ns() // 1_000) - keep
    except OverflowError:
        return 0


def _moments_of_snapshots(present: Snapshot) -> dict[str, int]:
    return {row.name: int(json.loads(row.body)["seq"]) for row in present.rows(SnapshotDocument.kind)}
