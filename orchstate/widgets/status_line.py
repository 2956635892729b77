"""The status line: what became of the edits of one record, in one sentence."""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING, Final

from ipywidgets import Box

from orchstate.display import html_note
from orchstate.errors import OrchstateError
from orchstate.loops import running_loop
from orchstate.origin import place
from orchstate.state.resolving import asked, conflicts_about
from orchstate.widgets.binding import is_over
from orchstate.widgets.style import make, show, text
from orchstate.widgets.turns import Button

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchstate.display import Level
    from orchstate.models.conflict import ConflictDocument
    from orchstate.models.question import Question
    from orchstate.state.record import Record

# A save takes milliseconds; one that takes longer is looked at again, since it may be failing.
_LOOK_AGAIN_S: Final = 0.5
# The fields of one edit are told of one after the other.
_ONE_EDIT_S: Final = 1.0


class StatusLine:
    """One sentence about a record, and what can be done if it was not saved.

    Parameters
    ----------
    record
        Which record.
    origin
        Where the history says that edits come from.
    leave
        Called when a button was pressed that goes with it, so that the keyboard has another place.

    Attributes
    ----------
    box
        The widget.
    retry, discard
        For an edit that was not committed, or met what somebody else had done: make it, or let it be.
    unsaved
        The labels of the fields that show something that is not in the store.
    """

    def __init__(self, record: Record, origin: str, leave: Callable[[], object]) -> None:
        self._record = record
        self._origin = origin
        self._leave = leave
        self._message = ""
        self._kept_at = -_ONE_EDIT_S
        self.unsaved: list[str] = []
        self._said: object = None
        self._is_looking = False
        self._text = text("", "orch-status-text")
        self.retry = make(Button, description="Retry")
        self.discard = make(Button, description="Discard")
        self.box = make(Box, "orch-status", children=(self._text, self.retry, self.discard))
        self.retry.on_click(lambda _: self._retry())
        self.discard.on_click(lambda _: self._discard())
        self.update()

    def say(self, message: str) -> None:
        """Add a sentence, until the next one."""
        self._message = message
        self.update()

    def forget(self) -> None:
        """Take the added sentence away."""
        if self._message and time.monotonic() - self._kept_at > _ONE_EDIT_S:
            self.say("")

    def keep(self, message: str) -> None:
        """Add a sentence on what an edit did, or what was lost by it, until the next edit."""
        if message:
            self._kept_at = time.monotonic()
            self.say(message)

    def except_for(self, labels: list[str]) -> None:
        """Name the fields that show something that is not in the store, such as what was refused."""
        self.unsaved = labels
        self.update()

    def update(self) -> None:
        """Show what the store says now."""
        conflict = self._conflict()
        to_decide = asked(self._record._state, conflict) if conflict else None
        sentence, level = self._sentence(to_decide)
        said = (sentence, self._message, level, to_decide)
        if said != self._said:
            self._said = said
            self._text.value = html_note(" · ".join(filter(None, (sentence, self._message))), level)
            self.retry.description = to_decide.ours if to_decide else "Retry"
            self.discard.description = to_decide.theirs if to_decide else "Discard"
            for button in (self.retry, self.discard):
                show(button, level == "error")
        if self._record.sync_state == "saving":
            self._look_again_soon()

    def _conflict(self) -> ConflictDocument | None:
        """Return the oldest open conflict about the record."""
        state = self._record._state
        return next(iter(conflicts_about(state, self._record.id)), None) if not is_over(state) else None

    def _sentence(self, to_decide: Question | None) -> tuple[str, Level]:
        state, record = self._record._state, self._record
        if to_decide is not None:
            return f"Conflict: {to_decide.sentence}", "error"
        absence = record._absence
        if record.error is not None and absence != "deleted":
            return f"Failed: {record.error}", "error"
        if absence:
            return f"{record.name} was {absence}.", "warning"
        if record.sync_state == "saving":
            if state.failing:
                return f"Not saved yet, and tried again until it is: {state.error}", "warning"
            return "Saving…", "busy"
        if self.unsaved:
            saved = f" The rest is saved (revision {record.revision})." if record.revision else ""
            return f"Not saved: {', '.join(self.unsaved)}.{saved}", "warning"
        if is_over(state):
            since = f", since revision {record.revision}" if record.revision else ""
            return f"Not followed any more{since}.", "hint"
        return (f"Saved (revision {record.revision})" if record.revision else "Nothing to save yet"), "ok"

    def _retry(self) -> None:
        self._decide("ours", self._record.retry)

    def _discard(self) -> None:
        self._decide("theirs", self._record.discard)

    def _decide(self, choice: str, otherwise: Callable[[], object]) -> None:
        conflict = self._conflict()
        try:
            with place(self._origin):
                if conflict is not None:
                    self._record._state.resolve(conflict.id, choice)
                else:
                    otherwise()
            self.say("")
            self._leave()
        except OrchstateError as error:
            self.say(f"Not possible: {error}")

    def _look_again_soon(self) -> None:
        loop = running_loop()
        if loop is not None and not self._is_looking:
            self._is_looking = True
            look = weakref.WeakMethod(self._look_again)
            loop.call_later(_LOOK_AGAIN_S, lambda: (method := look()) and method())

    def _look_again(self) -> None:
        self._is_looking = False
        self.update()
