"""How the forms look: pictures for people, and what can be measured of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.browser.desk import Desk, Form, focused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Locator
    from testbed.jupyter import Lab, Notebook

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
    const note = (kind, node, style) => {
        const back = behind(node), [r, g, b, alpha] = rgba(style.color);
        const text = over([r, g, b, alpha * style.opacity], back);
        const [low, high] = [light(text), light(back)].sort((a, b) => a - b);
        const said = node.labels?.[0]?.textContent || node.textContent || node.title;
        found[`${Object.keys(found).length} ${kind}: ${said.trim()}`] = (high + 0.05) / (low + 0.05);
    };
    const seen = '.orch-say, .orch-badge, .widget-label, a, button:enabled, input, select, textarea';
    for (const node of document.querySelectorAll(`.orch :is(${seen})`)) {
        if (!node.checkVisibility({visibilityProperty: true})) continue;
        note(node.tagName, node, getComputedStyle(node));
        const hint = getComputedStyle(node, '::placeholder');
        if (node.placeholder && !node.value) note('placeholder', node, hint);
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


# Of what the keyboard is at, or of the row of the list that stands for it.
_OUTLINE = """() => {
    const here = document.activeElement;
    const style = getComputedStyle(here.closest('.orch-list-row') ?? here);
    return [style.outlineStyle, style.outlineWidth];
}"""
# What people use, as Chromium tells those who cannot see it.
_ROLES = ("button", "checkbox", "combobox", "link", "slider", "spinbutton", "textbox")


def names_by_role(notebook: Notebook) -> dict[str, list[str]]:
    """Return the accessible names of all controls of the form, by their role."""
    session = notebook.page.context.new_cdp_session(notebook.page)
    form = session.send("Runtime.evaluate", {"expression": "document.querySelector('.orch')"})["result"]
    nodes = session.send("Accessibility.queryAXTree", {"objectId": form["objectId"]})["nodes"]
    found: dict[str, list[str]] = {}
    for node in nodes:
        role = node.get("role", {}).get("value")
        if role in _ROLES and not node["ignored"]:
            found.setdefault(role, []).append(node.get("name", {}).get("value", ""))
    return found


@pytest.fixture(scope="module")
def looked_at(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Notebook, Form]]:
    """A form in which everything is shown; tests that only look at it share it."""
    desk = Desk(lab, tmp_path_factory.mktemp("looks") / "store.db")
    yield open_form(desk)
    desk.check_pages()
    desk.leave()


@pytest.fixture
def seen(looked_at: tuple[Notebook, Form]) -> Iterator[tuple[Notebook, Form]]:
    """The same, at full width and in light colours at the end."""
    yield looked_at
    notebook, _form = looked_at
    notebook.page.set_viewport_size({"width": 1400, "height": 900})
    notebook.set_theme("JupyterLab Light")


def open_form(desk: Desk) -> tuple[Notebook, Form]:
    notebook = desk.notebook(_SETUP, "store.form()")
    form = Form(notebook.page.locator(".orch-store").first)
    form.press("▸ Show advanced (1 set)")
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


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_everything_can_be_read_in_light_and_dark(seen: tuple[Notebook, Form], theme: str) -> None:
    notebook, form = seen
    notebook.set_theme(f"JupyterLab {theme}")
    pictures(notebook, form, theme.lower())
    contrasts: dict[str, float] = notebook.page.evaluate(_CONTRASTS)
    kinds = {name.split()[1] for name in contrasts}
    assert kinds >= {
        "DIV:",
        "SPAN:",
        "LABEL:",
        "A:",
        "BUTTON:",
        "INPUT:",
        "SELECT:",
        "TEXTAREA:",
        "placeholder:",
    }
    assert len(contrasts) > 90
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


def test_nothing_is_wider_than_its_cell_at_any_width(seen: tuple[Notebook, Form]) -> None:
    notebook, form = seen
    for width in (1400, 700, 480):
        notebook.page.set_viewport_size({"width": width, "height": 900})
        notebook.page.wait_for_timeout(200)
        sizes: dict[str, Any] = form.root.evaluate("it => ({inner: it.scrollWidth, outer: it.clientWidth})")
        assert sizes["inner"] <= sizes["outer"] + 1, f"at {width}"


def test_the_list_is_beside_the_form_and_above_it_where_there_is_no_room(seen: tuple[Notebook, Form]) -> None:
    notebook, form = seen
    places = []
    for width in (1400, 700):
        notebook.page.set_viewport_size({"width": width, "height": 900})
        notebook.page.wait_for_timeout(200)
        boxes = [form.root.locator(part).first.bounding_box() for part in (".orch-list", ".orch-form")]
        assert boxes[0] and boxes[1]
        places.append(boxes[1]["y"] >= boxes[0]["y"] + boxes[0]["height"])
    assert places == [False, True]


def test_the_focus_can_be_seen_wherever_it_is(seen: tuple[Notebook, Form]) -> None:
    notebook, form = seen
    form.root.get_by_role("button", name="+ New").focus()
    unseen, reached = [], []
    while notebook.page.evaluate("document.activeElement.closest('.orch') !== null"):
        reached.append(focused(notebook))
        style, width = notebook.page.evaluate(_OUTLINE)
        unseen += [] if (style, width) == ("solid", "2px") else [reached[-1]]
        notebook.page.keyboard.press("Tab")
    assert len(reached) > 30
    assert {"+ New", "claude", "Provider", "Website", "Temperature", "Test", "Redo"} <= set(reached)
    assert unseen == []


def test_every_control_has_a_name_of_its_own_for_those_who_cannot_see_it(seen: tuple[Notebook, Form]) -> None:
    notebook, _form = seen
    found = names_by_role(notebook)
    assert set(found) >= {"button", "combobox", "textbox", "link"}
    assert [role for role, names in found.items() if "" in names] == []
    assert [name for names in found.values() for name in names if names.count(name) > 1] == []
    assert {"Temperature", "Model", "API key", "Seed"} <= {*found["textbox"], *found["combobox"]}


def test_what_only_the_mouse_can_move_is_not_in_the_way_of_the_keyboard(seen: tuple[Notebook, Form]) -> None:
    notebook, form = seen
    assert form.handle("Temperature").evaluate("it => (it.focus(), document.activeElement === it)") is False
    assert "slider" not in names_by_role(notebook)
    expect(form.entry("Temperature")).to_be_editable()


def test_fields_and_hints_end_at_one_line(seen: tuple[Notebook, Form]) -> None:
    """Of rows that have all parts: a name alone, a key with its button, a field that can be unset."""
    _, form = seen
    ends = set()
    for label in ("Name", "API key", "Model", "Temperature"):
        row = form.field(label)
        last = row.locator("input:visible, button:visible:not(.orch-reset)").last.bounding_box()
        note = row.locator(".orch-note .widget-html-content").bounding_box()
        assert last and note
        ends |= {round(last["x"] + last["width"]), round(note["x"] + note["width"])}
    assert max(ends) - min(ends) <= 2, sorted(ends)


def _place(button: Locator, root: Locator) -> tuple[float, ...]:
    """Return where a button is in its form, wherever the page is scrolled to."""
    inner, outer = button.bounding_box(), root.bounding_box()
    assert inner and outer
    return inner["x"] - outer["x"], inner["y"] - outer["y"], inner["width"], inner["height"]


def test_asking_before_a_deletion_moves_no_button(seen: tuple[Notebook, Form]) -> None:
    notebook, form = seen
    for width in (1400, 700, 420):
        notebook.page.set_viewport_size({"width": width, "height": 1800})
        notebook.page.wait_for_timeout(200)
        places = []
        for pressed in ("Delete", "Keep"):
            names = ("Test", "Duplicate", "Delete", "Undo", "Redo")
            buttons = [form.root.get_by_role("button", name=name, exact=True) for name in names]
            places.append([_place(button, form.root) for button in buttons])
            form.press(pressed)
        assert places[0] == places[1], f"at {width}"


def test_a_slider_that_is_not_set_does_not_look_as_if_it_were(desk: Desk) -> None:
    notebook, form = desk.gpt_form()
    look = "it => getComputedStyle(it.querySelector('.noUi-touch-area')).borderStyle"
    assert form.field("Temperature").evaluate(look) == "solid"
    form.root.get_by_role("button", name="Temperature: back to not set").click()
    form.shows("Not set: 1 applies.")
    assert form.field("Temperature").evaluate(look) == "dashed"
    notebook.screenshot("form-not-set", of=form.field("Temperature"))


def test_the_empty_store_is_inviting(desk: Desk) -> None:
    notebook, form = desk.form()
    form.shows("Create your first configuration")
    notebook.screenshot("form-empty", of=form.root)
