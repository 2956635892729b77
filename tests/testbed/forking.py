"""Work done in a forked child of the test."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def in_child(work: Callable[[], object]) -> str:
    """Return what `work` returns in a forked child; a child that hangs for 30 s is killed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = f"{work()}"
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    guard = threading.Timer(30, os.kill, (pid, 9))
    guard.start()
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    guard.cancel()
    return said
