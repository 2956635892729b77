"""Receipts: follow an edit from accepted to its outcome."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Literal

from orchstate.errors import (
    ClosedError,
    ConflictError,
    CorruptStoreError,
    DuplicateNameError,
    OrchstateError,
    StoreError,
    ValidationError,
)
from orchstate.loops import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from orchstate.storage.engine import Decision, Revision

ReceiptState = Literal["accepted", "committed", "merged", "conflict", "rejected"]

_ERRORS: dict[str, type[OrchstateError]] = {
    error.__name__: error for error in (ConflictError, CorruptStoreError, DuplicateNameError, ValidationError)
}


def checked_timeout(timeout_s: object) -> float | None:
    """Return a time limit in seconds; None is none.

    Raises
    ------
    ValidationError
        If it is neither None nor a number from 0 on.

    Examples
    --------
    >>> checked_timeout(5), checked_timeout(None), checked_timeout(float("inf"))
    (5.0, None, None)
    """
    if timeout_s is None:
        return None
    if isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool) and timeout_s >= 0:
        # For longer than the system can count is for ever.
        return float(timeout_s) if timeout_s <= threading.TIMEOUT_MAX else None
    raise ValidationError(
        f"timeout={timeout_s!r} is no time limit. Give seconds from 0 on, or None to wait as long as needed."
    )


class Outcomes:
    """Where outcomes are announced to all threads that wait for one."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.has_ended = False

    @contextlib.contextmanager
    def announcing(self) -> Iterator[None]:
        """Have everybody look again after the block."""
        with self._condition:
            yield
            self._condition.notify_all()

    def wait(self, is_there: Callable[[], bool], timeout_s: float | None) -> bool:
        """Return whether it is there, as soon as that is so, or no more outcomes come, or time is up.

        Raises
        ------
        ValidationError
            If `timeout_s` is no time limit.
        """
        timeout_s = checked_timeout(timeout_s)
        with self._condition:
            self._condition.wait_for(lambda: self.has_ended or is_there(), timeout_s)
            return is_there()

    def end(self) -> None:
        """Let nobody wait any longer: no more outcomes come."""
        with self.announcing():
            self.has_ended = True

    def abandon(self) -> None:
        """Do the same in a forked child, where the inherited lock may be held by nobody."""
        self._condition = threading.Condition()
        self.has_ended = True


class Receipt:
    """What an edit returns.

    The edits of a transaction share one, which follows the transaction as a whole.

    Parameters
    ----------
    outcomes
        Where the outcome will be announced.
    n
        Number of the intent among those of this process; 0 before the edit is accepted.

    Attributes
    ----------
    state
        ``"accepted"``, then one of ``"committed"``, ``"merged"``, ``"conflict"``, ``"rejected"``.
    seq
        Of the last revision that the edit became; None before, and when it became none.
    revision
        Of the document, when the edit changed exactly one.
    error
        Why it was not committed, or None.
    """

    __slots__ = ("_outcomes", "error", "n", "revision", "seq", "state")

    def __init__(self, outcomes: Outcomes, n: int = 0) -> None:
        self._outcomes = outcomes
        self.n = n
        self.state: ReceiptState = "accepted"
        self.seq: int | None = None
        self.revision: int | None = None
        self.error: OrchstateError | None = None

    def wait(self, timeout: float | None = None) -> Receipt:
        """Return this receipt once it has an outcome.

        Parameters
        ----------
        timeout
            Seconds to wait at most; None waits for ever.

        Raises
        ------
        TimeoutError
            If there is no outcome in time; the edit stays accepted.
        ClosedError
            If the store was closed before; the edit stays in the outbox.
        StoreError
            If it belongs to a transaction that has not ended.

        Examples
        --------
        >>> gpt.update(temperature=0.7).wait(timeout=5)
        <Receipt committed as revision 2>
        """
        if self.state == "accepted" and not self.n:
            raise StoreError("The transaction of this edit still runs. Wait after the end of its block.")
        if self._outcomes.wait(lambda: self.state != "accepted", timeout):
            return self
        if self._outcomes.has_ended:
            raise ClosedError(
                "The store was closed before the edit was committed. It is in the outbox, and whoever "
                "opens the store next commits it."
            )
        raise TimeoutError(f"No outcome after {timeout or 0:g} s; the edit stays accepted.")

    def __await__(self) -> Generator[object, None, Receipt]:
        return in_thread(self.wait).__await__()

    def settle(self, decision: Decision, revisions: Sequence[Revision] = ()) -> None:
        """Take the outcome over, with the revisions that the edit became; called once."""
        is_refused = decision.outcome in ("conflict", "rejected")
        # A conflict is a revision, too, but not the one that the edit was to become.
        if revisions and not is_refused:
            self.seq = revisions[-1].row.seq
            self.revision = revisions[0].row.revision if len(revisions) == 1 else None
        if is_refused:
            self.error = _ERRORS.get(decision.error, StoreError)(decision.reason)
        self.state = decision.outcome

    def fail(self, error: BaseException) -> None:
        """Take over that the edit never happened, because of an error in its transaction."""
        if isinstance(error, OrchstateError):
            self.error = error
        else:
            self.error = StoreError(f"The transaction ended with {type(error).__name__}.")
        self.state = "rejected"

    def __repr__(self) -> str:
        details = (
            f" as revision {self.revision}" if self.revision else f": {self.error}" if self.error else ""
        )
        return f"<Receipt {self.state}{details}>"
