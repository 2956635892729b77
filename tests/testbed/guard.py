"""Run a command, and end it when the standard input closes.

Whoever started this holds the other end of the standard input, and the operating
system closes it for them even after ``kill -9``. So nothing outlives its tests.

Usage: ``python guard.py COMMAND [ARGUMENT ...]``
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

GRACE_SECONDS = 10.0


def run(command: list[str]) -> int:
    """Run `command` until it ends by itself or the standard input closes; return its exit status."""
    # A group of its own: a Ctrl+C meant for the tests must not end it out of order.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_end_with_input, args=(child,), daemon=True).start()
    return child.wait()


def _end_with_input(child: subprocess.Popen[bytes]) -> None:
    # Not sys.stdin, whose lock this thread would still hold when the interpreter ends.
    while os.read(0, 4096):
        pass
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(run(sys.argv[1:]))
