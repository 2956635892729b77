"""The store as it was: read-only documents of one moment, and the way back to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from orchstate.errors import CorruptStoreError, NotFoundError, StoreError, UnknownFieldError, ValidationError
from orchstate.models.document import Document
from orchstate.models.names import name_key
from orchstate.models.settings import SettingsDocument
from orchstate.state.decide import decode
from orchstate.state.restore import Former
from orchstate.tracebacks import forget

if TYPE_CHECKING:
    import pandas as pd

    from orchstate.state.kinds import Kinds
    from orchstate.state.record import Record
    from orchstate.state.restore import Restored
    from orchstate.state.state import State
    from orchstate.storage.engine import Row, Snapshot


class Everything(Enum):
    """What stands for all configs and the settings, where one could be named."""

    EVERYTHING = "everything"


EVERYTHING: Final = Everything.EVERYTHING


class PastCollection(Mapping[str, Document]):
    """All documents of one kind at one moment: a mapping from names to frozen documents."""

    def __init__(self, snapshot: Snapshot, kinds: Kinds, kind: str) -> None:
        self._snapshot = snapshot
        self._kinds = kinds
        self._kind = kind

    @cached_property
    def _rows(self) -> dict[str, Row]:
        return {row.name: row for row in self._snapshot.rows(self._kind)}

    def _row(self, name: str) -> Row | None:
        wanted = name_key(name)
        return next(
            (row for row in self._rows.values() if name_key(row.name) == wanted or row.id == name), None
        )

    def __getitem__(self, name: str) -> Document:
        if not isinstance(name, str):
            raise NotFoundError.among(self._kind, name, self._rows)
        # What is damaged is not among the rows, and is not nothing.
        row = self._row(name) or self._snapshot.find(self._kind, name)
        if row is None:
            raise NotFoundError.among(self._kind, name, self._rows, hint="(at that moment)")
        return decode(self._kinds, row)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def to_frame(self) -> pd.DataFrame:
        """Return all of them as a DataFrame, one row each, indexed by ``name`` (string).

        Returns
        -------
        DataFrame
            For configs as ``store.configs.to_frame()``, without ``ready``, which depends on the keys
            of now: ``provider`` (category), ``model`` (string), ``tags`` (object), ``revision``
            (int64), ``created_at`` and ``updated_at`` (datetime64, UTC), then one object column per
            further field that one of them had set; secrets are left out. Other kinds have no
            ``provider`` and ``model``.

        Examples
        --------
        >>> gpt.temperature = 0.9
        >>> store.at(1).configs.to_frame()["temperature"].to_dict()
        {'gpt': 0.2}
        """
        from orchstate.history.frames import past_frame

        rows = list(self._rows.values())
        return past_frame(self._kind, rows, [decode(self._kinds, row) for row in rows])

    def __repr__(self) -> str:
        if "_rows" not in self.__dict__:
            return f"<past {self._kind}s: not read yet>"
        shown = ", ".join([*self._rows][:8]) + (", ..." if len(self) > 8 else "")
        return f"<{len(self)} past {self._kind}{'' if len(self) == 1 else 's'}{': ' if shown else ''}{shown}>"


class PastState:
    """The store at one moment; nothing in it can be changed.

    Each kind of documents that a store has a collection of has one here, too.

    Parameters
    ----------
    seq
        The last revision that belongs to the moment.
    snapshot
        The rows of the moment.
    state
        The present, which :meth:`restore` changes.
    compare
        Returns what differs between two seqs, the second by default now.
    """

    def __init__(self, seq: int, snapshot: Snapshot, state: State, compare: _Compare) -> None:
        self.seq = seq
        self._snapshot = snapshot
        self._state = state
        self._kinds = state.kinds
        self._compare = compare

    @property
    def configs(self) -> PastCollection:
        """The configs of that moment, by name; keys are not part of the past."""
        return PastCollection(self._snapshot, self._kinds, "config")

    @property
    def settings(self) -> Document:
        """The settings of that moment."""
        for row in self._snapshot.rows("settings"):
            return decode(self._kinds, row)
        return SettingsDocument.initial("")

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> PastCollection:
            # Kinds that come later have collections here without a word.
            kinds = {} if name.startswith("_") else {kind.plural: kind.name for kind in self._kinds.values()}
            if name and name in kinds:
                return PastCollection(self._snapshot, self._kinds, kinds[name])
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise UnknownFieldError(f"A PastState has no {name!r}. There are: configs, settings.")

    def to_frame(self) -> pd.DataFrame:
        """Return everything that was set at that moment: one row per field of a document.

        Returns
        -------
        DataFrame
            ``kind`` (category), ``id`` and ``name`` (string), ``revision`` (int64), ``updated_at``
            (datetime64, UTC), ``field`` (string) and ``value`` (object: plain JSON, secrets masked).

        Examples
        --------
        >>> gpt.temperature = 0.9
        >>> frame = store.at(1).to_frame()
        >>> frame[frame.field == "temperature"][["name", "value"]].values.tolist()
        [['gpt', 0.2]]
        """
        from orchstate.history.frames import values_frame

        return values_frame(self._snapshot.rows())

    def diff(self, other: PastState | int | None = None) -> pd.DataFrame:
        """Return what differs from this moment to another, by default to now.

        Returns
        -------
        DataFrame
            ``kind``, ``id``, ``name``, ``field``, ``old``, ``new``: one row per field.

        Parameters
        ----------
        other
            The other moment, or its seq; None for now.

        Examples
        --------
        >>> gpt.temperature = 0.9
        >>> store.at(1).diff()["new"].tolist()
        [0.9]
        """
        return self._compare(self.seq, other.seq if isinstance(other, PastState) else other)

    def restore(
        self,
        what: Record | Document | str | Everything = EVERYTHING,
        *,
        label: str | None = None,
        preview: bool = False,
    ) -> Restored:
        """Make one document, or everything, what it was: as new revisions, in one step that can be undone.

        Everything means configs and settings: what came later is deleted, what was deleted is made
        again. What belongs to one user, such as the active config, stays, and so do snapshots. Keys
        are not part of the past: one that is there stays, one that is gone has to be entered again.
        What cannot come back is left alone, and the result says why. In a transaction it joins that.

        Parameters
        ----------
        what
            A record, a document of the past, a name of then or of now, or an id; ``"settings"`` for
            the settings; left out for everything.
        label
            What the step is called in the history, None for ``"restore 5"`` with the seq.
        preview
            Whether only to say what would be done.

        Returns
        -------
        Restored
            What was done; ``print(...)`` says it in sentences.

        Raises
        ------
        NotFoundError
            If there was no such document at that moment.
        ReadOnlyError, StoreWriteError, ClosedError
            If nothing can be changed now; nothing was.

        Examples
        --------
        >>> gpt.temperature = 0.9
        >>> print(store.at(1).restore(preview=True))
        Nothing is done yet. Restored: temperature of gpt.
        >>> store.at(1).restore()
        <Restored gpt.temperature as of revision 1>
        >>> store.undo()
        <Undone gpt.temperature of 'restore 1'>
        """
        try:
            wanted = self._everything() if what is EVERYTHING else self._one(what)
            label = f"restore {self.seq}" if label is None else label
            return self._state.restore(wanted, self.seq, label=label, is_preview=preview)
        except BaseException as error:
            # One of them may be a key.
            del what, label
            forget(error)
            raise

    def arestore(
        self,
        what: Record | Document | str | Everything = EVERYTHING,
        *,
        label: str | None = None,
        preview: bool = False,
    ) -> Coroutine[Any, Any, Restored]:
        """Do what :meth:`restore` does without stopping the event loop; not in a transaction."""
        if self._state.transaction_here:
            raise StoreError("A transaction is still running. Call restore() in its block.")
        return self._state.elsewhere(self.restore, what, label=label, preview=preview)

    # -- inside -----------------------------------------------------------------------

    def _everything(self) -> dict[str, Former]:
        kinds = [kind.name for kind in self._kinds.values() if kind.is_restored]
        wanted = {row.id: self._was(row) for row in self._snapshot.rows() if row.kind in kinds}
        for kind in kinds:
            for id, name in self._state.listed(kind).items():
                if id not in wanted:
                    wanted[id] = self._was_not(id, name)
        return wanted

    def _was(self, row: Row) -> Former:
        try:
            return Former(decode(self._kinds, row))
        except ValidationError:
            return Former(None, "not valid", row.name)

    def _was_not(self, id: str, name: str) -> Former:
        # Of what is only not to be read nobody wants the present one deleted.
        try:
            self._snapshot.get(id)
        except CorruptStoreError:
            return Former(None, "damaged", name)
        return Former(None)

    def _one(self, what: Any) -> dict[str, Former]:
        id = self._id_of(what)
        row = self._snapshot.get(id) if id else None
        if id and row and not row.deleted and self._is_restored(row.kind):
            return {id: self._was(row)}
        if id and id in self._state.listed("settings"):
            # They are as usual until they are changed.
            return {id: Former(None)}
        raise self._not_there(what)

    def _id_of(self, what: Any) -> str | None:
        if not isinstance(what, str):
            return getattr(what, "id", None)
        for kind in self._kinds.values():
            row = PastCollection(self._snapshot, self._kinds, kind.name)._row(what) if kind.plural else None
            if row:
                return row.id
        if what == "settings":
            return next(
                (row.id for row in self._snapshot.rows("settings")),
                next(iter(self._state.listed("settings")), None),
            )
        return next(
            (
                id
                for kind in self._kinds.values()
                if kind.plural and (id := self._state.find(kind.name, what))
            ),
            what,
        )

    def _is_restored(self, kind: str) -> bool:
        return kind in self._kinds and self._kinds[kind].is_restored

    def _not_there(self, what: Any) -> NotFoundError:
        if what is None:
            # As of a look-up in vain.
            return NotFoundError("None is no document. Leave it out to restore everything.")
        name = what if isinstance(what, str) else getattr(what, "name", what)
        return NotFoundError.among("config", name, self.configs, hint=f"(at revision {self.seq})")

    def __repr__(self) -> str:
        return f"<PastState at revision {self.seq}>"


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    _Compare = Callable[[int, int | None], pd.DataFrame]
