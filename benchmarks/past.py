"""The past: any moment of one config and of all, and the history as a DataFrame, for many lengths of it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from benchmarks.measuring import Figure, Limit, Samples, interleave, timed
from benchmarks.places import Bench, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchstate.store import Store

_CEILING: Final = Limit("p99", 5_000)
_NAME: Final = "config 7"
_ONE: Final = "SELECT body FROM rev WHERE id = ? AND seq <= ? ORDER BY seq DESC LIMIT 1"
_ALL: Final = "SELECT body FROM rev WHERE seq IN (SELECT max(seq) FROM rev WHERE seq <= ? GROUP BY id)"
_CHANGES: Final = "SELECT * FROM changes"


def figures(bench: Bench) -> Iterator[Figure]:
    """Measure all of this area."""
    found: dict[int, list[Samples]] = {}
    for revisions in dict.fromkeys((1_000, bench.many, bench.most)):
        path, raw = bench.with_history(revisions), bench.with_bare_history(revisions)
        with open_store(path) as store, closing(sqlite3.connect(raw)) as connection:
            found[revisions] = _moments(bench, store, connection, revisions)
            yield from _moment_figures(found[revisions], revisions)
            yield from _frames(bench, store, connection, revisions)
    first, last = found[1_000], found[bench.most]
    for what, short, long in zip(("one config", "everything"), first[::2], last[::2], strict=True):
        yield Figure(
            f"at(seq) of {what}, {bench.most:,} revisions",
            "ms",
            long,
            "at 1,000 revisions",
            short,
            ceiling=Limit("ratio", 3),
        )


def _moments(bench: Bench, store: Store, raw: sqlite3.Connection, revisions: int) -> list[Samples]:
    """Look at a moment in the middle: one value, and one value of every config; each also by hand."""
    count, seq, id = bench.pick(20, 5), revisions // 2, store.configs[_NAME].id

    def one(_: int) -> Any:
        return store.at(seq).configs[_NAME].at("temperature")

    def one_by_hand(_: int) -> Any:
        return json.loads(raw.execute(_ONE, [id, seq]).fetchone()[0])["temperature"]

    def everything(_: int) -> Any:
        return [document.at("temperature") for document in store.at(seq).configs.values()]

    def everything_by_hand(_: int) -> Any:
        return [json.loads(body)["temperature"] for (body,) in raw.execute(_ALL, [seq])]

    if one(0) != one_by_hand(0) or sorted(everything(0)) != sorted(everything_by_hand(0)):
        raise RuntimeError("The two sides do not see the same past.")
    looks = (one, one_by_hand, everything, everything_by_hand)
    return interleave(bench.rounds, *(lambda look=look: _ms(look, count) for look in looks))


def _moment_figures(found: list[Samples], revisions: int) -> Iterator[Figure]:
    one, one_by_hand, everything, everything_by_hand = found
    against = "sqlite3 + json"
    yield Figure(
        f"at(seq) of one config, {revisions:,} revisions", "ms", one, against, one_by_hand, ceiling=_CEILING
    )
    yield Figure(
        f"at(seq) of everything, {revisions:,} revisions",
        "ms",
        everything,
        against,
        everything_by_hand,
        ceiling=_CEILING,
    )


def _frames(bench: Bench, store: Store, raw: sqlite3.Connection, revisions: int) -> Iterator[Figure]:
    """Compare with reading the same rows from typed columns, by hand and without verifying anything."""
    count = 1 if revisions > 10_000 else bench.pick(3, 2)
    peers = _peers(raw)
    sides: list[Callable[[], object]] = [lambda: store.history.changes(field="temperature"), *peers.values()]
    for side in sides:
        # What is imported with the first frame is not part of making one.
        side()
    ours, *theirs = interleave(
        bench.rounds, *(lambda side=side: _ms(lambda _: side(), count) for side in sides)
    )
    what = f"changes() of {revisions:,} revisions"
    by_name = dict(zip(peers, theirs, strict=True))
    fastest = min(by_name, key=lambda name: by_name[name].median)
    yield Figure(
        what,
        "ms",
        ours,
        "pandas.read_sql",
        by_name["pandas.read_sql"],
        ceiling=_CEILING,
        goals=(Limit("ratio", 1.5),),
    )
    yield Figure(what, "ms", ours, f"the fastest: {fastest}", by_name[fastest])


def _peers(raw: sqlite3.Connection) -> dict[str, Callable[[], object]]:
    import pandas
    import polars
    import pyarrow

    def arrow() -> object:
        cursor = raw.execute(_CHANGES)
        names = [column[0] for column in cursor.description]
        columns = zip(*cursor.fetchall(), strict=True)
        return pyarrow.table(dict(zip(names, map(pyarrow.array, columns), strict=True))).to_pandas()

    return {
        "pandas.read_sql": lambda: pandas.read_sql(_CHANGES, raw),
        "pyarrow": arrow,
        "polars": lambda: polars.read_database(_CHANGES, raw, infer_schema_length=None),
    }


def _ms(run: Callable[[int], object], count: int) -> list[float]:
    return [took / 1_000 for took in timed(run, count)]
