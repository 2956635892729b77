"""Ways through the widgets of a view, and a key that must not be found in any of them."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from orchstate.widgets.draft import DraftText
from orchstate.widgets.style import is_shown

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "sk-proj-abcdefghijklmnop0123456789"


def all_of(widget: Any) -> Iterator[Any]:
    """Give a widget and everything in it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from all_of(child)


def shown(widget: Any) -> Iterator[Any]:
    """Give what a person sees of a widget."""
    if is_shown(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from shown(child)


def words(widget: Any) -> str:
    """Return all HTML that a person sees of a widget, with its text as one reads it."""
    return html.unescape(" ".join(part.value for part in shown(widget) if type(part).__name__ == "HTML"))


def typed(entry: Any, text: str) -> None:
    """Have a text in an entry as the page does when a person types it, and has not done yet."""
    entry.set_state({"value": text})


def from_page(widget: Any, **state: Any) -> None:
    """Change a widget as the page does when a person has changed it, and left it."""
    widget.set_state(state)
    if isinstance(widget, DraftText):
        # An entry that is left tells its text once more.
        widget.set_state(state)
