"""``python -m benchmarks``: measure all areas or some, print the table, fail above a ceiling."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import sys
import tempfile
from datetime import date
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from benchmarks.measuring import noise
from benchmarks.places import Bench, shelter
from benchmarks.table import noise_line, plain, table
from orchstate.storage.placement import journal_mode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measuring import Figure

AREAS: Final = (
    "edits",
    "observers",
    "reads",
    "commits",
    "notices",
    "loop",
    "creating",
    "opening",
    "past",
    "imports",
    "memory",
    "starting",
    "pages",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; returns 1 when a ceiling is exceeded."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="orchstate-bench-") as folder:
        shelter(os.environ, Path(folder))
        found, steadiness = _measure(Bench(Path(folder), options.quick), options.areas or AREAS)
    machine = _machine()
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(noise_line(steadiness), end="\n\n")
    print(table(found))
    if options.json:
        report = {"machine": machine, "noise_ms": steadiness, "figures": plain(found)}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return _verdict([figure for figures in found.values() for figure in figures])


def _measure(bench: Bench, areas: Sequence[str]) -> tuple[dict[str, list[Figure]], list[float]]:
    found, steadiness = {}, noise()
    for area in areas:
        start = perf_counter()
        found[area] = _figures(bench, area)
        if any(figure.is_over for figure in found[area]):
            # The machine may have been busy with something else: what is too slow is so twice.
            found[area] = _figures(bench, area)
        steadiness += noise()
        print(f"{area}: {perf_counter() - start:.0f} s", file=sys.stderr)
    return found, steadiness


def _figures(bench: Bench, area: str) -> list[Figure]:
    return list(import_module(f"benchmarks.{area}").figures(bench))


def _verdict(figures: Sequence[Figure]) -> int:
    over = [figure.what for figure in figures if figure.is_over]
    missed = [figure.what for figure in figures if not all(map(figure.keeps, figure.goals))]
    print(f"\nGoals missed: {', '.join(missed) or 'none'}.")
    print(f"Ceilings exceeded: {', '.join(over) or 'none'}.")
    return 1 if over else 0


def _machine() -> dict[str, Any]:
    return {
        "date": date.today().isoformat(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "journal": journal_mode(Path(tempfile.gettempdir())),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "areas", nargs="*", metavar="area", type=_area, help=f"one of {', '.join(AREAS)}; all by default"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file, too")
    parser.add_argument("--quick", action="store_true", help="take few samples: below a minute")
    return parser


def _area(text: str) -> str:
    if text not in AREAS:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(AREAS)}")
    return text


if __name__ == "__main__":
    sys.exit(main())
