"""Importing: what orchstate adds to traitlets and pydantic, which it is built on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.measuring import Figure, Limit, interleave
from benchmarks.processes import start_ms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.places import Bench


def figures(bench: Bench) -> Iterator[Figure]:
    """Measure all of this area."""
    start_ms("import_orchstate")  # Byte-compiles what is not yet.
    nothing, bases, ours = interleave(
        bench.pick(11, 5),
        lambda: [start_ms("nothing")],
        lambda: [start_ms("import_bases")],
        lambda: [start_ms("import_orchstate")],
    )
    yield Figure("import of all that opening needs", "ms", ours, "traitlets + pydantic", bases)
    yield Figure(
        "import, above traitlets + pydantic",
        "ms",
        ours.above(bases),
        "these above python",
        bases.above(nothing),
        goals=(Limit("median", 60),),
    )
