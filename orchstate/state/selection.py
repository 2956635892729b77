"""Selections: values that follow from a store, and change only when their result does.

A selector is run again when something has changed that it has read: once for a whole
transaction, or for a bundle of news from elsewhere. All that follows from a change is brought
up to date before any observer is told of it, so nobody sees one part before and another after.
"""

from __future__ import annotations

import itertools
import logging
import operator
from collections.abc import Sized
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar
from weakref import WeakSet

from traitlets import All

from orchstate.errors import LiveObjectError, StoreError, UnknownFieldError, ValidationError, quoted
from orchstate.state.live import Live, news, no_field
from orchstate.state.traits import ComputedTrait

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchstate.state.reads import Key
    from orchstate.state.state import State

T = TypeVar("T")
logger = logging.getLogger(__name__)

# Other threads may edit while a selector looks; what the last of so many looks gives counts until the next
# round.
_TRIES: Final = 5
_CIRCLE: Final = (
    "This selection is read by its own selector, perhaps by way of others. Have one of them read the store."
)
_numbers: Final = itertools.count()


class _CircleError(StoreError):
    """Goes through all selectors of a circle."""


class _DisturbedError(Exception):
    """Whenever the selector looked, what it had read was changed before it was through."""


class _FollowingTrait(ComputedTrait):
    """A trait that follows from what a selector reads."""

    def check_assignable(self) -> None:
        raise ValidationError(
            f"{self.name!r} follows from what the selector reads and cannot be assigned. Change the store."
        )


class Selection(Live, Generic[T]):
    """A value that follows from a store, made by ``store.select``.

    It lives as long as somebody holds it, observes it, or has linked it.

    Parameters
    ----------
    state
        What the selector reads.
    selector
        Returns the value; called with `source`.
    source
        The store.
    equal
        Whether two values count as the same.

    Examples
    --------
    >>> hottest = store.select(lambda store: max(config.temperature for config in store.configs.values()))
    >>> hottest.value
    0.2
    >>> hottest.observe(lambda change: print(change.old, change.new), "value")
    >>> gpt.temperature = 0.9
    0.2 0.9
    >>> gpt.model = "gpt-5.4"
    """

    if TYPE_CHECKING:
        value: T
        error: Exception | None
    else:
        value = _FollowingTrait(
            lambda selection: selection._seen()._value, help="What the selector returned."
        )
        error = _FollowingTrait(
            lambda selection: selection._seen()._error, help="What the selector raised last, or None."
        )

    def __init__(
        self, state: State, selector: Callable[[Any], T], source: Any, equal: Callable[[T, T], Any]
    ) -> None:
        self._state = state
        self._number = next(_numbers)
        self._selector, self._source, self._equal = selector, source, equal
        self._keys: set[Key] = set()
        # Which state of other selections was seen, and who has seen this one.
        self._sources: dict[Selection[Any], int] = {}
        self._dependents: WeakSet[Selection[Any]] = WeakSet()
        self._is_spoilt = self._is_doubtful = self._is_closed = False
        self._is_running = True
        self._error: Exception | None = None
        self._version = self._value_version = 0
        try:
            self._value = self._select()
        except _DisturbedError:
            # There has to be one: better one that is corrected in the next round than none.
            self._value = self._look()
        self._is_running = False
        self._told: tuple[Any, ...] = (self._value, self._error, self._value_version)

    # -- what people use --------------------------------------------------------------

    def observe(self, handler: Any, names: Any = All, type: Any = "change") -> None:
        """Have `handler` called when the value, or the error, has changed.

        Parameters
        ----------
        handler
            Called with the change: ``name``, ``old``, ``new``, ``owner``.
        names
            ``"value"``, ``"error"``, or a list of both.
        type
            What to tell of, as in traitlets.

        Raises
        ------
        UnknownFieldError
            If there is no such trait.
        ClosedError
            If the store is closed.
        """
        self._state.check_usable()
        self._check_observable(names)
        super().observe(handler, names, type)
        self._state.delivery.attach()
        self._look_after()

    def unobserve(self, handler: Any, names: Any = All, type: Any = "change") -> None:
        """End what :meth:`observe` began."""
        super().unobserve(handler, names, type)
        self._look_after()

    def unobserve_all(self, name: Any = All) -> None:
        """End all observation, or that of one trait."""
        super().unobserve_all(name)
        self._look_after()

    def close(self) -> None:
        """Follow the store no longer; the value stays as it is. Harmless when repeated.

        Examples
        --------
        >>> model = store.select(lambda store: store.configs["gpt"].model)
        >>> model.close()
        >>> gpt.model = "gpt-5.4"
        >>> model
        <Selection 'gpt-5.4-mini', closed>
        """
        self._is_closed = True
        self.unobserve_all()
        self._forget_reads(self._keys, self._sources)

    # -- what the state uses ----------------------------------------------------------

    @property
    def number(self) -> int:
        """Its place in the order in which selections were made."""
        return self._number

    def spoil(self) -> None:
        """Learn that something that was read has changed; with the state's lock held."""
        self._is_spoilt = True
        self._mark()

    def _mark(self) -> None:
        self._state.reads.mark(self)
        for dependent in self._dependents:
            if not dependent._is_doubtful:
                dependent._is_doubtful = True
                dependent._mark()

    def refresh(self) -> None:
        """Run the selector again if what it has read may be different by now."""
        if self._is_running:
            raise _CircleError(_CIRCLE)
        if self._is_closed or not self._is_stale:
            return
        self._is_running = True
        try:
            if self._must_run():
                self._take(self._select())
        except _DisturbedError:
            # Its value stays: what disturbed it has it look again, in the next round.
            self._is_spoilt = True
        except _CircleError:
            self._fail(StoreError(_CIRCLE))
            if self._state.reads.reader_here:
                raise
        except Exception as error:
            logger.exception("The selector of a selection raised; its value stays as it was")
            self._fail(error)
        except BaseException:
            self._is_spoilt = True
            raise
        finally:
            self._is_running = False

    def tell(self) -> None:
        """Tell observers what has changed since they were told last."""
        (value, error, version), now = self._told, (self._value, self._error, self._value_version)
        self._told = now
        changed: list[Callable[[], object]] = []
        if version != now[2] and not self._is_same(value, now[0]):
            changed += news(self, "value", value, now[0], "edit")
        if error is not now[1]:
            changed += news(self, "error", error, now[1], "edit")
        self._state.delivery.in_turn(iter(changed))

    # -- inside -----------------------------------------------------------------------

    @property
    def _is_stale(self) -> bool:
        return self._is_spoilt or self._is_doubtful

    def _seen(self) -> Selection[T]:
        """Return this selection, brought up to date where that can be, and noted by who reads it."""
        reads, reader = self._state.reads, None
        if reads.noting and isinstance(reads.reader_here, Selection):
            reader = reads.reader_here
            with self._state.lock:
                self._dependents.add(reader)
        if self._state.is_free or (reader is not None and self._state.delivery.is_owner):
            self.refresh()
        if reader is not None:
            reader._sources[self] = self._version
        return self

    def _must_run(self) -> bool:
        self._is_doubtful = False
        if self._is_spoilt:
            return True
        for source, version in self._sources.items():
            source.refresh()
            if source._version != version:
                return True
        return False

    def _select(self) -> T:
        for _ in range(_TRIES):
            try:
                value = self._look()
            except Exception:
                if not self._is_stale:
                    raise
            else:
                if not self._is_stale:
                    return value
        # To keep the others waiting, a lock would have to be held while the selector runs, which may itself
        # wait for one of them.
        raise _DisturbedError

    def _look(self) -> T:
        self._is_spoilt = self._is_doubtful = False
        sources, self._sources = self._sources, {}
        self._state.reads.runs += 1
        with self._state.noting(self) as keys:
            try:
                return self._selector(self._source)
            finally:
                before, self._keys = self._keys, keys
                self._forget_reads(before - keys, sources.keys() - self._sources.keys())

    def _forget_reads(self, keys: Any, sources: Any) -> None:
        self._state.reads.drop(self, keys)
        with self._state.lock:
            for source in sources:
                source._dependents.discard(self)

    def _take(self, value: T) -> None:
        if not self._is_same(self._value, value, is_strict=True):
            self._value = value
            self._value_version += 1
            self._version += 1
        if self._error:
            self._fail(None)

    def _fail(self, error: Exception | None) -> None:
        self._error = error
        self._version += 1

    def _is_same(self, old: T, new: T, *, is_strict: bool = False) -> bool:
        is_usual = self._equal is operator.eq
        if is_usual and old is new:
            return True
        try:
            return bool(self._equal(old, new))
        except Exception:
            # DataFrames and arrays compare element by element, which is no answer.
            if is_strict and not is_usual:
                raise
            return False

    def _look_after(self) -> None:
        reads = self._state.reads
        (reads.hold if self._is_observed else reads.let_go)(self)

    def _catch_up(self) -> None:
        self._state.catch_up()

    def _read(self, name: str) -> NoReturn:
        raise UnknownFieldError(no_field(self, name))

    def __delattr__(self, name: str) -> None:
        if name[0] != "_":
            raise LiveObjectError(f"{name!r} of {self!r} cannot be deleted. It follows from the store.")
        super().__delattr__(name)

    def __reduce__(self) -> NoReturn:
        raise LiveObjectError(f"{self!r} is live and cannot be copied or pickled. Use its value.")

    def __repr__(self) -> str:
        failing = f", failing: {type(self._error).__name__}" if self._error else ""
        return f"<Selection {_in_short(self._value)}{failing}{', closed' if self._is_closed else ''}>"


def _in_short(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float | str | Live):
        return quoted(value)
    name = type(value).__name__
    return f"{name} of {len(value)}" if isinstance(value, Sized) else name
