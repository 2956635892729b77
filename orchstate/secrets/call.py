"""A call into code that may never return, waited for no longer than a limit.

Some keyring backends hang for ever, and a thread cannot be stopped: so the call runs in
a daemon thread of its own, and whoever waits for it stops waiting. The call may still
end later.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Result]):
    """How a call ended: with a value, or with a fault.

    Parameters
    ----------
    value
        What the call returned; may be a secret, so the repr leaves it out.
    fault
        What it raised, a `TimeoutError` if it has not ended; None if all went well.
        The fault itself may hold a secret (a `UnicodeDecodeError` has the bytes).
    """

    value: Result | None = field(default=None, repr=False)
    fault: BaseException | None = field(default=None, repr=False)


class BoundedCall(Generic[Result]):
    """A call that has been started in a daemon thread.

    Parameters
    ----------
    function, *arguments
        What to call.
    limit_s
        Seconds, from now, that `wait` waits at most.

    Examples
    --------
    >>> BoundedCall(sum, [1, 2], limit_s=2.0).wait().value
    3
    >>> BoundedCall(time.sleep, 0.2, limit_s=0.01).wait().fault
    TimeoutError()
    """

    def __init__(self, function: Callable[..., Result], *arguments: Any, limit_s: float) -> None:
        self._deadline = time.monotonic() + limit_s
        self._outcome: Outcome[Result] | None = None
        self._ended = threading.Event()
        self.thread = threading.Thread(
            target=self._run, args=(function, arguments), name="orchstate-call", daemon=True
        )
        # The thread has them now; a traceback through this frame must not.
        del arguments
        try:
            self.thread.start()
        except RuntimeError as error:  # no more threads: too many, or the interpreter is ending
            self._end(Outcome(fault=error))

    @property
    def has_ended(self) -> bool:
        """Whether the call has returned or raised; its thread may live for a moment longer."""
        return self._ended.is_set()

    def wait(self) -> Outcome[Result]:
        """Return how the call ended, or a `TimeoutError` as its fault once the limit has passed."""
        self._ended.wait(max(0.0, self._deadline - time.monotonic()))
        return self._outcome or Outcome(fault=TimeoutError())

    def _run(self, function: Callable[..., Result], arguments: tuple[Any, ...]) -> None:
        try:
            outcome = Outcome(value=function(*arguments))
        except BaseException as error:
            # Everything counts: extension modules panic past Exception. The frames hold the arguments.
            error.__traceback__ = error.__context__ = error.__cause__ = None
            outcome = Outcome(fault=error)
        self._end(outcome)

    def _end(self, outcome: Outcome[Result]) -> None:
        self._outcome = outcome
        self._ended.set()
