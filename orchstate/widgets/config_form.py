"""The form of one config: every field live in both directions, and what can be done with the config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipywidgets import Box, VBox

from orchstate.configs import Configs
from orchstate.display import Table, html_heading, html_links, html_note, text_page
from orchstate.errors import OrchstateError, quoted
from orchstate.models.document import leaves
from orchstate.models.key_shapes import shown
from orchstate.origin import place
from orchstate.providers.documents import is_set
from orchstate.widgets.badge import badge, try_definition
from orchstate.widgets.binding import (
    follow,
    follow_conflicts,
    form_place,
    is_over,
    is_writable,
    why_not_writable,
)
from orchstate.widgets.check_panel import CheckPanel
from orchstate.widgets.config_fields import SYSTEM_PROMPT, ConfigFields
from orchstate.widgets.confirm import Confirm
from orchstate.widgets.fields import Field
from orchstate.widgets.rows import FieldRow
from orchstate.widgets.status_line import StatusLine
from orchstate.widgets.style import focus_when_shown, make, show, text
from orchstate.widgets.turns import Button
from orchstate.widgets.view import View, close

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchstate.config import Config
    from orchstate.models.validation import Validation
    from orchstate.providers.definition import FieldSpec
    from orchstate.state.receipt import Receipt
    from orchstate.state.undo import Undone
    from orchstate.widgets.secret_row import SecretRow


def _let_be(config: Config, message: str) -> None:
    """Do nothing about a new config."""


class ConfigForm(View):
    """The form of a config: what is typed is saved, what changes anywhere is shown.

    Made by ``config.form()``. There is no button to save: the status line says what is
    saved. The form holds no value, so any number of forms of one config show the same.

    Parameters
    ----------
    config
        What to edit.
    created
        Called when a person has duplicated this one, with the new config and what to say of it.

    Examples
    --------
    >>> from orchstate.testing import memory_store
    >>> with memory_store() as store:
    ...     form = store.configs.create("openai", name="gpt", model="gpt-5.4-mini").form()
    ...     form
    <ConfigForm gpt: openai, gpt-5.4-mini>
    >>> form.close()
    """

    def __init__(self, config: Config, *, created: Callable[[Config, str], object] = _let_be) -> None:
        self.config = config
        self._state = config._state
        self._created = created
        self._origin = form_place()
        super().__init__("orch-form")
        self._make_parts()
        self._fields = self._make_fields()
        self._content.children = (self._fields.box,)
        self._is_there = True
        self._deletion: Receipt | None = None
        self._lay_out()
        self._show_provider()
        self.close_with(follow(config, self._follow))
        self.close_with(follow_conflicts(self._state, self._follow_conflict))

    @property
    def rows(self) -> dict[str, FieldRow | SecretRow]:
        """The rows of all fields, by path."""
        return {"provider": self._provider, "name": self._name, **self._fields.rows}

    def take_focus(self) -> None:
        """Have the keyboard in the first entry, once a page shows the form; called before that."""
        focus_when_shown(self._name.control.widgets[-1])

    def leave(self) -> str:
        """Save what was typed and left; returns a sentence on what could not be, ``""`` for nothing."""
        rows = [row for row in self.rows.values() if isinstance(row, FieldRow)]
        lost = [f"{shown(text)} in {row.field.label}" for row in rows if (text := row.leave())]
        return f"Not saved in {self.config.name}: {', '.join(lost)}." if lost else ""

    # -- following ----------------------------------------------------------------------

    def _follow(self, change: Any) -> None:
        """Show one change of the record, wherever it comes from."""
        if self._exists != self._is_there:
            self._build()
        elif change.name in leaves(self.config.document_class):
            self._follow_field(change)
        elif change.name == "validation":
            self._judge(change.new)
        elif change.name in _TOLD_BY_STATUS:
            self.status.update()

    def _follow_conflict(self, event: Any) -> None:
        self.status.update()

    @property
    def _exists(self) -> bool:
        return self._state.seen(self.config.id) is not None

    def _follow_field(self, change: Any) -> None:
        self.status.forget()
        self.check.outdate()
        if change.name == "provider":
            self._build()
        elif change.name == "name":
            self._name.update()
            self._judge(self.config.validation)
        else:
            self._fields.update(change.name)
        if self.status.unsaved:
            self._name.reconsider()
            self._fields.reconsider(change.name)

    def _make_fields(self) -> ConfigFields:
        return ConfigFields(self.config, self._origin, self.status.say, self._tell_unsaved)

    def _tell_unsaved(self) -> None:
        """Have the status line name the fields in which something was entered that is not saved."""
        self.status.except_for([row.label for row in self.rows.values() if row.is_unsaved])
        # Nobody tells a form of one config that its store was closed, but what it refuses does.
        if not is_writable(self._state):
            self.heed_access()

    def _build(self) -> None:
        """Show the fields anew: there are others, or the config has gone, or come back."""
        self._is_there = self._exists
        show(self._body, self._is_there)
        show(self._actions, self._is_there)
        self.delete.stop()
        self.check.outdate()
        self.status.forget()
        if self._deletion and self._deletion.error:
            self.status.say(str(self._deletion.error))
        if self._is_there:
            old, self._fields = self._fields, self._make_fields()
            self._content.children = (self._fields.box,)
            self.status.keep(self._fields.take_over(old))
            close(old.box)
            if not is_writable(self._state):
                self._fields.disable()
            self._provider.update()
            self._name.update()
            self._show_provider()
        self._tell_unsaved()

    def _show_provider(self) -> None:
        self._links.value = html_links(_links(self.config))
        self._judge(self.config.validation)

    def _judge(self, validation: Validation) -> None:
        """Show what is wrong with the values, or missing."""
        self._fields.judge(validation.issues)
        self._heading.value = html_heading(self.config.name, *badge(self.config))

    # -- what a person does -------------------------------------------------------------

    def _duplicate(self) -> None:
        try:
            with place(self._origin):
                copy = Configs(self._state, "config").duplicate(self.config)
        except OrchstateError as error:
            self._refused(error)
            return
        message = f"Created {copy.name!r}, without the key."
        self.status.say(message)
        self._created(copy, message)

    def _delete(self) -> None:
        try:
            with place(self._origin):
                self._deletion = self.config.delete()
        except OrchstateError as error:
            self._refused(error)
            return
        self.undo.focus()

    def _go(self, step: Callable[[], Undone]) -> None:
        try:
            with place(self._origin):
                undone = step()
        except OrchstateError as error:
            self._refused(error)
            return
        if self._exists != self._is_there:
            self._build()
        # The page is told of what changed when its turn is over, and so after this.
        (self.status.keep if undone.changed else self.status.say)(undone.message)

    def _refused(self, error: OrchstateError) -> None:
        self.status.say(str(error))
        self.heed_access()

    # -- widgets ------------------------------------------------------------------------

    def _make_parts(self) -> None:
        self._banner = text("", "orch-banner")
        self._heading = text("", "orch-title")
        self._links = text("", "orch-links")
        self._provider = self._row(_provider_field(self.config))
        self._name = self._row(_NAME)
        self._content = make(VBox, "orch-fields")
        self.check = CheckPanel(self.config, lambda models: self._fields.suggest(models))
        self.status = StatusLine(self.config, self._origin, lambda: self.undo.focus())
        self.duplicate = make(Button, description="Duplicate")
        self.delete = Confirm("Delete", self._delete)
        self.delete.question = "Delete it? Its history stays, its saved key goes."
        self.undo = make(Button, description="Undo", tooltip="Take back the last step of this notebook")
        self.redo = make(Button, description="Redo", tooltip="Do again what was undone last")
        self.duplicate.on_click(lambda _: self._duplicate())
        self.undo.on_click(lambda _: self._go(self._state.undo))
        self.redo.on_click(lambda _: self._go(self._state.redo))

    def _row(self, field: Field) -> FieldRow:
        return FieldRow(self.config, field, self._origin, told=self._tell_unsaved)

    def _lay_out(self) -> None:
        self._body = make(
            VBox,
            "orch-fields",
            children=(self._heading, self._provider.box, self._links, self._name.box, self._content),
        )
        self._actions = make(Box, "orch-buttons", children=(self.check.box, self.duplicate, self.delete.ask))
        steps = make(Box, "orch-buttons", children=(self.undo, self.redo))
        bar = make(Box, "orch-bar", children=(self._actions, steps))
        self.fill(self._banner, self._body, self.check.result, bar, self.delete.box, self.status.box)
        self.heed_access()

    def heed_access(self) -> None:
        """Say so, and let everything be looked at only, if the store takes nothing any more."""
        reason = why_not_writable(self._state)
        self._banner.value = html_note(reason, "warning")
        if reason:
            self._disable()

    def _disable(self) -> None:
        for row in (self._provider, self._name):
            row.disable()
        self._fields.disable()
        for button in (self.duplicate, self.delete.ask, self.delete.yes, self.undo, self.redo):
            button.disabled = True
        self.check.test.disabled = is_over(self._state)
        self.status.update()

    # -- as text ------------------------------------------------------------------------

    def describe(self) -> str:
        """Return the values that are set and the status as text, for where there is no front end."""
        definition = try_definition(self.config)
        specs = definition.fields if definition else ()
        set_ones = [spec for spec in specs if is_set(self.config[spec.name])]
        rows = [(spec.label, _shown(self.config, spec)) for spec in set_ones]
        prompt = self.config.system_prompt
        rows += [(SYSTEM_PROMPT.label, quoted(prompt))] if prompt else []
        return text_page(repr(self), [Table(("field", "value"), rows)], [badge(self.config)[0]])

    def __repr__(self) -> str:
        return f"<ConfigForm{repr(self.config).removeprefix('<Config')}"


_TOLD_BY_STATUS = ("sync_state", "revision", "error")
_NAME = Field("name", "text", "Name", optional=False, help="What cells call it by; unique in this store.")


def _provider_field(config: Config) -> Field:
    choices = tuple((definition.label, definition.id) for definition in config._services.registry)
    return Field("provider", "choice", "Provider", choices=choices, optional=False)


def _links(config: Config) -> list[tuple[str, str | None]]:
    definition = try_definition(config)
    if definition is None:
        return []
    links = definition.links
    pages = [("Website", links.website), ("Get a key", links.keys), ("Documentation", links.docs)]
    return [*pages, ("Models", links.models)]


def _shown(config: Config, spec: FieldSpec) -> str:
    value = config[spec.name]
    return config._services.secrets.describe(value) if spec.type == "secret" else str(value)
