"""A field set with 0, 1 and 100 observers: validated, journalled, told; beside objects that only tell."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from benchmarks import bare, peers
from benchmarks.measuring import NS_PER_MS, NS_PER_US, Figure, Limit, Side, interleave, timed
from benchmarks.places import Bench, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from orchstate.store import Store

_CEILING: Final = Limit("p99", 5 * NS_PER_MS / NS_PER_US)


def figures(bench: Bench) -> Iterator[Figure]:
    """Measure all of this area."""
    path = bench.new("store.db")
    with open_store(path) as store:
        store.configs.create("openai", name="gpt", model="gpt-5.4-mini", temperature=0.5)
        store.flush()
        for count in (0, 1, 100):
            yield from _with_observers(bench, store, count)


def _with_observers(bench: Bench, store: Store, count: int) -> Iterator[Figure]:
    samples = bench.pick(300, 100)
    ours, *theirs = interleave(
        bench.rounds, _ours(store, count, samples), *(_peer(name, count, samples) for name in peers.ALL)
    )
    what = f"field set, {count} observer{'' if count == 1 else 's'}"
    for name, its in zip(peers.ALL, theirs, strict=True):
        yield Figure(what, "us", ours, name, its, ceiling=_CEILING)


def _ours(store: Store, count: int, samples: int) -> Side:
    config = store.configs["gpt"]

    def side() -> Sequence[float]:
        for listener in _listeners(count):
            config.observe(listener, "temperature")
        found = timed(lambda number: setattr(config, "temperature", bare.temperature(number)), samples)
        store.flush()
        config.unobserve_all()
        return found

    return side


def _peer(name: str, count: int, samples: int) -> Side:
    def side() -> Sequence[float]:
        observed, listeners = peers.ALL[name](), _listeners(count)
        for listener in listeners:
            observed.observe(listener)
        return timed(lambda number: observed.set(bare.temperature(number)), samples)

    return side


def _listeners(count: int) -> list[Callable[[Any], None]]:
    """Return so many different observers that do next to nothing."""
    heard: list[Any] = [None]

    def hear(number: int, change: Any) -> None:
        heard[0] = change

    return [partial(hear, number) for number in range(count)]
