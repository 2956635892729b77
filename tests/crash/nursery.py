"""What all attacks share: a nursery of processes, their logs, and a look at a store without orchstate.

The processes are forked from one that has everything imported (:mod:`crash.writers`), so a
new one costs some milliseconds. Each logs what it is about to do, and what was acknowledged,
to a file of its own, outside everything that is under attack.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

Edit = tuple[str, int]
"""The name of a config, and the seed that was written to it: a value that nobody ever writes twice."""

TESTS = Path(__file__).parents[1]
_SEED = re.compile(rb'"seed":\s*(\d+)')


class Nursery:
    """The process that forks others."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "crash.writers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=TESTS,
        )

    def spawn(self, **command: object) -> int:
        """Have a new process play something, and return its id; paths are given as text."""
        assert self._process.stdin and self._process.stdout
        print(json.dumps(command), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the nursery; its children have ended by themselves."""
        self._process.communicate("", timeout=10)


def is_there(pid: int) -> bool:
    """Whether a process of the nursery still runs; none leaves a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def kill(pid: int) -> None:
    """Kill a process and wait until it is gone, and with it its locks."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    while is_there(pid):
        time.sleep(0.001)


def wait_for_end(*pids: int, limit_s: float = 60.0) -> None:
    """Wait until processes have ended by themselves; kill them all and fail if one hangs."""
    deadline = time.monotonic() + limit_s
    while any(is_there(pid) for pid in pids):
        if time.monotonic() > deadline:
            for pid in pids:
                kill(pid)
            raise AssertionError(f"a process had not ended after {limit_s:g} s")
        time.sleep(0.001)


def wait_for_line(logs: Iterable[Path], what: str, limit_s: float = 30.0) -> None:
    """Wait until each log has a line of a kind."""
    deadline = time.monotonic() + limit_s
    waiting = list(logs)
    while waiting := [log for log in waiting if not lines(log, what)]:
        assert time.monotonic() < deadline, f"no {what!r} in {waiting[0].name}"
        time.sleep(0.005)


def lines(log: Path, what: str) -> list[Any]:
    """Return what a log says under a word."""
    return [said for word, said in entries(log) if word == what]


def entries(log: Path) -> list[tuple[str, Any]]:
    """Return the words of a log and what it says under them; its last line may be torn by a kill."""
    if not log.exists():
        return []
    whole = log.read_bytes().rpartition(b"\n")[0].splitlines()
    found = (entry for line in whole for entry in json.loads(line).items())
    return [(word, tuple(said) if isinstance(said, list) else said) for word, said in found]


def history(store: Path) -> Counter[Edit]:
    """Read the history without orchstate: how often each seed was written to each config."""
    with closing(sqlite3.connect(store)) as connection:
        rows = connection.execute(
            "SELECT name, diff FROM rev WHERE verb = 'update' AND kind = 'config'"
        ).fetchall()
    found = ((name, json.loads(diff).get("seed")) for name, diff in rows)
    return Counter((name, change[1]) for name, change in found if change)


def parked(store: Path) -> Counter[int]:
    """Read without orchstate how often each seed is among the refused edits."""
    with closing(sqlite3.connect(store)) as connection:
        intents = [row[0] for row in connection.execute("SELECT intent FROM parked")]
    return Counter(int(found[1]) for intent in intents if (found := _SEED.search(intent)))


def set_aside(store: Path) -> Counter[Edit]:
    """Read without orchstate which edits of the dead wait, or were made anew by one that waits."""
    with closing(sqlite3.connect(store)) as connection:
        names = dict(connection.execute("SELECT id, name FROM doc"))
        found = connection.execute("SELECT intent FROM parked WHERE error = 'ConflictError'").fetchall()
    edits = [(id, values.get("seed")) for (text,) in found for _, _, id, _, values, *_ in json.loads(text)[4]]
    return Counter((names[id], seed) for id, seed in edits if seed is not None)


def faults(store: Path) -> list[str]:
    """Return what SQLite's own check, and a count of the history, find wrong with a file."""
    with closing(sqlite3.connect(store)) as connection:
        found = [line for (line,) in connection.execute("PRAGMA integrity_check") if line != "ok"]
        ((clock,),) = connection.execute("SELECT seq FROM clock")
        seqs = [seq for (seq,) in connection.execute("SELECT seq FROM rev ORDER BY seq")]
    if seqs != list(range(1, clock + 1)):
        found.append(f"the history has {len(seqs)} revisions up to {seqs[-1:]}, and the clock says {clock}")
    return found


@dataclass
class Findings:
    """What the logs of an attack say, compared with what is stored.

    Parameters
    ----------
    done
        Edits that were acknowledged.
    lost
        Those of them that are not in the history.
    twice
        Edits that are there more than once.
    invented
        Edits in the history that nobody was about to do.
    """

    done: int = 0
    lost: list[Edit] = field(default_factory=list)
    twice: list[Edit] = field(default_factory=list)
    invented: list[Edit] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.done} edits, {len(self.lost)} lost, {len(self.twice)} twice"

    @property
    def is_sound(self) -> bool:
        """Whether every acknowledged edit is there, once, and nothing else is."""
        return not (self.lost or self.twice or self.invented)


def compare(logs: Iterable[Path], stored: Counter[Edit]) -> Findings:
    """Compare what was logged as ``about`` and ``done`` with what is in the history."""
    known = sorted(logs)
    done = [entry for log in known for entry in lines(log, "done")]
    about = {entry for log in known for entry in lines(log, "about")}
    return Findings(
        len(done),
        [entry for entry in done if entry not in stored],
        [entry for entry, count in stored.items() if count > 1],
        [entry for entry in stored if entry not in about],
    )
