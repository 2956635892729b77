"""Reading: one field, a config by its name, a view of it built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks import bare
from benchmarks.measuring import NS_PER_MS, NS_PER_US, Figure, Limit, interleave, timed, timed_loops
from benchmarks.places import Bench, open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchstate.store import Store

_CEILING: Final = Limit("p99", NS_PER_MS / NS_PER_US)
_CONFIGS: Final = 1_000


def figures(bench: Bench) -> Iterator[Figure]:
    """Measure all of this area."""
    with open_store(bench.filled(_CONFIGS)) as store:
        yield _fields(bench, store)
        yield from _lookups(bench, store)
        yield _views(bench, store)


def _fields(bench: Bench, store: Store) -> Figure:
    config, traits = store.configs["config 7"], bare.Traits()
    count, size = bench.pick(60, 30), 1_000

    def ours(steps: Iterable[int]) -> None:
        for _ in steps:
            config.temperature  # noqa: B018

    def plain(steps: Iterable[int]) -> None:
        for _ in steps:
            traits.temperature  # noqa: B018

    found = interleave(
        bench.rounds,
        lambda: timed_loops(ours, count, size=size),
        lambda: timed_loops(plain, count, size=size),
    )
    return Figure(
        "read one field",
        "us",
        found[0],
        "traitlets",
        found[1],
        ceiling=_CEILING,
        goals=(Limit("ratio", 1.2),),
    )


def _lookups(bench: Bench, store: Store) -> Iterator[Figure]:
    """Look configs up that somebody holds, and, in a process that has not seen them, for the first time."""
    count = bench.pick(_CONFIGS, 300)
    configs = store.configs
    held = list(configs.values())
    raw = bare.Sqlite(bench.filled_bare(_CONFIGS), journal_mode="truncate", synchronous="off")
    plain = dict.fromkeys(configs)
    names = list(plain)
    ours, by_hand, in_dict = interleave(
        bench.rounds,
        lambda: timed(lambda number: configs[names[number]], count),
        lambda: timed(lambda number: raw.read(names[number]), count),
        lambda: timed(lambda number: plain[names[number]], count),
    )
    del held
    yield Figure(f"look-up among {_CONFIGS:,}", "us", ours, "sqlite3 + json", by_hand, ceiling=_CEILING)
    yield Figure(f"look-up among {_CONFIGS:,}", "us", ours, "dict", in_dict)


def _views(bench: Bench, store: Store) -> Figure:
    """Build the view of a config that nobody holds: it is gone after each look-up."""
    configs, count = store.configs, bench.pick(500, 200)
    ours, plain = interleave(
        bench.rounds,
        lambda: timed(lambda number: configs["config 7"], count),
        lambda: timed(lambda number: bare.Traits(**bare.VALUES), count),
    )
    goal = Limit("ratio", 0.5)
    return Figure(
        "look-up that builds the view", "us", ours, "traitlets object", plain, ceiling=_CEILING, goals=(goal,)
    )
