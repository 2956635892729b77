"""The writer: one thread that takes accepted intents to the engine and brings back what was committed.

It settles receipts itself, so that waiting for an outcome works while the main thread is
busy; everything else it hands over as an :class:`Arrival`, to be shown by the thread that
owns the store. A turn that fails is repeated as a whole: the engine applies nothing twice.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchstate.errors import (
    ClosedError,
    FlushError,
    ForkedStoreError,
    OrchstateError,
    StoreError,
    StoreMovedError,
)
from orchstate.state.receipt import Outcomes
from orchstate.state.stats import Counts
from orchstate.storage.switching import quick_switching

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchstate.models.intent import Intent
    from orchstate.state.receipt import Receipt
    from orchstate.storage.engine import Decide, Engine, Revision, Row

logger = logging.getLogger(__name__)

# Intents in one commit: enough to share its cost, few enough to keep it short.
MAX_BATCH: Final = 200
# Revisions of others in one bundle: whoever was away for long takes in one after the other, and can do
# something else in between.
AT_ONCE: Final = 50
_FIRST_RETRY_S: Final = 0.05
_LAST_RETRY_S: Final = 2.0
# A flush gives up after so many failures in a row rather than wait for ever.
_FAILURES_BEFORE_GIVING_UP: Final = 3
_IDLE_S: Final = 3600.0
CARE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """What the writer brings back.

    Parameters
    ----------
    revisions
        Everything committed since the last arrival, by anybody, in order.
    settled
        Own intents up to this number have an outcome.
    refused
        Those among them that were not committed, with their receipts.
    renewed
        Present rows of what is in memory, where another file has taken the store's place.
    seq
        Number of the last commit that is certainly in those rows.
    """

    revisions: Sequence[Revision]
    settled: int
    refused: tuple[tuple[Intent, Receipt], ...] = ()
    renewed: Sequence[Row] = ()
    seq: int = 0


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
        Called in the thread with every arrival; returns whether more of what others did is
        welcome. If not, it stays in the engine until :meth:`resume`.
    report
        Called in the thread when the engine fails, and with None when it works again.
    care
        Called in the thread now and then when there is nothing else to do; returns whether it has
        committed something.

    Attributes
    ----------
    is_held_back
        Whether news of others wait in the engine, since too many wait here already.
    settled
        Number of the last intent that has an outcome.
    cursor
        Seq of the last revision that was handed over.
    counts
        What it has done so far.
    """

    def __init__(
        self,
        engine: Engine,
        decide: Decide,
        writer: str,
        *,
        deliver: Callable[[Arrival], bool],
        report: Callable[[OrchstateError | None], None],
        care: Callable[[], bool] | None = None,
    ) -> None:
        self._engine = engine
        self._decide = decide
        self._writer = writer
        self._deliver = deliver
        self._report = report
        self._care = care
        self._care_due = time.monotonic() + CARE_S if care else math.inf
        self._queue: deque[tuple[Intent, Receipt]] = deque()
        self._error: OrchstateError | None = None
        self._failures = self._failures_in_a_row = 0
        self._stopped = threading.Event()
        self._asleep = True
        self._is_news_wanted = False
        self.is_held_back = False
        self.settled = 0
        self.cursor = engine.seq()
        self._replacements = engine.replacements
        self.outcomes = Outcomes()
        self.counts = Counts()
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
        if not self._wait(lambda: self.settled >= n, timeout_s):
            receipts = [receipt for intent, receipt in list(self._queue) if intent.n <= n]
            # A file that is gone says itself where they are.
            kept = "" if isinstance(self._error, StoreMovedError) else " They are kept in the outbox."
            raise FlushError(
                f"{_edits(len(receipts))} not committed yet: {self._reason(timeout_s)}{kept}",
                receipts=receipts,
            ) from self._error

    def refresh(self, timeout_s: float | None) -> None:
        """Return once everything that anybody has committed by now was handed over.

        Raises
        ------
        StoreError
            If that is not so in time, or the engine keeps failing.
        """
        seq = self._engine.seq()
        self._is_news_wanted = True
        self._engine.wake()
        if not self._wait(lambda: self.cursor >= seq, timeout_s):
            raise StoreError(f"What others changed could not be read: {self._reason(timeout_s)}")

    def resume(self) -> None:
        """Have what was held back brought; what was delivered before it was taken."""
        self.is_held_back = False
        self._is_news_wanted = True
        self._engine.wake()

    def stop(self) -> None:
        """End the thread; what is not committed stays in the outbox."""
        self._stopped.set()
        self._engine.wake()
        if self._thread is not threading.current_thread() and self._thread.is_alive():
            self._thread.join(10)
        self.outcomes.end()

    def _wait(self, is_done: Callable[[], bool], timeout_s: float | None) -> bool:
        patience = self._failures + _FAILURES_BEFORE_GIVING_UP
        self.outcomes.wait(lambda: is_done() or self._failures >= patience, timeout_s)
        return is_done()

    def _reason(self, timeout_s: float | None) -> str:
        if self._error:
            return str(self._error)
        if self.outcomes.has_ended:
            return "the store is closed."
        return f"no outcome after {timeout_s or 0:g} s."

    def _run(self) -> None:
        has_news = False
        while not self._stopped.is_set():
            try:
                self._turn(has_news)
                self._take_care()
                has_news = self._rest()
                continue
            except (ClosedError, ForkedStoreError):
                break
            except StoreError as error:
                self._fail(error)
            except Exception as error:
                logger.exception("The writer met an error that it does not know")
                self._fail(StoreError(f"{type(error).__name__}: {error}."))
            # What failed may have been the look at what others did.
            has_news = True
            self._pause()
        self.outcomes.end()

    def _take_care(self) -> None:
        if self._care and not self._queue and time.monotonic() >= self._care_due:
            self._care_due = time.monotonic() + CARE_S
            self._is_news_wanted |= self._care()

    def _rest(self) -> bool:
        self._asleep = True
        try:
            # Looked at after saying "asleep", so that no submission is slept through.
            if self._queue or self._stopped.is_set() or self._is_news_wanted:
                return False
            return self._engine.wait(max(0.0, min(_IDLE_S, self._care_due - time.monotonic())))
        finally:
            self._asleep = False

    def _turn(self, has_news: bool) -> None:
        is_wanted, self._is_news_wanted = self._is_news_wanted, False
        batch = [self._queue[i] for i in range(min(len(self._queue), MAX_BATCH))]
        is_wanted |= has_news and not self.is_held_back
        if not batch and not is_wanted:
            return
        # What is done around a commit must not keep an editing thread waiting either.
        with quick_switching():
            if batch:
                self._commit(batch)
            else:
                self._look()

    def _look(self) -> None:
        self._bring(self._engine.verify())

    def _bring(self, last: int) -> None:
        """Bring what others have committed up to a seq, a bundle at a time."""
        is_all = False
        while not is_all:
            until = min(last, self.cursor + AT_ONCE)
            is_all = until == last
            revisions = self._engine.changes_since(self.cursor, until=until)
            renewed = self._renewed() if is_all else []
            self._recover()
            # Waiters look again when the block ends, and then find what was delivered in it.
            with self.outcomes.announcing():
                if revisions or renewed:
                    self.counts.foreign += len(revisions)
                    # Before, since whoever takes it in at once has to find that there is more.
                    self.is_held_back = True
                    if self._deliver(Arrival(revisions, self.settled, renewed=renewed, seq=until)):
                        self.is_held_back = False
                self.cursor = until
            if revisions:
                logger.debug("Saw %d revisions of others, up to %d", len(revisions), until)

    def _commit(self, batch: Sequence[tuple[Intent, Receipt]]) -> None:
        commit = self._engine.commit(self._writer, [intent for intent, _ in batch], self._decide)
        revisions, last = commit.revisions, commit.before + len(commit.revisions)
        if commit.before > self.cursor + AT_ONCE:
            self._bring(commit.before)
        if commit.before != self.cursor:
            revisions = self._engine.changes_since(self.cursor, until=last)
        own = _by_intent(revisions, self._writer)
        renewed = self._renewed()
        self._recover()
        with self.outcomes.announcing():
            for intent, receipt in batch:
                receipt.settle(commit.decisions[intent.n], own.get(intent.n, ()))
                self._queue.popleft()
            self.counts.committed((receipt for _, receipt in batch), time.time_ns() // 1000)
            self.counts.foreign += len(revisions) - len(commit.revisions)
            refused = tuple((intent, receipt) for intent, receipt in batch if receipt.error)
            self._deliver(Arrival(revisions, batch[-1][0].n, refused, renewed, last))
            self.settled, self.cursor = batch[-1][0].n, last
        logger.debug("Committed %d edits; the last revision is %d", len(batch), last)
        for intent, receipt in batch:
            if receipt.state == "merged":
                logger.info("Edit %d was merged with what others have changed", intent.n)

    def _renewed(self) -> list[Row]:
        """Return what is stored of what is in memory, where another file took the store's place lately."""
        replacements = self._engine.replacements
        if replacements == self._replacements:
            return []
        renewed = self._engine.known_anew()
        self._replacements = replacements
        return renewed

    def _fail(self, error: OrchstateError) -> None:
        self.counts.failures += 1
        if not self._failures_in_a_row:
            logger.warning("Not committed, will be tried again: %s", error)
        with self.outcomes.announcing():
            self._failures += 1
            self._failures_in_a_row += 1
            self._error = error
        self._report(error)

    def _pause(self) -> None:
        self._stopped.wait(min(_FIRST_RETRY_S * 2 ** min(self._failures_in_a_row, 6), _LAST_RETRY_S))

    def _recover(self) -> None:
        if self._error:
            self._failures_in_a_row, self._error = 0, None
            self._report(None)


def _edits(count: int) -> str:
    return "1 accepted edit is" if count == 1 else f"{count} accepted edits are"


def _by_intent(revisions: Sequence[Revision], writer: str) -> dict[int, list[Revision]]:
    found: dict[int, list[Revision]] = {}
    for revision in revisions:
        if revision.row.writer == writer:
            found.setdefault(revision.n, []).append(revision)
    return found
