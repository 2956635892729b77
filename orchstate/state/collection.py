"""Collections: all records of one kind, by name."""

from __future__ import annotations

import contextlib
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar, cast

from orchstate.errors import LiveObjectError, NotFoundError, UnknownFieldError, quoted, suggestion
from orchstate.models.document import ENVELOPE, secret_fields
from orchstate.models.names import MAX_NAME_LENGTH
from orchstate.models.secret import references
from orchstate.state.record import Record
from orchstate.tracebacks import Forgetting, forget

if TYPE_CHECKING:
    from orchstate.state.state import State

R = TypeVar("R", bound=Record)
_HOW_TO_CHANGE: Final = "To change what is in it: create(...), upsert(...), and delete() of a record."


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
        id = self._state.find(self._kind, name) if isinstance(name, str) else None
        if id is None:
            if isinstance(name, str):
                self._state.engine.damages.check_gone(self._kind, name)
            error = NotFoundError.among(self._kind, name, self._state.names(self._kind))
            # It may be a key.
            del name
            raise error
        return cast("R", self._state.record(id))

    def __iter__(self) -> Iterator[str]:
        return iter(self._state.names(self._kind))

    def __len__(self) -> int:
        return len(self._state.ids(self._kind))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._state.find(self._kind, name) is not None

    if not TYPE_CHECKING:
        # Type checkers know no such methods, and say so before anything runs.
        def __setitem__(self, name: str, value: object) -> NoReturn:
            raise LiveObjectError(f"{quoted(name)} cannot be put into a collection. {_HOW_TO_CHANGE}")

        def __delitem__(self, name: str) -> NoReturn:
            raise LiveObjectError(
                f"{quoted(name)} cannot be taken out of a collection. Call delete() of the record instead."
            )

        def __getattr__(self, name: str) -> NoReturn:
            # A probe for a protocol, or an object that is being made.
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise UnknownFieldError(
                f"A collection has no {name!r}. A record is reached by its name in brackets. {_HOW_TO_CHANGE}"
            )

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            raise UnknownFieldError(f"{name!r} cannot be assigned to a collection. {_HOW_TO_CHANGE}")
        super().__setattr__(name, value)

    def __reduce__(self) -> NoReturn:
        raise LiveObjectError(
            f"{self!r} is live and cannot be copied or pickled. "
            "Use to_dict() of its records, or export() of the store."
        )

    def values(self) -> ValuesView[R]:
        """Return all records as they are at the moment of iterating."""
        return _Values(self)

    def items(self) -> ItemsView[str, R]:
        """Return all names and records as they are at the moment of iterating."""
        return _Items(self)

    def _at_once(self) -> Iterator[tuple[str, R]]:
        # By id: what others rename or delete while somebody iterates must not break the loop.
        for id, name in self._state.listed(self._kind).items():
            with contextlib.suppress(NotFoundError):
                yield name, cast("R", self._state.record(id))

    def filter(self, **criteria: Any) -> list[R]:
        """Return the records whose fields have the given values; tags match when contained.

        Parameters
        ----------
        **criteria
            Values by field; a field that a record does not have does not match.

        Raises
        ------
        UnknownFieldError
            If no record has such a field, nor could have it.

        Examples
        --------
        >>> store.configs.filter(provider="openai")
        [<Config gpt: openai, gpt-5.4-mini, temperature 0.2>]
        """
        with Forgetting(criteria):
            records = [*self.values()]
            for field in criteria:
                if records and not any(hasattr(record, field) for record in records):
                    self._check_field(field)
            return [record for record in records if _matches(record, criteria)]

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
        """Create a copy of a record under a new name; keys are not copied, nor what holds one.

        Parameters
        ----------
        record
            The record, its name or its id.
        name
            Name of the copy; None for the old name with a number.

        Raises
        ------
        NotFoundError
            If there is no such record.
        DuplicateNameError, ValidationError
            If the name is taken, or not valid.

        Examples
        --------
        >>> store.configs.duplicate(gpt)
        <Config gpt 2: openai, gpt-5.4-mini, temperature 0.2>
        """
        try:
            return self._duplicate(record if isinstance(record, Record) else self[record], name)
        except BaseException as error:
            # One of them may be a key.
            del record, name
            forget(error)
            raise

    def _duplicate(self, source: R, name: str | None) -> R:
        document = source.document()
        secret = secret_fields(type(document))
        values = {
            path: document.at(path)
            for path, plain in document.body().items()
            # A key belongs to one record: with two of them, the first that goes would take it along.
            if path != "name" and path not in secret and not (path == "stash" and any(references(plain)))
        }
        made, _ = self._state.create(
            self._kind, self.free_name(source.name) if name is None else name, values
        )
        return cast("R", made)

    def _check_field(self, field: str) -> None:
        known = {*ENVELOPE, *self._state.kinds[self._kind].paths()}
        if field not in known:
            closest = suggestion(field, sorted(known))
            raise UnknownFieldError(f"No {self._kind} has a field {quoted(field)}.{closest}")

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def __repr__(self) -> str:
        # It reads no disk, so it shows what is in memory.
        self._state.catch_up_quietly()
        entries = self._state.view.loaded(self._kind)
        if not entries and not self._state.view.is_complete(self._kind) and self._state.seq:
            return f"<{self._kind}s: not read yet>"
        count, kinds = len(entries), self._kind if len(entries) == 1 else f"{self._kind}s"
        shown = ", ".join(entry.name for entry in entries[:8]) + (", ..." if count > 8 else "")
        where = "" if self._state.view.is_complete(self._kind) else " in memory"
        return f"<{count} {kinds}{where}{': ' if shown else ''}{shown}>"


class _Values(ValuesView[R]):
    _mapping: Collection[R]

    def __iter__(self) -> Iterator[R]:
        return (record for _, record in self._mapping._at_once())


class _Items(ItemsView[str, R]):
    _mapping: Collection[R]

    def __iter__(self) -> Iterator[tuple[str, R]]:
        return self._mapping._at_once()


def _matches(record: Record, criteria: Mapping[str, Any]) -> bool:
    for field, wanted in criteria.items():
        if field == "tags":
            tags = {wanted} if isinstance(wanted, str) else set(wanted)
            if not tags <= set(record.tags):
                return False
        elif not hasattr(record, field) or getattr(record, field) != wanted:
            return False
    return True
