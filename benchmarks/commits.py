"""An edit committed: durable on disk, in the history, seen by other processes; and storage as a whole."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from benchmarks import bare
from benchmarks.measuring import Figure, Limit, Samples, Side, interleave, timed
from benchmarks.places import Bench, open_store
from orchstate.storage.placement import journal_mode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchstate.storage.placement import JournalMode
    from orchstate.store import Store

_CEILING: Final = Limit("p99", 500)
_MANY: Final = 100


def figures(bench: Bench) -> Iterator[Figure]:
    """Measure all of this area."""
    path = bench.filled(_MANY)
    with open_store(path) as store:
        mode = journal_mode(path)
        raw = _raw(bench, mode)
        against = f"sqlite3 {mode.upper()} FULL"
        yield from _singly(bench, store, mode)
        yield _together(bench, store, raw, against)
        yield _burst(bench, store, raw, against)


def _singly(bench: Bench, store: Store, mode: JournalMode) -> Iterator[Figure]:
    """Compare with every way to make a change durable; the goal is for the one that the store itself uses."""
    config, count = store.configs["config 0"], bench.pick(15, 8)
    fd = os.open(bench.new("appended"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    record = bare.body_of(0).encode()

    def append(_: int) -> None:
        os.write(fd, record)
        os.fsync(fd)

    modes: tuple[JournalMode, ...] = ("wal", "truncate")
    ours, appended, *by_hand = interleave(
        bench.rounds,
        lambda: _ms(lambda number: config.update(temperature=bare.temperature(number)).wait(), count),
        lambda: _ms(append, count),
        *(_editing(_raw(bench, one), count) for one in modes),
    )
    os.close(fd)
    yield Figure("edit committed", "ms", ours, "os.write + fsync", appended)
    for one, its in zip(modes, by_hand, strict=True):
        goals = (Limit("ratio", 1.5),) if one == mode else ()
        against = f"sqlite3 {one.upper()} FULL"
        yield Figure("edit committed", "ms", ours, against, its, ceiling=_CEILING, goals=goals)


def _editing(raw: bare.Sqlite, count: int) -> Side:
    return lambda: _ms(lambda number: raw.edit(bare.temperature(number)), count)


def _together(bench: Bench, store: Store, raw: bare.Sqlite, against: str) -> Figure:
    configs, ids = list(store.configs.values()), bare.ids(_MANY)

    def transaction(number: int) -> None:
        with store.transaction():
            for config in configs:
                config.temperature = bare.temperature(number)
        store.flush()

    found = interleave(
        bench.rounds,
        lambda: _ms(transaction, bench.pick(4, 2)),
        lambda: _ms(lambda number: raw.edit_all(bare.temperature(number), ids), bench.pick(4, 2)),
    )
    what = f"{_MANY} edits in one transaction, committed"
    return Figure(what, "ms", found[0], against, found[1], ceiling=_CEILING, goals=(Limit("ratio", 2.0),))


def _burst(bench: Bench, store: Store, raw: bare.Sqlite, against: str) -> Figure:
    """Edit again and again, then flush: edits of one burst share commits, and each keeps its revision."""
    config, count = store.configs["config 0"], bench.pick(300, 200)

    def burst(_: int) -> None:
        for number in range(count):
            config.temperature = bare.temperature(number)
        store.flush()

    def singly(_: int) -> None:
        for number in range(10):
            raw.edit(bare.temperature(number))

    ours, by_hand = interleave(bench.rounds, lambda: _ms(burst, 1), lambda: _ms(singly, 1))
    per_edit = Samples(tuple(tuple(ms / count for ms in samples) for samples in ours.rounds))
    reference = Samples(tuple(tuple(ms / 10 for ms in samples) for samples in by_hand.rounds))
    return Figure(
        f"burst of {count} edits, flushed, per edit", "ms", per_edit, against, reference, ceiling=_CEILING
    )


def _raw(bench: Bench, mode: str) -> bare.Sqlite:
    path: Path = bench.new("raw.db")
    return bare.Sqlite(path, journal_mode=mode, synchronous="full", count=_MANY)


def _ms(run: object, count: int) -> list[float]:
    assert callable(run)
    return [took / 1_000 for took in timed(run, count)]
