"""JupyterLab as a person sees it: a real server, real kernels, a real page.

Clicking and waiting for a busy dot is a race, so everything except what a test is
about goes through the page's own application object and its promises.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from testbed.chromium import Chromium
from testbed.environment import clean
from testbed.process import TESTS, Guarded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from playwright.sync_api import BrowserContext, JSHandle, Locator, Page

ARTIFACTS: Final = TESTS.parent / "artifacts"
_LOCAL_HOSTS: Final = ("127.0.0.1", "localhost")
_SETTINGS: Final = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    # So that a test of the saved file sees the worst case.
    "@jupyter-widgets/jupyterlab-manager:plugin": {"saveState": True},
    # Every cell stays in the page, also one that is scrolled out of view.
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}
_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")
_OPEN: Final = """async path => {
    const app = window.jupyterapp;
    await app.restored;
    const panel = await app.commands.execute('docmanager:open', {path});
    await panel.context.ready;
    await panel.revealed;
    await panel.sessionContext.ready;
    await panel.sessionContext.session.kernel.info;
    app.shell.collapseLeft();
    return panel;
}"""
_RUN_ALL: Final = """async panel => {
    await window.jupyterapp.commands.execute('notebook:run-all-cells');
    return panel.content.widgets.map(cell => cell.model.outputs ? cell.model.outputs.toJSON() : []);
}"""
_RUN: Final = """async (panel, index) => {
    panel.content.deselectAll();
    panel.content.activeCellIndex = index;
    await window.jupyterapp.commands.execute('notebook:run-cell');
    return panel.content.widgets[index].model.outputs.toJSON();
}"""
_ADD: Final = """(panel, source) => {
    const model = panel.content.model.sharedModel;
    model.insertCell(model.cells.length, {cell_type: 'code', source});
    return model.cells.length - 1;
}"""
_REPLACE: Final = """(panel, sources) => {
    const model = panel.content.model.sharedModel, count = model.cells.length;
    for (const source of sources) model.insertCell(model.cells.length, {cell_type: 'code', source});
    model.deleteCellRange(0, count);
}"""
_RESTART: Final = """async panel => {
    const kernel = panel.sessionContext.session.kernel;
    await kernel.restart();
    await kernel.requestKernelInfo();
}"""
_SHUT_DOWN: Final = "panel => panel.sessionContext.shutdown()"
_SAVE: Final = "panel => window.jupyterapp.commands.execute('docmanager:save')"
_SET_THEME: Final = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"
_HAS_THEME: Final = "theme => document.body.dataset.jpThemeName === theme"
# It covers the page while it starts and while the theme changes, and fades away slowly.
_HAS_NO_SPLASH: Final = "document.getElementById('jupyterlab-splash') === null"


def document(cells: Sequence[str]) -> dict[str, Any]:
    """Return the content of a notebook file with these code cells, not yet run."""
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{number}",
                "metadata": {},
                "source": text,
                "execution_count": None,
                "outputs": [],
            }
            for number, text in enumerate(cells)
        ],
    }


class CellError(AssertionError):
    """A cell raised; the message is its traceback."""


class Lab:
    """A running JupyterLab with its own configuration, data and settings; a context manager.

    Parameters
    ----------
    environment
        What the kernels are to find in their environment beside what every program
        needs, such as ``secret_service.environment`` or ``ORCHSTATE_STORE``.
    settings
        Further settings of JupyterLab, by plugin.
    chromium
        The browser; None starts one for this lab alone.

    Attributes
    ----------
    folder
        Where the notebooks are, and the kernels' working directory.
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        *,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        chromium: Chromium | None = None,
    ) -> None:
        self._given = dict(environment or {})
        self._settings = {**_SETTINGS, **(settings or {})}
        self._chromium = chromium
        self._token = secrets.token_hex(16)
        self._notebooks: list[Notebook] = []

    def __enter__(self) -> Lab:
        with contextlib.ExitStack() as stack:
            self._root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="testbed-lab-")))
            self.folder = self._root / "work"
            self.folder.mkdir()
            self._server = self._start()
            stack.callback(self._server.end)
            self._chromium = self._chromium or stack.enter_context(Chromium())
            stack.callback(self._close_notebooks)
            self._address = self._server.wait_for(self._look, timeout_seconds=60, what="its address")
            self._running = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the pages, then end the server and its kernels; harmless when that is done already."""
        self._running.close()

    @property
    def log(self) -> str:
        """What the server and the kernels have written so far."""
        return self._server.log

    def notebook(self, cells: Sequence[str] = (), *, name: str = "notebook.ipynb") -> Notebook:
        """Write a notebook file of these code cells and open it in a page of its own."""
        path = self.folder / name
        path.write_text(json.dumps(document(cells)))
        return self._open(path)

    def open(self, source: Path) -> Notebook:
        """Open a copy of an existing notebook file in a page of its own."""
        return self._open(Path(shutil.copy(source, self.folder)))

    def _open(self, path: Path) -> Notebook:
        if self._chromium is None:
            raise RuntimeError("The lab is not running: use it in a with statement.")
        # A workspace of its own, or the page would show what the last one had open.
        url = f"{self._address}/lab/workspaces/page-{len(self._notebooks)}?token={self._token}"
        notebook = Notebook(self._chromium.context(), url, path)
        self._notebooks.append(notebook)
        notebook.load()
        return notebook

    def _close_notebooks(self) -> None:
        for notebook in self._notebooks:
            notebook.close()

    def _start(self) -> Guarded:
        folders = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        own = {variable: str(self._root / name) for variable, name in folders.items()}
        application = self._root / "application"
        application.mkdir()
        (application / "overrides.json").write_text(json.dumps(self._settings))
        return Guarded(
            # -P, or files beside the notebooks would shadow the server's own modules.
            [sys.executable, "-P", "-m", "jupyterlab", *self._options(application)],
            environment={**clean(self._root / "home"), **self._given, **own},
            log=self._root / "log",
            folder=self.folder,
        )

    def _options(self, application: Path) -> list[str]:
        return [
            "--no-browser",
            "--allow-root",
            "--expose-app-in-browser",
            "--ip=127.0.0.1",
            f"--port={_free_port()}",
            f"--IdentityProvider.token={self._token}",
            f"--ServerApp.root_dir={self.folder}",
            f"--LabServerApp.app_settings_dir={application}",
            # These two ask package registries otherwise.
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            "--LabApp.extension_manager=readonly",
        ]

    def _look(self) -> str | None:
        # The server takes another port when ours is gone meanwhile, and writes down which.
        for path in (self._root / "runtime").glob("jpserver-*.json"):
            with contextlib.suppress(ValueError):
                return f"http://127.0.0.1:{json.loads(path.read_text())['port']}"
        return None


class Notebook:
    """One notebook, open in a page of its own, with its kernel ready.

    Attributes
    ----------
    page
        Playwright's page, for doing and looking as a person would.
    path
        The notebook file.
    console_errors
        What the page wrote to its console as an error, and uncaught exceptions.
    foreign_requests
        URLs asked of any host but this one; none of them was reached.
    """

    def __init__(self, context: BrowserContext, url: str, path: Path) -> None:
        self.path = path
        self.console_errors: list[str] = []
        self.foreign_requests: list[str] = []
        self._context = context
        self._url = url
        self._panel: JSHandle | None = None
        self.page: Page = context.new_page()
        self.page.on("console", lambda message: self._note_console(message.type, message.text))
        self.page.on("pageerror", lambda error: self.console_errors.append(str(error)))
        self.page.on("request", lambda request: self._note_request(request.url))
        self.page.on("websocket", lambda socket: self._note_request(socket.url))

    def load(self) -> None:
        """Load the page, again if need be, and wait for session and kernel."""
        self.page.goto(self._url)
        self.page.wait_for_function("window.jupyterapp !== undefined")
        self._panel = self.page.evaluate_handle(_limited(_OPEN, 60), self.path.name)
        self.page.wait_for_function(_HAS_NO_SPLASH)

    def run_all(self, *, check: bool = True, timeout_seconds: float = 60) -> list[str]:
        """Run all cells and return the output of each as text, once the kernel is idle.

        Raises
        ------
        CellError
            If a cell raises and `check` is true.
        """
        outputs = self._evaluate(_RUN_ALL, timeout_seconds=timeout_seconds)
        return [_text(cell, check=check) for cell in outputs]

    def run(self, index: int, *, check: bool = True, timeout_seconds: float = 60) -> str:
        """Run the cell with this number and return its output as text, once the kernel is idle.

        Raises
        ------
        CellError
            If the cell raises and `check` is true.
        """
        return _text(self._evaluate(_RUN, index, timeout_seconds=timeout_seconds), check=check)

    def run_code(self, text: str, *, check: bool = True, timeout_seconds: float = 60) -> str:
        """Add a cell at the end and run it; as `run`."""
        return self.run(self._evaluate(_ADD, text), check=check, timeout_seconds=timeout_seconds)

    def replace(self, cells: Sequence[str]) -> None:
        """Have these cells, not yet run, instead of all that there are; the kernel goes on."""
        self._evaluate(_REPLACE, list(cells))

    def cell(self, index: int) -> Locator:
        """Return what is on the page of the cell with this number, -1 for the last."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def restart_kernel(self) -> None:
        """Restart the kernel and wait until it answers."""
        self._evaluate(_RESTART)

    def save(self) -> Path:
        """Save as Ctrl+S does, widget state included, and return the file."""
        self._evaluate(_SAVE)
        return self.path

    def set_theme(self, theme: str) -> None:
        """Change to ``"JupyterLab Dark"`` or ``"JupyterLab Light"``; later pages of this lab keep it."""
        self.page.evaluate(_limited(_SET_THEME, 30), theme)
        self.page.wait_for_function(_HAS_THEME, arg=theme)
        self.page.wait_for_function(_HAS_NO_SPLASH)

    def screenshot(self, name: str, *, of: Locator | None = None) -> Path:
        """Write a picture of the page, or of one thing on it, to ``artifacts/`` and return the file."""
        ARTIFACTS.mkdir(exist_ok=True)
        path = ARTIFACTS / f"{name}.png"
        (of or self.page).screenshot(path=path)
        return path

    def clear_complaints(self) -> None:
        """Forget the errors and requests so far."""
        self.console_errors.clear()
        self.foreign_requests.clear()

    def close(self) -> None:
        """Close the page, as one closes a browser tab: the kernel goes on."""
        self._context.close()

    def end(self) -> None:
        """End the kernel, if it is there still, and close the page."""
        from playwright.sync_api import Error

        with contextlib.suppress(Error):
            self._evaluate(_SHUT_DOWN)
        self.close()

    def _evaluate(self, script: str, value: Any = None, *, timeout_seconds: float = 60) -> Any:
        if self._panel is None:
            raise RuntimeError("The notebook is not open: call load() first.")
        return self._panel.evaluate(_limited(script, timeout_seconds), value)

    def _note_console(self, kind: str, text: str) -> None:
        # JupyterLab says the latter of its own messages when a kernel is restarted.
        if kind == "error" and "Canceled future for" not in text:
            self.console_errors.append(text)

    def _note_request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in _LOCAL_HOSTS:
            self.foreign_requests.append(url)


def _limited(script: str, seconds: float) -> str:
    """Return the script with a time limit, which Playwright's `evaluate` does not have."""
    return f"""(...given) => Promise.race([
        ({script})(...given),
        new Promise((_, fail) => setTimeout(
            () => fail(new Error('not done within {seconds:g} s')), {seconds * 1000:.0f})),
    ])"""


def _text(outputs: Sequence[Mapping[str, Any]], *, check: bool) -> str:
    """Return a cell's outputs as one reads them."""
    errors = [output for output in outputs if output["output_type"] == "error"]
    if errors and check:
        raise CellError(_plain(errors[0]))
    return "".join(map(_plain, outputs))


def _plain(output: Mapping[str, Any]) -> str:
    if output["output_type"] == "stream":
        return _joined(output["text"])
    if output["output_type"] == "error":
        return _ANSI.sub("", "\n".join(output["traceback"]))
    return _joined(output["data"].get("text/plain", ""))


def _joined(text: str | Sequence[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
