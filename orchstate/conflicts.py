"""Open conflicts: what two did at once, kept until somebody, or a function, decides."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from orchstate.errors import NotFoundError, OrchstateError, ValidationError, quoted
from orchstate.models.conflict import ConflictDocument
from orchstate.models.document import leaves
from orchstate.models.values import to_plain
from orchstate.state.collection import Collection
from orchstate.state.events import ConflictOpened
from orchstate.state.record import Record
from orchstate.state.resolving import asked, conflicts_about
from orchstate.tracebacks import Forgetting, forget

if TYPE_CHECKING:
    import pandas as pd

    from orchstate.models.question import Question
    from orchstate.state.events import Event
    from orchstate.state.receipt import Receipt
    from orchstate.state.resolving import Choice
    from orchstate.state.state import State

logger = logging.getLogger(__name__)

MergeFunction = Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], Mapping[str, Any]]
"""``(base, theirs, ours)``, each plain values by field, to the values that are to be."""


class Conflict(Record):
    """One edit that met what somebody else had done, with both sides.

    Examples
    --------
    A conflict says what it is about, and shows what the edit had found, what stood there, and
    what it wanted, by field::

        conflict = store.conflicts.of("gpt")[0]
        conflict.base, conflict.theirs, conflict.ours
        conflict.resolve("ours")
    """

    if TYPE_CHECKING:
        target: str
        target_kind: str
        target_name: str
        verb: str
        cause: str
        reason: str
        policy: str
        fields: tuple[str, ...]
        base: Mapping[str, Any]
        theirs: Mapping[str, Any]
        ours: Mapping[str, Any]

    def resolve(self, choice: Choice) -> Receipt:
        """Decide, which ends the conflict; undo opens it again.

        Parameters
        ----------
        choice
            ``"ours"``: what the edit wanted is done now, on top of what is there;
            ``"theirs"``: what is there stays; or values by field, where the fields in question
            that are not named stay as they are. With a ``name`` of its own, what was to be
            created under a name that was taken is created beside it.

        Raises
        ------
        NotFoundError
            If it was resolved already.
        ValidationError, UnknownFieldError, DuplicateNameError
            If it cannot be resolved so; it stays open, and nothing changed.
        StoreWriteError, ReadOnlyError, ClosedError
            If it could not be accepted; nothing changed.
        """
        values = {"choice": choice}
        del choice
        # It may hold a key.
        with Forgetting(values):
            return self._state.resolve(self._entry.id, values["choice"])

    def delete(self) -> Receipt:
        """End the conflict; what is there stays."""
        return self.resolve("theirs")

    def _assign(self, changes: Mapping[str, Any], **how: Any) -> Receipt:
        raise ValidationError(
            f"A conflict cannot be edited ({', '.join(changes)}). Decide with resolve('ours'), "
            "resolve('theirs'), or a value per field."
        )

    @property
    def question(self) -> Question:
        """What is to be decided, as things are now: ``sentence``, and what ``ours`` and ``theirs`` do.

        Raises
        ------
        NotFoundError
            If it was resolved already.
        """
        return asked(self._state, cast("ConflictDocument", self.document()))

    def __str__(self) -> str:
        is_open = self._state.document(self._entry.id) is not None
        return f"{self.target_name}: {self.question.sentence if is_open else 'resolved.'}"

    def __repr__(self) -> str:
        values = self._trait_values
        fields = f", {', '.join(values.get('fields', ()))}" if values.get("fields") else ""
        return f"<Conflict about {values.get('target_name')}: {values.get('cause')}{fields}>"


class Conflicts(Collection[Conflict]):
    """All open conflicts of a store, by name or number, oldest first.

    Examples
    --------
    >>> len(store.conflicts), store.conflicts
    (0, <no conflicts>)
    """

    def __init__(self, state: State) -> None:
        super().__init__(state, ConflictDocument.kind)
        self._functions: dict[str, MergeFunction] = {}
        # Nothing else has a target, so most events are not even made.
        state.subscribe(self._meet, ConflictOpened, mentions='"target"')

    def __getitem__(self, name: str | int) -> Conflict:
        if isinstance(name, int):
            ids = self._state.ids(self._kind)
            try:
                return self._of_id(ids[name])
            except IndexError:
                raise NotFoundError(f"There is no conflict {name}; there are {len(ids)}.") from None
        return super().__getitem__(name)

    def of(self, record: Record | str) -> list[Conflict]:
        """Return the open conflicts about a record, oldest first.

        Parameters
        ----------
        record
            The record, its id, or its name.

        Examples
        --------
        >>> store.conflicts.of(gpt)
        []
        """
        if isinstance(record, Record):
            return [self._of_id(one.id) for one in conflicts_about(self._state, record.id)]
        return [one for one in self.values() if record in (one.target, one.target_name)]

    def resolve(self, choice: str) -> int:
        """Decide about all of them alike; returns how many there were.

        Parameters
        ----------
        choice
            ``"ours"`` or ``"theirs"``.

        Raises
        ------
        ValidationError, DuplicateNameError
            If one of them cannot be resolved so; all stay open.

        Examples
        --------
        >>> store.conflicts.resolve("theirs")
        0
        """
        if choice not in ("ours", "theirs"):
            shown = quoted(choice)
            # It may be a key.
            del choice
            raise ValidationError(f"{shown} does not fit all of them. Give 'ours' or 'theirs'.")
        found = list(self.values())
        with self._state.transaction("resolve all"):
            for conflict in found:
                conflict.resolve(choice)
        return len(found)

    def merge_with(self, function: MergeFunction | None, *, kind: str = "config") -> None:
        """Have a function decide where the setting ``sync.conflict_resolution`` is ``"merge"``.

        It is called in the thread that opened the store, never under a lock, for the conflicts of
        this notebook's edits, and at once for those that are open. If it raises, the error is
        logged and the conflict stays open; so does one that an undo of the merge brings back.

        Parameters
        ----------
        function
            Called with ``base``, ``theirs`` and ``ours``: plain values by field, as the edit had
            found them, as they are, and as it wanted them. Returns the values that are to be.
            None to leave conflicts to people again.
        kind
            Kind of documents that it is for.

        Raises
        ------
        ValidationError
            If it cannot be called, or there is no such kind.

        Examples
        --------
        >>> def larger(base, theirs, ours):
        ...     return {field: max(theirs[field], ours[field]) for field in ours}
        >>> store.conflicts.merge_with(larger)
        >>> store.settings.sync.conflict_resolution = "merge"
        """
        if kind not in self._state.kinds:
            known = ", ".join(map(repr, self._state.kinds))
            raise ValidationError(f"{quoted(kind)} is no kind of documents. There are: {known}.")
        if function is None:
            self._functions.pop(kind, None)
            return
        if not callable(function):
            raise ValidationError(f"{quoted(function)} cannot be called. Give a function of three mappings.")
        self._functions[kind] = function
        for conflict in self.values():
            self._merge(conflict)

    def to_frame(self) -> pd.DataFrame:
        """Return the open conflicts as a DataFrame: one row per field in question.

        Returns
        -------
        DataFrame
            ``conflict`` (its name), ``kind`` and ``name`` of the document, ``cause``, ``field`` as
            strings; ``base``, ``theirs``, ``ours`` (plain JSON values, dtype object), ``by``
            (string: whose edit it was), ``at`` (datetime, UTC: when it was made). What else its
            transaction wanted, and waits with it, has the cause ``"together"`` and only ``ours``.

        Examples
        --------
        >>> len(store.conflicts.to_frame())
        0
        """
        from orchstate.history.frames import conflicts_frame

        documents = (one.document() for one in self.values())
        return conflicts_frame([one for one in documents if isinstance(one, ConflictDocument)])

    def _of_id(self, id: str) -> Conflict:
        return cast("Conflict", self._state.record(id))

    def _meet(self, event: Event) -> None:
        if event.external or not self._functions or not self._state.document(event.id):
            return
        conflict = self._of_id(event.id)
        # One that an undo brought back would be decided alike at once, and the undo be in vain.
        if conflict.revision == 1:
            self._merge(conflict)

    def _merge(self, conflict: Conflict) -> None:
        function = self._functions.get(conflict.target_kind)
        if function is None or conflict.policy != "merge":
            return
        try:
            # What they are by now, which may not be what the edit met.
            now = self._state.document(conflict.target)
            present = {path: now.at(path) for path in conflict.theirs if now and path in leaves(type(now))}
            sides = (conflict.base, {**conflict.theirs, **present}, conflict.ours)
            base, theirs, ours = (dict(to_plain(dict(side))) for side in sides)
            merged: Any = function(base, theirs, ours)
            if not isinstance(merged, Mapping):
                what = f"returned {type(merged).__name__} and not values by field"
                logger.error("The merge function %s; %r stays open", what, conflict)
                return
            conflict.resolve(dict(merged))
        except OrchstateError as error:
            logger.warning("%r could not be merged and stays open: %s", conflict, error)
        except Exception as error:
            # Its message and its frames may hold anything.
            logger.error("The merge function raised %s; %r stays open", type(error).__name__, conflict)
            forget(error)

    def __repr__(self) -> str:
        shown = super().__repr__()
        return "<no conflicts>" if shown.startswith("<0 ") else shown
