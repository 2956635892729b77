"""Opening and closing: one store per target, what a closed one keeps, the loop that goes on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import shutil
import sqlite3
import statistics
import sys
import threading
import time
from contextlib import closing
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import orchstate
from orchstate.errors import ClosedError, StoreError
from orchstate.locks import FairLock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from orchstate.store import Store


def filled(path: Path) -> Path:
    with orchstate.open(path) as store:
        store.configs.create("openai", name="gpt", temperature=0.5)
    return path


# -- one store per target -------------------------------------------------------------------


def test_the_same_target_gives_the_same_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with orchstate.open(tmp_path / "store.db") as store:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "link").symlink_to(tmp_path)
        for target in ("store.db", str(tmp_path / "store.db"), tmp_path / "link" / "store.db"):
            assert orchstate.open(target) is store


def test_another_name_of_an_open_file_gives_the_same_store(tmp_path: Path) -> None:
    with orchstate.open(tmp_path / "store.db") as store:
        (tmp_path / "hard.db").hardlink_to(tmp_path / "store.db")
        (tmp_path / "soft.db").symlink_to(tmp_path / "store.db")
        assert orchstate.open(tmp_path / "hard.db") is orchstate.open(tmp_path / "soft.db") is store
    assert not (tmp_path / "hard.db.lock").exists()


def test_a_closed_store_is_opened_anew(tmp_path: Path) -> None:
    first = orchstate.open(filled(tmp_path / "store.db"))
    first.close()
    with orchstate.open(tmp_path / "store.db") as second:
        assert second is not first
        assert second.configs["gpt"].temperature == 0.5


def test_every_store_in_memory_is_another_one() -> None:
    with orchstate.open(":memory:") as one, orchstate.open(":memory:") as other:
        one.configs.create("openai", name="gpt")
        assert "gpt" not in other.configs


def test_threads_that_open_one_target_get_one_store(tmp_path: Path) -> None:
    found: list[Store] = []
    threads = [
        threading.Thread(target=lambda: found.append(orchstate.open(tmp_path / "store.db"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(store) for store in found}) == 1
    found[0].close()


def test_other_options_for_an_open_store_are_refused_with_the_difference(tmp_path: Path) -> None:
    with (
        orchstate.open(tmp_path / "store.db", actor="ann"),
        pytest.raises(
            StoreError,
            match=r"is open in this process with read_only=False, actor='ann', "
            r"and now wanted with read_only=True, actor='bob'\. Open it the same way, or close\(\) it first",
        ),
    ):
        orchstate.open(tmp_path / "store.db", read_only=True, actor="bob")


def test_the_environment_names_the_usual_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHSTATE_STORE", str(tmp_path / "usual.db"))
    with orchstate.open() as store:
        assert store.path == tmp_path / "usual.db"


def test_without_one_it_lies_among_the_users_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHSTATE_STORE", "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with orchstate.open() as store:
        assert store.path is not None
        assert store.path.name == "store.db"
        assert store.path.is_relative_to(tmp_path) or sys.platform == "darwin"


def test_a_tilde_is_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with orchstate.open("~/store.db") as store:
        assert store.path == tmp_path / "store.db"


@pytest.mark.parametrize("name", ["with space.db", "q?x#y%z.db", "ünïcode.db", "a'b\"c.db"])
def test_odd_names_of_files_work(name: str, tmp_path: Path) -> None:
    path = filled(tmp_path / name)
    with orchstate.open(path, read_only=True) as store:
        assert list(store.configs) == ["gpt"]
    assert path.exists()


# -- closing --------------------------------------------------------------------------------


def test_closing_commits_and_removes_the_outbox(tmp_path: Path) -> None:
    with orchstate.open(tmp_path / "store.db") as store:
        store.configs.create("openai", name="gpt")
    assert store.status == "closed"
    assert repr(store) == f"<Store {tmp_path / 'store.db'}: closed>"
    assert list((tmp_path / "store.db.outbox").iterdir()) == []
    store.close()


def test_a_closed_store_refuses_edits_and_keeps_what_was_read(tmp_path: Path) -> None:
    with orchstate.open(tmp_path / "store.db") as store:
        gpt = store.active = store.configs.create("openai", name="gpt", temperature=0.5)
    assert gpt.temperature == 0.5
    assert store.active is gpt
    for edit in (gpt.delete, store.undo, store.flush, store.refresh):
        with pytest.raises(
            ClosedError, match=r"This store is closed\. Open it again with orchstate\.open\(\)"
        ):
            edit()
    with pytest.raises(ClosedError):
        gpt.temperature = 1.0


@pytest.mark.parametrize("round", range(5))
def test_an_edit_that_returns_while_another_thread_closes_is_not_lost(round: int, tmp_path: Path) -> None:
    store = orchstate.open(tmp_path / "store.db")
    gpt, done = store.configs.create("openai", name="gpt"), []

    def edit() -> None:
        with contextlib.suppress(ClosedError):
            for count in itertools.count():
                gpt.seed = count
                done.append(count)

    worker = threading.Thread(target=edit)
    worker.start()
    time.sleep(0.02 * round)
    store.close()
    worker.join()
    with orchstate.open(tmp_path / "store.db") as again:
        assert again.history.changes("gpt", field="seed")["new"].tolist() == done


def test_the_observers_of_a_store_hear_that_it_is_closed(tmp_path: Path) -> None:
    heard = []
    store = orchstate.open(tmp_path / "store.db")
    store.observe(lambda change: heard.append(change.new), "status")
    store.close()
    assert heard[-1] == "closed"


def test_closing_a_store_that_cannot_commit_keeps_the_outbox(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.db"
    store = orchstate.open(path)
    gpt = store.configs.create("openai", name="gpt")
    store.flush()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        gpt.temperature = 1.0
        store._close(0.2)
    assert "Closed with open edits: 1 accepted edit is not committed yet" in caplog.text
    with orchstate.open(path) as again:
        assert again.configs["gpt"].temperature == 1.0


# -- without stopping the loop --------------------------------------------------------------


def test_opening_flushing_and_refreshing_leave_the_loop_running(tmp_path: Path) -> None:
    path = filled(tmp_path / "store.db")
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            ticks.append(time.perf_counter())
            await asyncio.sleep(0.005)

    async def while_it_is_locked(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Do slow work: for 0.3 s another process, so to say, keeps the lock that it needs."""
        lock = FairLock(path.with_name("store.db.lock"))
        await asyncio.to_thread(lock.acquire, 10)
        asyncio.get_running_loop().call_later(0.3, lock.release)
        ticks.clear()
        result = await work()
        pauses_ms = [(later - earlier) * 1000 for earlier, later in itertools.pairwise(ticks)]
        print(
            f"{len(ticks)} ticks, the longest pause {max(pauses_ms):.1f} ms, half of all below "
            f"{statistics.median(pauses_ms):.1f} ms"
        )
        assert statistics.median(pauses_ms) < 250
        return result

    async def work() -> None:
        ticker = asyncio.create_task(tick())
        store = await while_it_is_locked(partial(orchstate.aopen, path))
        gpt = store.configs["gpt"]

        async def flush() -> int:
            gpt.seed = 1
            return await store.aflush()

        async def wait_for_receipt() -> str:
            return (await gpt.update(seed=2)).state

        assert await while_it_is_locked(flush) == 2
        assert await while_it_is_locked(wait_for_receipt) == "committed"
        await store.arefresh()
        ticker.cancel()
        store.close()

    asyncio.run(work())


def test_observers_of_an_asynchronously_opened_store_run_in_the_loops_thread(tmp_path: Path) -> None:
    async def work() -> set[int]:
        store, heard = await orchstate.aopen(filled(tmp_path / "store.db")), set()
        store.configs["gpt"].observe(lambda change: heard.add(threading.get_ident()), "seed")
        await asyncio.to_thread(store.configs["gpt"].update, seed=1)
        await asyncio.sleep(0.05)
        store.close()
        return heard

    assert asyncio.run(work()) == {threading.get_ident()}


def test_a_process_id_is_no_part_of_a_store(tmp_path: Path) -> None:
    path = filled(tmp_path / "store.db")
    content = path.read_bytes()
    assert str(os.getpid()).encode() not in content
    assert str(tmp_path).encode() not in content


def test_opening_is_logged_with_what_was_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "store.db"
    with caplog.at_level("INFO", "orchstate.opening"), orchstate.open(path, secrets="memory") as store:
        mode = store._engine.journal_mode
    (line,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("Opened ")]
    assert re.fullmatch(rf"Opened {re.escape(str(path))} \({mode}\) at revision 0 in \d+ ms", line)


def test_a_disk_that_is_nearly_full_is_told_before_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An imitation; a real disk of 1 MB is in tests/crash.
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=300 * 1024))
    with orchstate.open(tmp_path / "store.db", secrets="memory"):
        pass
    assert f"Only 300 kB are free on the disk of {tmp_path / 'store.db'}" in caplog.text
