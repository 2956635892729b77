"""Nothing acknowledged is lost, and nothing happens twice, when writers are killed at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchstate.opening import open as open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).with_name("writers.py")
WRITERS = 3


class Nursery:
    """The process that forks writers."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def spawn(self, **command: object) -> int:
        assert self._process.stdin and self._process.stdout
        print(json.dumps(command), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate("", timeout=10)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


def _lines(log: Path, what: str) -> list[tuple[str, int]]:
    if not log.exists():
        return []
    # The last line may be torn: its writer was killed.
    whole = log.read_bytes().rpartition(b"\n")[0].splitlines()
    return [tuple(entry[what]) for entry in map(json.loads, whole) if what in entry]


def _wait_until_ready(logs: list[Path]) -> None:
    deadline = time.monotonic() + 30
    while not all(log.exists() and log.read_bytes().startswith(b'{"ready"') for log in logs):
        assert time.monotonic() < deadline, "a writer did not start"
        time.sleep(0.005)


def _kill(pid: int) -> None:
    """Kill a process and wait until it is gone, and with it its locks."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        while True:
            os.kill(pid, 0)
            time.sleep(0.001)


def _kill_rounds(nursery: Nursery, folder: Path, rounds: int, *, mode: str, journal: str) -> Path:
    """Run three writers again and again on one store, killing each at a moment of its own."""
    store, chance = folder / "store.db", random.Random(f"{mode} {journal}")
    for seed in range(1, rounds + 1):
        logs = [folder / f"{seed}-{number}.log" for number in range(WRITERS)]
        pids = [
            nursery.spawn(
                store=str(store), log=str(log), number=number, mode=mode, journal=journal, seed=seed
            )
            for number, log in enumerate(logs)
        ]
        try:
            _wait_until_ready(logs)
            while pids:
                time.sleep(chance.uniform(0, 0.06))
                _kill(pids.pop())
        finally:
            for pid in pids:
                _kill(pid)
    return store


def _in_history(store: Path) -> Counter[tuple[str, int]]:
    """Read the history without orchstate: how often each value was written to each config."""
    with closing(sqlite3.connect(store)) as connection:
        rows = connection.execute(
            "SELECT name, diff FROM rev WHERE verb = 'update' AND kind = 'config'"
        ).fetchall()
    found = ((name, json.loads(diff).get("seed")) for name, diff in rows)
    return Counter((name, change[1]) for name, change in found if change)


def _check(folder: Path, store: Path) -> tuple[int, list[tuple[str, int]], list[tuple[str, int]]]:
    """Return how many edits were acknowledged, which of them are lost, and what is there twice."""
    open_store(store).close()
    history = _in_history(store)
    logs = sorted(folder.glob("*.log"))
    done = [entry for log in logs for entry in _lines(log, "done")]
    about = {entry for log in logs for entry in _lines(log, "about")}
    invented = [entry for entry in history if entry not in about]
    assert not invented, f"in the history, and nobody wrote it: {invented[:5]}"
    return (
        len(done),
        [entry for entry in done if entry not in history],
        [entry for entry, count in history.items() if count > 1],
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", ["wal", "truncate"])
def test_nothing_acknowledged_is_lost_or_doubled_by_kill_9(
    mode: str, nursery: Nursery, tmp_path: Path
) -> None:
    store = _kill_rounds(nursery, tmp_path, 60, mode=mode, journal="outbox")
    done, lost, twice = _check(tmp_path, store)
    resets = sum(len(_lines(log, "reset")) for log in tmp_path.glob("*.log"))
    print(f"{mode}: 180 kills, {done} edits, {resets} resets, {len(lost)} lost, {len(twice)} twice")
    assert done > 1000
    assert resets > 100
    assert not lost, f"{len(lost)} of {done} are lost, such as {lost[:5]}"
    assert not twice
    with open_store(store, read_only=True) as opened:
        assert opened._engine.check() == []
    assert not list((tmp_path / "store.db.outbox").iterdir())


@pytest.mark.parametrize("journal", ["queue", "buffered", "hasty"])
def test_a_journal_that_buffers_in_the_process_or_is_reset_too_early_loses_edits(
    journal: str, nursery: Nursery, tmp_path: Path
) -> None:
    """The negative control: the same harness finds the loss where there is one."""
    store = _kill_rounds(nursery, tmp_path, 6, mode="truncate", journal=journal)
    done, lost, _ = _check(tmp_path, store)
    print(f"{journal}: {done} acknowledged edits, {len(lost)} lost")
    assert lost


@pytest.mark.long
@pytest.mark.parametrize("mode", ["wal", "truncate"])
def test_a_thousand_rounds_of_kill_9_lose_nothing(mode: str, nursery: Nursery, tmp_path: Path) -> None:
    store = _kill_rounds(nursery, tmp_path, 1000, mode=mode, journal="outbox")
    done, lost, twice = _check(tmp_path, store)
    print(f"{mode}: 3000 kills, {done} acknowledged edits, {len(lost)} lost, {len(twice)} twice")
    assert (lost, twice) == ([], [])
