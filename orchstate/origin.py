"""Who is editing, and from which notebook and cell."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
import warnings
from contextvars import ContextVar
from functools import cache, lru_cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from orchstate.errors import OrchstateWarning
from orchstate.models.intent import Origin

if TYPE_CHECKING:
    from collections.abc import Iterator

# What may stand between a person's line and ours.
_OURS: Final = ("orchstate", "traitlets", "contextlib")
_place: Final[ContextVar[str | None]] = ContextVar("orchstate_place", default=None)


@cache
def user_name() -> str:
    """Return the name of the person who runs this process.

    In a container without such a name it is the number of the user.
    """
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def origin(actor: str) -> Origin:
    """Return the present origin of an edit by `actor`."""
    return _origin(actor, notebook_name(), _place.get() or cell())


@lru_cache(maxsize=64)
def _origin(actor: str, notebook: str, where: str) -> Origin:
    # Every edit asks, and from one cell they all come from the same place.
    return Origin(_printable(actor), _printable(notebook), _printable(where))


@contextlib.contextmanager
def place(text: str) -> Iterator[None]:
    """Have the edits of the block come from `text`, such as ``"[3] form"``, instead of the running cell."""
    token = _place.set(text)
    try:
        yield
    finally:
        _place.reset(token)


def notebook_name() -> str:
    """Return the path of the running notebook as its server knows it, the script's name, or ``""``."""
    # Looked for first, since every edit asks and a miss takes longer.
    path = os.environ["JPY_SESSION_NAME"] if "JPY_SESSION_NAME" in os.environ else ""
    running = shell()
    if not path and running is not None:
        path = str(running.user_ns.get("__vsc_ipynb_file__", ""))
    if not path and running is None and sys.argv and sys.argv[0] not in ("", "-c", "-m"):
        path = _script_name(sys.argv[0])
    return path


@cache
def _script_name(path: str) -> str:
    return PurePath(path).name


def cell() -> str:
    """Return the number of the running cell as notebooks show it, such as ``"[3]"``, or ``""``."""
    # The counter itself is raised before or after the cell runs, depending on the version of IPython.
    cells = _cells()
    return f"[{len(cells) - 1}]" if len(cells) > 1 else ""


def cell_source() -> str:
    """Return the text of the running cell, ``""`` outside IPython."""
    return _cells()[-1]


def _cells() -> list[str]:
    """Return the texts of all cells that ran, the running one last, behind an empty first one."""
    running = shell()
    cells = running.user_ns.get("In") if running is not None else None
    # People use such short names for things of their own.
    return cells if isinstance(cells, list) and cells and isinstance(cells[-1], str) else [""]


def warn(message: str) -> None:
    """Give an `OrchstateWarning` that points to the line outside this package that led to it."""
    frame, depth = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in _OURS:
        frame, depth = frame.f_back, depth + 1
    warnings.warn(message, OrchstateWarning, stacklevel=depth)


def _printable(text: str) -> str:
    # Paths may hold bytes that are no text; the history shows "?" for them.
    return text if text.isascii() else text.encode(errors="replace").decode()


def shell() -> Any:
    """Return the running IPython shell, None where there is none."""
    # Asked for only where it runs already: importing IPython takes longer than everything else here.
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None
