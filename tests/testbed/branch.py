"""Processes of their own that need not import everything first: they are forked from one that has.

That one imports what takes long, and does nothing else: it has no thread, no store, and nothing of the
tests. A test of what importing does, or of what Python is told by its environment, starts a process anew.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from multiprocessing.process import BaseProcess

_CONTEXT = multiprocessing.get_context("forkserver")
# The keyring is not among them: it looks at the environment when it is imported.
_CONTEXT.set_forkserver_preload(
    [__name__, "orchstate.opening", "orchstate.cli", "orchstate.history.frames", "pandas"]
)


def pipe() -> Any:
    """Return the two ends of a pipe; one may be given to :func:`branched`."""
    return _CONTEXT.Pipe()


def branched(target: Callable[..., object], *args: Any) -> BaseProcess:
    """Start a process that calls a function of a module with arguments that can be pickled."""
    process = _CONTEXT.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def command(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, limit_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run ``orchstate`` with these arguments and nothing but this environment."""
    with tempfile.TemporaryDirectory() as outputs:
        out, err = Path(outputs, "out"), Path(outputs, "err")
        process = branched(_command, list(arguments), dict(environment), folder, out, err)
        process.join(limit_s)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(["orchstate", *arguments], limit_s, out.read_bytes())
        texts = [path.read_text(encoding="utf-8") for path in (out, err)]
        return subprocess.CompletedProcess(["orchstate", *arguments], process.exitcode, *texts)


def settle(environment: Mapping[str, str], folder: Path) -> None:
    """Have this process look as one that was started there with nothing but this environment."""
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)


def _command(arguments: list[str], environment: dict[str, str], folder: Path, out: Path, err: Path) -> None:
    from orchstate.cli import main

    settle(environment, folder)
    for fd, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), fd)
    sys.argv[1:] = arguments
    try:
        sys.exit(main(arguments))
    finally:
        # A branch ends without them.
        atexit._run_exitfuncs()
