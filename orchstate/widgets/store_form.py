"""The form of a whole store: all configs on one side, the chosen one on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipywidgets import Box, VBox

from orchstate.display import Table, html_heading, html_note, text_page
from orchstate.errors import OrchstateError
from orchstate.origin import place
from orchstate.widgets.badge import badge
from orchstate.widgets.binding import follow, follow_events, form_place, is_writable, why_not_writable
from orchstate.widgets.config_form import ConfigForm
from orchstate.widgets.config_list import ConfigList
from orchstate.widgets.conflict_rows import ConflictRows
from orchstate.widgets.new_config import NewConfig
from orchstate.widgets.style import make, show, text
from orchstate.widgets.turns import Button
from orchstate.widgets.view import View

if TYPE_CHECKING:
    from orchstate.config import Config
    from orchstate.store import Store

_WELCOME = (
    "orchstate keeps your configurations of LLM providers: keys in the keyring, every change in a "
    "history, and the same form in all notebooks."
)


class StoreForm(View):
    """The form of a store.

    Made by ``store.form()``. While there are no configs it helps to create the first one.

    Parameters
    ----------
    store
        What to show.

    Examples
    --------
    >>> from orchstate.testing import memory_store
    >>> with memory_store() as store:
    ...     form = store.form()
    ...     form
    <StoreForm of <Store :memory:: ready, 0 configs in memory>>
    >>> form.close()
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.form: ConfigForm | None = None
        self._origin = form_place()
        self._is_creating = False
        super().__init__("orch-store")
        self._make_parts()
        self._lay_out()
        first = store.active or next(iter(store.configs.values()), None)
        if first is not None:
            self.choose(first)
        self._show()
        self.close_with(follow_events(store, self._follow))
        self.close_with(follow(store, self._follow, ["active", "status", "error"]))

    def choose(self, config: Config) -> None:
        """Show the form of a config."""
        self._show_form(ConfigForm(config, created=self._show_new))

    # -- following ----------------------------------------------------------------------

    def _show_form(self, form: ConfigForm) -> None:
        old, self.form = self.form, form
        self._holder.children = (form,)
        if old is not None:
            form.status.keep(old.leave())
            old.close()
        self._is_creating = False
        self.list.chosen = form.config.id
        self._show()

    def _follow(self, news: Any) -> None:
        self._show()

    def _show(self) -> None:
        """Show what belongs to no single config: whether there are any, and how the store does."""
        is_empty = self.form is None and not len(self.store.configs)
        is_creating = self._is_creating or self.form is None
        show(self._welcome, is_empty)
        show(self.list, not is_empty)
        show(self.new.box, is_creating)
        show(self._pane, not is_creating)
        self._show_active()
        self.conflicts.update("" if self.form is None or is_creating else self.form.config.id)
        self._banner.value = html_note(_trouble(self.store), "warning")
        if not is_writable(self.store._state):
            self._disable()

    def _show_active(self) -> None:
        config = self.form.config if self.form else None
        is_active = config is not None and config is self.store.active
        self.use.description = "★ Active" if is_active else "Make active"
        # Not disabled while it is active: the keyboard would be lost when it was pressed.
        is_there = config is not None and config.id in self.store.configs
        self.use.disabled = not (is_there and is_writable(self.store._state))

    def _disable(self) -> None:
        """Let everything be looked at only."""
        if self.form is not None:
            self.form.heed_access()
        self.new.disable()
        self.list.new.disabled = True

    # -- what a person does -------------------------------------------------------------

    def _show_new(self, config: Config, message: str = "") -> None:
        form = ConfigForm(config, created=self._show_new)
        form.status.say(message)
        form.take_focus()
        self._show_form(form)

    def _choose(self, id: str) -> None:
        is_shown = self.form is not None and self.form.config.id == id
        if id in self.store.configs and (self._is_creating or not is_shown):
            self.choose(self.store.configs[id])

    def _begin(self) -> None:
        self._is_creating = True
        self.list.chosen = ""
        self.new.refresh()
        self._show()
        self.new.provider.focus()

    def _activate(self) -> None:
        if self.form is None or self.form.config is self.store.active:
            return
        try:
            with place(self._origin):
                self.store.active = self.form.config
        except OrchstateError as error:
            self.form.status.say(str(error))

    # -- widgets ------------------------------------------------------------------------

    def _make_parts(self) -> None:
        title = html_heading("Create your first configuration", "", "hint")
        self._welcome = text(html_note(_WELCOME) + title, "orch-welcome")
        self.list = ConfigList(self.store)
        self.conflicts = ConflictRows(self.store, self._origin, self.list.new.focus)
        self.new = NewConfig(self.store, self._origin, self._show_new)
        self.use = make(Button, tooltip="The config that store.active gives")
        self._holder = make(VBox, "orch-holder")
        self._pane = make(VBox, "orch-pane", children=(self.use, self._holder))
        self._banner = text("", "orch-banner")
        self.use.on_click(lambda _: self._activate())
        self.list.new.on_click(lambda _: self._begin())
        self.list.observe(lambda change: self._choose(change.new), "chosen")

    def _lay_out(self) -> None:
        main = make(VBox, "orch-main", children=(self.new.box, self._pane))
        columns = make(Box, "orch-columns", children=(self.list, main))
        self.fill(self._banner, self.conflicts.box, self._welcome, columns)

    # -- as text ------------------------------------------------------------------------

    def describe(self) -> str:
        """Return all configs as text, for where there is no front end."""
        configs = list(self.store.configs.values())
        rows = [
            (config.name, config.provider, getattr(config, "model", None) or "", badge(config)[0])
            for config in configs
        ]
        open_ones = [f"Conflict: {conflict}" for conflict in self.store.conflicts.values()]
        return text_page(repr(self), [Table(("name", "provider", "model", "state"), rows)], open_ones)

    def __repr__(self) -> str:
        return f"<StoreForm of {self.store!r}>"


def _trouble(store: Store) -> str:
    if store.status == "degraded":
        return f"Changes are not saved yet, and tried again until they are: {store.error}"
    return why_not_writable(store._state)
