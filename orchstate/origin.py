"""Who is editing, and from which notebook and cell."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
from contextvars import ContextVar
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from orchstate.models.intent import Origin

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    return Origin(actor, notebook_name(), _place.get() or cell())


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
    path = os.environ.get("JPY_SESSION_NAME") or ""
    shell = _shell()
    if not path and shell is not None:
        path = str(shell.user_ns.get("__vsc_ipynb_file__", ""))
    if not path and shell is None and sys.argv and sys.argv[0] not in ("", "-c", "-m"):
        path = PurePath(sys.argv[0]).name
    return path


def cell() -> str:
    """Return the number of the running cell as notebooks show it, such as ``"[3]"``, or ``""``."""
    shell = _shell()
    return f"[{shell.execution_count}]" if shell is not None else ""


def cell_source() -> str:
    """Return the text of the running cell, ``""`` outside IPython."""
    shell = _shell()
    cells: list[str] = shell.user_ns.get("In", []) if shell is not None else []
    return cells[-1] if cells else ""


def _shell() -> Any:
    # Asked for only where it runs already: importing IPython takes longer than everything else here.
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None
