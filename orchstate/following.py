"""What can be observed of a store: its active config, status, pending edits, last error, and its events."""

from __future__ import annotations

import contextlib
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from traitlets import All, HasTraits
from traitlets.traitlets import BaseDescriptor

from orchstate.active import Active, ActiveTrait
from orchstate.errors import (
    LiveObjectError,
    OrchstateError,
    StoreError,
    UnknownFieldError,
    ValidationError,
    quoted,
)
from orchstate.state.events import Event
from orchstate.state.live import news, no_field
from orchstate.state.selection import Selection
from orchstate.state.traits import ComputedTrait
from orchstate.tracebacks import forget

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from orchstate.adoption import Adoption
    from orchstate.secrets.secrets import Mode
    from orchstate.secrets.store import SecretStore
    from orchstate.state.state import State
    from orchstate.state.stats import Stats
    from orchstate.storage.sqlite import SqliteEngine

T = TypeVar("T")
Status = Literal["loading", "ready", "saving", "degraded", "read-only", "closed"]
_FOLLOWED: Final = ("active", "status", "pending", "error")


@dataclass(frozen=True, slots=True)
class Options:
    """How a store was opened; one target has one set of options per process."""

    read_only: bool
    secrets: Mode | SecretStore
    actor: str


class Followed(HasTraits):
    """The traits of a store; what is not a trait cannot be assigned."""

    active = ActiveTrait(lambda store: store._active.config(), help="The config in use, or None.")
    status = ComputedTrait(
        lambda store: store._status(),
        help="What it is doing: loading, ready, saving, degraded, read-only or closed.",
    )
    pending = ComputedTrait(
        lambda store: store._state.seen_itself.pending, help="Edits accepted and not yet committed."
    )
    error = ComputedTrait(lambda store: store._error(), help="The last error, or None.")

    _engine: SqliteEngine
    _state: State
    _options: Options
    _adoption: Adoption | None
    _active: Active
    _told: tuple[Any, ...]

    def __setattr__(self, name: str, value: Any) -> None:
        is_part = name in type(self).__annotations__ and name not in self.__dict__
        if name[0] != "_" and not is_part and not isinstance(getattr(type(self), name, None), BaseDescriptor):
            # It may be a key.
            del value
            raise UnknownFieldError(no_field(self, name))
        try:
            super().__setattr__(name, value)
        except BaseException as error:
            del value
            forget(error)
            raise

    def __delattr__(self, name: str) -> None:
        if name[0] == "_":
            super().__delattr__(name)
            return
        step = "Assign None instead." if name == "active" else "It belongs to the store."
        raise LiveObjectError(f"{name!r} of {self!r} cannot be deleted. {step}")

    def __reduce__(self) -> Any:
        raise LiveObjectError(
            f"{self!r} is live and cannot be copied or pickled. Open it where it is needed, or use export()."
        )

    def observe(self, handler: Any, names: Any = All, type: Any = "change") -> None:
        """Have `handler` called with every change of the named traits: active, status, pending, error.

        Parameters
        ----------
        handler
            Called with the change: ``name``, ``old``, ``new``, ``owner``.
        names
            One name or a list of names.
        type
            What to tell of, as in traitlets.

        Raises
        ------
        UnknownFieldError
            If there is no such trait.

        Examples
        --------
        >>> store.observe(lambda change: print(change.new.name), "active")
        >>> store.active = "gpt"
        gpt
        """
        self._state.check_usable()
        for name in [names] if isinstance(names, str) else names if isinstance(names, list | tuple) else ():
            if name is not All and name not in _FOLLOWED:
                raise UnknownFieldError(no_field(self, name))
        # Before there is anybody to tell: it may show what has arrived.
        self._told = self._followed()
        super().observe(handler, names, type)
        self._state.delivery.attach()

    def subscribe(
        self, listener: Callable[[Event], object], event: type[Event] | None = None
    ) -> Callable[[], None]:
        """Have `listener` called with every committed event, in seq order.

        Parameters
        ----------
        listener
            Called with the event, in the thread that opened the store.
        event
            Class of events, such as ``orch.Updated``; None for all.

        Returns
        -------
        callable
            Ends the subscription.

        Raises
        ------
        ValidationError
            If `listener` cannot be called, or `event` is no class of events.

        Examples
        --------
        >>> import orchstate as orch
        >>> end = store.subscribe(lambda event: print(event.changes), orch.Updated)
        >>> gpt.temperature = 0.9
        >>> seq = store.flush()
        {'temperature': (0.2, 0.9)}
        >>> end()
        """
        self._state.check_usable()
        if not callable(listener):
            raise ValidationError(f"{quoted(listener)} cannot be called. Give a function of an event.")
        if event is not None and not (isinstance(event, type) and issubclass(event, Event)):
            raise ValidationError(f"{quoted(event)} is no class of events, such as orch.Updated.")
        return self._state.subscribe(listener, event or Event)

    def select(
        self, selector: Callable[[Any], T], *, equal: Callable[[T, T], Any] = operator.eq
    ) -> Selection[T]:
        """Return a value that follows from this store, and changes only when its result does.

        What the selector reads of configs, settings and the store's own traits is noted while it
        runs: which configs there are, their names, fields, revision and sync state, what is active,
        other selections. It runs again, in the thread that opened the store, once for each change of
        that, wherever it comes from; a transaction, or a bundle of news, counts as one. In a
        transaction it shows what was before. It never shows a half of one: while other threads
        edit so often that it is never through undisturbed, its value stays. The history, other
        stores, and what is no part of a store are not noted.

        Parameters
        ----------
        selector
            Called with the store, and only reads; called once at once.
        equal
            Called with two results; whether they count as the same. What cannot be compared by
            ``==``, such as DataFrames, counts as different; give ``pandas.DataFrame.equals`` then.

        Returns
        -------
        Selection
            Its ``value`` can be read, observed, and linked with ``traitlets.dlink``. When the
            selector raises later, ``error`` says so, and the value stays.

        Raises
        ------
        ValidationError
            If `selector` or `equal` cannot be called.
        StoreError
            If the selector edits, or reads itself in a circle.

        Examples
        --------
        >>> import ipywidgets, traitlets
        >>> label = ipywidgets.Label()
        >>> active = store.select(lambda store: store.active.name if store.active else "none")
        >>> link = traitlets.dlink((active, "value"), (label, "value"))
        >>> store.active = gpt
        >>> label.value
        'gpt'
        """
        self._state.check_usable()
        for given in (selector, equal):
            if not callable(given):
                raise ValidationError(f"{quoted(given)} cannot be called. Give a function of the store.")
        self._state.catch_up()
        return Selection(self._state, selector, self, equal)

    def stats(self) -> Stats:
        """Return figures of this process: edits and their outcomes, commits, what was seen of others.

        Examples
        --------
        >>> gpt.temperature = 0.9
        >>> seq = store.flush()
        >>> store.stats()
        <Stats 2 edits, 0 pending, seq 2>
        """
        path = self._engine.path
        files = [path, path.with_name(f"{path.name}-wal")] if path else []
        return self._state.stats(journal_mode=self._engine.journal_mode or "memory", files=files)

    # -- inside -----------------------------------------------------------------------

    def _in_thread(self, call: Callable[..., T], *args: Any) -> Coroutine[Any, Any, T]:
        """Return what a call returns that may take long, while the event loop goes on."""
        self._check_no_transaction(f"a{getattr(call, '__name__', '')}")
        return self._state.elsewhere(call, *args)

    def _check_no_transaction(self, name: str) -> None:
        if self._state.transaction_here:
            raise StoreError(f"A transaction is still running. Call {name}() after the end of its block.")

    def _catch_up(self) -> None:
        self._state.catch_up()

    def _status(self) -> Status:
        state = self._state.seen_itself
        if state.unusable:
            return "closed"
        if self._is_loading:
            return "loading"
        if self._options.read_only:
            return "read-only"
        if state.failing or state.refusing or self._engine.damages or self._left_error:
            return "degraded"
        return "saving" if state.pending else "ready"

    @property
    def _is_loading(self) -> bool:
        return self._engine.loading.is_running

    def _error(self) -> OrchstateError | None:
        return self._state.seen_itself.error or self._engine.damages.error or self._left_error

    @property
    def _left_error(self) -> OrchstateError | None:
        """Why accepted edits of dead processes are not seen here."""
        return self._adoption.error if self._adoption else None

    def _followed(self) -> tuple[Any, ...]:
        active = self._told[0] if self._told else None
        # To ask what is active would wait; and where it cannot be read, the error is what counts.
        with contextlib.suppress(StoreError):
            active = active if self._is_loading else self._active.config()
        return (active, self._status(), self._state.pending, self._error())

    def _tell(self) -> None:
        """Tell those who observe the store's own traits; costs nothing when nobody does."""
        if not self._trait_notifiers:
            return
        before, self._told = self._told, self._followed()
        changed: list[Callable[[], object]] = []
        for name, old, new in zip(_FOLLOWED, before, self._told, strict=True):
            if old is not new and old != new:
                changed += news(self, name, old, new, "edit")
        self._state.delivery.in_turn(iter(changed))
