"""Collections: all records of one kind, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from orchstate.errors import NotFoundError
from orchstate.models.names import MAX_NAME_LENGTH
from orchstate.models.secret import SecretRef
from orchstate.state.record import Record

if TYPE_CHECKING:
    from orchstate.state.state import State

R = TypeVar("R", bound=Record)


class Collection(Mapping[str, R], Generic[R]):
    """All records of one kind: a mapping from names to records, ordered by creation.

    Ids work wherever names do, and names are compared in any case.

    Parameters
    ----------
    state
        Where the documents are.
    kind
        Which documents.
    """

    def __init__(self, state: State, kind: str) -> None:
        self._state = state
        self._kind = kind

    def __getitem__(self, name: str) -> R:
        id = self._state.find(self._kind, name)
        if id is None:
            raise NotFoundError.among(self._kind, name, self._state.names(self._kind))
        return cast("R", self._state.record(id))

    def __iter__(self) -> Iterator[str]:
        return iter(self._state.names(self._kind))

    def __len__(self) -> int:
        return len(self._state.ids(self._kind))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._state.find(self._kind, name) is not None

    def filter(self, **criteria: Any) -> list[R]:
        """Return the records whose fields have the given values; tags match when contained.

        Parameters
        ----------
        **criteria
            Values by field; a field that a record does not have does not match.
        """
        return [record for record in self.values() if _matches(record, criteria)]

    def free_name(self, wanted: str) -> str:
        """Return `wanted`, with a number behind it if the name is taken.

        Examples
        --------
        A second config made from ``"gpt"`` becomes ``"gpt 2"``.
        """
        name, count = wanted[:MAX_NAME_LENGTH], 1
        while name in self:
            count += 1
            name = f"{wanted[: MAX_NAME_LENGTH - 5]} {count}"
        return name

    def duplicate(self, record: R | str, *, name: str | None = None) -> R:
        """Create a copy of a record under a new name; secrets are not copied.

        Parameters
        ----------
        record
            The record, its name or its id.
        name
            Name of the copy; None for the old name with a number.
        """
        source = self[record] if isinstance(record, str) else record
        document = source.document()
        values = {
            path: document.at(path)
            for path in document.body()
            if path != "name" and not _is_secret(document, path)
        }
        id, _ = self._state.create(self._kind, name or self.free_name(source.name), values)
        return cast("R", self._state.record(id))

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def __repr__(self) -> str:
        names = list(self)
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        return f"<{len(names)} {self._kind}{'' if len(names) == 1 else 's'}{': ' if names else ''}{shown}>"


def _is_secret(document: Any, path: str) -> bool:
    return "." not in path and isinstance(getattr(document, path, None), SecretRef)


def _matches(record: Record, criteria: Mapping[str, Any]) -> bool:
    for field, wanted in criteria.items():
        if field == "tags":
            tags = {wanted} if isinstance(wanted, str) else set(wanted)
            if not tags <= set(record.tags):
                return False
        elif not hasattr(record, field) or getattr(record, field) != wanted:
            return False
    return True
