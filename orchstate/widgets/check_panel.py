"""The Test button: asks the provider whether a config works, while the notebook goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipywidgets import Box

from orchstate.display import html_note
from orchstate.errors import OrchstateError
from orchstate.widgets.background import Task
from orchstate.widgets.style import make, text
from orchstate.widgets.turns import Button

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchstate.clients.check import CheckResult
    from orchstate.config import Config
    from orchstate.display import Level


class CheckPanel:
    """A button, and what came of pressing it; while a test goes on the same button cancels it.

    Parameters
    ----------
    config
        What to test.
    found
        Called with the ids of the models that the provider offers.

    Attributes
    ----------
    test
        The button: one and the same, so that the keyboard stays where it is.
    result
        The widget with the result.
    """

    def __init__(self, config: Config, found: Callable[[tuple[str, ...]], object]) -> None:
        self._config = config
        self._found = found
        self._task: Task[CheckResult | str] | None = None
        self.test = make(Button, "orch-primary")
        self.result = text("", "orch-result")
        self.box = make(Box, "orch-check", children=(self.test,))
        self.test.on_click(lambda _: self._press())
        self._turn(is_busy=False)

    @property
    def is_busy(self) -> bool:
        """Whether a test is going on."""
        return self._task is not None

    def outdate(self) -> None:
        """Drop the result, since the config is not any more what was tested."""
        if self.is_busy:
            self._stop("Stopped, because the config has changed. Test again.")
        else:
            self.result.value = ""

    def _press(self) -> None:
        if self.is_busy:
            self._stop("Cancelled.")
        else:
            self._start()

    def _start(self) -> None:
        self._turn(is_busy=True)
        self.result.value = html_note("Testing…", "busy")
        self._task = Task(self._check, self._done)
        self._task.start()

    def _check(self) -> CheckResult | str:
        try:
            return self._config.check()
        except OrchstateError as error:
            return str(error)

    def _done(self, result: CheckResult | str | None) -> None:
        self._task = None
        self._turn(is_busy=False)
        if result is None or isinstance(result, str):
            self.result.value = html_note(result or "The test could not be made; the log says why.", "error")
            return
        latency = f" ({result.latency_ms:,} ms)" if result.latency_ms else ""
        self.result.value = html_note(f"{result.message}{latency}", _level(result))
        self._found(result.models)

    def _stop(self, message: str) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._turn(is_busy=False)
        self.result.value = html_note(message, "warning")

    def _turn(self, *, is_busy: bool) -> None:
        with self.test.hold_sync():
            self.test.description = "Cancel" if is_busy else "Test"
            self.test.tooltip = "Do not wait for it" if is_busy else "Ask the provider if this works"


def _level(result: CheckResult) -> Level:
    if not result.ok:
        return "error"
    return "ok" if result.reason == "ok" else "warning"
