"""Acceptance: how validated steps are journalled, shown and sent on their way, alone or as a block.

An edit goes this way: validated against what is seen now; appended to the outbox in one
write; shown; observers told; and, in the writer's thread, committed by the engine. If any
of the first two fails, nothing has happened. The lock is held for the few microseconds of
the first three, never while observers run and never while the engine works.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

from orchstate.errors import (
    DuplicateNameError,
    LimitExceededError,
    NotFoundError,
    ReadOnlyError,
    StoreError,
    StoreWriteError,
    ValidationError,
)
from orchstate.models.intent import Intent
from orchstate.models.names import check_label, name_key
from orchstate.state import steps as edits
from orchstate.state.block import Block
from orchstate.state.decide import decider
from orchstate.state.interrupts import uninterrupted
from orchstate.state.present import Present
from orchstate.state.receipt import Receipt
from orchstate.state.transaction import Transaction
from orchstate.state.undo import Undoable, UndoStack
from orchstate.state.writer import Writer
from orchstate.storage.engine import Decision

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from orchstate.models.document import Document
    from orchstate.models.intent import Operation, Origin
    from orchstate.state.kinds import Kinds
    from orchstate.state.record import Record
    from orchstate.state.refusals import Refused
    from orchstate.state.steps import Step
    from orchstate.state.writer import Arrival
    from orchstate.storage.engine import Engine
    from orchstate.storage.outbox import Journal


class Acceptance(Present):
    """The half of a state that accepts edits.

    Parameters
    ----------
    engine
        Where edits are committed.
    journal
        Where they are accepted; None for a state that is only read.
    kinds
        The kinds of documents.
    record_class
        Returns the record class of a document class.
    origin
        Returns who is editing, and where.
    changed
        Called in the owner's thread when status, pending count or error may have changed.
    care
        Called now and then in the thread of the writer; returns whether it has committed something.
    """

    def __init__(
        self,
        engine: Engine,
        journal: Journal | None,
        kinds: Kinds,
        *,
        record_class: Callable[[type[Document]], type[Record]],
        origin: Callable[[], Origin],
        changed: Callable[[], object] = lambda: None,
        care: Callable[[], bool] | None = None,
    ) -> None:
        writer = journal.writer if journal else ""
        super().__init__(engine, writer, kinds, record_class=record_class, changed=changed)
        self._journal = journal
        self._origin = origin
        self.n = 0
        self.refusing = False
        """Whether the last edit could not be written, as on a full disk."""
        self._undo = UndoStack()
        self._pins: set[tuple[str, int]] = set()
        # How many ids of a name were used before, where it is known that they are.
        self._used_ids: dict[tuple[str, str], int] = {}
        self._writer = Writer(
            engine, decider(kinds), writer, deliver=self._deliver, report=self._report, care=care
        )

    def go(self) -> None:
        """Take up work at what is committed by now, which is no news to anybody."""
        try:
            self.view.cursor = self._writer.cursor = self.engine.seq()
        finally:
            # Otherwise edits would be accepted that nobody commits.
            self._writer.start()

    @property
    def actor(self) -> str:
        """Who edits here."""
        return self._origin().actor

    def check_writable(self) -> None:
        """Refuse edits to a closed, inherited or read-only state."""
        self.check_usable()
        if self.reads.noting and self.reads.reader_here:
            raise StoreError("A selector only reads. Have an observer of its selection make the edit.")
        if self._journal is None:
            raise ReadOnlyError(
                "This store is open for reading only. Open it without read_only=True to edit."
            )

    # -- transactions ---------------------------------------------------------------

    def transaction(self, label: str = "") -> Block:
        """Make the edits of the block all or nothing: one revision each, one undo step.

        Inside the block its edits are seen; elsewhere nothing is, until the block ends.
        An exception undoes everything that the block did; a nested block joins.
        """
        return Block(self, label)

    def afterwards(self, callback: Callable[[], object]) -> bool:
        """Have something done when the running block has ended, well or not; False if none runs."""
        transaction = self.transaction_here
        if transaction:
            transaction.afterwards.append(callback)
        return transaction is not None

    def receipt_here(self) -> Receipt:
        """Return the receipt of the running block.

        Raises
        ------
        StoreError
            If none runs.
        """
        transaction = self.transaction_here
        if transaction is None:
            raise StoreError("No transaction is running.")
        return transaction.receipt

    def new_transaction(self, label: str) -> Transaction:
        """Return a transaction that has not begun."""
        self.check_writable()
        check_label(label)
        return Transaction(label, Receipt(self._writer.outcomes))

    def begin(self, transaction: Transaction) -> None:
        """Have the caller's edits belong to a transaction from now on."""
        self._open_transactions.add(transaction)
        self.attention = True
        self._transaction_here.set(transaction)

    def accept(self, transaction: Transaction) -> None:
        """Accept all edits of a transaction at once, which ends it."""
        self._end(transaction)
        self._accept_all(transaction)

    def give_up(self, transaction: Transaction, error: BaseException) -> None:
        """End a transaction because of an error; what was accepted already stays. Harmless when repeated."""
        self._end(transaction)
        if not transaction.receipt.n:
            transaction.receipt.fail(error)
        self._show_again(transaction)
        if self.delivery.is_waiting:
            # What others changed meanwhile was not told inside the block.
            self.attention = True
            self.delivery.wake()

    def _end(self, transaction: Transaction) -> None:
        transaction.end()
        if self._transaction_here.get() is transaction:
            self._transaction_here.set(None)
        self._open_transactions.discard(transaction)

    def _accept_all(self, transaction: Transaction) -> None:
        for step in transaction.steps.values():
            if step.after and _has_new_name(step):
                self._fetcher.fetch_name(step.after.kind, step.after.name)
        with self._editing() as at_us:
            steps = [self._renewed(step, at_us) for step in transaction.steps.values()]
            left = [step for step in steps if step]
            self._accept(left, at_us, transaction.label, transaction=transaction)
            for intent in transaction.dismissed:
                self._dismiss(intent)

    def dismiss(self, intent: Intent) -> None:
        """Put the error of an edit away that was not committed, and about which nobody is asked.

        In a block it is done when that is accepted.
        """
        if transaction := self.transaction_here:
            transaction.dismissed += (intent,)
            return
        with self.lock:
            self._dismiss(intent)
        self._hand_out()

    def _dismiss(self, intent: Intent) -> None:
        for shift in self.view.dismiss(intent):
            self._tell(shift)
        self._spoil()
        self.delivery.put_once(self._follow_up)

    def _show_again(self, transaction: Transaction) -> None:
        """Have records whose class a failed block changed show what is really there."""
        for id in transaction.documents:
            entry = self.view.known(id)
            record = entry.record() if entry and entry.record else None
            if entry and record is not None:
                record.show(self.view.document(entry))

    def _renewed(self, step: Step, at_us: int) -> Step | None:
        """Return the step on top of what others changed while the block ran."""
        now = self.look(step.operation.id)
        if now is step.before:
            return step
        if step.before is None:
            # Made by somebody else as well: an upsert merges, and a name that is taken refuses.
            if not step.operation.upsert:
                self._check_unused(step.operation.kind, step.operation.name)
            return step
        if now is None:
            if step.after is None:
                return None
            raise NotFoundError(f"{step.operation.name!r} was deleted by somebody else meanwhile.")
        renewed = edits.on_top_of(self.kinds[now.kind], step, now, at_us)
        # What nobody has stored yet, as the settings of a new store, is made by its first edit.
        return renewed if renewed is None or self._is_stored(now.id) else edits.first(renewed)

    # -- accepting ------------------------------------------------------------------

    @contextlib.contextmanager
    def _editing(self) -> Iterator[int]:
        self.check_writable()
        self.delivery.attach()
        try:
            with uninterrupted, self.lock:
                # Another thread may have closed it while this one waited for the lock.
                self.check_usable()
                if self._inbox and not self.transaction_here:
                    self._absorb()
                yield time.time_ns() // 1000
        finally:
            self._hand_out()

    def _submit(self, steps: list[Step], at_us: int, label: str = "") -> Receipt:
        if any(self.delivery.is_endless(step.operation.id) for step in steps):
            self.error = LimitExceededError(
                "Observers edit what they observe, round and round, so this edit was refused. "
                "Have an observer leave a value alone that is as it wants it."
            )
            raise self.error
        transaction = self.transaction_here
        if not transaction:
            return self._accept(steps, at_us, label)
        for step in steps:
            transaction.bases.setdefault(step.operation.id, self.view.base(step.operation.id))
            transaction.add(step)
        return transaction.receipt

    def _accept(
        self,
        steps: list[Step],
        at_us: int,
        label: str,
        *,
        undoable: bool = True,
        transaction: Transaction | None = None,
    ) -> Receipt:
        receipt = transaction.receipt if transaction else Receipt(self._writer.outcomes)
        if not steps:
            receipt.settle(Decision("committed"))
            return receipt
        self._check_names(steps)
        bases = transaction.bases if transaction else {}
        steps = [
            step.on(bases[id] if id in bases else self.view.base(id))
            for id, step in ((step.operation.id, step) for step in steps)
        ]
        intent = self._intent([step.operation for step in steps], at_us, label)
        self._append(intent)
        # From here on the edit is accepted, and nothing below may fail.
        self.n = receipt.n = intent.n
        for entry in transaction.entries.values() if transaction else ():
            self.view.adopt(entry)
        for shift in self.view.accept(intent.n, at_us, intent.origin.actor, steps):
            self._tell(shift)
        if self.view.touched:
            self._spoil()
        if undoable:
            self._undo.push(Undoable(self.n, label, tuple(steps)))
        self._writer.submit(intent, receipt)
        self.delivery.put_once(self._follow_up)
        return receipt

    def _intent(self, operations: Iterable[Operation], at_us: int, label: str) -> Intent:
        n = self.n + 1
        return Intent(n, f"{self.writer_id}-{n}", at_us, self._origin(), tuple(operations), label)

    def _append(self, intent: Intent) -> None:
        journal = self._journal
        if journal is None:
            raise ReadOnlyError("This store is open for reading only.")
        try:
            payload = intent.encode()
        except ValueError as error:
            raise ValidationError(f"The edit holds something that cannot be stored: {error}.") from error
        if journal.is_large and self._writer.settled == self.n:
            # Everything in it has an outcome.
            journal.reset()
        try:
            journal.append(payload)
        except StoreWriteError as error:
            self.error, self.refusing = error, True
            self.delivery.put_once(self._follow_up)
            raise
        if self.refusing:
            # As when the engine works again. What it says itself meanwhile stays.
            self.refusing = False
            self.error = self.error if self.failing else None

    def _is_stored(self, id: str) -> bool:
        transaction = self.transaction_here
        entry = self.view.known(id)
        return bool(entry and entry.exists) or bool(transaction and id in transaction.steps)

    def _is_free(self, kind: str, name: str, ids: Collection[str]) -> bool:
        """Whether no document has a name, apart from those of some ids."""
        found = self.view.find(kind, name)
        return found is None or found.id in ids

    def _check_names(self, steps: Sequence[Step]) -> None:
        """Refuse a new name that another document has once all of the steps are done."""
        after = {step.operation.id: step.after for step in steps}
        renamed = [step.after for step in steps if step.after and _has_new_name(step)]
        if not renamed:
            return
        names = Counter((document.kind, name_key(document.name)) for document in after.values() if document)
        for document in renamed:
            kind, name = document.kind, document.name
            if names[kind, name_key(name)] > 1:
                raise _name_is_taken(kind, name, name)
            if not self._is_free(kind, name, after.keys()):
                found = self.view.find(kind, name)
                raise _name_is_taken(kind, name, found.name if found else name)

    def _check_unused(self, kind: str, name: str) -> None:
        id = self._find(kind, name)
        if id:
            document = self.look(id)
            raise _name_is_taken(kind, name, document.name if document else name)

    def _new_id(self, kind: str, name: str) -> str:
        return next(id for id in self._ids_for(kind, name) if self._is_new(id))

    def _ids_for(self, kind: str, name: str) -> Iterator[str]:
        """Yield the ids that documents of a name get one after another: the same for everybody."""
        space, key = uuid.UUID(self.engine.store_id), name_key(name)
        counts = itertools.count(self._used_ids.get((kind, key), 0))
        return (str(uuid.uuid5(space, f"{kind}:{key}:{count}")) for count in counts)

    def _is_new(self, id: str) -> bool:
        return self.view.is_unused(id) and self.look(id) is None

    def _fetch_for(self, kind: str, name: str) -> None:
        """Have in memory what making a document of a name has to look at."""
        self._fetcher.fetch_name(kind, name)
        first = next(self._ids_for(kind, name))
        if self._is_really_new(kind, first):
            return
        # It has been made and deleted before, perhaps a thousand times.
        deleted = self._fetcher.deleted(kind)
        used = sum(1 for _ in itertools.takewhile(deleted.__contains__, self._ids_for(kind, name)))
        key = kind, name_key(name)
        self._used_ids[key] = self._used_ids.get(key, 0) + used
        next(id for id in self._ids_for(kind, name) if self._is_really_new(kind, id))

    def _is_really_new(self, kind: str, id: str) -> bool:
        if self.view.is_unused(id):
            self._fetcher.fetch_id(id, kind)
        return self._is_new(id)

    def _absorb(self, until: float = math.inf) -> None:
        super()._absorb(until)
        if self._writer.is_held_back:
            self._writer.resume()

    def _take_over(self, arrival: Arrival) -> None:
        super()._take_over(arrival)
        for revision in arrival.revisions:
            if revision.row.writer == self.writer_id and revision.row.foreign_seq:
                self._undo.rebase(revision)

    def _outlook(self) -> tuple[Any, ...]:
        return (*super()._outlook(), self.refusing, self.n - self._writer.settled)

    def _refused(self, refused: Refused) -> None:
        super()._refused(refused)
        self._undo.drop(refused.intent.n)

    # -- forks ----------------------------------------------------------------------

    def after_fork_in_child(self) -> None:
        """Refuse everything in the child."""
        super().after_fork_in_child()
        self._writer.outcomes.abandon()
        if self._journal:
            self._journal.abandon()


def _has_new_name(step: Step) -> bool:
    if step.after is None:
        return False
    return step.before is None or name_key(step.before.name) != name_key(step.after.name)


def _name_is_taken(kind: str, name: str, there: str) -> DuplicateNameError:
    rule = f", and names are compared in any case: {name!r} is not free" if name != there else ""
    step = ", or use upsert() to change the existing one" if kind == "config" else ""
    return DuplicateNameError(f"There is a {kind} {there!r} already{rule}. Choose another name{step}.")
