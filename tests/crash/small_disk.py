"""Edit on a disk of 1 MB until it is full, then free space: run with a folder there and a log elsewhere.

Each acknowledged edit is logged. What the store says is printed as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import orchstate
from orchstate.errors import FlushError, StoreWriteError

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_until(look: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not look() and time.monotonic() < deadline:
        time.sleep(0.02)
    return look()


def fill(folder: Path, leave: int) -> Path:
    """Take all of the disk but some bytes."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            file.truncate(file.tell() // 4096 * 4096 - leave)
    return filler


def run(folder: Path, log: Path, leave: int) -> dict[str, object]:
    said: dict[str, object] = {}
    store = orchstate.open(folder / "store.db", secrets="memory")
    gpt = store.configs.create("openai", name="gpt", seed=0)
    store.flush()
    filler = fill(folder, leave)
    with log.open("w") as out:
        value = 0
        try:
            # Each is larger than most, so that it does not take long.
            for value in range(1, 5000):
                gpt.update(seed=value, stop=f"{value} " * 200)
                print(value, file=out, flush=True)
        except StoreWriteError as error:
            said["refused"], said["kept"] = str(error), gpt.seed == value - 1
        said["status"], said["accepted"] = store.status, value - 1
        try:
            store.flush(timeout=2)
            said["flushed"] = True
        except FlushError as error:
            said["flushed"] = str(error)
        filler.unlink()
        said["goes on"] = wait_until(lambda: store.pending == 0)
        gpt.seed = value
        print(value, file=out, flush=True)
        store.flush()
        said["after"] = store.status
    store.close()
    return said


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
