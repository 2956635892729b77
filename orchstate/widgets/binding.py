"""The one place where controls and records meet.

What a person enters goes to the store, and what the store says is shown; nothing here holds
a value. A change from anywhere, a cell, an undo, another notebook, is shown at once and not
sent back. What a person enters and the store refuses stays in the control, to be mended,
until the field changes in the store; but a key that was put where none belongs goes, since
what is in a control is saved with the notebook. What is half typed stays until it is entered,
whatever changes; where that is the same field, leaving it does not decide, the person does.

Records outlive views, so they know them weakly: a view that is gone, or was closed, is
not called again and leaves no observer behind.
"""

from __future__ import annotations

import contextlib
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from orchstate.errors import OrchstateError, ValidationError
from orchstate.models.key_shapes import holds_key
from orchstate.models.values import is_same, to_plain
from orchstate.origin import cell, place
from orchstate.state.events import ConflictOpened, ConflictResolved
from orchstate.widgets.turns import turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchstate.state.record import Record
    from orchstate.widgets.control import Control
    from orchstate.widgets.fields import Field


def follow(observed: Any, listener: Callable[[Any], object], names: Any = None) -> Callable[[], None]:
    """Have a method called with every change of a record or store; returns the way to end it.

    Parameters
    ----------
    observed
        A record, or anything else with ``observe`` and ``unobserve``.
    listener
        A method of the view; the view is not kept alive by it.
    names
        Traits to follow, None for all of them.
    """
    arguments = () if names is None else (names,)
    weak = _Weak(listener)
    observed.observe(weak, *arguments)
    weak.end = partial(_unobserve, observed, weak, *arguments)
    return weak.end


def follow_events(store: Any, listener: Callable[[Any], object]) -> Callable[[], None]:
    """Have a method called with every committed event of a store, as :func:`follow` does with changes."""
    weak = _Weak(listener)
    weak.end = store.subscribe(weak)
    return weak.end


def follow_conflicts(state: Any, listener: Callable[[Any], object]) -> Callable[[], None]:
    """Have a method called when conflicts open and end, as :func:`follow` does with changes."""
    weak = _Weak(listener)
    # Nothing else has a target, so most events are not even made.
    ends = [state.subscribe(weak, event, mentions='"target"') for event in (ConflictOpened, ConflictResolved)]

    def end() -> None:
        for one in ends:
            one()

    weak.end = end
    return end


class _Weak:
    """Calls a method as long as its object is there."""

    def __init__(self, method: Callable[[Any], object]) -> None:
        self._method = weakref.WeakMethod(method)
        self.end: Callable[[], None] = lambda: None

    def __call__(self, news: Any) -> None:
        method = self._method()
        if method is None:
            self.end()
        else:
            turns.do(partial(method, news))


def _unobserve(observed: Any, handler: Any, *names: Any) -> None:
    # Ended before, or by unobserve_all().
    with contextlib.suppress(ValueError):
        observed.unobserve(handler, *names)


def is_writable(state: Any) -> bool:
    """Return whether a store takes what a person enters: not when it is open for reading only, or closed."""
    return not why_not_writable(state)


def is_over(state: Any) -> bool:
    """Return whether a store is closed, or was opened before a fork: nothing can be had from it any more."""
    try:
        state.check_usable()
    except OrchstateError:
        return True
    return False


def why_not_writable(state: Any) -> str:
    """Return why a store does not take what a person enters, ``""`` if it does."""
    try:
        state.check_writable()
    except OrchstateError as error:
        return str(error)
    return ""


def form_place() -> str:
    """Return where edits come from that are made in a form of the running cell, such as ``"[3] form"``."""
    return f"{cell()} form".strip()


class Binding:
    """Keeps one control and one field of a record the same.

    Parameters
    ----------
    record
        Whose field it is.
    field
        Which field.
    control
        What a person sees of it.
    origin
        Where the history says that edits come from.
    judged
        Called when an entry was taken or refused, is half typed, or was overtaken.
    present
        Returns the value to show, None for the one that is stored.

    Attributes
    ----------
    refusal
        Why the last entry was refused, ``""`` if it was not.
    is_mended
        Whether an entry that was refused would be taken by now.
    """

    def __init__(
        self,
        record: Record,
        field: Field,
        control: Control,
        origin: str,
        judged: Callable[[], object],
        present: Callable[[], Any] | None = None,
    ) -> None:
        self.refusal = ""
        self.is_mended = False
        self._record = record
        self._field = field
        self._control = control
        self._origin = origin
        self._judged = judged
        self._present = present or (lambda: record[field.path])
        self._shown = self.value
        control.listen(self._take, self._draft)
        self._show()

    @property
    def value(self) -> Any:
        """The value that the store has now."""
        return self._present()

    @property
    def is_draft(self) -> bool:
        """Whether the control shows what is half typed."""
        return self._control.is_draft

    @property
    def is_overtaken(self) -> bool:
        """Whether the field has changed in the store while somebody was typing."""
        return self.is_draft and not is_same(to_plain(self.value), to_plain(self._shown))

    def update(self) -> None:
        """Show what the store has now; what is half typed stays, and what was refused until that changes."""
        is_refused = bool(self.refusal) or self.is_mended
        if not is_refused or not is_same(to_plain(self.value), to_plain(self._shown)):
            self._show()

    def reconsider(self) -> None:
        """See whether an entry that was refused is so still: that may depend on other fields."""
        if (self.refusal or self.is_mended) and not self._control.is_rest:
            problem = self._problem()
            self.refusal, self.is_mended = problem, not problem
            self._judged()

    def resume(self, text: str) -> None:
        """Show an entry that was refused in another control, and see whether it is so here."""
        self._control.write(text)
        self.is_mended = True
        self.reconsider()

    def enter(self) -> None:
        """Take what is in the control as entered."""
        self._control.confirm()

    def discard(self) -> None:
        """Drop what is half typed, or was refused."""
        self._control.settle()
        self._show()
        self._judged()

    def unset(self) -> None:
        """Have the field not set, as far as the store allows it."""
        self._control.settle()
        self._enter({} if self._field.type == "map" else None)

    def _show(self) -> None:
        self.refusal, self.is_mended = "", False
        value = self.value
        if self.is_draft and is_same(self._control.read(), value):
            # Somebody else has entered the very same.
            self._control.settle()
        if not self.is_draft:
            self._shown = value
        self._control.show(value)

    def _problem(self) -> str:
        """Return why what is in the control would be refused, ``""`` if it would be taken."""
        try:
            with self._record._state.transaction():
                self._record.update(**{self._field.path: self._control.read()})
                raise _OnlyAskedError
        except OrchstateError as error:
            return reason(error, self._field.path)
        except _OnlyAskedError:
            return ""

    def _draft(self) -> None:
        if not (self.is_draft or self.refusal):
            # It is as it was before: nothing is being typed.
            self._control.show(self.value)
        self._judged()

    def _take(self) -> None:
        if self._control.is_rest:
            # It says nothing of the field.
            self.discard()
            return
        is_undecided = self.is_overtaken and not self._control.is_confirmed
        if is_undecided and not holds_key(self._control.text):
            self._judged()
            return
        self._control.settle()
        try:
            value = self._control.read()
        except ValidationError as error:
            self._refuse(error)
            return
        self._enter(value)

    def _enter(self, value: Any) -> None:
        try:
            with place(self._origin):
                self._record.update(**{self._field.path: value})
        except OrchstateError as error:
            self._refuse(error)
        else:
            # The store may have put it in another way, such as 0.50 as 0.5.
            self._show()
            self._judged()

    def _refuse(self, error: OrchstateError) -> None:
        self.refusal, self.is_mended = reason(error, self._field.path), False
        self._shown = self.value
        self._control.drop_key()
        self._judged()


class _OnlyAskedError(Exception):
    """Ends a transaction that was never meant."""


def reason(error: OrchstateError, path: str) -> str:
    """Return why an entry was refused, for the place beside its field: the rule, without the field's name.

    Examples
    --------
    >>> from orchstate.errors import Issue
    >>> reason(ValidationError.of([Issue("top_p", "error", "2 is too large.")], subject="gpt"), "top_p")
    '2 is too large.'
    """
    issues = error.issues if isinstance(error, ValidationError) else ()
    own = [
        issue.message for issue in issues if issue.field in ("", path) or issue.field.startswith(f"{path}.")
    ]
    return " ".join(own) or str(error)
