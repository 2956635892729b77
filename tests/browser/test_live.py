"""What changes anywhere shows in every form at once, and disturbs nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.desk import WITHIN_MS, Form, asked

if TYPE_CHECKING:
    from tests.browser.desk import Desk

# Notes in the page when the slider says another number for the first time.
_WATCH = """() => {
    const handle = document.querySelector('.orch-form .noUi-handle');
    window.seen = {};
    new MutationObserver(() => {
        const value = handle.getAttribute('aria-valuetext');
        window.seen[Number(value)] ??= performance.timeOrigin + performance.now();
    }).observe(handle, {attributes: true});
}"""
pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def test_a_slider_moved_on_one_page_moves_on_the_other(desk: Desk) -> None:
    _, form = desk.gpt_form()
    _, other = desk.gpt_form(name="second.ipynb")
    for number in range(3):
        before = form.entry("Temperature").input_value()
        form.drag("Temperature", 0.3 + number / 10)
        expect(form.entry("Temperature")).not_to_have_value(before, timeout=WITHIN_MS)
        expect(other.entry("Temperature")).to_have_value(form.entry("Temperature").input_value())


def test_an_edit_in_another_notebook_is_on_the_page(desk: Desk) -> None:
    _, form = desk.gpt_form()
    second = desk.notebook("gpt = store.configs['gpt']", name="second.ipynb")
    for value in ("0.4", "0.6", "1.2"):
        second.run_code(f"gpt.temperature = {value}")
        form.has("Temperature", value)


def test_an_edit_in_a_cell_is_on_its_own_page(desk: Desk) -> None:
    notebook, form = desk.gpt_form()
    for value in ("0.4", "0.6", "1.2"):
        notebook.run_code(f"gpt.temperature = {value}")
        form.has("Temperature", value)


def test_the_history_says_which_notebook_and_cell_made_each_change(new_desk: Desk) -> None:
    first, form = new_desk.gpt_form()
    second = new_desk.notebook("gpt = store.configs['gpt']", name="second.ipynb")
    second.run_code("gpt.temperature = 0.9")
    form.has("Temperature", "0.9")
    form.write("Temperature", "1.1")
    form.shows("Saved (revision 3)")
    rows = asked(first, "store.history.changes()[['field', 'notebook', 'cell']].tail(2).values.tolist()")
    assert [row[0] for row in rows] == ["temperature", "temperature"]
    assert [row[2] for row in rows] == ["[3]", "[3] form"]
    assert [row[1].rpartition("-")[2] for row in rows] == ["second.ipynb", "first.ipynb"]


def test_what_is_being_typed_is_left_alone_when_something_else_changes(desk: Desk) -> None:
    notebook, form = desk.gpt_form()
    elsewhere = desk.elsewhere()
    form.entry("Model").click()
    form.entry("Model").fill("half a na")
    elsewhere("gpt.temperature = 0.9")
    form.has("Temperature", "0.9")
    form.has("Model", "half a na")
    expect(form.entry("Model")).to_be_focused()
    assert elsewhere("store.flush(); gpt.model") == "gpt-5.4-mini"
    form.entry("Model").press("Enter")
    form.shows("Saved (revision 3)")
    assert asked(notebook, "gpt.model") == "half a na"


def test_two_forms_in_one_notebook_and_one_in_another_show_the_same(desk: Desk) -> None:
    first, form = desk.gpt_form()
    first.run_code("gpt.form()")
    twin = Form(first.page.locator(".orch-form").nth(1))
    second, other = desk.gpt_form(name="second.ipynb")
    twin.write("Temperature", "1.7")
    for one in (form, twin, other):
        one.has("Temperature", "1.7")
    second.run_code("store.configs['gpt'].model = 'm'")
    for one in (form, twin, other):
        one.has("Model", "m")


def test_undo_in_a_cell_shows_in_the_form(desk: Desk) -> None:
    notebook, form = desk.gpt_form()
    form.write("Temperature", "1.1")
    form.shows("Saved (revision 2)")
    notebook.run_code("store.undo()")
    form.has("Temperature", "0.2")
    form.press("Redo")
    form.has("Temperature", "1.1")


def test_configs_come_and_go_in_the_list_whoever_makes_them(desk: Desk) -> None:
    _, form = desk.form()
    second = desk.notebook(name="second.ipynb")
    second.run_code("local = store.configs.create('ollama', name='local')")
    expect(form.root.locator(".orch-list-name")).to_have_text(["local"], timeout=WITHIN_MS)
    second.run_code("local.name = 'mine'; store.configs.create('openai', name='gpt')")
    expect(form.root.locator(".orch-list-name")).to_have_text(["mine", "gpt"], timeout=WITHIN_MS)
    second.run_code("local.delete()")
    expect(form.root.locator(".orch-list-name")).to_have_text(["gpt"], timeout=WITHIN_MS)


def test_running_a_cell_again_leaves_one_form_and_one_observer(desk: Desk) -> None:
    notebook, form = desk.gpt_form()
    for _ in range(4):
        notebook.run(2)
    form.has("Temperature", "0.2")
    count = "sum(len(kind) for kinds in gpt._trait_notifiers.values() for kind in kinds.values())"
    assert asked(notebook, count) == 1
    notebook.run_code("gpt.temperature = 0.8")
    form.has("Temperature", "0.8")


def test_a_form_shown_in_two_cells_outlives_the_first_one(desk: Desk) -> None:
    notebook = desk.notebook(
        "gpt = store.configs.upsert('gpt', 'openai', temperature=0.2)", "form = gpt.form()\nform", "form"
    )
    notebook.run(2)
    second = Form(notebook.page.locator(".orch-form").nth(1))
    notebook.run_code("gpt.temperature = 0.8")
    second.has("Temperature", "0.8")


def test_a_form_is_there_again_when_the_page_was_loaded_again(new_desk: Desk) -> None:
    notebook, _form = new_desk.gpt_form()
    notebook.save()
    notebook.load()
    again = Form(notebook.page.locator(".orch-form").first)
    again.has("Temperature", "0.2")
    again.write("Temperature", "1.9")
    again.shows("Saved (revision 2)")
    assert asked(notebook, "gpt.temperature") == 1.9


def test_all_of_a_row_of_the_list_can_be_pressed(desk: Desk) -> None:
    """Whoever presses beside the name would else type a key into the form of another config."""
    making = "store.configs.upsert('one', 'openai'); store.configs.upsert('two', 'ollama')"
    notebook = desk.notebook(making, "store.form()")
    root = notebook.page.locator(".orch-store").first
    rows = root.locator(".orch-list-row")
    expect(rows).to_have_count(2)
    for number, name in ((1, "two"), (0, "one")):
        box = rows.nth(number).bounding_box()
        assert box
        notebook.page.mouse.click(box["x"] + box["width"] - 4, box["y"] + box["height"] - 4)
        expect(root.locator(".orch-title bdi")).to_have_text(name)


def test_a_drag_of_sixty_movements_is_one_revision_and_is_seen_while_it_goes_on(desk: Desk) -> None:
    notebook, form = desk.gpt_form()
    revisions = asked(notebook, "len(gpt.history())")
    notebook.page.evaluate(_WATCH)
    form.drag("Temperature", 0.75, movements=60)
    form.has("Temperature", "1.5")
    assert asked(notebook, "gpt.temperature") == 1.5
    assert asked(notebook, "len(gpt.history())") == revisions + 1
    assert len(notebook.page.evaluate("window.seen")) > 5
