"""What grows with the number of edits: the history on disk, and nothing else."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import psutil
import pytest

from orchstate.errors import StoreError

if TYPE_CHECKING:
    from orchstate.store import Store

WARM_UP = 4_000
# What waits to be committed is in memory until it is; on a busy machine that may be all that was ever edited.
AT_ONCE = 2_000


def resident_mb() -> float:
    return psutil.Process().memory_info().rss / 1e6


def edit(store: Store, count: int) -> None:
    gpt = store.configs["gpt"]
    for number in range(count):
        gpt.seed = number
        if number % AT_ONCE == 0:
            store.flush()
    store.flush()


@pytest.mark.parametrize(
    ("count", "limit_mb"), [(6_000, 3), pytest.param(1_000_000, 20, marks=pytest.mark.long)]
)
@pytest.mark.timeout(3600)
def test_memory_stays_flat_over_many_edits(count: int, limit_mb: float, disk: Store) -> None:
    gpt = disk.configs["gpt"]
    heard: list[object] = [None]
    gpt.observe(lambda change: heard.__setitem__(0, change.new), "seed")
    disk.subscribe(lambda event: heard.__setitem__(0, event.seq))
    edit(disk, WARM_UP)
    before = resident_mb()
    edit(disk, count)
    grown = resident_mb() - before
    print(f"{count:,} edits: {grown:+.1f} MB")
    assert disk.history.at(disk.flush()).configs["gpt"].at("seed") == count - 1
    assert grown < limit_mb


def test_what_a_worker_edits_does_not_pile_up_while_the_owner_waits(disk: Store) -> None:
    gpt = disk.configs["gpt"]
    errors: list[object] = []
    disk.observe(lambda change: errors.append(change.new), "error")

    def work() -> None:
        for number in range(2_000):
            gpt.seed = number

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    disk._state.wait()
    assert len(disk._state.delivery._waiting) < 10
    disk._state.error = error = StoreError("seen when it is looked at")
    assert (gpt.seed, errors) == (1_999, [error])
