"""Figures as a table that reads well in a terminal and is Markdown, and as JSON."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measuring import Figure, Limit

_HEADS: Final = ("what", "median", "p99", "against", "its median", "ratio (min-max)", "goal", "ceiling")
_LEFT: Final = (0, 3, 6, 7)


def table(areas: dict[str, list[Figure]]) -> str:
    """Return one table of all figures, grouped by area."""
    rows: list[tuple[str, ...]] = []
    for area, figures in areas.items():
        rows.append((f"**{area}**", *[""] * (len(_HEADS) - 1)))
        rows += map(_row, figures)
    return "\n".join(_lines(rows))


def plain(areas: dict[str, list[Figure]]) -> list[dict[str, Any]]:
    """Return all figures as JSON values, with the medians of every round."""
    return [_plain(area, figure) for area, figures in areas.items() for figure in figures]


def noise_line(samples: Sequence[float]) -> str:
    """Return one sentence about how evenly the machine worked."""
    low, middle, high = min(samples), statistics.median(samples), max(samples)
    return (
        f"Noise: the same work took {low:.2f} to {high:.2f} ms (median {middle:.2f}) while this was measured."
    )


def number(value: float) -> str:
    """Return a number with three digits that count, or all of those before the point.

    Examples
    --------
    >>> [number(value) for value in (0.01234, 1.5, 23.96, 12345.6)]
    ['0.0123', '1.50', '24.0', '12,346']
    """
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    digits = next((digits for floor, digits in ((10, 1), (1, 2), (0.1, 3)) if size >= floor), 4)
    return f"{value:.{digits}f}"


def _row(figure: Figure) -> tuple[str, ...]:
    reference = figure.reference
    return (
        figure.what,
        f"{number(figure.ours.median)} {figure.unit}",
        number(figure.ours.p99),
        figure.against,
        number(reference.median) if reference else "",
        _ratio(figure),
        ", ".join(f"{_limit(goal)} {'met' if figure.keeps(goal) else 'MISSED'}" for goal in figure.goals),
        f"{_limit(figure.ceiling)} {'OVER' if figure.is_over else 'ok'}" if figure.ceiling else "",
    )


def _ratio(figure: Figure) -> str:
    if figure.ratio is None:
        return ""
    return f"{number(figure.ratio)} ({number(min(figure.ratios))}-{number(max(figure.ratios))})"


def _limit(limit: Limit) -> str:
    sign = "x" if limit.of == "ratio" else ""
    return f"{'' if limit.of == 'ratio' else limit.of + ' '}<= {limit.value:,g}{sign}"


def _plain(area: str, figure: Figure) -> dict[str, Any]:
    return {
        "area": area,
        "what": figure.what,
        "unit": figure.unit,
        "median": figure.ours.median,
        "p99": figure.ours.p99,
        "rounds": list(figure.ours.medians),
        "against": figure.against,
        "reference_median": figure.reference.median if figure.reference else None,
        "reference_rounds": list(figure.reference.medians) if figure.reference else [],
        "ratio": figure.ratio,
        "ceiling": _plain_limit(figure, figure.ceiling) if figure.ceiling else None,
        "goals": [_plain_limit(figure, goal) for goal in figure.goals],
    }


def _plain_limit(figure: Figure, limit: Limit) -> dict[str, Any]:
    return {"of": limit.of, "at_most": limit.value, "kept": figure.keeps(limit)}


def _lines(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(_HEADS, *rows, strict=True)]
    rule = [f"{'-' * (width - 1)}{'-' if column in _LEFT else ':'}" for column, width in enumerate(widths)]
    return [_line(row, widths) for row in (_HEADS, tuple(rule), *rows)]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        cell.ljust(width) if column in _LEFT else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"| {' | '.join(padded)} |"
