from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ipywidgets import Button, Text, Widget

import orchstate.widgets
from orchstate.widgets.style import css, is_shown, make, mark, show, stylesheet, text
from orchstate.widgets.view import View
from tests.widgets.tree import all_of

CSS = css()


def test_widgets_share_their_layout_and_style() -> None:
    one, other = make(Text), make(Text)
    assert one.layout is other.layout
    assert one.style is other.style


def test_what_is_shared_is_made_anew_after_all_widgets_were_closed() -> None:
    before = make(Button)
    Widget.close_all()
    after = make(Button)
    assert after.layout.comm is not None
    assert after.style is not before.style
    assert stylesheet().comm is not None


def test_there_is_one_stylesheet_for_all_views() -> None:
    one, other = View("one"), View("other")
    one.fill()
    other.fill()
    assert one.children[0] is other.children[0] is stylesheet()


def test_closing_a_view_leaves_the_stylesheet_to_the_others() -> None:
    view = View("one")
    view.fill(make(Text))
    inside = list(all_of(view))[-1]
    view.close()
    view.close()
    assert inside.comm is None
    assert stylesheet().comm is not None


def test_a_view_has_a_layout_of_its_own() -> None:
    one, other = View("one"), View("other")
    one.layout.width = "50%"
    assert other.layout.width == "100%"


def test_a_widget_can_be_hidden_and_shown() -> None:
    widget = text("x")
    show(widget, False)
    assert not is_shown(widget)
    show(widget)
    assert is_shown(widget)


def test_marking_what_is_marked_sends_nothing(sent: list[dict[str, Any]]) -> None:
    widget = text("x", "marked")
    sent.clear()
    mark(widget, "marked", True)
    mark(widget, "other", False)
    assert sent == []


def test_the_stylesheet_speaks_of_no_class_that_is_not_used() -> None:
    folder = Path(orchstate.widgets.__file__).parent
    code = " ".join(path.read_text("utf-8") for path in folder.glob("*.py"))
    code += (folder.parent / "display.py").read_text("utf-8")
    levels = {f"orch-{level}" for level in ("hint", "ok", "busy", "warning", "error")}
    in_code = set(re.findall(r"\borch-[a-z-]*[a-z]\b", code)) | levels
    in_css = set(re.findall(r"\.(orch-[a-z-]+)", CSS))
    assert in_css - in_code == set()


def test_every_stylesheet_is_used_and_of_a_readable_length() -> None:
    sheets = [path.read_text("utf-8") for path in Path(orchstate.widgets.__file__).parent.glob("*.css")]
    assert all(sheet in CSS for sheet in sheets)
    assert max(sheet.count("\n") for sheet in sheets) <= 400


def test_no_address_of_anybody_is_in_the_stylesheet() -> None:
    assert not re.search(r"url\(|@import|//", CSS)


@pytest.mark.parametrize("colour", ["color", "background", "border-color", "outline"])
def test_colours_are_those_of_the_front_end(colour: str) -> None:
    values = re.findall(rf"(?<!-){colour}:\s*([^;]+);", CSS)
    plain = ("transparent", "none", "none !important", "currentColor")
    assert values
    assert [value for value in values if "var(--" not in value and value not in plain] == []
