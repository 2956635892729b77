"""A key in a field that is none for keys: it is refused, and kept in no widget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from orchstate.errors import ValidationError
from orchstate.widgets.entries import map_in
from tests.widgets.tree import KEY, all_of, from_page, typed, words

if TYPE_CHECKING:
    from orchstate.config import Config
    from orchstate.store import Store
    from orchstate.widgets.config_form import ConfigForm
    from orchstate.widgets.rows import FieldRow

# Not certainly a key, so that the store takes it where it is no fault otherwise.
MAYBE = "gsk_0123456789abcdef"


@pytest.fixture
def form(gpt: Config) -> ConfigForm:
    form = cast("ConfigForm", gpt.form())
    form._fields.fold.turn(is_open=True)  # type: ignore[union-attr]
    return form


def row(form: ConfigForm, path: str) -> FieldRow:
    return cast("FieldRow", form.rows[path])


def entry(form: ConfigForm, path: str) -> Any:
    return row(form, path).control.widgets[-1]


def is_kept(view: Any, key: str = KEY) -> bool:
    """Whether the state of any widget has it, as a saved notebook would."""
    return any(key in str(widget.get_state()) for widget in all_of(view))


@pytest.mark.parametrize("path", ["name", "model", "base_url", "organization", "temperature", "headers"])
def test_a_key_that_is_refused_is_in_no_widget(form: ConfigForm, path: str) -> None:
    from_page(entry(form, path), value=f"X-Team: {KEY}" if path == "headers" else KEY)
    assert entry(form, path).value == ""
    assert "orch-error" in row(form, path)._note.value
    assert not is_kept(form)


@pytest.mark.parametrize(("path", "text"), [("model", KEY), ("headers", f"X-Team: {KEY}")])
def test_the_page_is_told_to_empty_the_entry(
    sent: list[dict[str, Any]], form: ConfigForm, path: str, text: str
) -> None:
    from_page(entry(form, path), value=text)
    own = [message["data"] for message in sent if message["comm"] == entry(form, path).comm.comm_id]
    assert [data["state"]["value"] for data in own if "value" in data.get("state", {})][-1] == ""


def test_what_only_looks_like_a_key_goes_too_when_it_is_refused(form: ConfigForm) -> None:
    from_page(entry(form, "temperature"), value=MAYBE)
    assert "is not a number" in words(row(form, "temperature").box)
    assert not is_kept(form, MAYBE)


def test_of_headers_only_the_lines_with_a_key_go(form: ConfigForm, gpt: Config) -> None:
    gpt.headers = {"X-Trace": MAYBE}
    from_page(entry(form, "headers"), value=f"X-Trace: {MAYBE}\nX-Other: {KEY}\nX-Team: notes")
    assert entry(form, "headers").value == f"X-Trace: {MAYBE}\nX-Team: notes"
    assert gpt.headers == {"X-Trace": MAYBE}


def test_an_emptied_entry_that_is_entered_shows_again_what_is_saved(form: ConfigForm, gpt: Config) -> None:
    from_page(entry(form, "model"), value=KEY)
    typed(entry(form, "model"), "")
    assert (entry(form, "model").value, gpt.model) == ("gpt-5.4-mini", "gpt-5.4-mini")
    assert "orch-error" not in words(row(form, "model").box)


def test_an_emptied_entry_is_not_offered_to_be_saved(form: ConfigForm, gpt: Config) -> None:
    from_page(entry(form, "model"), value=KEY)
    gpt.temperature = 0.9
    assert "this is a key" in words(row(form, "model").box)
    assert "would be taken now" not in words(row(form, "model").box)
    assert (form.leave(), gpt.model) == ("", "gpt-5.4-mini")


def test_a_slider_moves_on_after_its_entry_was_emptied(form: ConfigForm, gpt: Config) -> None:
    from_page(entry(form, "temperature"), value=KEY)
    from_page(row(form, "temperature").control.widgets[0], value=0.9)
    assert (gpt.temperature, entry(form, "temperature").value) == (0.9, "0.9")
    assert "orch-error" not in words(row(form, "temperature").box)


def test_a_key_that_was_left_half_typed_goes_too(form: ConfigForm) -> None:
    typed(entry(form, "model"), KEY)
    assert "this is a key" in words(row(form, "model").box)
    assert not is_kept(form)


def test_a_key_that_was_overtaken_goes_when_it_is_left(form: ConfigForm, gpt: Config) -> None:
    typed(entry(form, "model"), KEY[:20])
    gpt.model = "theirs"
    from_page(entry(form, "model"), value=KEY)
    assert not is_kept(form)
    assert gpt.model == "theirs"


def test_leaving_a_form_does_not_repeat_what_looks_like_a_key(form: ConfigForm, gpt: Config) -> None:
    typed(entry(form, "model"), MAYBE)
    gpt.model = "theirs"
    assert form.leave() == "Not saved in gpt: What looks like a key in Model."


def test_a_field_that_goes_does_not_repeat_what_looks_like_a_key(form: ConfigForm, gpt: Config) -> None:
    typed(entry(form, "organization"), MAYBE)
    gpt.provider = "anthropic"
    assert "What looks like a key in Organization" in words(form.status.box)
    assert not is_kept(form, MAYBE)


@pytest.mark.parametrize("text", [MAYBE, f"{MAYBE}: a\n{MAYBE}: b"])
def test_a_line_of_headers_is_not_repeated_when_it_looks_like_a_key(text: str) -> None:
    with pytest.raises(ValidationError, match=r"What looks like a key (has no colon|is there twice)"):
        map_in(text, "headers")


def test_a_key_as_the_name_of_a_new_config_is_kept_nowhere(store: Store) -> None:
    form = store.form()
    from_page(form.new.name, value=KEY)
    assert "this is a key" in words(form.new.box)
    assert (form.new.name.value, len(store.configs)) == ("", 0)
    assert not is_kept(form)


def test_the_button_that_leaves_the_entry_with_a_key_creates_nothing_and_the_next_press_does(
    store: Store,
) -> None:
    form = store.form()
    from_page(form.new.name, value=KEY)
    form.new.create.click()
    assert len(store.configs) == 0
    form.new.create.click()
    assert len(store.configs) == 1


def test_enter_with_a_key_as_the_name_creates_nothing(store: Store) -> None:
    form = store.form()
    form.new._is_submitted = True
    from_page(form.new.name, value=KEY)
    assert len(store.configs) == 0
    assert "this is a key" in words(form.new.box)
    form.new.create.click()
    assert len(store.configs) == 1


def test_what_looks_like_a_key_is_dropped_when_it_is_refused_as_a_name(store: Store) -> None:
    form = store.form()
    from_page(form.new.name, value=f"{MAYBE}/")
    form.new.create.click()
    assert "orch-error" in words(form.new.box)
    assert not is_kept(form, MAYBE)
