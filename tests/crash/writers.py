"""Writers to be killed: a process that has everything imported and forks one writer per command.

Each writer logs what it is about to do and what was acknowledged with one ``write`` per
line to a file of its own, outside everything that it tests. Run as ``python -m
crash.writers`` beside this folder, with one JSON command per line on standard input.
"""

from __future__ import annotations

import functools
import itertools
import json
import logging
import os
import random
import signal
import sys
import time
import traceback
from typing import Any

from crash import guests, victims
from crash.journals import JOURNALS, LoggedOutbox

from orchstate import opening
from orchstate.storage import outbox
from orchstate.storage.sqlite import SqliteEngine

# Ten edits: kills should meet writers that reset their outbox all the time.
RESET_BYTES = 2_000


def write_until_killed(store: str, log: str, *, number: int, mode: str, journal: str, seed: int) -> None:
    """Edit one config of this writer and one of all writers, in bursts of any length, for ever."""
    opening.SqliteEngine = functools.partial(SqliteEngine, mode=mode)  # type: ignore[assignment, misc]
    opening.Outbox = JOURNALS[journal]
    outbox.RESET_BYTES = RESET_BYTES  # type: ignore[misc]
    chance = random.Random(seed)
    out = LoggedOutbox.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    opened = opening.open(store, actor=f"writer {number}")
    own = opened.configs.upsert(f"own {number}", "openai")
    shared = opened.configs.upsert("shared", "openai")
    opened.flush()
    nursery = os.getppid()
    os.write(out, b'{"ready": true}\n')
    for count in itertools.count(1):
        # No value is ever written twice, by nobody.
        value = (seed * 10 + number) * 1_000_000 + count
        config, name = (shared, "shared") if chance.random() < 0.2 else (own, f"own {number}")
        os.write(out, json.dumps({"about": [name, value]}).encode() + b"\n")
        config.seed = value
        os.write(out, json.dumps({"done": [name, value]}).encode() + b"\n")
        if chance.random() < 0.03:
            # Kills should also meet a writer that has caught up, and resets its outbox with the next edit.
            if chance.random() < 0.5:
                opened.flush()
            time.sleep(chance.uniform(0, 0.01))
            if os.getppid() != nursery:
                # Nobody is left to kill it.
                return


PLAYS: dict[str, Any] = {"write": write_until_killed, "guest": victims.played(guests.guest), **victims.PLAYS}


def main() -> None:
    """Fork a process for each command and print its id."""
    # Nobody waits for them, so they leave no zombies.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    logging.disable()
    for line in sys.stdin:
        command = json.loads(line)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                # Children of their own can be waited for.
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                PLAYS[command.pop("play", "write")](command.pop("store"), command.pop("log"), **command)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
