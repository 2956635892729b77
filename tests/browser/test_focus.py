"""Whoever uses the keyboard alone is never thrown back to the top of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.desk import KEY, WITHIN_MS, Desk, eventually, focused

if TYPE_CHECKING:
    from testbed.jupyter import Notebook

    from tests.browser.desk import Form

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def has_focus(notebook: Notebook, label: str) -> None:
    """Wait until the keyboard is somewhere, and see that it stays there."""
    eventually(lambda: focused(notebook), lambda found: found == label)
    notebook.page.wait_for_timeout(300)
    assert focused(notebook) == label


def press(form: Form, label: str) -> None:
    """Press a button with the keyboard."""
    button = form.root.get_by_role("button", name=label, exact=True).filter(visible=True).first
    button.focus()
    button.press("Enter")


def test_a_new_config_and_a_copy_of_it_begin_with_their_name(desk: Desk) -> None:
    notebook, form = desk.form()
    form.write("Name", "gpt")
    form.shows("What cells call it by")
    has_focus(notebook, "Name")
    form.has("Name", "gpt")
    press(form, "Duplicate")
    form.has("Name", "gpt 2")
    has_focus(notebook, "Name")
    press(form, "+ New")
    has_focus(notebook, "Provider")


def test_making_active_leaves_the_focus_there(desk: Desk) -> None:
    desk.gpt_form()
    notebook, form = desk.form(name="second.ipynb")
    press(form, "Make active")
    has_focus(notebook, "★ Active")


def test_testing_and_cancelling_is_one_button(desk: Desk) -> None:
    notebook, form = desk.gpt_form(base_url="http://127.0.0.1:9/v1")
    form.write("API key", KEY)
    form.shows("Saved in the keyring")
    press(form, "Test")
    expect(form.root.locator(".orch-result .orch-error")).to_be_visible(timeout=WITHIN_MS)
    has_focus(notebook, "Test")


def test_setting_a_field_back_goes_to_its_entry(desk: Desk) -> None:
    notebook, form = desk.gpt_form()
    press(form, "Temperature: back to not set")
    form.has("Temperature", "")
    has_focus(notebook, "Temperature")


def test_a_key_that_is_saved_can_be_replaced_next_and_a_removed_one_be_typed(desk: Desk) -> None:
    notebook, form = desk.gpt_form()
    form.write("API key", KEY)
    has_focus(notebook, "Replace")
    press(form, "Replace")
    has_focus(notebook, "API key")
    form.entry("API key").fill(f"{KEY}-2")
    press(form, "Save")
    has_focus(notebook, "Replace")
    press(form, "Remove")
    has_focus(notebook, "Keep")
    press(form, "Yes, remove")
    has_focus(notebook, "API key")


def test_leaving_a_typed_key_with_tab_keeps_the_place(desk: Desk) -> None:
    notebook, form = desk.gpt_form()
    form.write("API key", KEY, leave_with="Tab")
    form.shows("Saved in the keyring")
    has_focus(notebook, "Save")
    notebook.page.keyboard.press("Tab")
    has_focus(notebook, "Replace")
    expect(form.root.get_by_role("button", name="Save", exact=True)).to_be_hidden()


def test_after_a_deletion_it_can_be_undone_next(desk: Desk) -> None:
    notebook, form = desk.gpt_form()
    press(form, "Delete")
    has_focus(notebook, "Keep")
    press(form, "Yes, delete")
    form.shows("gpt was deleted.")
    has_focus(notebook, "Undo")
    notebook.page.keyboard.press("Enter")
    form.has("Temperature", "0.2")
    has_focus(notebook, "Undo")
