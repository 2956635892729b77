"""What a person does first: create a config, type the key, move a slider, and look at the history."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.desk import KEY, WITHIN_MS, Form, asked, eventually, focused, tab_to

if TYPE_CHECKING:
    from testbed.llm import LlmServer
    from testbed.secret_service import SecretService

    from tests.browser.desk import Desk

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


@pytest.mark.keyring
def test_a_config_is_created_and_its_key_is_in_the_keyring(desk: Desk, secret_service: SecretService) -> None:
    notebook, form = desk.form()
    form.shows("Create your first configuration")
    form.field("Provider").locator("select").select_option(label="OpenAI")
    form.entry("Name").fill("gpt")
    form.press("Create")
    form.shows("Needs API key")
    form.write("API key", KEY, leave_with="Tab")
    form.shows("Saved in the keyring")
    name = asked(notebook, "store.configs['gpt'].document().api_key.name")
    assert secret_service.lookup(service="orchstate", username=name) == KEY
    assert asked(notebook, "store.configs['gpt'].api_key.get_secret_value() == " + repr(KEY)) is True


@pytest.mark.keyring
def test_a_key_is_replaced_and_removed(desk: Desk, secret_service: SecretService) -> None:
    notebook, form = desk.gpt_form()
    form.write("API key", KEY)
    form.shows("Saved in the keyring")
    name = asked(notebook, "gpt.document().api_key.name")
    form.press("Replace")
    form.write("API key", f"{KEY}-new")
    newer = eventually(lambda: asked(notebook, "gpt.document().api_key.name"), lambda found: found != name)
    assert secret_service.lookup(service="orchstate", username=newer) == f"{KEY}-new"
    form.press("Remove")
    form.press("Yes, remove")
    form.shows("Needs API key")
    for entry in (name, newer):
        lookup = partial(secret_service.lookup, service="orchstate", username=entry)
        eventually(lookup, lambda found: found is None)


def test_dragging_a_slider_is_one_revision_of_the_form_of_its_cell(new_desk: Desk) -> None:
    notebook, form = new_desk.gpt_form()
    before = asked(notebook, "(store.flush(), gpt.revision)[1]")
    form.drag("Temperature", 0.75)
    form.has("Temperature", "1.5")
    assert asked(notebook, "(store.flush(), gpt.temperature, gpt.revision)[1:]") == [1.5, before + 1]
    last = asked(notebook, "store.history.changes().iloc[-1][['field', 'notebook', 'cell']].tolist()")
    assert (last[0], last[2]) == ("temperature", "[3] form")
    assert last[1].endswith(notebook.path.name)


def test_the_number_follows_while_a_slider_is_dragged(desk: Desk) -> None:
    _, form = desk.gpt_form()
    grip = form.handle("Temperature").bounding_box()
    assert grip
    mouse = form.root.page.mouse
    mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2)
    mouse.down()
    mouse.move(grip["x"] + 150, grip["y"] + 5, steps=10)
    readout = form.field("Temperature").locator(".widget-readout")
    expect(readout).to_be_visible()
    assert float(readout.inner_text()) > 0.2
    mouse.up()
    expect(readout).to_be_hidden()
    expect(form.entry("Temperature")).to_be_visible()


def test_an_assignment_in_a_cell_shows_in_the_form(desk: Desk) -> None:
    notebook, form = desk.gpt_form()
    notebook.run_code("gpt.temperature = 0.7; gpt.model = 'my-model'")
    form.has("Temperature", "0.7")
    form.has("Model", "my-model")
    form.shows("Saved (revision")


def test_what_is_refused_is_said_beside_the_field_and_can_be_mended(desk: Desk) -> None:
    notebook, form = desk.gpt_form()
    form.write("Temperature", "3")
    expect(form.field("Temperature")).to_contain_text("3 is too large: at most 2", timeout=WITHIN_MS)
    form.has("Temperature", "3")
    assert asked(notebook, "gpt.temperature") == 0.2
    form.write("Temperature", "1.3")
    form.shows("How varied the answers are")
    assert asked(notebook, "gpt.temperature") == 1.3


def test_a_field_is_set_back_to_the_default(desk: Desk) -> None:
    notebook, form = desk.gpt_form()
    form.field("Temperature").locator(".orch-reset").click()
    form.has("Temperature", "")
    expect(form.entry("Temperature")).to_have_attribute("placeholder", "default: 1")
    assert asked(notebook, "gpt.temperature") is None


@pytest.mark.llm
def test_the_test_button_asks_the_real_server(desk: Desk, llm_server: LlmServer) -> None:
    lab = f"lab = store.configs.upsert('lab', 'openai_compatible', base_url={llm_server.base_url!r})"
    notebook = desk.notebook(lab, "lab.form()")
    form = Form(notebook.page.locator(".orch-form").first)
    form.write("API key", "sk-wrong-0123456789")
    form.shows("Saved in the keyring")
    form.press("Test")
    expect(form.root.locator(".orch-result .orch-error")).to_be_visible(timeout=WITHIN_MS)
    form.press("Replace")
    form.write("API key", llm_server.api_key)
    form.shows("Saved in the keyring")
    form.press("Test")
    form.shows("answers and lists 1 model")
    options = form.field("Model").locator("datalist option")
    assert options.evaluate_all("all => all.map(one => one.value)") == [llm_server.model]


def test_a_config_is_created_tested_deleted_and_brought_back_with_the_keyboard_alone(desk: Desk) -> None:
    notebook, form = desk.form()
    keyboard = notebook.page.keyboard
    form.field("Provider").locator("select").focus()
    keyboard.press("o")
    keyboard.press("Tab")
    keyboard.type("local")
    keyboard.press("Enter")
    form.shows("What cells call it by")
    assert asked(notebook, "store.configs['local'].provider") == "ollama"
    form.field("Name").locator("input").focus()
    tab_to(notebook, "Base URL")
    keyboard.type("http://127.0.0.1:9")
    tab_to(notebook, "Test")
    keyboard.press("Enter")
    expect(form.root.locator(".orch-result .orch-error")).to_be_visible(timeout=WITHIN_MS)
    for pressed, where in (("Delete", "Keep"), ("Yes, delete", "Undo")):
        if focused(notebook) == "Keep":
            keyboard.press("Shift+Tab")
        tab_to(notebook, pressed)
        keyboard.press("Enter")
        eventually(lambda: focused(notebook), where.__eq__)
    form.shows("local was deleted.")
    keyboard.press("Enter")
    form.has("Base URL", "http://127.0.0.1:9")
    assert asked(notebook, "list(store.configs)") == ["local"]


def test_tab_goes_through_the_form_in_the_order_in_which_it_is_read(desk: Desk) -> None:
    notebook, form = desk.gpt_form()
    form.field("Provider").locator("select").focus()
    reached = []
    for _ in range(22):
        notebook.page.keyboard.press("Tab")
        reached.append(focused(notebook))
    order = [label for label in reached if label in ("Name", "API key", "Model", "Base URL", "Temperature")]
    assert order == ["Name", "API key", "Model", "Base URL", "Temperature"]
    assert "▸ Show advanced" in reached
    assert reached.index("▸ Show advanced") < reached.index("Test") < reached.index("Undo")
