"""What a person does at a form, and what they see of it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect
from testbed.kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Locator
    from testbed.jupyter import Lab, Notebook

KEY = "sk-proj-typed-by-a-person-0123456789"
WITHIN_MS = 10_000
_FOCUSED = """() => {
    const here = document.activeElement;
    if (here === document.body) return 'nothing';
    const label = here.closest('.widget-inline-hbox')?.querySelector('.widget-label');
    return label?.textContent || here.textContent.trim() || here.title;
}"""


class Desk:
    """Some notebooks on one store.

    Parameters
    ----------
    lab
        Where they are opened.
    store
        Path of the store.
    lying
        Notebooks by name that were used before, with their pages and kernels, and may be used again,
        as those which are opened here; None for new ones that are closed in the end.
    """

    def __init__(self, lab: Lab, store: Path, lying: dict[str, Notebook] | None = None) -> None:
        self.lab = lab
        self.store = store
        self.notebooks: list[Notebook] = []
        self._lying = lying
        self._names: dict[Notebook, str] = {}
        self._others: list[Kernel] = []

    def elsewhere(self) -> Kernel:
        """Return another process that has the store and `gpt`, without a page; no notebook, but quicker."""
        opening = f"import orchstate; store = orchstate.open({str(self.store)!r}); gpt = store.configs['gpt']"
        self._others.append(Kernel(opening))
        return self._others[-1]

    def notebook(self, *cells: str, name: str = "first.ipynb") -> Notebook:
        """Open a notebook with the store and these cells, and run it."""
        cells = (f"import orchstate as orch\nstore = orch.open({str(self.store)!r})", *cells)
        if self._lying and name in self._lying:
            notebook = self._lying.pop(name)
            notebook.clear_complaints()
            notebook.replace(cells)
        else:
            # A name of its own, because a notebook of the same name would get the kernel of the last one.
            notebook = self.lab.notebook(cells, name=f"{self.store.parent.name}-{name}")
        self.notebooks.append(notebook)
        self._names[notebook] = name
        notebook.run_all()
        return notebook

    def form(self, *, name: str = "first.ipynb") -> tuple[Notebook, Form]:
        """Open a notebook with the form of the store."""
        notebook = self.notebook("store.form()", name=name)
        return notebook, Form(notebook.page.locator(".orch-store").first)

    def gpt_form(self, *, name: str = "first.ipynb", **values: Any) -> tuple[Notebook, Form]:
        """Open a notebook with a config and its form."""
        given = {"model": "gpt-5.4-mini", "temperature": 0.2, **values}
        config = f"gpt = store.configs.upsert('gpt', 'openai', **{given})"
        notebook = self.notebook(config, "gpt.form()", name=name)
        return notebook, Form(notebook.page.locator(".orch-form").first)

    def check_pages(self) -> None:
        """Fail if a page has complained, or asked another host for something."""
        for notebook in self.notebooks:
            assert notebook.console_errors == [], notebook.console_errors
            assert notebook.foreign_requests == [], notebook.foreign_requests

    def leave(self, *, is_tidy: bool = True) -> None:
        """Close the store everywhere, and the pages unless they are used again, which only tidy ones are."""
        for other in self._others:
            other.kill()
        for notebook in self.notebooks:
            notebook.run_code("import ipywidgets; ipywidgets.Widget.close_all(); store.close()", check=False)
            if self._lying is None or not is_tidy:
                notebook.end()
            else:
                self._lying[self._names[notebook]] = notebook


class Form:
    """A form on a page.

    Parameters
    ----------
    root
        Where it is.
    """

    def __init__(self, root: Locator) -> None:
        self.root = root
        expect(root).to_be_visible(timeout=WITHIN_MS)

    def field(self, label: str) -> Locator:
        """Return the row of a field by its label."""
        has_label = self.root.page.locator(".widget-label", has_text=label)
        return self.root.locator(".orch-row", has=has_label).filter(visible=True).first

    def entry(self, label: str) -> Locator:
        """Return where the value of a field is written."""
        return self.field(label).locator("input:visible, textarea:visible").last

    def handle(self, label: str) -> Locator:
        """Return the handle of a field's slider."""
        return self.field(label).locator(".noUi-handle")

    def write(self, label: str, text: str, *, leave_with: str = "Enter") -> None:
        """Write a value and press a key."""
        self.entry(label).fill(text)
        self.entry(label).press(leave_with)

    def press(self, label: str) -> None:
        """Press a button."""
        self.root.get_by_role("button", name=label, exact=True).filter(visible=True).first.click()

    def drag(self, label: str, share: float, *, movements: int = 25) -> None:
        """Drag the handle of a slider to a share of its length, in many small movements."""
        track = self.field(label).locator(".noUi-base").bounding_box()
        grip = self.handle(label).bounding_box()
        assert track and grip
        mouse, y = self.root.page.mouse, grip["y"] + grip["height"] / 2
        mouse.move(grip["x"] + grip["width"] / 2, y)
        mouse.down()
        mouse.move(track["x"] + track["width"] * share, y, steps=movements)
        mouse.up()

    def shows(self, text: str) -> None:
        """Wait until the form says something."""
        expect(self.root.get_by_text(text).filter(visible=True).first).to_be_visible(timeout=WITHIN_MS)

    def has(self, label: str, value: str) -> None:
        """Wait until a field has a value."""
        expect(self.entry(label)).to_have_value(value, timeout=WITHIN_MS)


def eventually(look: Callable[[], Any], is_right: Callable[[Any], bool]) -> Any:
    """Return what is found once it is right; fail if that takes too long."""
    deadline = time.monotonic() + WITHIN_MS / 1000
    while not is_right(found := look()):
        assert time.monotonic() < deadline, f"still {found!r}"
        time.sleep(0.05)
    return found


def asked(notebook: Notebook, expression: str) -> Any:
    """Return the value of an expression in a notebook's kernel."""
    return json.loads(notebook.run_code(f"import json; print(json.dumps({expression}))"))


def focused(notebook: Notebook) -> str:
    """Return what the keyboard is at: the label of an entry, the text of a button, or ``"nothing"``."""
    label: str = notebook.page.evaluate(_FOCUSED)
    return label


def tab_to(notebook: Notebook, label: str) -> None:
    """Press Tab until the keyboard is there."""
    for _ in range(60):
        if focused(notebook) == label:
            return
        notebook.page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to {label!r}.")


def begin(notebook: Notebook, code: str) -> None:
    """Begin to run a cell, and do not wait for its end."""
    kernel = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel"
    notebook.page.evaluate(f"code => {{ {kernel}.requestExecute({{code}}); }}", code)
