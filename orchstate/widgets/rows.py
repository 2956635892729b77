"""One field of a form: its control, a way back to *not set*, and what there is to say about it."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Final

from ipywidgets import Box

from orchstate.display import html_note
from orchstate.loops import running_loop
from orchstate.models.key_shapes import holds_key
from orchstate.providers.documents import is_set
from orchstate.widgets.binding import Binding
from orchstate.widgets.fields import CONTROLS, Field, SliderControl, shown
from orchstate.widgets.style import is_shown, make, mark, text
from orchstate.widgets.turns import Button
from orchstate.widgets.unsaved import Unsaved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orchstate.display import Level
    from orchstate.errors import Issue
    from orchstate.state.record import Record

# Who types makes shorter pauses; who has left the entry wants to know soon.
_PAUSE_S: Final = 1.0


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
    told
        Called when `is_unsaved` may have changed.

    Attributes
    ----------
    box
        The widget.
    unsaved
        What is said of a text that was left half typed, None until there was one.
    """

    def __init__(
        self,
        record: Record,
        field: Field,
        origin: str,
        *,
        present: Callable[[], Any] | None = None,
        told: Callable[[], object] = lambda: None,
    ) -> None:
        self.field = field
        self.control = CONTROLS[field.type](field)
        self._issues: tuple[Issue, ...] = ()
        self._explained: object = None
        self._told = told
        self._told_of = False
        self._typed = 0
        self.unsaved: Unsaved | None = None
        self._note = text("", "orch-note")
        self._resets = self._make_resets()
        self.box = make(Box, "orch-row", children=(*self.control.widgets, *self._resets, self._note))
        self._binding = Binding(record, field, self.control, origin, self._explain, present)
        self.update()

    def update(self) -> None:
        """Show what the store has now."""
        self._binding.update()
        mark(self.box, "orch-set", self.field.optional and is_set(self._binding.value))
        self._explain()

    @property
    def label(self) -> str:
        """What people call the field."""
        return self.field.label

    @property
    def is_unsaved(self) -> bool:
        """Whether the entry shows something that is not in the store, and nobody is just typing it."""
        is_asking = self.unsaved is not None and is_shown(self.unsaved.box)
        return bool(self._binding.refusal) or is_asking

    def leave(self) -> str:
        """Take as entered what is half typed; returns the text if it cannot be, ``""`` if nothing is lost."""
        if self._binding.is_draft and not self._binding.is_overtaken:
            self._binding.enter()
        return self.unentered

    @property
    def unentered(self) -> str:
        """The text that is in the entry and not in the store, half typed or refused; ``""`` for none."""
        binding = self._binding
        return self.control.text if binding.is_draft or binding.refusal or binding.is_mended else ""

    def take_over(self, other: FieldRow) -> None:
        """Go on with the text in the entry of a row that this one replaces."""
        if other.control.is_draft:
            self.control.resume(other.unentered)
        else:
            self._binding.resume(other.unentered)

    def reconsider(self) -> None:
        """See whether an entry that was refused is so still, since another field has changed."""
        self._binding.reconsider()

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
        binding = self._binding
        explained = (binding.refusal, self._issues, is_set(binding.value))
        if explained != self._explained:
            self._explained = explained
            self._note.value = self._explanation()
            mark(self.box, "orch-refused", bool(binding.refusal))
        self._ask()
        self._tell()

    def _explanation(self) -> str:
        if self._binding.refusal:
            return html_note(self._binding.refusal, "error")
        if self._issues and not is_set(self._binding.value):
            return html_note(self.field.help) + html_note("Needed before this can be used.", "warning")
        if self._issues:
            is_error = any(issue.level == "error" for issue in self._issues)
            level: Level = "error" if is_error else "warning"
            return html_note(" ".join(issue.message for issue in self._issues), level)
        return html_note(f"{self.field.help} {self._what_applies()}".strip())

    def _what_applies(self) -> str:
        """Return for a slider, which always stands somewhere, that it stands for nothing."""
        if not isinstance(self.control, SliderControl) or is_set(self._binding.value):
            return ""
        default = self.field.default
        return f"Not set: {'the provider decides' if default is None else f'{shown(default)} applies'}."

    def _tell(self) -> None:
        if self.is_unsaved != self._told_of:
            self._told_of = self.is_unsaved
            self._told()

    # -- what is not saved --------------------------------------------------------------

    def _ask(self) -> None:
        """Say that something is not saved, where nothing else does."""
        binding = self._binding
        if not (binding.is_draft or binding.is_mended):
            self._ask_nothing()
        elif binding.is_overtaken:
            theirs = "not set" if binding.value is None else shown(binding.value)
            sentence = f"Changed to {theirs!r} elsewhere while you were typing. Enter keeps yours."
            self._ask_with(sentence, theirs)
        elif binding.is_mended:
            self._ask_with("Not saved: it was refused, and would be taken now.")
        elif self.unsaved is None or not is_shown(self.unsaved.box):
            self._ask_after_a_pause()

    def _ask_with(self, sentence: str, theirs: str | None = None) -> None:
        if self.unsaved is None:
            self.unsaved = Unsaved(self.field.label, self._save, self._discard)
            self.box.children = (*self.box.children, self.unsaved.box)
        self.unsaved.tell(sentence, theirs=theirs)

    def _ask_nothing(self) -> None:
        self._typed += 1
        if self.unsaved is not None:
            self.unsaved.hide()

    def _ask_after_a_pause(self) -> None:
        self._typed += 1
        loop, typed = running_loop(), self._typed
        look = weakref.WeakMethod(self._look)
        if loop is None:
            self._look(typed)
        else:
            loop.call_later(_PAUSE_S, lambda: (method := look()) and method(typed))

    def _look(self, typed: int) -> None:
        if not (typed == self._typed and self.box.comm is not None and self._binding.is_draft):
            return
        if holds_key(self.control.text):
            # To be refused, and not to stay in the entry until somebody comes back to it.
            self._binding.enter()
        elif not self._binding.is_overtaken:
            self._ask_with("Not saved yet.")
            self._tell()

    def _save(self) -> None:
        self._binding.enter()
        self.control.widgets[-1].focus()

    def _discard(self) -> None:
        self._binding.discard()
        self.control.widgets[-1].focus()
