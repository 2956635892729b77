"""Entries of text that tell what is half typed from what was entered.

A plain entry tells the kernel nothing until it is left, and a change that the kernel sends
meanwhile replaces what is being typed. One that tells of every key does not say when it was
left. Ours does both, by an answer to every key: the text itself and a line break. An entry
of one line does not show line breaks (the HTML standard has them taken out), so nothing
moves in the page; but the widget there now holds something else than the entry, and leaving
the entry reports the text once more. Such an answer is an echo, which a page ignores when
it has more to send, so what is typed quickly is not disturbed either. Everything that we
show in the entry is sent as an echo, so what was typed while a cell kept the kernel from
hearing of it stays as well.

What is left in the very moment that an answer takes is not reported as entered. It stays a
draft then: the row says so as soon as the keyboard is elsewhere, and whatever else is
entered in a form enters it too.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Final

from traitlets import Unicode

from orchstate.loops import running_loop
from orchstate.widgets.turns import Combobox, Text, turns

if TYPE_CHECKING:
    from collections.abc import Callable

_MARK: Final = "\n"
# The page says that Enter was pressed, and only then what was typed last, if that is new.
_WAIT_FOR_TEXT_S: Final = 0.15
_drafts: Final[weakref.WeakSet[DraftText]] = weakref.WeakSet()


def enter_drafts(but: DraftText | None = None) -> None:
    """Take as entered what is half typed anywhere, since the keyboard is somewhere else now."""
    for entry in list(_drafts):
        if entry is not but:
            _drafts.discard(entry)
            if entry.comm is not None and entry.is_draft:
                entry.enter(is_confirmed=False)


class DraftText(Text):
    """One line of text; what is typed is a draft until Enter is pressed, or the entry is left.

    Attributes
    ----------
    is_confirmed
        Whether what is being taken was confirmed with Enter, and not only left.
    is_typing
        Whether the value changes just now because somebody types.
    """

    value = Unicode(help="What the entry shows, half typed or not.").tag(sync=True, echo_update=False)

    def __init__(self, **traits: Any) -> None:
        self.is_confirmed = False
        self._settled = ""
        self._is_submitted = self.is_typing = False
        self._drafted: Callable[[], object] = lambda: None
        self._entered: Callable[[], object] = lambda: None
        super().__init__(continuous_update=True, **traits)
        self._settled = self.value
        self.on_msg(self._hear)
        self.observe(self._settle_unless_typed, "value")

    @property
    def is_draft(self) -> bool:
        """Whether the entry shows what somebody types, and has not entered yet."""
        return bool(self.value != self._settled)

    def listen(self, entered: Callable[[], object], drafted: Callable[[], object]) -> None:
        """Have one function called when a text was entered, and another with every draft."""
        self._entered, self._drafted = entered, drafted

    def settle(self) -> None:
        """Have what is shown be no draft any more."""
        self._settled = self.value
        _drafts.discard(self)

    def resume(self, draft: str) -> None:
        """Show a draft that was begun elsewhere."""
        self.is_typing = True
        try:
            self.value = draft
        finally:
            self.is_typing = False
        if self.is_draft:
            _drafts.add(self)
        self._drafted()

    def enter(self, *, is_confirmed: bool = True) -> None:
        """Take what is shown as entered."""
        self._is_submitted, self.is_confirmed = False, is_confirmed
        try:
            self._entered()
        finally:
            self.is_confirmed = False

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take what the page sends: a draft, or the same text once more, which is then entered."""
        written = sync_data.get("value")
        if not isinstance(written, str):
            super().set_state(sync_data)
            return
        is_entered = written == self.value
        self._answer(written if is_entered else written + _MARK)
        was = self.value
        self.is_typing = True
        try:
            super().set_state(sync_data)
        finally:
            self.is_typing = False
        enter_drafts(but=self)
        if is_entered or self._is_submitted or self._is_picked(was, written):
            self.enter(is_confirmed=self._is_submitted)
        else:
            _drafts.add(self)
            self._drafted()

    def _answer(self, text: str) -> None:
        self._send({"method": "update", "state": {"value": text}, "buffer_paths": []})

    def _send(self, msg: dict[str, Any], buffers: Any = None) -> None:
        if msg.get("method") == "update" and "value" in msg["state"]:
            msg = {**msg, "method": "echo_update"}
        super()._send(msg, buffers)

    def _is_picked(self, before: str, after: str) -> bool:
        """Whether the text was not typed but chosen."""
        return False

    def _settle_unless_typed(self, change: Any) -> None:
        if not self.is_typing:
            self.settle()

    def _hear(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        if content.get("event") == "submit":
            self._is_submitted, loop = True, running_loop()
            if loop is None:
                self.enter()
            else:
                loop.call_later(_WAIT_FOR_TEXT_S, self._enter_if_submitted)

    def _enter_if_submitted(self) -> None:
        with turns.take():
            if self._is_submitted and self.comm is not None:
                self.enter()


class DraftCombobox(DraftText, Combobox):
    """One line of text with suggestions."""

    def _is_picked(self, before: str, after: str) -> bool:
        # Of a suggestion that was chosen the page tells as of typing, but all of it comes at once.
        return after in self.options and len(after) > len(before) + 1
