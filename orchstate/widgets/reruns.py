"""Views that a cell has shown, and that go when it runs again.

A cell that runs again gets new output, and the page drops the old; but the kernel is not
told, and would go on to serve views that nobody sees. So a view that was shown by an
earlier run of a cell, and nowhere else, is closed when that cell shows one anew.
Views inside other widgets, and front ends that do not say which cell runs, are left alone.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Final

from IPython import get_ipython

if TYPE_CHECKING:
    from orchstate.widgets.view import View

_shown: Final[weakref.WeakKeyDictionary[View, set[tuple[str, str]]]] = weakref.WeakKeyDictionary()


def note_shown(view: View) -> None:
    """Note that the running cell shows a view, and close those that its earlier runs have shown."""
    cell, run = _running()
    _shown.setdefault(view, set()).add((cell, run))
    if not cell:
        return
    for other, places in list(_shown.items()):
        if other is not view and {place for place, _ in places} == {cell} and (cell, run) not in places:
            other.close()


def _running() -> tuple[str, str]:
    """Return the id of the running cell and that of the request to run it, empty where nobody knows."""
    shell: Any = get_ipython()
    request = shell.get_parent() if hasattr(shell, "get_parent") else {}
    cell = request.get("metadata", {}).get("cellId", "")
    return cell, request.get("header", {}).get("msg_id", "")
