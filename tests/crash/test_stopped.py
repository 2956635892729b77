"""A process that is stopped in mid-commit, and children by the hundred: everybody else goes on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from crash.children import add_one
from crash.nursery import faults, history
from testbed.forking import in_child
from testbed.kernel import Kernel

import orchstate
from orchstate.errors import FlushError

if TYPE_CHECKING:
    from pathlib import Path

HOLDER = """
import orchstate
store = orchstate.open({path!r}, secrets="memory", actor="holder")
engine = store._engine
"""


def stop_the_holder(path: Path, seconds: float) -> None:
    """Edit while another process sits in mid-commit with every lock, and does not move."""
    with Kernel(HOLDER.format(path=str(path))) as holder, orchstate.open(path, secrets="memory") as store:
        gpt = store.configs.create("openai", name="gpt")
        store.flush()
        holder("engine._write_mutex.acquire(); engine._lock.acquire(5)")
        holder("engine._writing.execute('BEGIN IMMEDIATE'); None")
        os.kill(holder.pid, signal.SIGSTOP)
        try:
            took, edits = [], 0
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                edits += 1
                start = time.perf_counter()
                gpt.seed = edits
                took.append(time.perf_counter() - start)
                time.sleep(0.005)
            assert gpt.seed == edits
            assert store.pending >= edits - 1
            with pytest.raises(FlushError):
                store.flush(0.1)
        finally:
            os.kill(holder.pid, signal.SIGCONT)
        holder("engine._writing.execute('ROLLBACK'); engine._lock.release(); engine._write_mutex.release()")
        store.flush(30)
        assert (store.status, store.error, store.pending) == ("ready", None, 0)
        holder("store.configs['gpt'].max_tokens = 5; store.flush(30)")
        store.refresh(30)
        assert gpt.max_tokens == 5
    # A limit for hangs; how quick an edit is in the median is printed.
    assert max(took) < 2
    assert sorted(history(path)) == [("gpt", seed) for seed in range(1, edits + 1)]
    median_us = sorted(took)[edits // 2] * 1e6
    print(f"stopped for {seconds:g} s: {edits} edits, median {median_us:.0f} us, 0 lost, 0 twice")


def test_edits_go_on_while_the_holder_of_the_lock_is_stopped(tmp_path: Path) -> None:
    stop_the_holder(tmp_path / "store.db", 3)


@pytest.mark.long
def test_edits_go_on_while_the_holder_of_the_lock_is_stopped_for_half_a_minute(tmp_path: Path) -> None:
    stop_the_holder(tmp_path / "store.db", 30)


def with_children(path: Path) -> orchstate.Store:
    store = orchstate.open(path, secrets="memory")
    for name in ("parent", *(f"child {number}" for number in range(4))):
        store.configs.create("openai", name=name)
    store.flush()
    return store


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("count", [25, pytest.param(100, marks=pytest.mark.long)])
def test_forks_that_open_the_store_anew_harm_nobody(count: int, quick_folder: Path) -> None:
    path = quick_folder / "store.db"
    with with_children(path) as store:
        accepted, stop = [], threading.Event()

        def edit() -> None:
            while not stop.is_set():
                accepted.append(len(accepted))
                store.configs["parent"].update(seed=accepted[-1])
                time.sleep(0.002)

        worker = threading.Thread(target=edit)
        worker.start()
        said = [in_child(lambda: add_one(str(path))) for _ in range(count)]
        stop.set()
        worker.join()
        store.flush(60)
    stored = history(path)
    assert all(word.isdigit() for word in said), said
    assert sorted(seed for name, seed in stored if name == "parent") == accepted
    assert {seed for name, seed in stored if name != "parent"} == {int(word) for word in said}
    assert max(stored.values()) == 1
    assert faults(path) == []
    print(f"{count} forks: {len(accepted) + count} edits, 0 lost, 0 twice")


@pytest.mark.parametrize("count", [6, pytest.param(20, marks=pytest.mark.long)])
def test_spawned_processes_edit_beside_their_parent(count: int, quick_folder: Path) -> None:
    path = quick_folder / "store.db"
    with with_children(path) as store:
        with multiprocessing.get_context("spawn").Pool(4, maxtasksperchild=1) as pool:
            children = pool.map_async(add_one, [str(path)] * count, chunksize=1)
            seeds = 0
            while not children.ready():
                store.configs["parent"].seed = seeds
                seeds += 1
                time.sleep(0.02)
            pids = children.get(60)
        store.flush(60)
    stored = history(path)
    assert len(set(pids)) == count
    assert {seed for name, seed in stored if name != "parent"} == set(pids)
    assert sorted(seed for name, seed in stored if name == "parent") == list(range(seeds))
    assert faults(path) == []
    print(f"{count} spawned: {seeds + count} edits, 0 lost, 0 twice")
