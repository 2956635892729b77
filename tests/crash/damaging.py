"""Stores to be damaged: what is in them stands in a log of its own, and how they are harmed.

Run as a script it makes one: ``python damaging.py STORE LOG wal|truncate``. It logs each edit
that was acknowledged, with its seq once it is committed, and leaves the store as a killed
process does: commits in the write-ahead log, edits in the outbox that nobody has committed.
"""

from __future__ import annotations

import functools
import json
import os
import random
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from orchstate import opening
from orchstate.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = [f"config {number}" for number in range(60)]
RENAMED, DELETED = "config 7", "config 8"
SECTOR, PAGE = 512, 4096


def make(store: str, log: str, mode: str) -> None:
    """Make a store, log what it acknowledges, and die."""
    opening.SqliteEngine = functools.partial(SqliteEngine, mode=mode)  # type: ignore[assignment, misc]
    chance = random.Random(mode)
    with Path(log).open("w") as out:

        def note(name: str, value: int | None, seq: int | None, n: int = 0) -> None:
            print(json.dumps([name, value, seq, n]), file=out, flush=True)

        opened = opening.open(store, secrets="memory")
        for number, name in enumerate(NAMES):
            # The last one is long enough to stand in pieces.
            stop = " ".join(map(str, range(1900))) if name == NAMES[-1] else f"{name} " * 20
            opened.configs.create("openai", name=name, seed=number, stop=stop)
            note(name, number, opened.flush())
        for value in range(1000, 1240):
            name = chance.choice(NAMES)
            opened.configs[name].seed = value
            note(name, value, opened.flush())
        # Wholly on the disk, so that damage meets the file alone.
        opened.close()
        opened = opening.open(store, secrets="memory")
        opened.configs[RENAMED].name = "renamed"
        opened.configs[DELETED].delete()
        note(DELETED, None, opened.flush())
        for value in range(2000, 2060):
            name = chance.choice([name for name in NAMES if name not in (RENAMED, DELETED)])
            opened.configs[name].seed = value
            note(name, value, opened.flush())
        opened._state._writer.stop()
        for value in range(3000, 3030):
            name = chance.choice([name for name in NAMES if name not in (RENAMED, DELETED)])
            config = opened.configs[name]
            config.seed = value
            # The rename, the deletion and sixty edits came before.
            note(name, value, None, value - 3000 + 63)
    os.kill(os.getpid(), signal.SIGKILL)


def bit(data: bytearray, chance: random.Random) -> None:
    """Change one bit."""
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def digit(data: bytearray, chance: random.Random) -> None:
    """Make one stored number another one, so that all else stays as it is."""
    found = [place.end() - 1 for place in re.finditer(rb'"seed":[0-9]+', data)]
    if found:
        data[chance.choice(found)] ^= 1
    else:
        bit(data, chance)


def sector(data: bytearray, chance: random.Random) -> None:
    """Lose a sector to zeros or to noise."""
    _overwrite(data, SECTOR, chance)


def page(data: bytearray, chance: random.Random) -> None:
    """Lose a page to zeros or to noise."""
    _overwrite(data, PAGE, chance)


def truncation(data: bytearray, chance: random.Random) -> None:
    """Lose the end."""
    del data[chance.randrange(len(data)) :]


def _overwrite(data: bytearray, size: int, chance: random.Random) -> None:
    start = chance.randrange(-(-len(data) // size)) * size
    end = min(len(data), start + size)
    data[start:end] = bytes(end - start) if chance.random() < 0.5 else chance.randbytes(end - start)


HARMS: dict[str, Callable[[bytearray, random.Random], None]] = {
    harm.__name__: harm for harm in (bit, digit, sector, page, truncation)
}

if __name__ == "__main__":
    make(*sys.argv[1:])
