"""A process may be killed at any of these places, and nothing is lost, doubled, or left behind by halves."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from crash.failpoints import FAILPOINTS
from crash.nursery import Edit, compare, entries, faults, history, lines, parked, set_aside, wait_for_end

if TYPE_CHECKING:
    from pathlib import Path

    from crash.nursery import Findings, Nursery

MODES = ("wal", "truncate")


def kill_at(name: str, kills: int, nursery: Nursery, folder: Path, **broken: object) -> None:
    """Have one process after another killed at a failpoint, and then the stores opened in the regular way."""
    failpoint, chance = FAILPOINTS[name], random.Random(name)
    for seed in range(1, kills + 2):
        log, mode = folder / f"{seed:04}.log", MODES[seed % 2]
        is_last = seed > kills
        command: dict[str, object] = {"store": str(folder / "store.db"), "log": str(log), "mode": mode}
        command |= {"play": "heal" if is_last else failpoint.play, "seed": seed, **broken}
        if not is_last:
            command |= {"failpoint": name, "at": chance.randint(1, failpoint.passes)}
        wait_for_end(nursery.spawn(**command))
        hits = lines(log, "killed")
        assert hits == ([] if is_last else [name]), f"{name}: not killed there in round {seed}"
        assert set(lines(log, "mode")) <= {mode}
    assert lines(log, "healed"), "the store could not be opened any more"


def stores(folder: Path) -> list[Path]:
    """Return the stores of a folder, without the copies that were made of them."""
    return [path for path in folder.glob("*.db") if not path.name.startswith("copy-")]


def check(folder: Path) -> Findings:
    """Compare what the logs say with what is stored."""
    logs, found = sorted(folder.glob("*.log")), stores(folder)
    stored: Counter[Edit] = sum((history(store) for store in found), Counter())
    refused: Counter[int] = sum((parked(store) for store in found), Counter())
    findings = compare(logs, sum(map(set_aside, found), stored))
    damaged = {edit for log in logs for edit in lines(log, "damaged")}
    findings.lost = [edit for edit in findings.lost if edit not in damaged]
    for log in logs:
        for value, *names in lines(log, "together"):
            assert len({stored[name, value] for name in names}) == 1, "half of a transaction is there"
        for value in lines(log, "vain_done"):
            assert refused[value] == 1, "a refused edit is not among the parked ones, once"
    assert max(refused.values(), default=1) == 1
    assert not {value for _, value in stored}.intersection(refused)
    assert [fault for store in found for fault in faults(store)] == []
    left = [path.name for folder in folder.glob("*.outbox") for path in folder.iterdir()]
    assert [name for name in left if not name.endswith(".damaged")] == []
    return findings


def check_keys(folder: Path) -> int:
    """Check that whoever opens finds the last key that was acknowledged, or the one just about to be."""
    possible: set[str] = set()
    found = 0
    for word, key in [entry for log in sorted(folder.glob("*.log")) for entry in entries(log)]:
        if word == "key":
            assert key in possible
            found += 1
        if word in ("key", "key_done"):
            possible = {key}
        if word == "key_about":
            possible.add(key)
    return found


def check_copies(folder: Path) -> int:
    """Check that whatever has the name of a copy is a whole one, with all that was there before it."""
    copies = {path.name: path for path in folder.glob("copy-*.db")}
    for log in folder.glob("*.log"):
        assert copies.keys() >= set(lines(log, "copied"))
        for name, seq in lines(log, "copy"):
            if name in copies:
                assert faults(copies[name]) == []
                assert sum(history(copies[name]).values()) >= seq - 2 - 2
    return len(copies)


def attack(name: str, kills: int, nursery: Nursery, folder: Path) -> None:
    kill_at(name, kills, nursery, folder)
    findings = check(folder)
    extra = f", {check_keys(folder)} keys" if FAILPOINTS[name].play == "keys" else ""
    extra += f", {check_copies(folder)} copies" if FAILPOINTS[name].play == "copy" else ""
    print(f"{name}: {kills} kills, {findings}{extra}")
    assert findings.is_sound, findings


def test_there_are_enough_failpoints() -> None:
    assert len(FAILPOINTS) >= 25


@pytest.mark.parametrize("name", FAILPOINTS)
def test_nothing_is_lost_or_doubled_by_a_kill_at_a_failpoint(
    name: str, nursery: Nursery, quick_folder: Path
) -> None:
    attack(name, 5, nursery, quick_folder)


def test_a_journal_in_memory_is_found_to_lose_edits(nursery: Nursery, quick_folder: Path) -> None:
    """A negative control."""
    kill_at("before COMMIT", 10, nursery, quick_folder, journal="queue")
    findings = compare(quick_folder.glob("*.log"), history(quick_folder / "store.db"))
    print(f"control, journal in memory: 10 kills, {findings}")
    assert findings.lost


def test_an_engine_that_forgets_what_it_applied_is_found_to_do_it_twice(
    nursery: Nursery, quick_folder: Path
) -> None:
    """A negative control."""
    kill_at("adoption between batches", 10, nursery, quick_folder, is_forgetful=True)
    findings = compare(quick_folder.glob("*.log"), history(quick_folder / "store.db"))
    print(f"control, forgetful engine: 10 kills, {findings}")
    assert findings.twice


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", FAILPOINTS)
def test_nothing_is_lost_or_doubled_by_two_hundred_kills_at_a_failpoint(
    name: str, nursery: Nursery, quick_folder: Path
) -> None:
    attack(name, 200, nursery, quick_folder)
