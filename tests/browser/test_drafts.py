"""What is half typed is left alone, and gets to the store when it was entered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.desk import Form, asked, begin, eventually

if TYPE_CHECKING:
    from testbed.jupyter import Notebook

    from tests.browser.desk import Desk

# Written and left at once, before the page hears anything of the kernel.
_IN_NO_TIME = """it => {
    it.focus();
    it.select();
    document.execCommand('insertText', false, 'in-no-time');
    it.blur();
}"""

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def type_into(form: Form, label: str, text: str, *, delay_ms: int = 60) -> None:
    """Type a text in place of what is there, key by key."""
    form.entry(label).click()
    form.root.page.keyboard.press("Control+A")
    form.root.page.keyboard.type(text, delay=delay_ms)


def model_is(notebook: Notebook, model: str) -> None:
    eventually(lambda: asked(notebook, "gpt.model"), lambda found: found == model)


def test_what_is_half_typed_stays_when_the_same_field_is_changed_elsewhere(desk: Desk) -> None:
    first, form = desk.gpt_form()
    elsewhere = desk.elsewhere()
    type_into(form, "Model", "my-own-")
    elsewhere("gpt.model = 'theirs'; store.flush()")
    form.shows("Changed to 'theirs' elsewhere while you were typing. Enter keeps yours.")
    first.screenshot("form-overtaken", of=form.root)
    form.root.page.keyboard.type("model", delay=60)
    form.has("Model", "my-own-model")
    assert asked(first, "gpt.model") == "theirs"
    form.entry("Model").press("Enter")
    model_is(first, "my-own-model")
    expect(form.root.get_by_text("elsewhere while you were typing")).to_be_hidden()


def test_what_was_changed_elsewhere_stays_said_as_long_as_the_keyboard_is_in_the_field(desk: Desk) -> None:
    notebook, form = desk.gpt_form()
    type_into(form, "Model", "mine", delay_ms=20)
    notebook.run_code("gpt.model = 'theirs'")
    form.shows("Changed to 'theirs' elsewhere while you were typing.")
    # Longer than the pause after which a text is said to be not saved yet.
    notebook.page.wait_for_timeout(1500)
    expect(form.field("Model").get_by_text("elsewhere while you were typing")).to_be_visible()
    expect(form.field("Model").get_by_role("button", name="Keep mine")).to_be_visible()


@pytest.mark.parametrize(("button", "temperature"), [("Keep mine", 1.5), ("Take theirs", 0.7)])
def test_who_was_overtaken_decides_and_leaving_the_field_does_not(
    desk: Desk, button: str, temperature: float
) -> None:
    notebook, form = desk.gpt_form()
    elsewhere = desk.elsewhere()
    type_into(form, "Temperature", "1.5")
    elsewhere("gpt.temperature = 0.7; store.flush()")
    form.shows("Changed to '0.7' elsewhere while you were typing.")
    form.entry("Name").focus()
    notebook.page.wait_for_timeout(300)
    assert asked(notebook, "gpt.temperature") == 0.7
    form.press(button)
    form.has("Temperature", str(temperature))
    assert asked(notebook, "gpt.temperature") == temperature


def test_what_is_half_typed_while_a_cell_runs_stays_when_the_cell_changes_the_field(new_desk: Desk) -> None:
    notebook, form = new_desk.gpt_form()
    begin(notebook, "import time; time.sleep(1); gpt.model = 'theirs'; time.sleep(2)")
    type_into(form, "Model", "typed-while-a-cell-was-busy", delay_ms=100)
    form.has("Model", "typed-while-a-cell-was-busy")
    # Not asked by a cell, which would take the keyboard out of the field.
    assert new_desk.elsewhere()("gpt.model") == "theirs"
    form.has("Model", "typed-while-a-cell-was-busy")
    form.entry("Model").press("Enter")
    model_is(notebook, "typed-while-a-cell-was-busy")


def test_a_field_that_has_the_focus_and_was_not_touched_follows(desk: Desk) -> None:
    notebook, form = desk.gpt_form()
    form.entry("Model").click()
    notebook.run_code("gpt.model = 'theirs'")
    form.has("Model", "theirs")


@pytest.mark.parametrize("leave_with", ["Enter", "Tab"])
def test_however_quickly_it_is_typed_the_text_is_saved_whole(desk: Desk, leave_with: str) -> None:
    notebook = desk.notebook()
    for number, delay_ms in enumerate((0, 5, 120)):
        notebook.run_code(f"gpt = store.configs.create('openai', name='gpt {number}', model='m'); gpt.form()")
        form = Form(notebook.page.locator(".orch-form").nth(number))
        type_into(form, "Model", "a-model-of-my-own", delay_ms=delay_ms)
        if leave_with == "Tab":
            # Nobody is at the next key before the last one has reached the kernel of this machine.
            notebook.page.wait_for_timeout(120)
        form.entry("Model").press(leave_with)
        model_is(notebook, "a-model-of-my-own")
        models = asked(notebook, "(store.flush(), store.history.revisions(gpt.name)['model'].tolist())[1]")
        assert models == ["m", "a-model-of-my-own"]


def test_typing_in_the_middle_goes_on_there(desk: Desk) -> None:
    notebook, form = desk.gpt_form()
    form.entry("Model").click()
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowRight"):
        notebook.page.keyboard.press(key)
    notebook.page.keyboard.type("-new", delay=150)
    form.has("Model", "gpt-new-5.4-mini")


def test_what_was_left_before_the_kernel_heard_of_it_can_be_saved(new_desk: Desk) -> None:
    notebook, form = new_desk.gpt_form()
    form.entry("Model").evaluate(_IN_NO_TIME)
    form.shows("Not saved yet.")
    notebook.screenshot("form-not-saved-yet", of=form.root)
    assert asked(notebook, "gpt.model") == "gpt-5.4-mini"
    form.press("Save Model")
    model_is(notebook, "in-no-time")
