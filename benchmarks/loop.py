"""The event loop: how late a heartbeat is while threads and tasks edit one store."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

from benchmarks.measuring import Figure, Limit, interleave, noise
from benchmarks.processes import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.places import Bench

_THREADS: Final = 8
_TASKS: Final = 100
_USUAL_NOISE_MS: Final = 1.0
_CEILING: Final = Limit("max", 50)


def figures(bench: Bench) -> Iterator[Figure]:
    """Measure all of this area."""
    path, count = bench.filled(100), bench.pick(10_000, 2_000)
    # So that no machine has more to do than it can: what would be measured then is a queue.
    slower = max(1.0, statistics.median(noise()) / _USUAL_NOISE_MS)
    # The store's side works through all edits; the other one is idle but for the loop.
    rounds = bench.pick(2, 1)
    with Worker("busy", path, _THREADS, _TASKS) as ours, Worker("busy_bare", _THREADS, _TASKS) as plain:
        late, plainly = interleave(rounds, lambda: ours.ask(count, slower), lambda: plain.ask(count, slower))
    what = f"heartbeat late, {_THREADS} threads and {_TASKS} tasks"
    yield Figure(what, "ms", late, "the same with traitlets", plainly, ceiling=_CEILING)
