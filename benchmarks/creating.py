"""Making things: a config created, the registry ready, a form built and told of a change."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

from benchmarks import bare
from benchmarks.measuring import Figure, Limit, Samples, interleave, timed
from benchmarks.places import Bench, open_store
from benchmarks.processes import told

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchstate.store import Store

_CREATE: Final = Limit("p99", 50_000)
_REGISTRY: Final = Limit("p99", 200)


def figures(bench: Bench) -> Iterator[Figure]:
    """Measure all of this area."""
    with open_store(bench.new("store.db")) as store:
        yield _configs(bench, store)
        yield from _forms(bench, store)
    yield from _registry(bench)


def _configs(bench: Bench, store: Store) -> Figure:
    numbers, count = itertools.count(), bench.pick(100, 50)
    raw = bare.Sqlite(bench.new("raw.db"), journal_mode="wal", synchronous="normal")

    def create(_: int) -> None:
        store.configs.create("openai", name=f"new {next(numbers)}", model="gpt-5.4-mini", temperature=0.5)

    def ours() -> Sequence[float]:
        samples = timed(create, count)
        store.flush()
        return samples

    found = interleave(bench.rounds, ours, lambda: timed(lambda _: raw.create(f"new {next(numbers)}"), count))
    return Figure("config created", "us", found[0], "sqlite3 WAL NORMAL", found[1], ceiling=_CREATE)


def _registry(bench: Bench) -> Iterator[Figure]:
    pairs = [(told("registry"), told("registry_bare")) for _ in range(bench.pick(7, 3))]
    parsed = Samples(tuple(tuple(bare_ms) for _, bare_ms in pairs))
    read, ready = (Samples(tuple((ours[part],) for ours, _ in pairs)) for part in (0, 1))
    yield Figure("registry: definitions read", "ms", read, "json.loads", parsed, ceiling=_REGISTRY)
    yield Figure("registry: classes and traits ready", "ms", ready, "json.loads", parsed, ceiling=_REGISTRY)


def _forms(bench: Bench, store: Store) -> Iterator[Figure]:
    config = store.configs.create("openai", name="gpt", model="gpt-5.4-mini", temperature=0.5)
    count, traits = bench.pick(6, 3), bare.Traits()

    def build(_: int) -> None:
        config.form().close()

    def build_plain(_: int) -> None:
        _close(_linked(traits))

    # What is imported with the first form is not part of building one.
    build(0)
    build_plain(0)
    ours, plain = interleave(bench.rounds, lambda: _ms(build, count), lambda: _ms(build_plain, count))
    against, goal = "12 widgets, traitlets.link", (Limit("ratio", 3),)
    yield Figure("form built and closed", "ms", ours, against, plain, goals=goal)
    pushed, plainly = _pushed(bench, store, config, traits)
    yield Figure("one change pushed into a form", "us", pushed, against, plainly, goals=goal)


def _pushed(bench: Bench, store: Store, config: Any, traits: bare.Traits) -> tuple[Samples, Samples]:
    """Return what a form adds to an edit, and what linked widgets add to setting a trait."""
    count = bench.pick(50, 30)

    def ours(is_shown: bool) -> Sequence[float]:
        form = config.form() if is_shown else None
        samples = timed(lambda number: config.update(temperature=bare.temperature(number)), count)
        store.flush()
        if form:
            form.close()
        return samples

    def plain(is_shown: bool) -> Sequence[float]:
        linked = _linked(traits) if is_shown else ()
        samples = timed(lambda number: setattr(traits, "temperature", bare.temperature(number)), count)
        _close(linked)
        return samples

    found = interleave(
        bench.rounds, lambda: ours(True), lambda: ours(False), lambda: plain(True), lambda: plain(False)
    )
    return found[0].above(found[1]), found[2].above(found[3])


def _linked(traits: bare.Traits) -> list[tuple[Any, Any]]:
    """Return a form by hand: a widget for each field, and what links the two."""
    from ipywidgets import FloatText, Text
    from traitlets import link

    pairs = []
    for name in traits.trait_names():
        number = name in ("temperature", "top_p", "max_tokens", "seed")
        widget = FloatText(description=name) if number else Text(description=name)
        joined = link((traits, name), (widget, "value")) if name == "temperature" else None
        pairs.append((widget, joined or link((traits, "name"), (widget, "description"))))
    return pairs


def _close(pairs: Sequence[tuple[Any, Any]]) -> None:
    for widget, joined in pairs:
        joined.unlink()
        widget.close()


def _ms(run: Any, count: int) -> list[float]:
    return [took / 1_000 for took in timed(run, count)]
