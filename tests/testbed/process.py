"""Programs that end with the tests that started them, and that say why they failed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Found = TypeVar("Found")
TESTS: Final = Path(__file__).resolve().parents[1]
_GUARD: Final = Path(__file__).with_name("guard.py")
_POLL_SECONDS: Final = 0.02
# Longer than the guard's own grace, so that the guard is the one who ends the program.
_END_SECONDS: Final = 20.0
_SHOWN_LOG: Final = 4000


class NotReadyError(RuntimeError):
    """A program ended, or was not ready in time; the message has the end of its log."""


class Guarded:
    """A running program under a guard, which ends it when this process is gone.

    Parameters
    ----------
    command
        The program and its arguments.
    environment
        Its whole environment.
    log
        File that takes its output and errors.
    folder
        Its working directory, None for this process's own.
    """

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], log: Path, folder: Path | None = None
    ) -> None:
        self.command = tuple(command)
        self._log = log
        with log.open("wb") as output:
            self._guard = subprocess.Popen(
                [sys.executable, "-P", str(_GUARD), *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        """Whether the program still runs."""
        return self._guard.poll() is None

    @property
    def log(self) -> str:
        """What the program has written so far."""
        return self._log.read_text(errors="replace")

    def wait_for(self, look: Callable[[], Found | None], *, timeout_seconds: float, what: str) -> Found:
        """Return what `look` finds, calling it until it finds something.

        Raises
        ------
        NotReadyError
            If the program ends first, or `timeout_seconds` have passed.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            running = self.is_running
            found = look()
            if found is not None:
                return found
            if not running or time.monotonic() > deadline:
                raise NotReadyError(self._complaint(what, running=running, seconds=timeout_seconds))
            time.sleep(_POLL_SECONDS)

    def end(self) -> None:
        """End the program and wait until it is gone; harmless when it is gone already."""
        if self._guard.stdin:
            self._guard.stdin.close()
        self._guard.wait(_END_SECONDS)

    def _complaint(self, what: str, *, running: bool, seconds: float) -> str:
        fate = f"did not give {what} within {seconds:g} s" if running else f"ended before it gave {what}"
        return f"{self.command[0]} {fate}. Its last words:\n{self.log[-_SHOWN_LOG:]}"


def processes_in(folder: Path) -> list[int]:
    """Return the numbers of the running processes that have this folder in their environment."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and str(folder) in str(process.environ()):
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
