"""A real disk of 1 MB that is full, and then is not."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("small_disk.py")
# In a world of its own, so that the disk ends with the program.
MOUNT = """
set -e
mount -t tmpfs -o size=1m small "$1"
shift
"$@"
"""


def on_a_small_disk(folder: Path, *command: object) -> str:
    """Run a program that sees a file system of 1 MB in a folder, and return what it prints."""
    unshare = shutil.which("unshare")
    assert unshare, "this test needs unshare(1), of util-linux, to make a disk of 1 MB"
    flags = ["-m"] if os.geteuid() == 0 else ["-rm"]
    folder.mkdir()
    done = subprocess.run(
        [unshare, *flags, "sh", "-c", MOUNT, "sh", folder, *map(str, command)],
        env={**os.environ, "PYTHONPATH": f"{SCRIPT.parents[1]}{os.pathsep}{SCRIPT.parents[2]}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"a disk of 1 MB cannot be made, or was not survived: {done.stderr}"
    return done.stdout


COPY = 'set -e; python=$1; shift; "$python" "$@"; cp -r "$3" "$4.copied"'


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs and unshare are Linux's")
@pytest.mark.parametrize("leave", [0, 8192, 40_960])
def test_a_full_disk_refuses_or_keeps_and_goes_on_by_itself(leave: int, tmp_path: Path) -> None:
    disk, log = tmp_path / "disk", tmp_path / "log"
    said: dict[str, Any] = json.loads(
        on_a_small_disk(disk, "sh", "-c", COPY, "sh", sys.executable, SCRIPT, "until_full", disk, log, leave)
    )
    assert re.match("The edit was not accepted: .*(fit on the disk|No space left)", said["refused"])
    assert (said["kept"], said["status"]) == (True, "degraded")
    assert (said["goes on"], said["after"]) == (True, "ready")
    acknowledged = [int(line) for line in log.read_text().split()]
    assert len(acknowledged) == said["accepted"] + 1
    assert _in_history(Path(f"{log}.copied") / "store.db") == acknowledged


FEW, ALL = range(0, 121, 8), range(121)


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs and unshare are Linux's")
@pytest.mark.parametrize("mode", ["wal", "truncate"])
@pytest.mark.parametrize("pages", [FEW, pytest.param(ALL, marks=pytest.mark.long)], ids=["few", "all"])
def test_wherever_the_last_page_of_the_disk_is_taken_nothing_is_lost(
    mode: str, pages: range, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    found: list[dict[str, Any]] = json.loads(
        on_a_small_disk(disk, sys.executable, SCRIPT, "page_by_page", disk, mode, *pages)
    )
    assert [each["left"] for each in found] == list(pages)
    assert [each for each in found if not each["exact"] or each["faults"] or not each["goes on"]] == []
    refused, waited = ([each["left"] for each in found if each[what]] for what in ("refused", "waited"))
    print(f"{mode}: refused with {refused} pages left, waited with {waited}, 0 lost, 0 twice")
    # Full in different places: below the outbox, below SQLite, and nowhere at all.
    assert refused and waited and found[-1]["left"] not in (*refused, *waited)


def _in_history(store: Path) -> list[int]:
    """Read without orchstate what became of the seed."""
    with closing(sqlite3.connect(store)) as connection:
        rows = connection.execute("SELECT diff FROM rev WHERE verb = 'update' ORDER BY seq").fetchall()
    return [json.loads(diff)["seed"][1] for (diff,) in rows]
