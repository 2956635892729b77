"""The writer: one thread that takes accepted intents to the engine and brings back what was committed.

It settles receipts itself, so that waiting for an outcome works while the main thread is
busy; everything else it hands over as an :class:`Arrival`, to be shown by the thread that
owns the store.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchstate.errors import ClosedError, FlushError, ForkedStoreError, OrchstateError, StoreError
from orchstate.storage.engine import Commit, Decision

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchstate.models.intent import Intent
    from orchstate.state.receipt import Receipt
    from orchstate.storage.engine import Decide, Engine, Revision

logger = logging.getLogger(__name__)

# Intents in one commit: enough to share its cost, few enough to keep it short.
MAX_BATCH: Final = 200
_FIRST_RETRY_S: Final = 0.05
_LAST_RETRY_S: Final = 2.0
# A flush gives up after so many failures in a row rather than wait for ever.
_FAILURES_BEFORE_GIVING_UP: Final = 3
_IDLE_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """What the writer brings back.

    Parameters
    ----------
    revisions
        Everything committed since the last arrival, by anybody, in order.
    refused
        Receipts of own intents that did not become revisions.
    """

    revisions: Sequence[Revision]
    refused: tuple[Receipt, ...] = ()


class Writer:
    """The thread between a state and its engine.

    Parameters
    ----------
    engine
        Where intents go.
    decide
        What becomes of them.
    writer
        Id of this process among those that write.
    deliver
        Called in the thread with every arrival.
    report
        Called in the thread when the engine fails, and with None when it works again.
    """

    def __init__(
        self,
        engine: Engine,
        decide: Decide,
        writer: str,
        *,
        deliver: Callable[[Arrival], None],
        report: Callable[[OrchstateError | None], None],
    ) -> None:
        self._engine = engine
        self._decide = decide
        self._writer = writer
        self._deliver = deliver
        self._report = report
        self._queue: deque[tuple[Intent, Receipt]] = deque()
        self._cursor = engine.seq()
        self._failures = 0
        self._error: OrchstateError | None = None
        self._stopping = False
        self._asleep = True
        self.settled = 0
        self.done = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="orchstate-writer", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(self, intent: Intent, receipt: Receipt) -> None:
        """Have an accepted intent committed."""
        self._queue.append((intent, receipt))
        if self._asleep:
            self._engine.wake()

    def flush(self, n: int, timeout_s: float | None) -> None:
        """Return once the intents up to `n` have an outcome.

        Raises
        ------
        FlushError
            If they have none in time, or the engine keeps failing.
        """
        failed_before = self._failures

        def is_over() -> bool:
            failing = self._failures - failed_before
            return self.settled >= n or failing >= _FAILURES_BEFORE_GIVING_UP or not self._thread.is_alive()

        with self.done:
            self.done.wait_for(is_over, timeout_s)
            if self.settled >= n:
                return
            open_receipts = [receipt for intent, receipt in list(self._queue) if intent.n <= n]
        why = f"{self._error}" if self._error else f"no outcome after {timeout_s or 0:g} s"
        raise FlushError(
            f"{len(open_receipts)} accepted edits are not committed yet: {why} They are kept in the outbox.",
            receipts=open_receipts,
        ) from self._error

    def stop(self) -> None:
        """End the thread; what is not committed stays in the outbox."""
        self._stopping = True
        self._engine.wake()
        if self._thread is not threading.current_thread() and self._thread.is_alive():
            self._thread.join(10)

    def _run(self) -> None:
        news = False
        while not self._stopping:
            try:
                self._turn(news)
                news = self._rest()
            except (ClosedError, ForkedStoreError):
                return
            except StoreError as error:
                self._fail(error)
                news = True
            except Exception as error:
                logger.exception("The writer met an error that it does not know")
                self._fail(StoreError(f"{type(error).__name__}: {error}"))
                news = True

    def _rest(self) -> bool:
        self._asleep = True
        try:
            # Looked at after saying "asleep", so that no submission is slept through.
            return False if self._queue or self._stopping else self._engine.wait(_IDLE_S)
        finally:
            self._asleep = False

    def _turn(self, news: bool) -> None:
        batch = [self._queue[i] for i in range(min(len(self._queue), MAX_BATCH))]
        if batch:
            self._commit(batch)
        elif news:
            revisions = self._engine.changes_since(self._cursor)
            if revisions:
                self._cursor = revisions[-1].row.seq
                self._deliver(Arrival(revisions))
        self._recover()

    def _commit(self, batch: Sequence[tuple[Intent, Receipt]]) -> None:
        intents = [intent for intent, _ in batch]
        try:
            commit = self._engine.commit(self._writer, intents, self._decide)
        except StoreError:
            raise
        except Exception as error:
            # One intent cannot be applied: it must not be in the way of the others.
            if len(batch) > 1:
                for one in batch:
                    self._commit([one])
                return
            logger.exception("Intent %s could not be decided on and is parked", intents[0].n)
            commit = self._engine.commit(self._writer, intents, _rejecting(error))
        self._settle(batch, commit)

    def _settle(self, batch: Sequence[tuple[Intent, Receipt]], commit: Commit) -> None:
        revisions = commit.revisions
        if commit.before != self._cursor:
            revisions = self._engine.changes_since(self._cursor)
        if revisions:
            self._cursor = revisions[-1].row.seq
        with self.done:
            for intent, receipt in batch:
                self._queue.popleft()
                receipt.settle(commit.decisions.get(intent.n, Decision("committed")), commit)
                self.settled = intent.n
            self.done.notify_all()
        refused = tuple(receipt for _, receipt in batch if receipt.error)
        self._deliver(Arrival(revisions, refused))

    def _fail(self, error: OrchstateError) -> None:
        with self.done:
            self._failures += 1
            self._error = error
            self.done.notify_all()
        logger.warning("Not committed, will be tried again: %s", error)
        self._report(error)
        pause_s = min(_FIRST_RETRY_S * 2 ** min(self._failures, 6), _LAST_RETRY_S)
        self._engine.wait(pause_s)

    def _recover(self) -> None:
        if self._error:
            self._failures, self._error = 0, None
            self._report(None)


def _rejecting(error: Exception) -> Decide:
    decision = Decision(
        "rejected", (), f"It could not be applied: {type(error).__name__}: {error}", "StoreError"
    )
    return lambda snapshot, intent, writer: decision
