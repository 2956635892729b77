"""Nothing acknowledged is lost, and nothing happens twice, when writers are killed at any moment."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest
from crash.nursery import Findings, compare, faults, history, kill, lines, set_aside, wait_for_line

from orchstate.opening import open as open_store

if TYPE_CHECKING:
    from pathlib import Path

    from crash.nursery import Nursery

WRITERS = 3
RESET_ROUNDS = 5


def kill_rounds(nursery: Nursery, folder: Path, rounds: int, *, mode: str, journal: str) -> Path:
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
            wait_for_line(logs, "ready")
            if journal == "outbox" and seed % RESET_ROUNDS == 0:
                # However busy the machine is, some kills meet writers that have begun their outbox anew.
                wait_for_line(logs, "reset")
            while pids:
                time.sleep(chance.uniform(0, 0.06))
                kill(pids.pop())
        finally:
            for pid in pids:
                kill(pid)
    return store


def check(folder: Path, store: Path) -> Findings:
    """Open the store once more and compare what it holds with the logs."""
    open_store(store).close()
    findings = compare(folder.glob("*.log"), history(store) + set_aside(store))
    assert not findings.invented, f"in the history, and nobody wrote it: {findings.invented[:5]}"
    return findings


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", ["wal", "truncate"])
def test_nothing_acknowledged_is_lost_or_doubled_by_kill_9(
    mode: str, nursery: Nursery, quick_folder: Path
) -> None:
    store = kill_rounds(nursery, quick_folder, 60, mode=mode, journal="outbox")
    findings = check(quick_folder, store)
    resets = sum(len(lines(log, "reset")) for log in quick_folder.glob("*.log"))
    print(f"{mode}: 180 kills, {findings}, {resets} resets")
    assert findings.done > 1000
    assert resets >= WRITERS * 60 // RESET_ROUNDS
    assert findings.is_sound, f"lost: {findings.lost[:5]}, twice: {findings.twice[:5]}"
    assert faults(store) == []
    with open_store(store, read_only=True) as opened:
        assert opened._engine.check() == []
    assert not list((quick_folder / "store.db.outbox").iterdir())


@pytest.mark.parametrize("journal", ["queue", "buffered", "hasty"])
def test_a_journal_that_buffers_in_the_process_or_is_reset_too_early_loses_edits(
    journal: str, nursery: Nursery, quick_folder: Path
) -> None:
    """The negative control: the same harness finds the loss where there is one."""
    store = kill_rounds(nursery, quick_folder, 6, mode="truncate", journal=journal)
    findings = check(quick_folder, store)
    print(f"{journal}: 18 kills, {findings}")
    assert findings.lost


@pytest.mark.long
@pytest.mark.parametrize("mode", ["wal", "truncate"])
def test_a_thousand_rounds_of_kill_9_lose_nothing(mode: str, nursery: Nursery, quick_folder: Path) -> None:
    store = kill_rounds(nursery, quick_folder, 1000, mode=mode, journal="outbox")
    findings = check(quick_folder, store)
    print(f"{mode}: 3000 kills, {findings}")
    assert findings.is_sound, f"lost: {findings.lost[:5]}, twice: {findings.twice[:5]}"
