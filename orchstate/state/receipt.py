"""Receipts: follow an edit from accepted to its outcome."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from orchstate.errors import ConflictError, DuplicateNameError, OrchstateError, StoreError, ValidationError

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator

    from orchstate.storage.engine import Commit, Decision

ReceiptState = Literal["accepted", "committed", "merged", "conflict", "rejected"]

_ERRORS: dict[str, type[OrchstateError]] = {
    "ConflictError": ConflictError,
    "DuplicateNameError": DuplicateNameError,
    "ValidationError": ValidationError,
}


class Receipt:
    """What an edit returns.

    Parameters
    ----------
    n
        Number of the intent among those of this process; 0 when nothing had to change.
    done
        Notified when outcomes arrive.

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

    __slots__ = ("_done", "error", "n", "revision", "seq", "state")

    def __init__(self, n: int, done: threading.Condition) -> None:
        self.n = n
        self._done = done
        self.state: ReceiptState = "accepted" if n else "committed"
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
        """
        with self._done:
            if not self._done.wait_for(lambda: self.state != "accepted", timeout):
                raise TimeoutError(f"No outcome after {timeout:g} s; the edit stays accepted.")
        return self

    def __await__(self) -> Generator[object, None, Receipt]:
        return asyncio.to_thread(self.wait).__await__()

    def settle(self, decision: Decision, commit: Commit) -> None:
        """Take the outcome over; called once, by the writer."""
        own = [revision for revision in commit.revisions if revision.n == self.n]
        if own:
            self.seq = own[-1].row.seq
            self.revision = own[0].row.revision if len(own) == 1 else None
        if decision.outcome in ("conflict", "rejected"):
            self.error = _ERRORS.get(decision.error, StoreError)(decision.reason)
        self.state = decision.outcome

    def __repr__(self) -> str:
        details = (
            f" as revision {self.revision}" if self.revision else f": {self.error}" if self.error else ""
        )
        return f"<Receipt {self.state}{details}>"
