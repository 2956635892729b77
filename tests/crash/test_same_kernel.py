"""What a notebook does to its store's file by other means harms nobody: SQLite's locks are not all there is.

``open(path).read()`` drops every lock that SQLite holds for the process. Another process, by
reading alone, then takes a running commit for that of a dead one and rolls it back, or, by
closing, takes itself for the last and removes the log under the others.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest
from crash.guests import MANNERS
from crash.nursery import compare, faults, history, lines, wait_for_end

from orchstate.errors import OrchstateError
from orchstate.opening import open as open_store

if TYPE_CHECKING:
    from pathlib import Path

    from crash.nursery import Nursery

    Sittings = tuple[tuple[int, int], ...]

WRITERS = 4
# How often each of them opens the store, and how many edits it makes each time.
SITTINGS = ((5, 20),) * WRITERS
# One that stays and one that comes and goes.
ALONE = ((1, 200), (40, 5))


def visit(
    nursery: Nursery,
    folder: Path,
    mode: str,
    manners: list[str],
    sittings: Sittings,
    limit_s: float = 120,
    **more: bool,
) -> list[Path]:
    """Have writers edit at once, the first of which behaves like that; return their logs."""
    open_store(folder / "store.db", secrets="memory").close()
    logs = [folder / f"{number}.log" for number in range(len(sittings))]
    pids = [
        nursery.spawn(
            play="guest",
            store=str(folder / "store.db"),
            log=str(log),
            seed=number + 1,
            mode=mode,
            sittings=sittings[number][0],
            edits=sittings[number][1],
            manners=[] if number else manners,
            others=list(map(str, logs)),
            **more,
        )
        for number, log in enumerate(logs)
    ]
    wait_for_end(*pids, limit_s=limit_s)
    return logs


def attack(nursery: Nursery, folder: Path, mode: str, manners: list[str], sittings: Sittings) -> None:
    logs = visit(nursery, folder, mode, manners, sittings)
    findings = compare(logs, history(folder / "store.db"))
    print(f"{mode}, {' '.join(manners)}, {len(sittings)} writers: {findings}")
    assert all(lines(log, "left") for log in logs), "a writer broke down"
    assert findings.done == sum(times * edits for times, edits in sittings)
    assert findings.is_sound, findings
    assert faults(folder / "store.db") == []
    seen = [lines(log, "seen") for log in logs]
    assert seen == [seen[0]] * len(logs)


@pytest.mark.parametrize("mode", ["wal", "truncate"])
@pytest.mark.parametrize("manners", [["file"], [*MANNERS]], ids="-".join)
def test_nothing_is_lost_by_what_a_notebook_does_to_the_file(
    manners: list[str], mode: str, nursery: Nursery, quick_folder: Path
) -> None:
    attack(nursery, quick_folder, mode, manners, SITTINGS)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["wal", "truncate"])
@pytest.mark.parametrize("manner", MANNERS)
def test_nothing_is_lost_by_any_of_it_alone(
    manner: str, mode: str, nursery: Nursery, quick_folder: Path
) -> None:
    attack(nursery, quick_folder, mode, [manner], ((40, 20),) * WRITERS)


@pytest.mark.parametrize("mode", ["wal", "truncate"])
def test_who_leaves_takes_nothing_from_one_who_has_lost_his_locks(
    mode: str, nursery: Nursery, quick_folder: Path
) -> None:
    attack(nursery, quick_folder, mode, ["file"], ALONE)


@pytest.mark.parametrize(("mode", "sittings"), [("wal", ALONE), ("truncate", SITTINGS)])
def test_sqlites_own_locks_alone_are_found_to_lose_edits(
    mode: str, sittings: Sittings, nursery: Nursery, quick_folder: Path
) -> None:
    """A negative control: the same without what guards the file beside SQLite's locks."""
    with contextlib.suppress(AssertionError):
        # They may well wait for ever for edits that are gone.
        visit(nursery, quick_folder, mode, ["file"], sittings, 10, is_lockless=True)
    logs = [*quick_folder.glob("*.log")]
    try:
        open_store(quick_folder / "store.db", secrets="memory").close()
        found = [*compare(logs, history(quick_folder / "store.db")).lost, *faults(quick_folder / "store.db")]
    except (OrchstateError, sqlite3.DatabaseError) as error:
        found = [str(error)]
    broken = [log for log in logs if not lines(log, "left")]
    print(f"control, {mode}: {len(found)} lost or damaged, {len(broken)} writers broken down, {found[:1]}")
    assert found or broken
