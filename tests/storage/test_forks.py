"""Forks: the parent goes on unharmed, and the child is told to open its own."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from contract.notes import created, decide, intent
from testbed.forking import in_child

import orchstate
from orchstate.errors import ForkedStoreError
from orchstate.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    from pathlib import Path

    from orchstate.storage.placement import JournalMode

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def test_twenty_forks_under_a_busy_writer_harm_nobody(tmp_path: Path) -> None:
    with orchstate.open(tmp_path / "store.db") as store:
        gpt = store.configs.create("openai", name="gpt")
        accepted, stop = [], threading.Event()

        def edit() -> None:
            while not stop.is_set():
                gpt.update(seed=len(accepted))
                accepted.append(len(accepted))
                time.sleep(0.0005)

        worker = threading.Thread(target=edit)
        worker.start()
        said = {in_child(lambda: gpt.update(seed=-1)) for _ in range(20)}
        stop.set()
        worker.join()
        (words,) = said
        assert words.startswith("ForkedStoreError: This store was opened before fork()")
        store.flush()
        seeds = store.history.changes("gpt", field="seed")["new"].tolist()
        assert seeds == accepted
        assert store._engine.check() == []


def test_no_child_inherits_the_quick_switches_of_a_commit(tmp_path: Path) -> None:
    usual = sys.getswitchinterval()
    with orchstate.open(tmp_path / "store.db") as store:
        gpt = store.configs.create("openai", name="gpt")
        said = set()
        for n in range(60):
            # So that the writer is at its work, somewhere else in it each time.
            gpt.update(seed=n)
            time.sleep(0.0005 * (n % 8))
            said.add(in_child(sys.getswitchinterval))
    assert said == {str(usual)}
    assert sys.getswitchinterval() == usual


def test_a_child_may_read_what_is_in_memory(tmp_path: Path) -> None:
    with orchstate.open(tmp_path / "store.db") as store:
        gpt = store.configs.create("openai", name="gpt", temperature=0.5)
        assert in_child(lambda: gpt.temperature) == "0.5"
        assert in_child(lambda: repr(store)).startswith("<Store ")


@pytest.mark.parametrize(
    "use",
    [
        lambda store, receipt: store.flush(),
        lambda store, receipt: store.undo(),
        lambda store, receipt: store.configs.create("openai", name="new"),
        lambda store, receipt: store.transaction().__enter__(),
        lambda store, receipt: store.history.changes(),
        lambda store, receipt: store._engine.commit("w", [], decide),
    ],
)
def test_every_use_in_the_child_says_what_to_do(use: Any, tmp_path: Path) -> None:
    with orchstate.open(tmp_path / "store.db") as store:
        receipt = store.configs.create("openai", name="gpt").update(temperature=1.0)
        words = in_child(lambda: use(store, receipt))
        assert words.startswith("ForkedStoreError: "), words
        assert "Call orchstate.open() in the child" in words


def test_nobody_waits_in_the_child_for_an_outcome(tmp_path: Path) -> None:
    with orchstate.open(tmp_path / "store.db") as store:
        gpt = store.configs.create("openai", name="gpt")
        store.flush()
        with store._engine._write_mutex:
            receipt = gpt.update(temperature=1.0)
            assert in_child(lambda: receipt.wait()).startswith("ClosedError: ")
        assert receipt.wait(10).state == "committed"


def test_the_child_opens_its_own_and_both_write(tmp_path: Path) -> None:
    def work() -> int:
        with orchstate.open(tmp_path / "store.db") as own:
            own.configs["gpt"].update(temperature=1.0).wait(30)
            return own.flush()

    with orchstate.open(tmp_path / "store.db") as store:
        gpt = store.configs.upsert("gpt", "openai", temperature=0.0)
        store.flush()
        assert in_child(work) == "2"
        store.refresh(10)
        assert gpt.temperature == 1.0
        gpt.temperature = 0.5
        assert store.flush() == 3


@pytest.mark.parametrize("mode", ["truncate", "wal"])
def test_what_the_child_commits_outlives_the_parents_close(mode: JournalMode, tmp_path: Path) -> None:
    def work() -> list[int]:
        with closing(SqliteEngine(tmp_path / "store.db", mode=mode)) as own:
            parent.acquire()
            own.commit("b", [intent(1, created("y"))], decide)
            return [revision.row.seq for revision in own.changes_since(0)]

    parent = multiprocessing.get_context("fork").Semaphore(0)
    engine = SqliteEngine(tmp_path / "store.db", mode=mode)
    engine.commit("a", [intent(1, created("x"))], decide)
    # The parent's last connection goes while the child has one: in WAL mode the log would go with it,
    # if the child's SQLite took the locks of its parent for its own.
    closer = threading.Timer(0.3, lambda: (engine.close(), parent.release()))
    closer.start()
    assert in_child(work) == "[1, 2]"
    closer.join()
    with closing(SqliteEngine(tmp_path / "store.db", mode=mode)) as later:
        assert (later.seq(), later.check()) == (2, [])


def test_the_end_of_the_child_leaves_the_parents_outbox_alone(tmp_path: Path) -> None:
    with orchstate.open(tmp_path / "store.db") as store:
        gpt = store.configs.create("openai", name="gpt")
        in_child(lambda: store.close())
        (outbox,) = (tmp_path / "store.db.outbox").iterdir()
        gpt.temperature = 1.0
        assert outbox.stat().st_size > 0
        # Nobody else may adopt it: its lock is in force.
        assert in_child(lambda: orchstate.open(tmp_path / "store.db").close()) == "None"
        assert outbox.exists()


def test_the_engine_goes_on_after_a_fork(tmp_path: Path) -> None:
    with closing(SqliteEngine(tmp_path / "store.db")) as engine:
        engine.commit("a", [intent(1, created("x"))], decide)
        assert in_child(engine.seq).startswith("ForkedStoreError")
        engine.commit("a", [intent(2, created("y"))], decide)
        assert engine.seq() == 2


def test_a_child_inherits_no_open_database(tmp_path: Path) -> None:
    def open_files() -> list[str]:
        links = (
            os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if name.isdigit()
        )
        return [
            link for link in _existing(links) if link.endswith(("store.db", "store.db-wal", "store.db-shm"))
        ]

    if sys.platform != "linux":
        pytest.skip("looks into /proc")
    with closing(SqliteEngine(tmp_path / "store.db", mode="wal")) as engine:
        engine.commit("a", [intent(1, created("x"))], decide)
        assert in_child(open_files) == "[]"


def _existing(links: Any) -> list[str]:
    found = []
    while True:
        try:
            found.append(next(links))
        except FileNotFoundError:
            continue
        except StopIteration:
            return found


def _edit(path: str) -> int:
    with orchstate.open(path) as store:
        store.configs["gpt"].update(seed=os.getpid()).wait(30)
    return os.getpid()


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_worker_processes_open_the_store_by_its_path(method: str, tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    with orchstate.open(path) as store:
        store.configs.create("openai", name="gpt")
        store.flush()
        with multiprocessing.get_context(method).Pool(2) as pool:
            pids = pool.map(_edit, [path] * 4)
        assert set(store.history.changes("gpt", field="seed")["new"]) == set(pids)


def test_a_memory_store_stays_the_parents(tmp_path: Path) -> None:
    with orchstate.open(":memory:") as store:
        gpt = store.configs.create("openai", name="gpt")
        assert in_child(lambda: gpt.update(seed=1)).startswith(ForkedStoreError.__name__)
        gpt.seed = 2
        store.flush()
        assert store.history.changes("gpt", field="seed")["new"].tolist() == [2]
