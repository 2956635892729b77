"""Where a config begins: a provider, a name, and the keys that the environment already has."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from ipywidgets import Box, VBox

from orchstate.display import html_note
from orchstate.errors import OrchstateError
from orchstate.loops import running_loop
from orchstate.models.key_shapes import REFUSAL, holds_key, looks_like_key
from orchstate.models.secret import env
from orchstate.origin import place
from orchstate.widgets.binding import is_writable, reason
from orchstate.widgets.style import make, text
from orchstate.widgets.turns import Button, Dropdown, Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchstate.config import Config
    from orchstate.providers.definition import ProviderDefinition
    from orchstate.store import Store

# When it arrives, nothing is waited for any more; a busy machine needs a while for it.
_WAIT_FOR_TEXT_S: Final = 0.5


class NewConfig:
    """Asks for a provider and a name, and creates the config.

    Parameters
    ----------
    store
        Where.
    origin
        Where the history says that the config comes from.
    created
        Called with the new config.

    Attributes
    ----------
    box
        The widget.
    provider, name, create
        What a person fills in.
    offers
        One button for each key that is set in the environment.
    """

    def __init__(self, store: Store, origin: str, created: Callable[[Config], object]) -> None:
        self._store = store
        self._origin = origin
        self._created = created
        self._is_submitted = self._had_key = False
        definitions = list(store.providers)
        choices = [(definition.label, definition.id) for definition in definitions]
        self.provider = make(Dropdown, description="Provider", options=choices, tooltip="Who answers")
        # Not continuously: what is pressed next would overtake what was typed last.
        self.name = make(Text, description="Name", tooltip="What cells call it by", continuous_update=False)
        self.create = make(Button, "orch-primary", description="Create")
        self._note = text("", "orch-note")
        self.offers = make(
            VBox, "orch-offers", children=[self._offer(*found) for found in _keys(definitions)]
        )
        self.box = make(VBox, "orch-fields", "orch-new", children=self._rows())
        self.provider.observe(lambda _: self.refresh(), "value")
        self.create.on_click(lambda _: self._create_as_filled_in())
        self.name.on_msg(self._hear)
        self.name.observe(lambda _: self._take_name(), "value")
        if not is_writable(store._state):
            self.disable()
        self.refresh()

    def disable(self) -> None:
        """Let nothing be created."""
        for widget in (self.provider, self.name, self.create, *self.offers.children):
            widget.disabled = True

    def refresh(self) -> None:
        """Say which name a config gets without one, and which provider definitions cannot be used."""
        name = self._store.configs.free_name(self.provider.value or "")
        usual = f"Without a name it is called {name!r}." if name else ""
        problems = " ".join(str(problem) for problem in self._store.providers.problems)
        # Not as a placeholder of the entry: changing that would undo what is being typed there.
        self._note.value = html_note(usual) + html_note(problems, "warning")

    def _hear(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        # The page says that Enter was pressed, and only then what was written, if that is new.
        if content.get("event") == "submit":
            self._is_submitted, loop = True, running_loop()
            if loop is None:
                self._submit()
            else:
                loop.call_later(_WAIT_FOR_TEXT_S, self._submit)

    def _take_name(self) -> None:
        if holds_key(self.name.value):
            self._drop_key()
        elif self.name.value:
            self._had_key = False
        self._submit()

    def _drop_key(self) -> None:
        """Empty the entry of the name at once, since what is in it is saved with the notebook."""
        was_left, self._is_submitted, self.name.value = not self._is_submitted, False, ""
        self._had_key = was_left
        self._note.value = html_note(REFUSAL, "error")

    def _submit(self) -> None:
        if self._is_submitted:
            self._create_as_filled_in()

    def _create_as_filled_in(self) -> None:
        self._is_submitted = False
        if self._had_key:
            # Pressing the button has left the entry, and what was in it was not to be overlooked.
            self._had_key = False
            return
        self._create(self.provider.value, self.name.value.strip() or None)

    def _create(self, provider: str, name: str | None, **values: Any) -> None:
        try:
            with place(self._origin):
                config = self._store.configs.create(provider, name=name, **values)
        except OrchstateError as error:
            self._note.value = html_note(reason(error, "name"), "error")
            if looks_like_key(self.name.value):
                self.name.value = ""
            return
        self.name.value = ""
        self.refresh()
        self._created(config)

    def _rows(self) -> list[Any]:
        return [
            make(Box, "orch-row", children=(self.provider,)),
            make(Box, "orch-row", children=(self.name, self.create, self._note)),
            self.offers,
        ]

    def _offer(self, definition: ProviderDefinition, field: str, variable: str) -> Any:
        label = f"{definition.label}, with {variable} from the environment"
        button = make(Button, description=label, tooltip=f"A config that reads its key from {variable}")
        button.on_click(lambda _: self._create(definition.id, None, **{field: env(variable)}))
        return button


def _keys(definitions: list[ProviderDefinition]) -> Iterator[tuple[ProviderDefinition, str, str]]:
    """Return for each provider the first key of its own that the environment has."""
    for definition in definitions:
        for spec in definition.fields:
            found = next((name for name in spec.env if spec.type == "secret" and os.environ.get(name)), None)
            if found:
                yield definition, spec.name, found
                break
