"""One field of a form: its control, a way back to *not set*, and what there is to say about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipywidgets import Box, Button

from orchstate.display import html_note
from orchstate.providers.documents import is_set
from orchstate.widgets.binding import Binding
from orchstate.widgets.fields import CONTROLS, Field
from orchstate.widgets.style import make, mark, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orchstate.display import Level
    from orchstate.errors import Issue
    from orchstate.state.record import Record


class FieldRow:
    """The row of a field.

    Parameters
    ----------
    record
        Whose field it is.
    field
        Which field.
    origin
        Where the history says that edits come from.
    present
        Returns the value to show, None for the one that is stored.

    Attributes
    ----------
    box
        The widget.
    """

    def __init__(
        self, record: Record, field: Field, origin: str, *, present: Callable[[], Any] | None = None
    ) -> None:
        self.field = field
        self.control = CONTROLS[field.type](field)
        self._issues: tuple[Issue, ...] = ()
        self._explained: object = None
        self._note = text(html_note(field.help), "orch-note")
        self._resets = self._make_resets()
        self.box = make(Box, "orch-row", children=(*self.control.widgets, *self._resets, self._note))
        self._binding = Binding(record, field, self.control, origin, self._explain, present)
        self.update()

    def update(self) -> None:
        """Show what the store has now."""
        self._binding.update()
        mark(self.box, "orch-set", self.field.optional and is_set(self._binding.value))
        self._explain()

    def judge(self, issues: Iterable[Issue]) -> None:
        """Show what is wrong with the stored value."""
        self._issues = tuple(issues)
        self._explain()

    def disable(self) -> None:
        """Let the value be looked at only."""
        self.control.disable()
        for reset in self._resets:
            reset.disabled = True
        mark(self.box, "orch-disabled", True)

    def _make_resets(self) -> tuple[Any, ...]:
        if not self.field.optional:
            return ()
        reset = make(Button, "orch-reset", tooltip=f"{self.field.label}: back to not set")
        reset.on_click(lambda _: self._unset())
        return (reset,)

    def _unset(self) -> None:
        self._binding.unset()
        if not is_set(self._binding.value):
            # The button goes, and the keyboard would be lost with it.
            self.control.widgets[-1].focus()

    def _explain(self) -> None:
        explained = (self._binding.refusal, self._issues, is_set(self._binding.value))
        if explained != self._explained:
            self._explained = explained
            self._note.value = self._explanation()
            mark(self.box, "orch-refused", bool(self._binding.refusal))

    def _explanation(self) -> str:
        if self._binding.refusal:
            return html_note(self._binding.refusal, "error")
        if self._issues and not is_set(self._binding.value):
            return html_note(f"{self.field.help} Needed before this can be used.".strip(), "warning")
        if self._issues:
            is_error = any(issue.level == "error" for issue in self._issues)
            level: Level = "error" if is_error else "warning"
            return html_note(" ".join(issue.message for issue in self._issues), level)
        return html_note(self.field.help)
