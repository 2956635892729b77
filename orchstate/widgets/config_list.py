"""The list of all configs of a store: created, renamed or deleted anywhere, it shows at once."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Final

from ipywidgets import Box, VBox
from traitlets import Unicode

from orchstate.display import html_badge, html_note
from orchstate.loops import running_loop
from orchstate.widgets.badge import badge, try_definition
from orchstate.widgets.binding import follow, follow_events, is_writable
from orchstate.widgets.style import make, mark, show, text
from orchstate.widgets.turns import Button, Text
from orchstate.widgets.view import View, close

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchstate.config import Config
    from orchstate.store import Store

SEARCH_FROM: Final = 9
"""From so many configs on there is a field to search in."""

SHOWN: Final = 50
"""So many rows at most; a list that is longer is searched, not scrolled."""


class ConfigList(View):
    """One row per config: its name, provider and model, whether it is ready, and which one is active.

    Parameters
    ----------
    store
        Whose configs.

    Examples
    --------
    >>> from orchstate.testing import memory_store
    >>> with memory_store() as store:
    ...     gpt = store.configs.create("openai", name="gpt")
    ...     view = ConfigList(store)
    ...     view
    <ConfigList 1 config: gpt>
    >>> view.close()
    """

    chosen = Unicode("", help="Id of the config whose row was chosen, '' for none.")

    def __init__(self, store: Store) -> None:
        self.store = store
        self._is_due = False
        super().__init__("orch-list")
        self.new = make(Button, description="+ New", tooltip="Create a config")
        self.new.disabled = not is_writable(store._state)
        self.search = make(Text, placeholder="Search", tooltip="Search in names, providers and models")
        self.rows: list[ListRow] = []
        self._box = make(VBox, "orch-list-rows")
        self._more = text("", "orch-note")
        self.fill(make(Box, "orch-buttons", children=(self.search, self.new)), self._box, self._more)
        self.search.observe(lambda _: self.update(), "value")
        self.observe(lambda _: self.update(), "chosen")
        self.update()
        self.close_with(follow_events(store, self._refresh_soon))
        self.close_with(follow(store, self._refresh_soon, ["active", "status"]))

    def update(self) -> None:
        """Show what the store has now."""
        self._is_due = False
        configs = list(self.store.configs.values())
        found = [config for config in configs if _matches(config, self.search.value)]
        show(self.search, len(configs) >= SEARCH_FROM or bool(self.search.value))
        self._have_rows(min(len(found), SHOWN))
        active = self.store.active
        for row, config in zip(self.rows, found, strict=False):
            row.show(config, is_chosen=config.id == self.chosen, is_active=config is active)
        self._more.value = html_note(_rest(len(found), len(configs)))

    def _refresh_soon(self, news: Any) -> None:
        """Show a burst of changes as one."""
        loop = running_loop()
        if loop is None:
            self.update()
        elif not self._is_due:
            self._is_due = True
            update = weakref.WeakMethod(self.update)
            loop.call_soon(lambda: (method := update()) and method())

    def _have_rows(self, count: int) -> None:
        """Have so many rows; those that are there are used again, so that the focus stays where it is."""
        if len(self.rows) != count:
            dropped = self.rows[count:]
            self.rows = self.rows[:count] + [ListRow(self._choose) for _ in range(count - len(self.rows))]
            self._box.children = [row.box for row in self.rows]
            for row in dropped:
                close(row.box)

    def _choose(self, id: str) -> None:
        self.chosen = id

    def __repr__(self) -> str:
        names = list(self.store.configs)
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        return (
            f"<ConfigList {len(names)} config{'' if len(names) == 1 else 's'}{': ' if names else ''}{shown}>"
        )


class ListRow:
    """One row of the list.

    Parameters
    ----------
    choose
        Called with the id of the config that the row shows when a person has chosen it.
    """

    def __init__(self, choose: Callable[[str], object]) -> None:
        self._id = ""
        self.button = make(Button, "orch-list-name")
        self.details = text("", "orch-list-details")
        self.box = make(VBox, "orch-list-row", children=(self.button, self.details))
        self.button.on_click(lambda _: choose(self._id))

    def show(self, config: Config, *, is_chosen: bool, is_active: bool) -> None:
        """Show a config."""
        self._id = config.id
        definition = try_definition(config)
        label = definition.label if definition else config.provider
        model = getattr(config, "model", None)
        self.button.description = f"★ {config.name}" if is_active else config.name
        self.button.tooltip = f"{config.name} is active" if is_active else f"Show {config.name}"
        is_saved = config.sync_state in ("saved", "saving")
        state = badge(config) if is_saved else ("Not saved", "error")
        self.details.value = html_badge(" · ".join(filter(None, (label, model))), *state)
        mark(self.box, "orch-chosen", is_chosen)


def _matches(config: Config, wanted: str) -> bool:
    texts = (config.name, config.provider, getattr(config, "model", None) or "")
    return all(any(word in text.casefold() for text in texts) for word in wanted.casefold().split())


def _rest(found: int, total: int) -> str:
    if found > SHOWN:
        return f"{SHOWN} of {found:,} are shown. Search for the others."
    return "" if found or not total else "Nothing found."
