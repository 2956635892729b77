from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from orchstate.widgets.draft import DraftCombobox, DraftText
from orchstate.widgets.rows import FieldRow
from orchstate.widgets.style import is_shown
from tests.widgets.tree import from_page, shown, typed, words

if TYPE_CHECKING:
    import pytest

    from orchstate.config import Config
    from orchstate.widgets.config_form import ConfigForm


def model_row(form: ConfigForm) -> tuple[FieldRow, Any]:
    row = form.rows["model"]
    assert isinstance(row, FieldRow)
    return row, row.control.widgets[0]


def submit(entry: Any) -> None:
    """Press Enter, as far as the page tells of it at once."""
    entry._handle_custom_msg({"event": "submit"}, [])


def entry_of(entry_class: type[DraftText] = DraftText, **traits: Any) -> tuple[DraftText, list[str]]:
    entry, heard = entry_class(**traits), []
    entry.listen(lambda: heard.append(f"entered {entry.value}"), lambda: heard.append(entry.value))
    return entry, heard


def test_what_is_typed_is_a_draft_until_the_entry_is_left() -> None:
    entry, heard = entry_of()
    typed(entry, "a")
    typed(entry, "ab")
    assert entry.is_draft
    typed(entry, "ab")
    assert heard == ["a", "ab", "entered ab"]


def test_every_draft_is_answered_so_that_leaving_it_is_news(sent: list[dict[str, Any]]) -> None:
    entry, _ = entry_of()
    sent.clear()
    typed(entry, "a")
    typed(entry, "a")
    answers = [message["data"] for message in sent]
    assert [(data["method"], data["state"]) for data in answers] == [
        ("echo_update", {"value": "a\n"}),
        ("echo_update", {"value": "a"}),
    ]


def test_enter_takes_what_is_typed_and_also_what_the_page_tells_of_later() -> None:
    async def type_quickly() -> list[str]:
        entry, heard = entry_of()
        typed(entry, "0")
        submit(entry)
        typed(entry, "0.7")
        await asyncio.sleep(0.3)
        return heard

    assert asyncio.run(type_quickly()) == ["0", "entered 0.7"]


def test_enter_alone_takes_it_soon() -> None:
    async def type_and_wait() -> list[str]:
        entry, heard = entry_of()
        typed(entry, "0.7")
        submit(entry)
        await asyncio.sleep(0.3)
        return heard

    assert asyncio.run(type_and_wait()) == ["0.7", "entered 0.7"]


def test_a_suggestion_that_is_chosen_is_entered_and_one_that_is_typed_is_not() -> None:
    entry, heard = entry_of(DraftCombobox, options=("gpt-5.4", "gpt-5.4-mini"))
    for text in ("gpt-5.", "gpt-5.4", "gpt-5.4-mini"):
        typed(entry, text)
    assert heard == ["gpt-5.", "gpt-5.4", "entered gpt-5.4-mini"]


def test_what_is_half_typed_is_not_in_the_store_and_outlives_a_change_of_anything(gpt: Config) -> None:
    form = gpt.form()
    row, entry = model_row(form)
    typed(entry, "my-mo")
    gpt.temperature = 0.9
    assert (entry.value, gpt.model) == ("my-mo", "gpt-5.4-mini")
    gpt.model = "another"
    assert (entry.value, gpt.model) == ("my-mo", "another")
    assert "Changed to 'another' elsewhere while you were typing." in words(row.box)


def test_whoever_was_overtaken_is_told_so_also_after_a_pause(
    gpt: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchstate.widgets.rows._PAUSE_S", 0.02)

    async def type_and_pause() -> tuple[str, bool]:
        row, entry = model_row(gpt.form())
        typed(entry, "mine")
        gpt.model = "theirs"
        await asyncio.sleep(0.1)
        assert row.unsaved is not None
        return words(row.unsaved.box), "orch-urgent" in row.unsaved.box._dom_classes

    said, is_urgent = asyncio.run(type_and_pause())
    assert "Changed to 'theirs' elsewhere while you were typing." in said
    assert is_urgent


def test_whoever_was_overtaken_keeps_theirs_with_enter_and_not_by_leaving(gpt: Config) -> None:
    row, entry = model_row(gpt.form())
    typed(entry, "mine")
    gpt.model = "theirs"
    typed(entry, "mine")
    assert (entry.value, gpt.model) == ("mine", "theirs")
    submit(entry)
    assert gpt.model == "mine"
    assert "elsewhere" not in words(row.box)


def test_whoever_was_overtaken_can_keep_or_take_with_a_button(gpt: Config) -> None:
    row, entry = model_row(gpt.form())
    for button, model in (("Take theirs", "theirs 1"), ("Keep mine", "mine")):
        typed(entry, "mine")
        gpt.model = f"theirs {1 if button == 'Take theirs' else 2}"
        pressed = [part for part in shown(row.box) if getattr(part, "description", "") == button]
        pressed[0].click()
        assert (entry.value, gpt.model) == (model, model)
        assert row.unsaved is not None
        assert not is_shown(row.unsaved.box)


def test_whoever_types_what_somebody_else_has_entered_is_not_asked(gpt: Config) -> None:
    row, entry = model_row(gpt.form())
    typed(entry, "the-same")
    gpt.model = "the-same"
    assert not entry.is_draft
    assert "elsewhere" not in words(row.box)


def test_an_entry_that_is_as_it_was_follows_again(gpt: Config) -> None:
    row, entry = model_row(gpt.form())
    typed(entry, "gpt-5.4-mini!")
    gpt.model = "theirs"
    typed(entry, "gpt-5.4-mini")
    assert entry.value == "theirs"
    assert "elsewhere" not in words(row.box)


def test_a_number_that_is_half_typed_stays_while_its_slider_follows(gpt: Config) -> None:
    row = gpt.form().rows["temperature"]
    assert isinstance(row, FieldRow)
    slider, entry = row.control.widgets
    typed(entry, "1.")
    gpt.temperature = 0.7
    assert (slider.value, entry.value, gpt.temperature) == (0.7, "1.", 0.7)
    assert "Changed to '0.7' elsewhere" in words(row.box)
    from_page(slider, value=0.5)
    assert (entry.value, gpt.temperature) == ("0.5", 0.5)


def test_what_was_left_too_quickly_to_be_noticed_says_that_it_is_not_saved(gpt: Config) -> None:
    form = gpt.form()
    row, entry = model_row(form)
    typed(entry, "mine")
    assert row.unsaved is not None
    assert "Not saved yet." in words(row.unsaved.box)
    assert "Not saved: Model." in words(form.status.box)
    row.unsaved.save.click()
    assert gpt.model == "mine"
    assert "Not saved" not in words(form)


def test_what_was_left_is_entered_by_whatever_is_done_next(gpt: Config) -> None:
    form = gpt.form()
    _, entry = model_row(form)
    typed(entry, "mine")
    from_page(form.rows["temperature"].control.widgets[0], value=1.0)  # type: ignore[union-attr]
    assert (gpt.model, gpt.temperature) == ("mine", 1.0)


def test_what_is_half_typed_goes_on_in_the_fields_of_another_provider(gpt: Config) -> None:
    form = gpt.form()
    typed(model_row(form)[1], "my-mo")
    gpt.provider = "anthropic"
    row, entry = model_row(form)
    assert (entry.value, gpt.model) == ("my-mo", None)
    assert "Not saved yet." in words(row.box)


def test_what_is_half_typed_when_its_field_goes_is_named(gpt: Config) -> None:
    form = gpt.form()
    form._fields.fold.turn(is_open=True)  # type: ignore[union-attr]
    entry = form.rows["organization"].control.widgets[0]  # type: ignore[union-attr]
    typed(entry, "org-1")
    gpt.provider = "anthropic"
    assert "Not saved, because the field is gone: 'org-1' in Organization." in words(form.status.box)


def test_what_goes_on_in_another_provider_is_entered_by_whatever_is_done_next(gpt: Config) -> None:
    form = gpt.form()
    typed(model_row(form)[1], "my-model")
    gpt.provider = "anthropic"
    from_page(form.rows["name"].control.widgets[0], value="claude")  # type: ignore[union-attr]
    assert (gpt.name, gpt.model) == ("claude", "my-model")


def test_what_was_refused_goes_on_in_the_fields_of_another_provider(gpt: Config) -> None:
    form = gpt.form()
    for path, text in (("temperature", "many"), ("name", " ")):
        from_page(form.rows[path].control.widgets[-1], value=text)  # type: ignore[union-attr]
    gpt.provider = "anthropic"
    for path, text in (("temperature", "many"), ("name", " ")):
        row = form.rows[path]
        assert row.control.widgets[-1].value == text  # type: ignore[union-attr]
        assert "orch-error" in words(row.box)
    assert form.status.unsaved == ["Name", "Temperature"]


def test_what_another_provider_takes_is_offered_to_be_saved_there(gpt: Config) -> None:
    gpt.update(provider="anthropic")
    form = gpt.form()
    from_page(form.rows["temperature"].control.widgets[-1], value="1.5")  # type: ignore[union-attr]
    gpt.provider = "openai"
    row = form.rows["temperature"]
    assert isinstance(row, FieldRow)
    assert "Not saved: it was refused, and would be taken now." in words(row.box)
    row.unsaved.save.click()  # type: ignore[union-attr]
    assert gpt.temperature == 1.5


def test_headers_that_were_refused_go_on_in_another_provider_and_are_named_when_left(gpt: Config) -> None:
    form = gpt.form()
    form._fields.fold.turn(is_open=True)  # type: ignore[union-attr]
    from_page(form.rows["headers"].control.widgets[0], value="X-Team")  # type: ignore[union-attr]
    gpt.provider = "anthropic"
    assert "'X-Team' has no colon" in words(form.rows["headers"].box)
    assert form.leave() == "Not saved in gpt: 'X-Team' in Extra headers."


def test_what_was_left_in_a_folded_field_unfolds_those_of_another_provider(gpt: Config) -> None:
    form = gpt.form()
    form._fields.fold.turn(is_open=True)  # type: ignore[union-attr]
    from_page(form.rows["headers"].control.widgets[0], value="X-Team")  # type: ignore[union-attr]
    form._fields.fold.turn(is_open=False)  # type: ignore[union-attr]
    gpt.provider = "anthropic"
    assert form._fields.fold.is_open  # type: ignore[union-attr]
    assert "'X-Team' has no colon" in words(form.rows["headers"].box)


def test_what_was_refused_when_its_field_goes_is_named(gpt: Config) -> None:
    form = gpt.form()
    form._fields.fold.turn(is_open=True)  # type: ignore[union-attr]
    entry = form.rows["organization"].control.widgets[0]  # type: ignore[union-attr]
    from_page(entry, value="org\x07")
    gpt.provider = "anthropic"
    assert "Not saved, because the field is gone: 'org\\x07' in Organization." in words(form.status.box)


def test_what_would_be_taken_by_now_is_named_when_the_form_is_left(gpt: Config) -> None:
    gpt.data_residency = "eu"
    form = gpt.form()
    from_page(form.rows["base_url"].control.widgets[-1], value="http://127.0.0.1:9/v1")  # type: ignore[union-attr]
    gpt.data_residency = None
    assert form.leave().startswith("Not saved in gpt: 'http://127.0.0.1:9/v1' in ")


def test_an_entry_that_was_refused_because_of_another_field_is_judged_again_when_that_changes(
    gpt: Config,
) -> None:
    gpt.data_residency = "eu"
    form, url = gpt.form(), "http://127.0.0.1:9/v1"
    row = form.rows["base_url"]
    assert isinstance(row, FieldRow)
    from_page(row.control.widgets[-1], value=url)
    assert "orch-error" in words(row.box)
    gpt.data_residency = None
    assert "orch-error" not in words(row.box)
    assert "Not saved: it was refused, and would be taken now." in words(row.box)
    assert gpt.base_url is None
    row.unsaved.save.click()  # type: ignore[union-attr]
    assert gpt.base_url == url
    assert "Not saved" not in words(form)


def test_what_was_refused_is_not_called_saved(gpt: Config) -> None:
    form = gpt.form()
    entry = form.rows["temperature"].control.widgets[1]  # type: ignore[union-attr]
    from_page(entry, value="3")
    assert "Not saved: Temperature. The rest is saved (revision 1)." in words(form.status.box)
    assert "orch-ok" not in form.status._text.value
    from_page(entry, value="0.4")
    assert "Not saved" not in words(form)


def test_a_refused_text_that_was_typed_on_and_taken_back_stays_refused(gpt: Config) -> None:
    row = gpt.form().rows["temperature"]
    entry = row.control.widgets[1]  # type: ignore[union-attr]
    from_page(entry, value="3")
    typed(entry, "34")
    typed(entry, "3")
    assert entry.value == "3"
    assert "too large" in words(row.box)
