"""Eight processes on one store: each hears of all that others commit, also while a cell of its own runs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from testbed.kernel import Kernel

import orchstate

if TYPE_CHECKING:
    from pathlib import Path

KERNELS, EDITS = 8, 25

SETUP = """
import threading, time, orchstate
store = orchstate.open({path!r}, secrets="memory", actor="user {number}")
heard = []
store.subscribe(lambda event: heard.append(
    (event.seq, event.external, threading.current_thread() is threading.main_thread())
))
own = store.configs["config {number}"]
"""

# A cell that computes and touches the store now and then; it gives the event loop no chance.
CELL = """
deadline = time.monotonic() + 60
for seed in range({edits}):
    own.seed = seed
    for _ in range(20_000):
        pass
while len(heard) < {expected} and time.monotonic() < deadline:
    for _ in range(20_000):
        pass
    own.seed
told_in_the_cell = len(heard)
"""


def test_each_of_eight_processes_hears_all_others_while_a_cell_runs(tmp_path: Path) -> None:
    path, expected = str(tmp_path / "store.db"), KERNELS * EDITS
    with orchstate.open(path, secrets="memory") as store:
        for number in range(KERNELS):
            store.configs.create("openai", name=f"config {number}")
    with contextlib.ExitStack() as stack:
        kernels = [
            stack.enter_context(Kernel(SETUP.format(path=path, number=number))) for number in range(KERNELS)
        ]
        for kernel in kernels:
            kernel.send(CELL.format(edits=EDITS, expected=expected))
        for kernel in kernels:
            kernel.receive()
        told = [kernel("heard") for kernel in kernels]
        assert [kernel("told_in_the_cell") for kernel in kernels] == [expected] * KERNELS
        seen = [
            kernel("store.refresh(60); sorted((c.name, c.seed, c.revision) for c in store.configs.values())")
            for kernel in kernels
        ]
    first = KERNELS + 1
    for heard in told:
        assert [seq for seq, _, _ in heard] == list(range(first, first + expected))
        assert sum(is_external for _, is_external, _ in heard) == expected - EDITS
        assert all(is_main for _, _, is_main in heard)
    assert seen == [seen[0]] * KERNELS
    print(f"8 processes: {expected} edits, each heard by all, 0 lost, 0 twice")
