"""How the forms look: pictures for people, and what can be measured of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.desk import Form

if TYPE_CHECKING:
    from testbed.jupyter import Notebook

    from tests.browser.desk import Desk

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

_SETUP = """
store.configs.create("anthropic", name="claude", model="claude-sonnet-5")
store.configs.create("ollama", name="مساعد محلي", model="llama3.2")
gpt = store.configs.create("openai", name="gpt", model="gpt-5.4-mini", temperature=0.7, seed=7)
store.active = gpt
"""
# Of every text of the forms: the contrast with what is behind it, after WCAG 2.
_CONTRASTS = """() => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const rgba = colour => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].map(part => part / 255);
    };
    const over = (top, below) => top.slice(0, 3).map((part, i) => part * top[3] + below[i] * (1 - top[3]));
    const behind = node => {
        const layers = [];
        for (let at = node; at; at = at.parentElement) {
            layers.push(rgba(getComputedStyle(at).backgroundColor));
        }
        return layers.reverse().reduce((below, layer) => over(layer, below), [1, 1, 1]);
    };
    const light = rgb => {
        const [r, g, b] = rgb.map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const found = {};
    const seen = '.orch-say, .orch-badge, .widget-label, .orch a, .orch button:enabled, .orch input';
    for (const node of document.querySelectorAll(seen)) {
        if (!node.checkVisibility()) continue;
        const back = behind(node), text = over(rgba(getComputedStyle(node).color), back);
        const [low, high] = [light(text), light(back)].sort((a, b) => a - b);
        found[node.className + ': ' + node.textContent] = (high + 0.05) / (low + 0.05);
    }
    return found;
}"""

# A front end that has no colours of JupyterLab's, such as an editor with notebooks in it.
_ELSEWHERE = """([text, background]) => {
    const names = new Set();
    for (const sheet of document.styleSheets)
        for (const rule of sheet.cssRules)
            for (const name of rule.style ?? [])
                if (name.startsWith('--jp-') && !name.startsWith('--jp-widgets')) names.add(name);
    const place = document.querySelector('.orch-store').parentElement;
    for (const name of names) place.style.setProperty(name, 'initial');
    place.style.color = text;
    place.style.background = background;
    return names.size;
}"""


def open_form(desk: Desk) -> tuple[Notebook, Form]:
    notebook = desk.notebook(_SETUP, "store.form()")
    form = Form(notebook.page.locator(".orch-store").first)
    form.press("▸ Advanced (1 set)")
    form.has("Seed", "7")
    form.write("Temperature", "3")
    form.shows("3 is too large")
    return notebook, form


def pictures(notebook: Notebook, form: Form, name: str) -> None:
    """Take pictures at full and at half width."""
    for width, text in ((1400, "full"), (700, "half"), (420, "narrow")):
        notebook.page.set_viewport_size({"width": width, "height": 2300})
        form.root.scroll_into_view_if_needed()
        notebook.page.wait_for_timeout(300)
        notebook.screenshot(f"form-{name}-{text}", of=form.root)
    notebook.page.set_viewport_size({"width": 1400, "height": 900})


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_everything_can_be_read_in_light_and_dark(desk: Desk, theme: str) -> None:
    notebook, form = open_form(desk)
    notebook.set_theme(f"JupyterLab {theme}")
    pictures(notebook, form, theme.lower())
    contrasts: dict[str, float] = notebook.page.evaluate(_CONTRASTS)
    notebook.set_theme("JupyterLab Light")
    assert len(contrasts) > 40
    assert {text: ratio for text, ratio in contrasts.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("colours", [("#cccccc", "#1e1e1e"), ("#333333", "#ffffff")], ids=["dark", "light"])
def test_everything_can_be_read_where_nothing_is_known_of_the_colours(
    desk: Desk, colours: tuple[str, str]
) -> None:
    notebook, form = open_form(desk)
    assert notebook.page.evaluate(_ELSEWHERE, colours) > 100
    notebook.screenshot(f"form-elsewhere-{colours[1][1:]}", of=form.root)
    contrasts: dict[str, float] = notebook.page.evaluate(_CONTRASTS)
    assert {text: ratio for text, ratio in contrasts.items() if ratio < 4.5} == {}


def test_nothing_is_wider_than_its_cell_at_any_width(desk: Desk) -> None:
    notebook, form = open_form(desk)
    for width in (1400, 700, 480):
        notebook.page.set_viewport_size({"width": width, "height": 900})
        notebook.page.wait_for_timeout(200)
        sizes: dict[str, Any] = form.root.evaluate("it => ({inner: it.scrollWidth, outer: it.clientWidth})")
        assert sizes["inner"] <= sizes["outer"] + 1, f"at {width}"


def test_the_list_is_beside_the_form_and_above_it_where_there_is_no_room(desk: Desk) -> None:
    notebook, form = open_form(desk)
    places = []
    for width in (1400, 700):
        notebook.page.set_viewport_size({"width": width, "height": 900})
        notebook.page.wait_for_timeout(200)
        boxes = [form.root.locator(part).first.bounding_box() for part in (".orch-list", ".orch-form")]
        assert boxes[0] and boxes[1]
        places.append(boxes[1]["y"] >= boxes[0]["y"] + boxes[0]["height"])
    assert places == [False, True]


def test_the_focus_can_be_seen(desk: Desk) -> None:
    notebook, form = open_form(desk)
    form.entry("Model").focus()
    notebook.page.keyboard.press("Tab")
    notebook.page.keyboard.press("Shift+Tab")

    style = "it => [getComputedStyle(it).outlineStyle, getComputedStyle(it).outlineWidth]"
    assert form.entry("Model").evaluate(style) == ["solid", "2px"]


def test_every_control_has_a_name_for_those_who_cannot_see_it(desk: Desk) -> None:
    _notebook, form = open_form(desk)
    controls = form.root.locator("input:visible, select:visible, textarea:visible, button:visible")
    names = controls.evaluate_all(
        "all => all.map(it => (it.labels?.[0]?.textContent || it.title || it.textContent || '').trim())"
    )
    assert len(names) > 25
    assert "" not in names


def test_the_empty_store_is_inviting(desk: Desk) -> None:
    notebook, form = desk.form()
    form.shows("Create your first configuration")
    notebook.screenshot("form-empty", of=form.root)
