"""Plain data to text and to HTML: the only file that writes HTML.

HTML adds layout and no facts: whatever is shown in a notebook is also there as text. All
text is escaped here, and characters that would act on a terminal or turn a line around
are shown as what they are. Colours are those of the front end (``--jp-*`` variables), so
light and dark both look right; where there are none, those of the page are inherited.
"""

from __future__ import annotations

import html
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# They join letters and emoji, so names cannot do without them; everything else of their kind is shown.
_JOINERS: Final = "\u200c\u200d"
_SPACE: Final = "  "
_BORDER: Final = "1px solid var(--jp-border-color2, rgba(128, 128, 128, 0.4))"
_MUTED: Final = "color: var(--jp-ui-font-color2, inherit)"
# Every cell has it, so it is short.
_CELL: Final = "padding:2px 16px 2px 0;text-align:left;vertical-align:top"

Level = Literal["hint", "ok", "busy", "warning", "error"]
"""How a sentence is meant; the stylesheet of the forms has a look for each."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a heading.

    Parameters
    ----------
    columns
        Names of the columns.
    rows
        One text per column.
    heading
        One line above it, ``""`` for none.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    heading: str = ""


def text_page(title: str, tables: Iterable[Table], notes: Iterable[str] = ()) -> str:
    """Return a title, notes and tables as lines of text; what is empty is left out.

    Examples
    --------
    >>> print(text_page("Two configs", [Table(("name", "model"), [("gpt", "gpt-5.4"), ("o", "")])]))
    Two configs
    <BLANKLINE>
    name  model
    gpt   gpt-5.4
    o
    """
    parts = [printable(title), *map(printable, notes)]
    for table in tables:
        if table.rows:
            parts += ["", *([printable(table.heading)] if table.heading else []), text_table(table)]
    return "\n".join(parts)


def html_page(title: str, tables: Iterable[Table], notes: Iterable[str] = ()) -> str:
    """Return what :func:`text_page` does as HTML.

    Examples
    --------
    >>> html_page("a < b", [])
    '<div class="orchstate"><div><strong>a &lt; b</strong></div></div>'
    """
    parts = [f"<div><strong>{escaped(title)}</strong></div>"]
    parts += [f'<div style="{_MUTED}">{escaped(note)}</div>' for note in notes]
    parts += [html_table(table) for table in tables if table.rows]
    return f'<div class="orchstate">{"".join(parts)}</div>'


def text_table(table: Table) -> str:
    """Return the columns and rows of a table, aligned, without its heading."""
    rows = [[printable(cell) for cell in row] for row in (table.columns, *table.rows)]
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_SPACE.join(map(_padded, row, widths)).rstrip() for row in rows)


def html_table(table: Table) -> str:
    """Return a table with its heading as HTML."""
    heading = f'<caption style="{_CELL}; caption-side: top">{escaped(table.heading)}</caption>'
    head = "".join(f'<th style="{_CELL}; {_MUTED}">{escaped(name)}</th>' for name in table.columns)
    rows = [f'<tr style="border-top: {_BORDER}">{"".join(map(_cell, row))}</tr>' for row in table.rows]
    return (
        '<table style="border-collapse: collapse; margin: 8px 0; color: var(--jp-ui-font-color1, inherit)">'
        f"{heading if table.heading else ''}<thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def html_style(css: str) -> str:
    """Return a stylesheet, which has to be ours, as HTML."""
    return f"<style>{css}</style>"


def html_note(text: str, level: Level = "hint") -> str:
    """Return a sentence of a form; screen readers say one that is more than a hint when it changes.

    Examples
    --------
    >>> html_note("2 < 1 is not so.", "error")
    '<div class="orch-say orch-error" role="status">2 &lt; 1 is not so.</div>'
    >>> html_note("")
    ''
    """
    role = "" if level == "hint" else ' role="status"'
    return f'<div class="orch-say orch-{level}"{role}>{escaped(text)}</div>' if text else ""


def html_heading(text: str, badge: str, level: Level) -> str:
    """Return the heading of a form with a badge, ``""`` for none."""
    mark = f'<span class="orch-badge orch-{level}">{escaped(badge)}</span>' if badge else ""
    return f'<div class="orch-heading"><bdi>{escaped(text)}</bdi>{mark}</div>'


def html_badge(text: str, badge: str, level: Level) -> str:
    """Return a line of text with a badge below it."""
    return (
        f'<div class="orch-say orch-hint">{escaped(text)}</div>'
        f'<span class="orch-badge orch-{level}">{escaped(badge)}</span>'
    )


def html_links(links: Iterable[tuple[str, str | None]]) -> str:
    """Return links to pages elsewhere, by label; they open beside the notebook and learn nothing of it.

    Examples
    --------
    >>> html_links([("Docs", "https://example.org"), ("Keys", None)])
    '<a href="https://example.org" target="_blank" rel="noopener noreferrer">Docs</a>'
    """
    opening = 'target="_blank" rel="noopener noreferrer"'
    return " · ".join(
        f'<a href="{escaped(url)}" {opening}>{escaped(label)}</a>' for label, url in links if url
    )


def escaped(text: str) -> str:
    """Return text that means itself inside HTML, in elements and in attributes.

    Examples
    --------
    >>> escaped('<img src="x">')
    '&lt;img src=&quot;x&quot;&gt;'
    """
    return html.escape(printable(text))


def printable(text: str) -> str:
    r"""Return text in which characters that nobody sees are spelled out.

    Examples
    --------
    >>> print(printable("a\x1b[2Jb"))
    a\x1b[2Jb
    """
    if text.isprintable():
        return text
    return "".join(char if _is_shown(char) else ascii(char)[1:-1] for char in text)


def _is_shown(char: str) -> bool:
    return char.isprintable() or char in _JOINERS or unicodedata.category(char) == "Zs"


def _cell(text: str) -> str:
    return f'<td style="{_CELL}">{escaped(text)}</td>'


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(_columns(char, before) for before, char in zip(f" {text}", text, strict=False))


def _columns(char: str, before: str) -> int:
    # What a joiner joins is one picture.
    if before == "\u200d" or char in _JOINERS or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
