from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import pytest

from orchstate.errors import ValidationError
from orchstate.providers.definition import FieldSpec, FieldType
from orchstate.widgets.entries import map_in, number_in
from orchstate.widgets.fields import CONTROLS, Field, SliderControl

if TYPE_CHECKING:
    from orchstate.widgets.control import Control

FIELDS = {
    "text": Field("stop", "text", "Stop"),
    "url": Field("base_url", "url", "Base URL"),
    "model": Field("model", "model", "Model", suggestions=("a", "b")),
    "number": Field("temperature", "number", "Temperature", minimum=0, maximum=2, step=0.1, default=1),
    "integer": Field("max_tokens", "integer", "Tokens", minimum=1),
    "boolean": Field("ssl_verify", "boolean", "Verify", default=True),
    "choice": Field("effort", "choice", "Effort", choices=(("Low", "low"), ("High", "high"))),
    "map": Field("headers", "map", "Headers"),
    "prose": Field("system_prompt", "prose", "System prompt"),
}
VALUES = {
    "text": "END",
    "url": "http://127.0.0.1:1/v1",
    "model": "my-own-model",
    "number": 0.7,
    "integer": 512,
    "boolean": False,
    "choice": "high",
    "map": {"X-Title": "notes", "X-Tag": "a: b"},
    "prose": "  Be brief.\n\nAlways.\n",
}


def control_of(type: str, **changes: Any) -> Control:
    import dataclasses

    field = dataclasses.replace(FIELDS[type], **changes)
    return CONTROLS[field.type](field)


def test_every_type_of_field_has_a_control_but_secrets() -> None:
    assert set(CONTROLS) == {*get_args(FieldType), "prose"} - {"secret"} == set(FIELDS)


@pytest.mark.parametrize("type", FIELDS)
def test_a_control_reads_what_it_shows(type: str) -> None:
    control = control_of(type)
    control.show(VALUES[type])
    assert control.read() == VALUES[type]


@pytest.mark.parametrize("type", FIELDS)
def test_every_optional_field_can_be_not_set(type: str) -> None:
    control, unset = control_of(type), {} if type == "map" else None
    control.show(VALUES[type])
    control.show(unset)
    assert control.read() == unset


@pytest.mark.parametrize("type", FIELDS)
def test_showing_a_value_is_no_entry_of_a_person(type: str) -> None:
    control, heard = control_of(type), []
    control.listen(lambda: heard.append(1))
    control.show(VALUES[type])
    assert not heard


@pytest.mark.parametrize("type", FIELDS)
def test_a_disabled_control_is_disabled_in_all_its_parts(type: str) -> None:
    control = control_of(type)
    control.disable()
    assert all(widget.disabled for widget in control.widgets)


@pytest.mark.parametrize("type", FIELDS)
def test_every_control_has_its_label_and_the_rest_a_tooltip(type: str) -> None:
    first, *rest = control_of(type).widgets
    assert first.description == FIELDS[type].label
    assert all(widget.tooltip for widget in rest)


class TestNumbers:
    def test_a_number_with_two_limits_has_a_slider_and_an_entry(self) -> None:
        slider, entry = control_of("number").widgets
        assert (slider.min, slider.max, slider.step) == (0, 2, 0.1)
        assert entry.placeholder == "default: 1"

    def test_a_slider_is_one_entry_per_movement(self) -> None:
        slider = control_of("number").widgets[0]
        assert slider.continuous_update is False

    def test_an_unset_slider_stands_at_the_default(self) -> None:
        control = control_of("number")
        control.show(None)
        slider, entry = control.widgets
        assert (slider.value, entry.value) == (1, "")
        assert "orch-unset" in slider._dom_classes

    def test_an_unset_slider_without_a_known_default_stands_at_its_start(self) -> None:
        control = control_of("number", default=None, minimum=0.5)
        control.show(None)
        assert control.widgets[0].value == 0.5

    def test_the_last_entry_counts(self) -> None:
        control = control_of("number")
        slider, entry = control.widgets
        slider.value = 1.5
        assert control.read() == 1.5
        entry.value = "0.25"
        assert control.read() == 0.25

    def test_a_slider_gives_the_number_that_a_person_sees(self) -> None:
        control = control_of("number")
        control.widgets[0].value = 0.1 + 0.2
        assert control.read() == 0.3

    def test_a_whole_number_with_two_limits_gives_whole_numbers(self) -> None:
        control = control_of("integer", maximum=100)
        assert isinstance(control, SliderControl)
        control.widgets[0].value = 7
        assert control.read() == 7
        assert isinstance(control.read(), int)

    def test_a_value_beyond_the_limits_is_shown_as_it_is(self) -> None:
        control = control_of("number")
        control.show(5.0)
        assert (control.widgets[0].value, control.widgets[1].value) == (2, "5")

    @pytest.mark.parametrize(
        ("text", "is_whole", "number"),
        [("3", False, 3), ("3.0", True, 3), ("2.5", True, 2.5), ("a", True, "a"), ("", True, None)],
    )
    def test_text_is_read_as_a_number(self, text: str, is_whole: bool, number: Any) -> None:
        found = number_in(text, is_whole=is_whole)
        assert (found, type(found)) == (number, type(number))

    @pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
    def test_what_is_no_finite_number_is_left_to_the_store(self, text: str) -> None:
        assert isinstance(number_in(text, is_whole=True), float)


class TestChoices:
    def test_the_first_choice_is_the_providers_default(self) -> None:
        assert control_of("choice").widgets[0].options[0][0] == "Provider's default"
        assert control_of("choice", default="low").widgets[0].options[0][0] == "Default: low"

    def test_a_choice_that_is_not_set_shows_what_applies(self) -> None:
        control = control_of("choice")
        for value in (None, "low", None):
            control.show(value)
            dropdown = control.widgets[0]
            assert dropdown.label == ("Low" if value else "Provider's default")
            assert dropdown.index == (1 if value else 0)

    def test_choosing_the_default_is_choosing_nothing(self) -> None:
        control = control_of("choice")
        control.show("low")
        control.widgets[0].set_state({"index": 0})
        assert control.read() is None
        assert control.widgets[0].index == 0

    def test_a_boolean_may_be_on_off_or_the_default(self) -> None:
        labels = [label for label, _ in control_of("boolean").widgets[0].options]
        assert labels == ["Default: on", "On", "Off"]

    def test_a_boolean_that_is_always_set_is_a_box_to_check(self) -> None:
        control = control_of("boolean", optional=False)
        control.show(True)
        assert control.widgets[0].value is control.read() is True

    def test_a_value_that_is_no_choice_any_more_is_shown_and_goes_away(self) -> None:
        control = control_of("choice")
        control.show("medium")
        assert control.widgets[0].label == "medium (not known here)"
        control.show("low")
        assert len(control.widgets[0].options) == 3


class TestTexts:
    def test_a_model_is_any_text_and_suggestions_grow(self) -> None:
        control = control_of("model")
        box = control.widgets[0]
        assert box.ensure_option is False
        control.suggest(["b", "c"])  # type: ignore[attr-defined]
        assert box.options == ("a", "b", "c")

    def test_a_text_that_has_to_be_set_is_read_as_it_is(self) -> None:
        control = control_of("text", optional=False)
        control.widgets[0].value = " "
        assert control.read() == " "

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("X-Title", "'X-Title' has no colon. Write one 'Name: value' in each line."),
            ("A: 1\nA: 2", "'A' is there twice. Keep one of the two."),
        ],
    )
    def test_a_map_says_which_line_is_wrong(self, text: str, problem: str) -> None:
        with pytest.raises(ValidationError, match=problem):
            map_in(text, "headers")


def test_a_field_is_what_the_definition_says() -> None:
    spec = FieldSpec(name="top_k", type="integer", label="Top k", minimum=1, unit="tokens", default=40)
    field = Field.of(spec)
    assert (field.path, field.label, field.hint) == ("top_k", "Top k", "default: 40 tokens")


@pytest.mark.parametrize(
    ("field", "hint"),
    [
        (Field("a", "boolean", "A", default=False), "default: off"),
        (Field("a", "number", "A", default=0.0), "default: 0"),
        (Field("a", "text", "A"), "not set"),
        (Field("a", "text", "A", placeholder="x", optional=False), "x"),
    ],
)
def test_an_empty_control_says_what_applies(field: Field, hint: str) -> None:
    assert field.hint == hint
