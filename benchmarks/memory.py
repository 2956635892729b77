"""Memory: what configs cost that are stored, listed, looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.measuring import Figure, Limit, Samples, interleave
from benchmarks.processes import told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.places import Bench

_CEILING: Final = Limit("p99", 1_000)


def figures(bench: Bench) -> Iterator[Figure]:
    """Measure all of this area."""
    ours, dicts = _measured(bench, 100)
    parts = ("store opened, 100 configs in it", "100 configs listed", "100 configs read, held")
    for part, what in enumerate(parts):
        yield Figure(what, "kB", _part(ours, part), "100 dicts", dicts, ceiling=_CEILING)
    yield from _per_config(bench, bench.many)


def _per_config(bench: Bench, count: int) -> Iterator[Figure]:
    ours, dicts = _measured(bench, count)
    each, goals = _per(dicts, count), ((Limit("ratio", 1.5),), (), ())
    for part, what in enumerate(("not looked at", "listed", "read, held")):
        sizes = _per(_part(ours, part), count)
        yield Figure(f"per config of {count:,}, {what}", "bytes", sizes, "a dict", each, goals=goals[part])


def _measured(bench: Bench, count: int) -> list[Samples]:
    path, raw = bench.filled(count), bench.filled_bare(count)
    return interleave(bench.pick(3, 1), lambda: told("memory", path), lambda: told("memory_bare", raw))


def _part(samples: Samples, part: int) -> Samples:
    """Return what was added up to and with a part."""
    return Samples(tuple((sum(added[: part + 1]),) for added in samples.rounds))


def _per(samples: Samples, count: int) -> Samples:
    return Samples(tuple((size[0] * 1_000 / count,) for size in samples.rounds))
