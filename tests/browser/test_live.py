"""What changes anywhere shows in every form at once, and disturbs nobody."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.desk import WITHIN_MS, Form, asked

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.desk import Desk

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

# Waits in the page for the slider to say another number, and notes when that was.
_WATCH = """() => {
    const handle = document.querySelector('.orch-form .noUi-handle');
    window.seen = {};
    new MutationObserver(() => {
        const value = handle.getAttribute('aria-valuetext');
        window.seen[value] ??= (performance.timeOrigin + performance.now()) / 1000;
    }).observe(handle, {attributes: true});
}"""
_EDIT = "import time; at = time.time(); gpt.temperature = {}; print(at)"


def delays_ms(page: Page, edited_at: dict[float, float]) -> list[float]:
    """Return for each value how long after its edit the page has shown it."""
    page.wait_for_function(f"Object.keys(window.seen).length >= {len(edited_at)}", timeout=WITHIN_MS)
    seen = {float(value): at for value, at in page.evaluate("window.seen").items()}
    return [1000 * (seen[value] - at) for value, at in edited_at.items()]


def test_an_edit_in_another_notebook_is_on_the_page_within_a_second(desk: Desk) -> None:
    first, form = desk.gpt_form()
    second = desk.notebook("gpt = store.configs['gpt']", name="second.ipynb")
    first.page.evaluate(_WATCH)
    edited_at = {value: float(second.run_code(_EDIT.format(value))) for value in (0.4, 0.6, 0.8, 1.1, 1.4)}
    delays = delays_ms(first.page, edited_at)
    print(f"From another kernel's edit to this page: {[f'{delay:.0f}' for delay in delays]} ms")
    assert statistics.median(delays) < 1000
    form.has("Temperature", "1.4")


def test_an_edit_in_a_cell_is_on_its_own_page_within_a_second(desk: Desk) -> None:
    notebook, _ = desk.gpt_form()
    notebook.page.evaluate(_WATCH)
    edited_at = {value: float(notebook.run_code(_EDIT.format(value))) for value in (0.4, 0.6, 0.8)}
    delays = delays_ms(notebook.page, edited_at)
    print(f"From a cell's edit to its page: {[f'{delay:.0f}' for delay in delays]} ms")
    assert statistics.median(delays) < 1000


def test_the_history_says_which_notebook_and_cell_made_each_change(desk: Desk) -> None:
    first, form = desk.gpt_form()
    second = desk.notebook("gpt = store.configs['gpt']", name="second.ipynb")
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
    second = desk.notebook("gpt = store.configs['gpt']", name="second.ipynb")
    form.entry("Model").click()
    form.entry("Model").fill("half a na")
    second.run_code("gpt.temperature = 0.9")
    form.has("Temperature", "0.9")
    form.has("Model", "half a na")
    expect(form.entry("Model")).to_be_focused()
    assert asked(second, "store.configs['gpt'].model") == "gpt-5.4-mini"
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


def test_a_form_is_there_again_when_the_page_was_loaded_again(desk: Desk) -> None:
    notebook, _form = desk.gpt_form()
    notebook.save()
    notebook.load()
    again = Form(notebook.page.locator(".orch-form").first)
    again.has("Temperature", "0.2")
    again.write("Temperature", "1.9")
    again.shows("Saved (revision 2)")
    assert asked(notebook, "gpt.temperature") == 1.9
