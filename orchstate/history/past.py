"""The store as it was: read-only documents of one moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from orchstate.errors import NotFoundError
from orchstate.models.document import Document
from orchstate.models.names import name_key
from orchstate.models.settings import SettingsDocument
from orchstate.state.decide import decode

if TYPE_CHECKING:
    import pandas as pd

    from orchstate.state.kinds import Kinds
    from orchstate.storage.engine import Row, Snapshot


class PastCollection(Mapping[str, Document]):
    """All documents of one kind at one moment: a mapping from names to frozen documents."""

    def __init__(self, snapshot: Snapshot, kinds: Kinds, kind: str) -> None:
        self._snapshot = snapshot
        self._kinds = kinds
        self._kind = kind

    @cached_property
    def _rows(self) -> dict[str, Row]:
        return {row.name: row for row in self._snapshot.rows(self._kind)}

    def __getitem__(self, name: str) -> Document:
        if not isinstance(name, str):
            raise NotFoundError.among(self._kind, name, self._rows)
        wanted = name_key(name)
        for row in self._rows.values():
            if name_key(row.name) == wanted or row.id == name:
                return decode(self._kinds, row)
        raise NotFoundError.among(self._kind, name, self._rows, hint="(at that moment)")

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        if "_rows" not in self.__dict__:
            return f"<past {self._kind}s: not read yet>"
        shown = ", ".join([*self._rows][:8]) + (", ..." if len(self) > 8 else "")
        return f"<{len(self)} past {self._kind}{'' if len(self) == 1 else 's'}{': ' if shown else ''}{shown}>"


class PastState:
    """The store at one moment; nothing in it can be changed.

    Parameters
    ----------
    seq
        The last revision that belongs to the moment.
    snapshot
        The rows of the moment.
    kinds
        The kinds of documents.
    compare
        Returns what differs between two seqs, the second by default now.
    """

    def __init__(self, seq: int, snapshot: Snapshot, kinds: Kinds, compare: _Compare) -> None:
        self.seq = seq
        self._snapshot = snapshot
        self._kinds = kinds
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

    def __repr__(self) -> str:
        return f"<PastState at revision {self.seq}>"


if TYPE_CHECKING:
    from collections.abc import Callable

    _Compare = Callable[[int, int | None], pd.DataFrame]
