"""What all our widgets share: one stylesheet, one layout, one style per class of widgets.

ipywidgets gives every widget a layout and a style of its own, and each is a message to
the page and an object there. Ours look as the stylesheets say, so that they can share.
"""

from __future__ import annotations

from importlib import resources
from typing import Any, Final

from ipywidgets import HTML, Layout

from orchstate.display import html_style

_SHEETS: Final = ("theme.css", "rows.css", "forms.css", "store.css")
_HIDDEN: Final = "orch-hidden"
_shared: Final[dict[type, Any]] = {}
_style_classes: Final[dict[type, type[Any] | None]] = {}


def make(widget_class: type[Any], *css_classes: str, **traits: Any) -> Any:
    """Return a new widget that looks as the stylesheet says.

    Parameters
    ----------
    widget_class
        Which kind of widget.
    *css_classes
        What the stylesheet knows it by.
    **traits
        Its traits.
    """
    style_class = _style_class(widget_class)
    if style_class is not None:
        traits["style"] = _one(style_class)
    return widget_class(layout=_one(Layout), _dom_classes=css_classes, **traits)


def text(html: str = "", *css_classes: str) -> Any:
    """Return a widget that shows HTML, which has to come from :mod:`orchstate.display`."""
    return make(HTML, *css_classes, value=html)


def stylesheet() -> Any:
    """Return the widget that brings the stylesheet; every view has it among its children."""
    sheet = _shared.get(HTML)
    if sheet is None or sheet.comm is None:
        sheet = _shared[HTML] = text(html_style(css()), "orch-stylesheet")
    return sheet


def css() -> str:
    """Return how all views look, as the text of one stylesheet."""
    folder = resources.files(__package__)
    return "\n".join(folder.joinpath(name).read_text("utf-8") for name in _SHEETS)


def mark(widget: Any, css_class: str, is_on: bool) -> None:
    """Give a widget a CSS class, or take it away; nothing is sent when that is so already."""
    if is_on:
        widget.add_class(css_class)
    else:
        widget.remove_class(css_class)


def show(widget: Any, is_shown: bool = True) -> None:
    """Show or hide a widget; a hidden one cannot be reached with the keyboard either."""
    mark(widget, _HIDDEN, not is_shown)


def is_shown(widget: Any) -> bool:
    """Whether :func:`show` has not hidden the widget."""
    return _HIDDEN not in widget._dom_classes


def focus_when_shown(widget: Any) -> None:
    """Give a widget that no page shows yet the focus as soon as one does; until then it cannot have it."""

    def look(change: Any) -> None:
        if change.new:
            widget.unobserve(look, "_view_count")
            widget._view_count = None
            widget.focus()

    widget._view_count = 0
    widget.observe(look, "_view_count")


def _one(widget_class: type[Any]) -> Any:
    """Return the one widget of this class that all others share."""
    widget = _shared.get(widget_class)
    # Widget.close_all() closes it behind our back.
    if widget is None or widget.comm is None:
        widget = _shared[widget_class] = widget_class()
    return widget


def _style_class(widget_class: type[Any]) -> type[Any] | None:
    """Return the class of the styles of a class of widgets, None for widgets without one."""
    if widget_class not in _style_classes:
        trait = widget_class.class_traits().get("style")
        if trait is not None:
            trait._resolve_classes()
        _style_classes[widget_class] = trait.klass if trait is not None else None
    return _style_classes[widget_class]
