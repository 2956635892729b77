"""Text and HTML tell the same, and nothing shown can act on a page or a terminal."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from orchstate.display import Table, escaped, html_page, html_table, printable, text_page, text_table

HOSTILE = ["<script>alert(1)</script>", '" onmouseover="x', "a&b", "\x1b[31m", "\u202eabc", "<!--"]


class _Texts(HTMLParser):
    """Collects the tags, attributes and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_hostile_text_stays_text() -> None:
    found = _Texts(html_page("title", [Table(HOSTILE, [HOSTILE], HOSTILE[0])], HOSTILE))
    assert found.tags == {"div", "strong", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert found.attributes == {"class", "style"}
    assert set(map(printable, HOSTILE)) <= set(found.texts)


def test_colours_are_those_of_the_front_end() -> None:
    page = html_table(Table(("a",), [("b",)]))
    assert "var(--jp-ui-font-color1, inherit)" in page and "#" not in page


def test_a_table_without_rows_is_left_out() -> None:
    empty = Table(("a", "b"), [], "Heading")
    assert text_page("title", [empty]) == "title"
    assert "Heading" not in html_page("title", [empty])


def test_columns_are_aligned() -> None:
    assert text_table(Table(("a", "bb"), [("ccc", "d"), ("", "e")])).splitlines() == [
        "a    bb",
        "ccc  d",
        "     e",
    ]


@pytest.mark.parametrize("name", ["日本", "é", "e\u0301", "👩\u200d💻"])
def test_letters_are_as_wide_as_a_terminal_shows_them(name: str) -> None:
    first, second = text_table(Table((name, "|"), [("abcdef", "|")])).splitlines()
    width = {"日本": 4, "é": 1, "e\u0301": 1, "👩\u200d💻": 2}[name]
    assert first == name + " " * (6 - width) + "  |" and second == "abcdef  |"


@pytest.mark.parametrize("text", ["plain", "ünïcode", "日本", "👩\u200d💻", "a\u00a0b"])
def test_letters_of_all_scripts_are_shown(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize("char", ["\x00", "\x1b", "\n", "\u2028", "\u202e", "\u2066", "\ufeff", "\ud800"])
def test_what_nobody_sees_is_spelled_out(char: str) -> None:
    assert char not in printable(f"a{char}b") and printable(f"a{char}b").isascii()


def test_quotes_do_not_end_an_attribute() -> None:
    assert escaped("\"'") == "&quot;&#x27;"
