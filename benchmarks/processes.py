"""Other processes: fresh ones that are timed from their start, and workers that are asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

from benchmarks.measuring import NS_PER_MS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_FRESH: Final = str(Path(__file__).with_name("fresh.py"))


def start_ms(role: str, *arguments: object) -> float:
    """Return the milliseconds from the start of a fresh process to its first line of output."""
    begin = perf_counter_ns()
    with subprocess.Popen(_command(role, arguments), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        took = perf_counter_ns() - begin
        process.communicate()
    if process.returncode or not line:
        raise RuntimeError(f"The fresh process {role!r} ended with {process.returncode}.")
    return took / NS_PER_MS


def told(role: str, *arguments: object) -> list[float]:
    """Return the numbers that a fresh process prints."""
    done = subprocess.run(_command(role, arguments), stdout=subprocess.PIPE, text=True, check=True)
    return [float(number) for number in done.stdout.split()]


def _command(role: str, arguments: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-P", _FRESH, role, *map(str, arguments)]


class Worker:
    """A process of :mod:`benchmarks.workers`, which does what it is told until it is closed.

    Parameters
    ----------
    role
        What it is.
    *arguments
        What the role needs to know.
    """

    def __init__(self, role: str, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.workers", role, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.hear()

    def ask(self, *request: Any) -> Any:
        """Return the answer to a request."""
        self.tell(*request)
        return self.hear()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Have a holder take every lock of its store and stop it, until the block ends."""
        self.ask("hold")
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)
        self.ask("let go")

    def tell(self, *request: Any) -> None:
        """Make a request whose answer is heard later."""
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)

    def hear(self) -> Any:
        """Return the answer to the oldest request that is open."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"A worker ended with {self._process.wait()}.")
        return json.loads(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The end of its input ends it.
        self._process.communicate()
