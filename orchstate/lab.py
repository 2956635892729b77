"""``orchstate lab``: JupyterLab on the quickstart notebook, on a desktop and in a container alike."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.parse
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchstate.errors import MissingExtraError, NotFoundError, OrchstateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from importlib.resources.abc import Traversable

QUICKSTART: Final = "01_quickstart.ipynb"
COPY: Final = "orchstate_quickstart.ipynb"
# A folder for JUPYTER_CONFIG_PATH.
_CONFIG: Final = "jupyter"
_POLL_S: Final = 0.1
# Longer than JupyterLab takes to end its kernels.
_END_S: Final = 15.0


def lab(*, port: int | None, browser: bool, extra: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run JupyterLab in the current folder until it ends or is interrupted; returns its exit code.

    An interrupt is the usual end, so it is no error; SIGTERM and SIGHUP are as good.

    Parameters
    ----------
    port
        Port to listen on, None for the first free one from 8888.
    browser
        Whether to open a browser, where there is a display.
    extra
        Further arguments for JupyterLab.
    environment
        Environment of JupyterLab and its kernels.

    Raises
    ------
    MissingExtraError
        If JupyterLab is not installed.
    OrchstateError
        If the notebook cannot be put into the current folder, or somebody else killed JupyterLab.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise MissingExtraError.of("jupyterlab", extra="lab", purpose="orchstate lab")
    folder = Path.cwd()
    page = f"lab/tree/{urllib.parse.quote(quickstart(folder).as_posix())}"
    command = _command(folder, page, port, browser and _has_display(), extra)
    environment = _without_news(environment)
    with _told_to_end():
        # A process group of its own, so that Ctrl-C comes to us alone: JupyterLab would ask back.
        server = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, process_group=0)  # noqa: S603
        try:
            _announce(server, page)
            code = server.wait()
        except KeyboardInterrupt:
            # The usual end.
            return 0
        finally:
            _end(server)
    if code < 0:
        raise OrchstateError(f"JupyterLab was ended by {_signal_name(-code)}.")
    return code


def quickstart(folder: Path) -> Path:
    """Return the quickstart notebook in a folder, copied there if need be, relative to it.

    A checkout's own notebook is used as it is; a copy that exists is kept, with what was
    written into it.

    Raises
    ------
    OrchstateError
        If it cannot be copied.
    """
    own = Path("notebooks", QUICKSTART)
    if (folder / own).is_file():
        return own
    target = folder / COPY
    try:
        with contextlib.suppress(FileExistsError), target.open("xb") as copy:
            copy.write(_packaged().read_bytes())
    except OSError as error:
        raise OrchstateError(
            f"The quickstart cannot be copied to {str(target)!r}: {error.strerror}. "
            "Run orchstate lab in a folder you may write in."
        ) from error
    return Path(COPY)


def _packaged() -> Traversable:
    package = resources.files("orchstate")
    # In an editable installation the notebooks stay beside the package.
    for folder in (package / "notebooks", Path(str(package)).parent / "notebooks"):
        if (folder / QUICKSTART).is_file():
            return folder / QUICKSTART
    raise NotFoundError("This installation of orchstate has no quickstart notebook. Install it again.")


def _command(folder: Path, page: str, port: int | None, browser: bool, extra: Sequence[str]) -> list[str]:
    # -P: without it the current folder is searched first, and a file rich.py there would be imported.
    command = [sys.executable, "-P", "-m", "jupyterlab", f"--ServerApp.root_dir={folder}"]
    command.append(f"--LabApp.default_url=/{page}")
    command += [f"--port={port}"] if port is not None else []
    command += [] if browser else ["--no-browser"]
    command += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return [*command, *extra]


def _without_news(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which JupyterLab does not ask at its first start, over the form, about news.

    Only the usual setting is another: whoever has set it keeps theirs, and no file of theirs is touched.
    """
    folders = [environment.get("JUPYTER_CONFIG_PATH", ""), str(resources.files("orchstate") / _CONFIG)]
    return {**environment, "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, folders))}


def _has_display() -> bool:
    if sys.platform != "linux":
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _announce(server: subprocess.Popen[bytes], page: str) -> None:
    """Print where JupyterLab is, as soon as it listens."""
    while server.poll() is None:
        found = _try_running(server.pid)
        if found and _listens(found["url"]):
            token = f"?{urllib.parse.urlencode({'token': found['token']})}" if found.get("token") else ""
            print(f"\nJupyterLab is at {found['url']}{page}{token}\nCtrl-C ends it.\n", flush=True)
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(_POLL_S)


def _try_running(pid: int) -> dict[str, Any] | None:
    from jupyter_core.paths import jupyter_runtime_dir

    try:
        found = json.loads(Path(jupyter_runtime_dir(), f"jpserver-{pid}.json").read_text())
    except (OSError, ValueError):
        # Not there yet, or only half written.
        return None
    return found if isinstance(found, dict) and found.get("url") else None


def _listens(url: str) -> bool:
    # JupyterLab says where it will be a moment before it is there.
    address = urllib.parse.urlsplit(url)
    try:
        socket.create_connection((address.hostname or "", address.port or 0), timeout=1).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _told_to_end() -> Iterator[None]:
    """Raise a KeyboardInterrupt in whatever way a terminal, or a system, tells this process to end."""
    asked_to_end = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, _interrupt) for number in asked_to_end}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        # Those for real time have no names.
        return f"signal {number}"


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server, if it still runs, and wait until it is gone."""
    server.terminate()
    try:
        server.wait(_END_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        server.kill()
        server.wait()
