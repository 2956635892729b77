"""What changes anywhere shows in every form at once, and disturbs nobody."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.desk import WITHIN_MS, Form, asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page
    from testbed.jupyter import Notebook

    from tests.browser.desk import Desk

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

# Waits in the page for the slider to say another number, and notes when that was.
_WATCH = """() => {
    const handle = document.querySelector('.orch-form .noUi-handle');
    window.seen = {};
    new MutationObserver(() => {
        const value = handle.getAttribute('aria-valuetext');
        window.seen[Number(value)] ??= performance.timeOrigin + performance.now();
    }).observe(handle, {attributes: true});
}"""
# Notes in the page when the mouse was let go last, which is when a slider has been moved.
_WATCH_MOUSE = """() => document.addEventListener('pointerup', () => {
    window.released = performance.timeOrigin + performance.now();
}, {capture: true})"""
_EDIT = "import time; at = time.time(); gpt.temperature = {}; print(1000 * at)"
_PROMISED_MS = 100
# Of so many rounds one has to be as quick as promised: this machine does other things as well.
_ROUNDS = 3


def delay_ms(page: Page, value: float, edited_at_ms: float) -> float:
    """Return how long after its edit the page has shown a value."""
    page.wait_for_function("value => window.seen[value]", arg=value, timeout=WITHIN_MS)
    seen: float = page.evaluate("value => window.seen[value]", value)
    return seen - edited_at_ms


def quickest_median_ms(page: Page, edit: Callable[[int], tuple[float, float]]) -> float:
    """Return the lowest median of some rounds of edits; `edit` makes one, and returns its value and time."""
    medians: list[float] = []
    while len(medians) < _ROUNDS and min(medians, default=_PROMISED_MS) >= _PROMISED_MS:
        page.evaluate(_WATCH)
        delays = [delay_ms(page, *edit(number)) for number in range(5)]
        print(f"From an edit to what this page shows: {[f'{delay:.0f}' for delay in delays]} ms")
        medians.append(statistics.median(delays))
    return min(medians)


def edit_in(notebook: Notebook) -> Callable[[int], tuple[float, float]]:
    """Return what makes an edit in a cell of a notebook."""

    def edit(number: int) -> tuple[float, float]:
        value = 0.4 + number / 5
        notebook.run_code("gpt.temperature = 0.1")
        return round(value, 1), float(notebook.run_code(_EDIT.format(round(value, 1))))

    return edit


def test_a_slider_moved_on_one_page_moves_on_the_other_within_100_ms(desk: Desk) -> None:
    first, form = desk.gpt_form()
    second, _other = desk.gpt_form(name="second.ipynb")
    first.page.evaluate(_WATCH_MOUSE)

    def move(number: int) -> tuple[float, float]:
        before = form.entry("Temperature").input_value()
        form.drag("Temperature", 0.3 + number / 10)
        expect(form.entry("Temperature")).not_to_have_value(before, timeout=WITHIN_MS)
        return float(form.entry("Temperature").input_value()), first.page.evaluate("window.released")

    assert quickest_median_ms(second.page, move) < _PROMISED_MS


def test_an_edit_in_another_notebook_is_on_the_page_within_100_ms(desk: Desk) -> None:
    first, form = desk.gpt_form()
    second = desk.notebook("gpt = store.configs['gpt']", name="second.ipynb")
    assert quickest_median_ms(first.page, edit_in(second)) < _PROMISED_MS
    form.has("Temperature", "1.2")


def test_an_edit_in_a_cell_is_on_its_own_page_within_100_ms(desk: Desk) -> None:
    notebook, _ = desk.gpt_form()
    assert quickest_median_ms(notebook.page, edit_in(notebook)) < _PROMISED_MS


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
