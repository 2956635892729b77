"""Opening: a fresh process from its start to a value, and the parts of it, for many sizes of store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.measuring import Figure, Limit, Samples, interleave
from benchmarks.processes import start_ms, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.places import Bench

_START_UP: Final = Limit("p99", 500)
_RATIOS: Final = {1_000: 1.1, 10_000: 0.8, 100_000: 0.8}
_NAME: Final = "config 50"
_OURS: Final = Limit("median", 100)


def figures(bench: Bench) -> Iterator[Figure]:
    """Measure all of this area."""
    sizes = dict.fromkeys((100, 1_000, bench.many, bench.most))
    for count in sizes:
        yield from _fresh(bench, count)
    for count in sizes:
        yield from _phases(bench, count)


def _fresh(bench: Bench, count: int) -> Iterator[Figure]:
    path, raw = bench.filled(count), bench.filled_bare(count)
    ours, validated, trusted = interleave(
        bench.rounds,
        lambda: [start_ms("open_orchstate", path, _NAME)],
        lambda: [start_ms("open_sqlite_pydantic", raw, _NAME)],
        lambda: [start_ms("open_sqlite_json", raw, _NAME)],
    )
    goals = (Limit("ratio", _RATIOS[count]),) if count in _RATIOS else ()
    what = f"fresh process to a value, {count:,} configs"
    yield Figure(what, "ms", ours, "sqlite3 + pydantic, all", validated, ceiling=_START_UP, goals=goals)
    yield Figure(what, "ms", ours, "sqlite3 + json, one row", trusted)


def _phases(bench: Bench, count: int) -> Iterator[Figure]:
    """Take the parts: every process opens once, so each gives one sample of each part."""
    path, raw = bench.filled(count), bench.filled_bare(count)
    ours, by_hand = interleave(
        bench.rounds, lambda: told("phases", path, _NAME), lambda: told("phases_bare", raw, _NAME)
    )
    # The seeds' 100 ms are for 100 configs, ours are for 1,000.
    ceiling = Limit("p99", 100) if count == 100 else None
    goals = (_OURS,) if count == 1_000 else ()
    parts = (
        ("opened, one looked up", 0, "sqlite3 + json"),
        ("all names listed", 1, "sqlite3"),
        ("a value of each read", 2, "sqlite3 + json"),
    )
    for what, part, against in parts:
        yield Figure(
            f"{count:,} configs: {what}",
            "ms",
            _part(ours, part),
            against,
            _part(by_hand, part),
            ceiling=ceiling,
            goals=goals,
        )
    yield Figure(
        f"{count:,} configs: all of it",
        "ms",
        _sum(ours),
        "sqlite3 + json",
        _sum(by_hand),
        ceiling=ceiling,
        goals=goals,
    )


def _part(samples: Samples, part: int) -> Samples:
    return Samples(tuple((parts[part],) for parts in samples.rounds))


def _sum(samples: Samples) -> Samples:
    return Samples(tuple((sum(parts),) for parts in samples.rounds))
