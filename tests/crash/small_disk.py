"""Edit on a disk of 1 MB until it is full, then free space: run there, with a function's name and arguments.

What it returns is printed as JSON.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from crash.nursery import faults, history

import orchstate
from orchstate.errors import FlushError, StoreWriteError
from orchstate.state import writer
from orchstate.storage import file, outbox

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE: Final = 4096


def wait_until(look: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not look() and time.monotonic() < deadline:
        time.sleep(0.02)
    return look()


def fill(folder: Path, leave: int) -> Path:
    """Take all of the disk but some bytes."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(PAGE))
        except OSError:
            out.truncate(out.tell() // PAGE * PAGE - leave)
    return filler


def until_full(disk: str, log: str, leave: str) -> dict[str, object]:
    """Edit while `leave` bytes last, log each acknowledged edit, and go on with space."""
    folder = Path(disk)
    said: dict[str, object] = {}
    store = orchstate.open(folder / "store.db", secrets="memory")
    gpt = store.configs.create("openai", name="gpt", seed=0)
    store.flush()
    filler = fill(folder, int(leave))
    with Path(log).open("w") as out:
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


def page_by_page(disk: str, mode: str, *pages: str) -> list[dict[str, object]]:
    """Fill the disk with so many pages left, edit, and free it again; once for each number of pages."""
    # Known to no SQLite: what is tested is how it writes.
    file.journal_mode = lambda path: mode  # type: ignore[assignment,misc,return-value]
    writer._FIRST_RETRY_S = 0.001  # type: ignore[misc]
    outbox.RESET_BYTES = 2_000  # type: ignore[misc]
    return [_with_pages_left(Path(disk), int(left)) for left in pages]


def _with_pages_left(disk: Path, left: int) -> dict[str, object]:
    path = disk / str(left) / "store.db"
    store = orchstate.open(path, secrets="memory")
    gpt = store.configs.create("openai", name="gpt")
    store.flush()
    filler = fill(disk, left * PAGE)
    accepted, refused, waited = [], 0, False
    for seed in range(1, 9):
        try:
            gpt.update(seed=seed, stop=f"{seed} " * 300)
        except StoreWriteError:
            refused += 1
        else:
            accepted.append(seed)
        with contextlib.suppress(FlushError):
            store.flush(timeout=0.05)
        waited = waited or (store.status, store.pending > 0) == ("degraded", True)
    filler.unlink()
    goes_on = wait_until(lambda: store.pending == 0)
    gpt.seed = 99
    store.flush()
    goes_on = goes_on and store.status == "ready"
    store.close()
    found: dict[str, Any] = {
        "left": left,
        "refused": refused,
        "waited": waited,
        "goes on": goes_on,
        "exact": history(path) == Counter(("gpt", seed) for seed in [*accepted, 99]),
        "faults": faults(path),
    }
    shutil.rmtree(path.parent)
    return found


if __name__ == "__main__":
    _, function, *arguments = sys.argv
    print(json.dumps({"until_full": until_full, "page_by_page": page_by_page}[function](*arguments)))
