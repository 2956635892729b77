from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest
from ipywidgets import Widget

from orchstate.errors import DuplicateNameError, Issue, ValidationError
from orchstate.widgets.binding import Binding, follow, follow_events, reason
from orchstate.widgets.fields import CONTROLS, Field
from tests.widgets.tree import from_page

if TYPE_CHECKING:
    from orchstate.config import Config
    from orchstate.store import Store
    from orchstate.widgets.control import Control

TEMPERATURE = Field("temperature", "number", "Temperature", minimum=0, maximum=2, step=0.1)


class Bound:
    """A control bound to a field, as a form has it."""

    def __init__(self, config: Config, field: Field = TEMPERATURE) -> None:
        self.control: Control = CONTROLS[field.type](field)
        self.judged = 0
        self.binding = Binding(config, field, self.control, "[3] form", self.count)
        self.end = follow(config, self.update)

    def count(self) -> None:
        self.judged += 1

    def update(self, change: Any) -> None:
        self.binding.update()

    @property
    def slider(self) -> Any:
        return self.control.widgets[0]

    @property
    def entry(self) -> Any:
        return self.control.widgets[1]


def observers(config: Config) -> int:
    return sum(len(kind) for kinds in config._trait_notifiers.values() for kind in kinds.values())


def test_what_a_person_enters_goes_to_the_store(gpt: Config) -> None:
    bound = Bound(gpt)
    from_page(bound.slider, value=0.9)
    assert gpt.temperature == 0.9
    assert bound.entry.value == "0.9"


def test_what_changes_in_the_store_is_shown(gpt: Config) -> None:
    bound = Bound(gpt)
    gpt.temperature = 1.1
    assert (bound.slider.value, bound.entry.value) == (1.1, "1.1")


def test_a_change_shown_is_not_sent_back(store: Store, gpt: Config) -> None:
    _one, _other = Bound(gpt), Bound(gpt)
    gpt.temperature = 1.1
    store.flush()
    assert gpt.revision == 2


def test_one_movement_of_the_slider_is_one_revision(store: Store, gpt: Config) -> None:
    bound = Bound(gpt)
    from_page(bound.slider, value=1.4)
    store.flush()
    assert gpt.revision == 2


def test_edits_from_code_are_a_revision_each(store: Store, gpt: Config) -> None:
    _shown = Bound(gpt)
    for number in range(60):
        gpt.temperature = number / 60
    store.flush()
    assert gpt.revision == 61


def test_what_is_refused_stays_to_be_mended_and_is_not_in_the_store(gpt: Config) -> None:
    bound = Bound(gpt)
    from_page(bound.entry, value="3")
    assert bound.entry.value == "3"
    assert bound.binding.refusal.startswith("3 is too large: at most 2")
    assert gpt.temperature == 0.2


def test_text_that_is_no_number_is_refused_in_the_words_of_the_store(gpt: Config) -> None:
    bound = Bound(gpt)
    from_page(bound.entry, value="warm")
    assert bound.binding.refusal == "'warm' is not a number."


def test_a_mended_entry_is_taken_and_the_refusal_goes(gpt: Config) -> None:
    bound = Bound(gpt)
    from_page(bound.entry, value="3")
    from_page(bound.entry, value="1.50")
    assert (bound.binding.refusal, bound.entry.value, gpt.temperature) == ("", "1.5", 1.5)
    # Each was half typed first, and then entered.
    assert bound.judged == 4


def test_a_refused_entry_gives_way_when_the_field_changes(gpt: Config) -> None:
    bound = Bound(gpt)
    from_page(bound.entry, value="3")
    gpt.temperature = 0.5
    assert (bound.binding.refusal, bound.entry.value) == ("", "0.5")


def test_going_back_to_the_stored_value_is_no_change(store: Store, gpt: Config) -> None:
    bound = Bound(gpt)
    from_page(bound.entry, value="3")
    from_page(bound.entry, value="0.2")
    store.flush()
    assert (bound.binding.refusal, gpt.revision) == ("", 1)


def test_a_map_that_cannot_be_read_does_not_reach_the_store(gpt: Config) -> None:
    bound = Bound(gpt, Field("headers", "map", "Headers"))
    from_page(bound.control.widgets[0], value="X-Title")
    assert "has no colon" in bound.binding.refusal
    assert gpt.headers == {}


@pytest.mark.parametrize("type", ["number", "map"])
def test_a_field_can_be_set_back_to_not_set(gpt: Config, type: str) -> None:
    gpt.headers = {"X-Title": "notes"}
    field = TEMPERATURE if type == "number" else Field("headers", "map", "Headers")
    Bound(gpt, field).binding.unset()
    assert gpt[field.path] == (None if type == "number" else {})


def test_the_history_knows_the_form_and_its_cell(store: Store, gpt: Config) -> None:
    from_page(Bound(gpt).slider, value=0.9)
    store.flush()
    assert store.history.changes()["cell"].iloc[-1] == "[3] form"


def test_settings_are_bound_like_configs(store: Store) -> None:
    field = Field("agents.timeout", "integer", "Timeout", minimum=1000, maximum=300_000, optional=False)
    bound = Bound(store.settings, field)  # type: ignore[arg-type]
    from_page(bound.entry, value="5000")
    assert store.settings.agents.timeout == 5000
    store.settings.agents.timeout = 7000
    assert bound.slider.value == 7000


def test_a_view_that_is_gone_leaves_no_observer(gpt: Config) -> None:
    bound = Bound(gpt)
    assert observers(gpt) == 1
    del bound
    Widget.close_all()
    gc.collect()
    gpt.temperature = 1.0
    assert observers(gpt) == 0


def test_following_can_be_ended_twice(gpt: Config) -> None:
    bound = Bound(gpt)
    bound.end()
    bound.end()
    assert observers(gpt) == 0


def test_events_are_followed_weakly_too(store: Store, gpt: Config) -> None:
    class View:
        def hear(self, event: Any) -> None: ...

    view, before = View(), len(store._state._listeners)
    follow_events(store, view.hear)
    assert len(store._state._listeners) == before + 1
    del view
    gpt.temperature = 1.0
    store.flush()
    assert len(store._state._listeners) == before


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValidationError.of([Issue("a", "error", "One."), Issue("b", "error", "Two.")]), "One."),
        (ValidationError.of([Issue("", "error", "Both.")]), "Both."),
        (ValidationError.of([Issue("a.X-Title", "error", "Inside.")]), "Inside."),
        (ValidationError.of([Issue("ab", "error", "Other.")]), "ab: Other."),
        (DuplicateNameError("Taken."), "Taken."),
    ],
)
def test_a_refusal_is_the_rule_alone(error: Any, text: str) -> None:
    assert reason(error, "a") == text
