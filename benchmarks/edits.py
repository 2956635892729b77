"""An edit acknowledged: validated, journalled, shown, observers told.

Beside the same work by hand: in bursts, at the pace of a person who drags a slider, in four
processes at once, and with observers; and while somebody who has locked the store is stopped.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from benchmarks import bare
from benchmarks.measuring import NS_PER_MS, NS_PER_US, Figure, Limit, Side, interleave, timed
from benchmarks.places import Bench, open_store
from benchmarks.processes import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchstate.store import Store

PACE_S: Final = 0.02
_CEILING: Final = Limit("p99", 5 * NS_PER_MS / NS_PER_US)
_STOPPED_CEILING: Final = Limit("median", 1_000)
_WRITERS: Final = 4


def figures(bench: Bench) -> Iterator[Figure]:
    """Measure all of this area."""
    path = bench.new("store.db")
    with open_store(path) as store:
        store.configs.create("openai", name="gpt", model="gpt-5.4-mini", temperature=0.5)
    # Opened again, as people do: to this process the config is somebody else's work.
    with open_store(path) as store:
        yield from _bursts(bench, store)
        yield from _paced(bench, store)
        yield _observed(bench, store)
    yield _together(bench)
    yield _beside_a_stopped_one(bench)


def _bursts(bench: Bench, store: Store) -> Iterator[Figure]:
    count = bench.pick(500, 300)
    raw = bare.Sqlite(bench.new("burst.db"), journal_mode="wal", synchronous="normal")
    traits = bare.Traits()
    fd = os.open(bench.new("appended"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    record = bare.body_of(0).encode()

    def append_and_wait(_: int) -> None:
        os.write(fd, record)
        os.fsync(fd)

    ours, by_hand, plain, appended, on_disk = interleave(
        bench.rounds,
        _editing(store, count),
        lambda: timed(lambda number: raw.edit(bare.temperature(number)), count),
        _setting(traits, count),
        lambda: timed(lambda number: os.write(fd, record), count),
        lambda: timed(append_and_wait, bench.pick(100, 30)),
    )
    os.close(fd)
    yield Figure(
        "edit, in bursts",
        "us",
        ours,
        "sqlite3 WAL NORMAL",
        by_hand,
        ceiling=_CEILING,
        goals=(Limit("ratio", 1.0),),
    )
    yield Figure("edit, in bursts", "us", ours, "traitlets @validate", plain)
    yield Figure("edit, in bursts", "us", ours, "os.write", appended)
    yield Figure("edit, in bursts", "us", ours, "os.write + fsync", on_disk)


def _paced(bench: Bench, store: Store) -> Iterator[Figure]:
    count = bench.pick(50, 25)
    raw = bare.Sqlite(bench.new("paced.db"), journal_mode="wal", synchronous="normal")

    def rest() -> None:
        time.sleep(PACE_S)

    ours, by_hand = interleave(
        bench.rounds,
        _editing(store, count, rest),
        lambda: timed(lambda number: raw.edit(bare.temperature(number)), count, rest=rest),
    )
    yield Figure(
        "edit, every 20 ms",
        "us",
        ours,
        "sqlite3 WAL NORMAL",
        by_hand,
        ceiling=_CEILING,
        goals=(Limit("ratio", 2.0),),
    )


def _observed(bench: Bench, store: Store) -> Figure:
    """What observers add: the difference to the same edit without any."""
    count = bench.pick(300, 150)
    config, heard = store.configs["gpt"], Heard()

    def with_observers(observers: int) -> Side:
        return _with(config, heard.listeners(observers), _editing(store, count))

    def plain(observers: int) -> Side:
        traits = bare.Traits()
        return _with(traits, heard.listeners(observers), _setting(traits, count))

    wanted = (0, 100)
    found = interleave(bench.rounds, *map(with_observers, wanted), *map(plain, wanted))
    ours, theirs = found[:2], found[2:]
    return Figure(
        "100 observers, on top",
        "us",
        ours[1].above(ours[0]),
        "traitlets, on top",
        theirs[1].above(theirs[0]),
        goals=(Limit("ratio", 1.3),),
    )


def _together(bench: Bench) -> Figure:
    """Edit in four processes at once, each its own config of one store."""
    path, count = bench.filled(100), bench.pick(50, 25)
    raw = bench.new("together.db")
    bare.Sqlite(raw, journal_mode="wal", synchronous="normal", count=_WRITERS).connection.close()
    with ExitStack() as running:
        start = running.enter_context
        ours = [start(Worker("writer", path, f"config {number}")) for number in range(_WRITERS)]
        by_hand = [start(Worker("sqlite_writer", raw, number)) for number in range(_WRITERS)]
        taken = interleave(
            bench.rounds, lambda: _all(ours, count, PACE_S), lambda: _all(by_hand, count, PACE_S)
        )
    return Figure(
        "edit, four processes, every 20 ms",
        "us",
        taken[0],
        "sqlite3 WAL NORMAL, four",
        taken[1],
        ceiling=_CEILING,
        goals=(Limit("p99", 1_000),),
    )


def _beside_a_stopped_one(bench: Bench) -> Figure:
    """Edit while another process, stopped in mid-commit, has every lock of the store."""
    path, count = bench.filled(100), bench.pick(50, 25)
    with open_store(path) as store, Worker("holder", path) as holder:

        def edit(number: int) -> None:
            store.configs["config 0"].temperature = bare.temperature(number)

        def paced() -> list[float]:
            return timed(edit, count, rest=lambda: time.sleep(PACE_S))

        def beside() -> list[float]:
            with holder.stopped():
                samples = paced()
            store.flush()
            return samples

        ours, alone = interleave(bench.rounds, beside, paced)
    what, against = "edit, the lock's holder stopped", "nobody stopped"
    return Figure(what, "us", ours, against, alone, ceiling=_STOPPED_CEILING, goals=(Limit("p99", 1_000),))


def _all(workers: list[Worker], count: int, pace_s: float) -> list[float]:
    for worker in workers:
        worker.tell(count, pace_s)
    return [sample for worker in workers for sample in worker.hear()]


def _editing(store: Store, count: int, rest: Callable[[], object] | None = None) -> Side:
    config = store.configs["gpt"]

    def edit(number: int) -> None:
        config.temperature = bare.temperature(number)

    def side() -> list[float]:
        samples = timed(edit, count, rest=rest)
        # What is still being committed must not run beside the next side.
        store.flush()
        return samples

    return side


def _setting(traits: bare.Traits, count: int) -> Side:
    def set_it(number: int) -> None:
        traits.temperature = bare.temperature(number)

    return lambda: timed(set_it, count)


class Heard:
    """Observers that do next to nothing."""

    def __init__(self) -> None:
        self.last: Any = None

    def _hear(self, number: int, change: Any) -> None:
        self.last = change

    def listeners(self, count: int) -> list[Callable[[Any], None]]:
        """Return so many different observers."""
        return [partial(self._hear, number) for number in range(count)]


def _with(observed: Any, listeners: list[Callable[[Any], None]], side: Side) -> Side:
    def run() -> Any:
        for listener in listeners:
            observed.observe(listener, "temperature")
        try:
            return side()
        finally:
            for listener in listeners:
                observed.unobserve(listener, "temperature")

    return run
