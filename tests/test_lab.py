"""``orchstate lab``: JupyterLab is there, on the quickstart, and gone when it is ended."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest
from testbed.environment import clean

from orchstate.errors import OrchstateError
from orchstate.lab import COPY, quickstart

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "01_quickstart.ipynb"


class Lab:
    """A running ``orchstate lab``; its output is followed up to the line with the address."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        home = folder / "home"
        isolated = {f"JUPYTER_{name}_DIR": str(home / name) for name in ("CONFIG", "DATA", "RUNTIME")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchstate", "lab", f"--port={_free_port()}", *arguments],
            env=clean(home, **isolated, IPYTHONDIR=str(home / "ipython"), **environment),
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Whoever is started in the background of a shell ignores an interrupt, and so would we.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        self.log: list[str] = []
        self.address = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line)
            found = re.match(r"JupyterLab is at (\S+)", line)
            if found:
                self.address = found[1]
                return

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGTERM)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=60)
        return self.process.returncode, rest


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.mark.browser
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_serves_the_quickstart_until_it_is_ended(tmp_path: Path, number: int) -> None:
    with Lab(tmp_path, "--no-browser") as lab:
        assert f"/lab/tree/{COPY}?token=" in lab.address, "".join(lab.log)
        with urllib.request.urlopen(lab.address, timeout=60) as page:
            assert page.status == 200
        code, rest = lab.end(number)
    assert code == 0 and "Traceback" not in rest
    with pytest.raises(OSError):
        urllib.request.urlopen(lab.address, timeout=5)


@pytest.mark.browser
def test_arguments_behind_the_dashes_are_jupyterlabs(tmp_path: Path) -> None:
    with Lab(tmp_path, "--", "--ServerApp.base_url=/mine", "--IdentityProvider.token=") as lab:
        assert re.fullmatch(rf"http://localhost:\d+/mine/lab/tree/{COPY}", lab.address), "".join(lab.log)


@pytest.mark.browser
def test_jupyterlab_and_its_kernels_find_the_store_that_was_named(tmp_path: Path) -> None:
    with Lab(tmp_path, "--store", "mine.db", "--", "--IdentityProvider.token=") as lab:
        (jupyterlab,) = psutil.Process(lab.process.pid).children()
        assert jupyterlab.environ()["ORCHSTATE_STORE"] == str(tmp_path / "mine.db")


@pytest.mark.browser
def test_a_jupyterlab_that_somebody_else_ended_is_an_error(tmp_path: Path) -> None:
    with Lab(tmp_path, "--no-browser") as lab:
        (jupyterlab,) = psutil.Process(lab.process.pid).children()
        jupyterlab.kill()
        rest, _ = lab.process.communicate(timeout=60)
    assert lab.process.returncode == 1 and "orchstate: JupyterLab was ended by SIGKILL.\n" in rest


@pytest.mark.browser
def test_what_jupyterlab_does_not_understand_is_its_error(tmp_path: Path) -> None:
    with Lab(tmp_path, "--no-browser", "--", "--ServerApp.port=never") as lab:
        assert not lab.address and lab.process.wait(timeout=60) == 1


@pytest.mark.browser
def test_nothing_covers_the_form_at_the_first_start(tmp_path: Path) -> None:
    with Lab(tmp_path, "--no-browser", "--", "--IdentityProvider.token=") as lab:
        settings = lab.address.partition("/lab/tree")[0] + "/lab/api/settings/"
        url = f"{settings}@jupyterlab/apputils-extension:notification"
        with urllib.request.urlopen(url, timeout=60) as answer:
            schema = json.load(answer)["schema"]
    assert schema["properties"]["fetchNews"]["default"] == "false"
    assert not list((tmp_path / "home").rglob("*.jupyterlab-settings"))


_WITHOUT_JUPYTERLAB = """
import sys
sys.modules["jupyterlab"] = None
from orchstate.cli import main
sys.exit(main(["lab"]))
"""


def test_without_jupyterlab_the_pip_line_is_said(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WITHOUT_JUPYTERLAB]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and 'pip install "orchstate[lab]"' in done.stderr
    assert done.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


def test_in_a_checkout_the_notebook_itself_is_used(tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / NOTEBOOK.name).write_text("{}")
    assert quickstart(tmp_path) == Path("notebooks", NOTEBOOK.name)
    assert os.listdir(tmp_path) == ["notebooks"]


def test_elsewhere_a_copy_is_made_once(tmp_path: Path) -> None:
    assert quickstart(tmp_path) == Path(COPY)
    assert json.loads((tmp_path / COPY).read_text()) == json.loads(NOTEBOOK.read_text())
    (tmp_path / COPY).write_text("what I have written")
    quickstart(tmp_path)
    assert (tmp_path / COPY).read_text() == "what I have written"


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(
        OrchstateError, match=r"The quickstart cannot be copied to .*nowhere.*you may write in"
    ):
        quickstart(tmp_path / "nowhere")
