"""A control: the widgets that show one value, and say when a person has changed it.

Where the value comes from and goes to is none of its business (see
:mod:`orchstate.widgets.binding`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from orchstate.models.key_shapes import looks_like_key
from orchstate.widgets.draft import DraftText, enter_drafts
from orchstate.widgets.turns import Textarea

if TYPE_CHECKING:
    from collections.abc import Callable


class Control(ABC):
    """Widgets that show one value.

    Parameters
    ----------
    *widgets
        In the order in which they are shown; each has a trait ``value``.

    Attributes
    ----------
    widgets
        The same.
    """

    def __init__(self, *widgets: Any) -> None:
        self.widgets = widgets
        self._entries = [widget for widget in widgets if isinstance(widget, DraftText)]
        self._written = [widget for widget in widgets if isinstance(widget, DraftText | Textarea)]
        # What the store has, and what was left of a text that had a key in it, None where none had.
        self._stored = ""
        self._rest: str | None = None
        self._listener: Callable[[], object] = lambda: None
        self._drafted: Callable[[], object] = lambda: None
        self._showing = False
        for widget in widgets:
            widget.observe(self._hear, "value")
            if isinstance(widget, DraftText):
                widget.listen(lambda: self._listener(), lambda: self._drafted())

    def listen(self, listener: Callable[[], object], drafted: Callable[[], object] = lambda: None) -> None:
        """Have `listener` called when a person has changed the value; :meth:`show` does not count.

        Parameters
        ----------
        listener
            Called with nothing.
        drafted
            Called with nothing while a person types, and has not entered it yet.
        """
        self._listener, self._drafted = listener, drafted

    @property
    def is_draft(self) -> bool:
        """Whether somebody types, and has not entered it yet."""
        return any(entry.is_draft for entry in self._entries)

    @property
    def is_confirmed(self) -> bool:
        """Whether what is being taken was confirmed with Enter, and an entry was not only left."""
        return not self.is_draft or any(entry.is_confirmed for entry in self._entries)

    @property
    def draft(self) -> str:
        """What is half typed, ``""`` for nothing."""
        return next((str(entry.value) for entry in self._entries if entry.is_draft), "")

    @property
    def text(self) -> str:
        """What is written, ``""`` where nothing can be."""
        return next((str(entry.value) for entry in self._written), "")

    @property
    def has_entry(self) -> bool:
        """Whether text can be written here."""
        return bool(self._written)

    @property
    def is_rest(self) -> bool:
        """Whether nothing was written since :meth:`drop_key` took a key away."""
        return self._rest is not None and self.text == self._rest

    def resume(self, draft: str) -> None:
        """Show a draft that was begun in another control; one without an entry shows nothing of it."""
        for entry in self._entries:
            entry.resume(draft)

    def write(self, text: str) -> None:
        """Show a text that is neither stored nor being typed."""
        self._showing = True
        try:
            for entry in self._written:
                entry.value = text
        finally:
            self._showing = False
        self.settle()

    def drop_key(self) -> None:
        """Forget a text that has a key in it, or what looks like one.

        Of several lines, those without one stay, and those that are in the store anyway.
        """
        lines, stored = self.text.splitlines(), {*self._stored.splitlines()}
        rest = [line for line in lines if line in stored or not looks_like_key(line)]
        if rest != lines:
            self.write("\n".join(rest))
            self._rest = self.text

    def confirm(self) -> None:
        """Take what is shown, as if Enter had been pressed."""
        self.settle()
        self._listener()

    def settle(self) -> None:
        """Have what is shown be no draft any more."""
        for entry in self._entries:
            entry.settle()
        self._rest = None

    def show(self, value: Any) -> None:
        """Show a value of the store."""
        # Not a context manager: it would take as long as the rest, and every change comes by here.
        self._showing = True
        try:
            self._show(value)
        finally:
            self._showing = False
        self._rest = None
        if not self.is_draft:
            self._stored = self.text

    @abstractmethod
    def read(self) -> Any:
        """Return what is in the control; text that is no such value is returned as text.

        Raises
        ------
        ValidationError
            If it cannot be understood at all.
        """

    def disable(self) -> None:
        """Let the value be looked at only."""
        for widget in self.widgets:
            widget.disabled = True

    @abstractmethod
    def _show(self, value: Any) -> None: ...

    def _hear(self, change: Any) -> None:
        # An entry tells of what is typed by itself, and when it was entered.
        if not (self._showing or getattr(change.owner, "is_typing", False)):
            self._listener()
            enter_drafts()
