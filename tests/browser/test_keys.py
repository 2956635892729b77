"""A key that is typed in a form is in no file that a notebook leaves behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.desk import KEY, WITHIN_MS, Desk, asked, begin, eventually, focused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Locator
    from testbed.jupyter import Lab, Notebook
    from testbed.secret_service import SecretService

    from tests.browser.desk import Form
    from tests.conftest import LabFactory

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

PASSPHRASE = "correct horse battery staple"
# Beyond doubt, unlike the one with words in it.
CERTAIN = "sk-proj-Ab1cdEf2ghIj3klMn4op0123456789"
CONTROL = "typed-into-a-plain-password-field"


@pytest.fixture(scope="module")
def lab(lab_factory: LabFactory, secret_service: SecretService) -> Lab:
    """One of its own: in the others, cells may have had a key in them, which IPython remembers."""
    return lab_factory(secret_service.environment)


@pytest.fixture(scope="module")
def lying() -> dict[str, Notebook]:
    """The notebooks of this one."""
    return {}


def files_with(text: str, folder: Path) -> list[str]:
    """Return the files below a folder that hold a text, however deep."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.name for path in found if text.encode() in path.read_bytes())


def plain_entry(notebook: Notebook) -> Locator:
    """Show a plain password field, which keeps what is typed."""
    notebook.run_code("import ipywidgets; plain = ipywidgets.Password(continuous_update=False); plain")
    return notebook.page.locator(".jp-OutputArea-output > .widget-text input[type=password]").last


def type_blindly(notebook: Notebook, entry: Locator) -> None:
    """Press where the entry is, or was, and type the key."""
    entry.evaluate("it => it.focus()")
    if entry.is_visible():
        entry.click(force=True)
    notebook.page.keyboard.type(KEY)
    notebook.page.keyboard.press("Enter")


def said_above(form: Form) -> str:
    """Return what the stylesheet says above a form."""
    said: str = form.root.evaluate("it => getComputedStyle(it, '::before').content")
    return said


@pytest.mark.keyring
def test_a_saved_notebook_holds_the_form_and_not_the_key(new_desk: Desk, lab: Lab) -> None:
    notebook, form = new_desk.gpt_form()
    form.write("API key", KEY)
    form.shows("Saved in the keyring")
    plain = plain_entry(notebook)
    plain.fill(CONTROL)
    plain.press("Tab")
    eventually(lambda: asked(notebook, "plain.value"), lambda found: found == CONTROL)
    saved = notebook.save().read_text()
    assert "gpt-5.4-mini" in saved
    assert CONTROL in saved
    assert KEY not in saved
    assert files_with(KEY, lab.folder.parent) == []
    assert files_with(KEY, new_desk.store.parent) == []


@pytest.mark.parametrize("leave_with", ["Enter", "Tab", ""])
def test_a_key_in_a_wrong_field_is_refused_and_not_saved_with_the_notebook(
    new_desk: Desk, leave_with: str
) -> None:
    notebook, form = new_desk.gpt_form()
    form.entry("Model").fill(CERTAIN)
    if leave_with:
        form.entry("Model").press(leave_with)
    form.shows("this is a key")
    form.has("Model", "")
    assert CERTAIN not in notebook.save().read_text()
    form.entry("Name").focus()
    form.has("Model", "")
    assert asked(notebook, "gpt.model") == "gpt-5.4-mini"


@pytest.mark.keyring
def test_while_a_cell_runs_no_key_can_be_typed_so_none_is_saved(new_desk: Desk, lab: Lab) -> None:
    notebook, form = new_desk.gpt_form()
    plain, entry = plain_entry(notebook), form.entry("API key")
    begin(notebook, "import time; time.sleep(8)")
    expect(entry).to_be_disabled(timeout=WITHIN_MS)
    expect(entry).to_have_attribute("placeholder", "available when the running cell has ended")
    type_blindly(notebook, entry)
    plain.fill(CONTROL)
    plain.press("Tab")
    saved = notebook.save().read_text()
    expect(entry).to_be_disabled()
    assert CONTROL in saved
    assert files_with(KEY, lab.folder.parent) == []
    expect(entry).to_be_enabled(timeout=WITHIN_MS)
    expect(entry).to_have_value("")
    form.write("API key", KEY)
    form.shows("Saved in the keyring")


def test_a_form_whose_kernel_was_restarted_takes_no_key(new_desk: Desk, lab: Lab) -> None:
    notebook, form = new_desk.gpt_form()
    entry = form.entry("API key")
    notebook.restart_kernel()
    expect(entry).to_be_hidden(timeout=WITHIN_MS)
    assert "Run the cell again." in said_above(form)
    type_blindly(notebook, form.root.locator(".orch-key input").first)
    notebook.save()
    assert files_with(KEY, lab.folder.parent) == []


def test_a_form_whose_kernel_was_shut_down_takes_no_key(new_desk: Desk, lab: Lab) -> None:
    notebook, form = new_desk.gpt_form()
    plain, entry = plain_entry(notebook), form.root.locator(".orch-key input").first
    session = "window.jupyterapp.shell.currentWidget.sessionContext"
    notebook.page.evaluate(f"{session}.shutdown()")
    expect(entry).to_be_hidden(timeout=WITHIN_MS)
    assert "Run the cell again." in said_above(form)
    type_blindly(notebook, entry)
    plain.fill(CONTROL)
    plain.press("Tab")
    assert CONTROL in notebook.save().read_text()
    assert files_with(KEY, lab.folder.parent) == []
    # The plain one complains that nobody hears it.
    assert ["Could not send" in complaint for complaint in notebook.console_errors] == [True]
    notebook.console_errors.clear()
    notebook.page.evaluate(f"{session}.changeKernel({{name: 'python3'}})")
    expect(entry).to_be_hidden(timeout=WITHIN_MS)


@pytest.fixture
def bare(lab_factory: LabFactory, tmp_path: Path) -> Iterator[Desk]:
    """Notebooks on a machine without any keyring."""
    lab = lab_factory({"ORCHSTATE_VAULT": str(tmp_path / "vault.json")})
    desk = Desk(lab, tmp_path / "store.db")
    yield desk
    desk.check_pages()
    desk.leave()


def write_passphrase(form: Form, label: str, text: str) -> None:
    """Write into one of the two entries, which are in one row."""
    entry = form.root.get_by_label(label, exact=True)
    entry.fill(text)
    entry.press("Enter")


def choose_passphrase(form: Form) -> None:
    write_passphrase(form, "Passphrase", PASSPHRASE)
    write_passphrase(form, "Repeat it", PASSPHRASE)


def test_without_a_keyring_the_vault_is_announced_and_opened_in_the_form(bare: Desk) -> None:
    notebook, form = bare.gpt_form()
    form.shows("The keyring of this machine cannot be used")
    form.write("API key", KEY)
    form.shows("Choose a passphrase for it, of at least 8 characters, and repeat it.")
    expect(form.root.get_by_role("button", name="Create vault")).to_be_visible()
    boxes = [form.entry(label).bounding_box() for label in ("Passphrase", "Name")]
    assert boxes[0] and boxes[1]
    assert abs(boxes[0]["width"] - boxes[1]["width"]) < 2
    write_passphrase(form, "Passphrase", "short")
    form.shows("a new vault needs at least 8")
    write_passphrase(form, "Passphrase", PASSPHRASE)
    eventually(lambda: focused(notebook), "Repeat it".__eq__)
    write_passphrase(form, "Repeat it", f"{PASSPHRASE}!")
    form.shows("The two passphrases are not the same")
    notebook.screenshot("form-vault", of=form.root)
    choose_passphrase(form)
    form.shows("Saved in the vault")
    assert asked(notebook, "gpt.api_key.get_secret_value() == " + repr(KEY)) is True
    assert files_with(KEY, bare.store.parent) == []
    saved = notebook.save().read_text()
    assert PASSPHRASE not in saved


def test_a_locked_vault_is_unlocked_in_the_form_after_a_restart(bare: Desk) -> None:
    notebook, form = bare.gpt_form()
    form.write("API key", KEY)
    form.shows("Choose a passphrase for it")
    choose_passphrase(form)
    form.shows("Saved in the vault")
    notebook.restart_kernel()
    notebook.run_all()
    form.shows("Type its passphrase to unlock it.")
    write_passphrase(form, "Passphrase", PASSPHRASE)
    form.shows("Saved in the vault")
    expect(form.root.get_by_text("(locked)")).to_have_count(0)


def test_a_key_that_does_not_come_back_with_its_config_is_told_of(desk: Desk) -> None:
    notebook, form = desk.gpt_form()
    form.write("API key", KEY)
    form.shows("Saved in the keyring")
    form.press("Delete")
    form.press("Yes, delete")
    form.shows("gpt was deleted.")
    form.press("Undo")
    form.shows("cannot come back; enter it again: api_key of gpt.")
    form.shows("Saved (revision")
    notebook.page.wait_for_timeout(1200)
    form.shows("cannot come back; enter it again: api_key of gpt.")


@pytest.mark.parametrize("way", ["restart", "shutdown"])
def test_a_form_whose_kernel_has_gone_asks_for_no_passphrase(bare: Desk, way: str) -> None:
    notebook, form = bare.gpt_form()
    form.write("API key", KEY)
    form.shows("Not saved: API key.")
    label = form.root.locator(".orch-passphrase .widget-label").first
    expect(label).to_be_visible()
    if way == "restart":
        notebook.restart_kernel()
    else:
        notebook.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    expect(label).to_be_hidden(timeout=WITHIN_MS)


def test_a_key_of_the_environment_is_offered_and_used_when_that_is_wanted(new_desk: Desk) -> None:
    notebook = new_desk.notebook(
        f"import os; os.environ['OPENAI_API_KEY'] = {KEY!r}",
        "store.form()",
    )
    page = notebook.page
    offer = page.get_by_role("button", name="OpenAI, with OPENAI_API_KEY from the environment")
    expect(offer).to_be_visible(timeout=WITHIN_MS)
    assert asked(notebook, "len(store.configs)") == 0
    offer.click()
    expect(page.get_by_text("From OPENAI_API_KEY (environment)")).to_be_visible(timeout=WITHIN_MS)
    assert asked(notebook, "store.configs['openai'].to_dict()['api_key']") == {
        "source": "env",
        "name": "OPENAI_API_KEY",
    }
