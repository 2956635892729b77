"""A commit noticed by another process, and what waiting for it costs."""

from __future__ import annotations

import contextlib
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final
from unittest.mock import patch

from benchmarks import bare
from benchmarks.measuring import NS_PER_MS, Figure, Limit, Samples, interleave
from benchmarks.places import Bench, open_store
from benchmarks.processes import Worker
from orchstate.storage.bell import Bell
from orchstate.storage.placement import journal_mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from orchstate.config import Config

Moments = list[tuple[float, int, int]]
"""Of each edit: its value, and when it began and was committed (monotonic, ns)."""
Announced = list[tuple[float, int]]
"""Of each edit: its value, and when it began, or was seen."""

_PACE_S: Final = 0.02
_NAME: Final = "config 0"
_WRITERS: Final = 4
_FOUR_CEILING: Final = Limit("p99", 100)
# Edits are told apart by their value.
_numbers = iter(range(1_000_000))


def figures(bench: Bench) -> Iterator[Figure]:
    """Measure all of this area."""
    path = bench.filled(100)
    with Worker("watcher", path, _NAME) as watcher:
        yield from _noticed(bench, path, watcher)
        with Worker("idle") as idle:
            yield _idle(bench, watcher, idle)
    yield _together(bench)


def _noticed(bench: Bench, path: Path, watcher: Worker) -> Iterator[Figure]:
    mode = journal_mode(path)
    raw_path, address = bench.new("raw.db"), str(bench.new("bell"))
    raw = bare.Sqlite(raw_path, journal_mode=mode, synchronous="full")
    count = bench.pick(40, 20)
    with open_store(path) as store, Worker("sqlite_watcher", raw_path, address) as raw_watcher:
        config = store.configs[_NAME]
        ours, by_hand = interleave(
            bench.rounds,
            lambda: _delays(watcher, _edits(config, count)),
            lambda: _delays(raw_watcher, _raw_edits(raw, address, count)),
        )
    against = f"sqlite3 {mode.upper()} FULL + datagram"
    yield Figure(
        "edit until seen elsewhere",
        "ms",
        _every(ours, 0),
        against,
        _every(by_hand, 0),
        goals=(Limit("p99", 100),),
    )
    yield Figure(
        "commit until seen elsewhere",
        "ms",
        _every(ours, 1),
        "datagram + read",
        _every(by_hand, 1),
        goals=(Limit("median", 2.5), Limit("p99", 25)),
    )


def _together(bench: Bench) -> Figure:
    """Have four processes edit at once, and a fifth one notice."""
    path, count = bench.filled(100), bench.pick(100, 30)
    names = [f"config {number}" for number in range(1, _WRITERS + 1)]
    with ExitStack() as running:
        start = running.enter_context
        watcher = start(Worker("watcher_of_many", path, *names))
        writers = [start(Worker("announcer", path, name, place)) for place, name in enumerate(names)]
        (found,) = interleave(bench.rounds, lambda: _delays_of_many(watcher, writers, names, count))
    return Figure(
        "edit until seen elsewhere, four writers",
        "ms",
        found,
        ceiling=_FOUR_CEILING,
    )


def _delays_of_many(
    watcher: Worker, writers: Sequence[Worker], names: Sequence[str], count: int
) -> list[float]:
    for writer in writers:
        writer.tell(count, _PACE_S)
    moments: list[Announced] = [writer.hear() for writer in writers]
    deadline = time.monotonic() + 10
    seen: dict[str, Announced] = watcher.ask("seen")
    while any(_is_missing(made, seen[name]) for name, made in zip(names, moments, strict=True)):
        if time.monotonic() > deadline:
            raise RuntimeError("An edit was not noticed within 10 s.")
        time.sleep(_PACE_S)
        seen = watcher.ask("seen")
    return [
        (_first(seen[name], value) - begin) / NS_PER_MS
        for name, made in zip(names, moments, strict=True)
        for value, begin in made
    ]


def _is_missing(made: Announced, seen: Announced) -> bool:
    return not seen or seen[-1][0] < made[-1][0]


def _idle(bench: Bench, watcher: Worker, idle: Worker) -> Figure:
    """Watch both do nothing for some seconds."""
    seconds = bench.pick(10, 4)
    before = [watcher.ask("cpu"), idle.ask("cpu")]
    time.sleep(seconds)
    after = [watcher.ask("cpu"), idle.ask("cpu")]
    shares = [100 * (end - start) / seconds for start, end in zip(before, after, strict=True)]
    ours, nothing = (Samples(((share,),)) for share in shares)
    goal = Limit("median", 0.1)
    return Figure("CPU of a watching process", "% of a core", ours, "idle event loop", nothing, goals=(goal,))


def _edits(config: Config, count: int) -> Moments:
    moments: Moments = []
    with _rings() as rings:
        for _ in range(count):
            value, begin = next(_numbers) / 1_000_000, time.monotonic_ns()
            config.update(temperature=value).wait()
            moments.append((value, begin, rings[-1]))
            time.sleep(_PACE_S)
    return moments


def _raw_edits(raw: bare.Sqlite, address: str, count: int) -> Moments:
    voice = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    moments: Moments = []
    for _ in range(count):
        value, begin = next(_numbers) / 1_000_000, time.monotonic_ns()
        raw.edit(value)
        moments.append((value, begin, time.monotonic_ns()))
        voice.sendto(b"0", address)
        time.sleep(_PACE_S)
    voice.close()
    return moments


@contextlib.contextmanager
def _rings() -> Iterator[list[int]]:
    """Collect when the doorbell is rung, which is right after a commit."""
    ring, moments = Bell.ring, list[int]()

    def noted(bell: Bell) -> None:
        moments.append(time.monotonic_ns())
        ring(bell)

    with patch.object(Bell, "ring", noted):
        yield moments


def _delays(watcher: Worker, moments: Moments) -> list[float]:
    """Return the milliseconds from the begin and from the commit, one after the other, of each edit."""
    deadline = time.monotonic() + 10
    seen: list[tuple[float, int]] = watcher.ask("seen")
    while not seen or seen[-1][0] < moments[-1][0]:
        if time.monotonic() > deadline:
            raise RuntimeError("An edit was not noticed within 10 s.")
        time.sleep(_PACE_S)
        seen = watcher.ask("seen")
    return [(_first(seen, value) - start) / NS_PER_MS for value, *starts in moments for start in starts]


def _first(seen: list[tuple[float, int]], value: float) -> int:
    # Values grow, and who was busy while two came saw the second alone.
    return next(at for found, at in seen if found >= value)


def _every(samples: Samples, offset: int) -> Samples:
    return Samples(tuple(found[offset::2] for found in samples.rounds))
