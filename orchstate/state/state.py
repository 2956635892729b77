"""The state: accepts edits, shows them at once, and tells those who observe.

An edit goes this way: validated against what is seen now; appended to the outbox in one
write; shown; observers told; and, in the writer's thread, committed by the engine. If any
of the first two fails, nothing has happened. The lock is held for the few microseconds of
the first three, never while observers run and never while the engine works.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from orchstate.errors import DuplicateNameError, NotFoundError, OrchstateError, ReadOnlyError
from orchstate.models.intent import Intent
from orchstate.models.names import check_name, name_key
from orchstate.state import steps as edits
from orchstate.state.decide import decider
from orchstate.state.present import Present
from orchstate.state.receipt import Receipt
from orchstate.state.transaction import Transaction
from orchstate.state.undo import Undoable, Undone, UndoStack, inverse
from orchstate.state.writer import Arrival, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from orchstate.models.document import Document
    from orchstate.models.intent import Origin
    from orchstate.state.kinds import Kinds
    from orchstate.state.record import Record
    from orchstate.state.steps import Step
    from orchstate.storage.engine import Engine
    from orchstate.storage.outbox import Journal

logger = logging.getLogger(__name__)


class State(Present):
    """The present of one store in one process, and the way to change it.

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
    ) -> None:
        writer = journal.writer if journal else ""
        super().__init__(engine, writer, kinds, record_class=record_class, changed=changed)
        self._journal = journal
        self._origin = origin
        self.n = 0
        self._undo = UndoStack()
        self._writer = Writer(engine, decider(kinds), writer, deliver=self._deliver, report=self._report)
        self._writer.start()

    # -- editing --------------------------------------------------------------------

    def update(self, id: str, changes: Mapping[str, Any]) -> Receipt:
        """Change values of a document by path; returns when the edit is accepted.

        Raises
        ------
        ValidationError, UnknownFieldError, DuplicateNameError, NotFoundError
            If the edit cannot be; nothing changed.
        StoreWriteError, ReadOnlyError, ClosedError, ForkedStoreError
            If it could not be accepted; nothing changed.
        """
        with self._editing() as at_us:
            document = self.seen(id)
            if document is None:
                raise NotFoundError(f"The document {id!r} was deleted, so it cannot be changed.")
            self._check_free_name(document, changes)
            step = edits.update(self.kinds[document.kind], document, changes, at_us)
            if step and not self._is_stored(id):
                step = edits.first(step)
            return self._submit([step] if step else [], at_us)

    def create(
        self, kind: str, name: str, values: Mapping[str, Any], *, upsert: bool = False
    ) -> tuple[str, Receipt]:
        """Create a document; returns its id and the receipt.

        Raises
        ------
        DuplicateNameError
            If the name is taken, in any case.
        ValidationError, UnknownFieldError
            If the name or a value breaks a rule.
        StoreWriteError, ReadOnlyError, ClosedError, ForkedStoreError
            If it could not be accepted; nothing changed.
        """
        check_name(name)
        with self._editing() as at_us:
            self._check_unused(kind, name)
            id = self._new_id(kind, name)
            user = self._origin().actor
            step = edits.create(self.kinds[kind], id, name, values, at_us, user=user, upsert=upsert)
            return id, self._submit([step], at_us)

    def delete(self, id: str) -> Receipt:
        """Delete a document; its history stays.

        Raises
        ------
        NotFoundError
            If it does not exist.
        """
        with self._editing() as at_us:
            document = self.seen(id)
            if document is None:
                raise NotFoundError(f"The document {id!r} was deleted already.")
            return self._submit([edits.delete(document)], at_us)

    @contextlib.contextmanager
    def transaction(self, label: str = "") -> Iterator[None]:
        """Make the edits of the block all or nothing: one revision each, one undo step.

        Inside the block its edits are seen; elsewhere nothing is, until the block ends.
        An exception undoes everything that the block did; a nested block joins.
        """
        outer = self._transaction.get()
        if outer:
            mark = outer.mark()
            try:
                yield
            except BaseException:
                outer.go_back(mark)
                raise
            return
        self.check_writable()
        transaction = Transaction(label)
        token = self._transaction.set(transaction)
        self._open_transactions += 1
        self.attention = True
        try:
            yield
        except BaseException:
            self._show_again(transaction)
            raise
        finally:
            self._transaction.reset(token)
            self._open_transactions -= 1
        try:
            self._accept_all(transaction)
        except BaseException:
            self._show_again(transaction)
            raise

    # -- undo -----------------------------------------------------------------------

    @property
    def can_undo(self) -> bool:
        """Whether this process has a step that can be undone."""
        return bool(self._undo.done)

    @property
    def can_redo(self) -> bool:
        """Whether a step was undone and can be done again."""
        return bool(self._undo.undone)

    def undo(self) -> Undone:
        """Take back this process's last step, as far as it still stands, as a new revision."""
        return self._step_back(self._undo.done, self._undo.undone, "undo")

    def redo(self) -> Undone:
        """Do again what was undone last, as far as nobody changed it since."""
        return self._step_back(self._undo.undone, self._undo.done, "redo")

    def _step_back(self, source: list[Undoable], target: list[Undoable], verb: str) -> Undone:
        with self._editing() as at_us:
            if not source:
                return Undone("", (), ())
            entry = source[-1]
            taken, undone = inverse(entry, self.kinds, self.seen, at_us)
            for step in taken:
                if step.operation.verb == "create":
                    self._check_unused(step.operation.kind, step.operation.name)
            if taken:
                receipt = self._accept(taken, at_us, f"{verb} {entry.label}".strip(), undoable=False)
                target.append(Undoable(receipt.n, entry.label, tuple(taken)))
            source.pop()
        return undone

    # -- outcomes -------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """How many edits are accepted and have no outcome yet."""
        return self.n - self._writer.settled

    def wait(self, timeout_s: float | None = None) -> None:
        """Do what :meth:`flush` does without telling observers; from any thread."""
        self._check_usable()
        self._writer.flush(self.n, timeout_s)

    def in_background(self, work: Callable[[], object]) -> None:
        """Have slow work done that nobody waits for."""
        threading.Thread(target=work, name="orchstate-background", daemon=True).start()

    def flush(self, timeout_s: float | None = None) -> int:
        """Return the store's seq once everything accepted before has an outcome and is on disk.

        Raises
        ------
        FlushError
            If that is not so in time; the edits stay in the outbox.
        """
        self.wait(timeout_s)
        self.catch_up()
        return self.view.cursor

    def close(self, timeout_s: float = 10.0) -> None:
        """Commit what is accepted, and release everything; harmless when repeated."""
        if self.closed or self._forked:
            return
        try:
            self._writer.flush(self.n, timeout_s)
        except OrchstateError as error:
            logger.warning("Closed with open edits: %s", error)
        self._writer.stop()
        self.catch_up()
        self.closed = True
        if self._journal:
            self._journal.close(keep=self.pending > 0)
        self.engine.close()

    def check_writable(self) -> None:
        """Refuse edits to a closed, inherited or read-only state."""
        self._check_usable()
        if self._journal is None:
            raise ReadOnlyError(
                "This store is open for reading only. Open it without read_only=True to edit."
            )

    # -- inside ---------------------------------------------------------------------

    @contextlib.contextmanager
    def _editing(self) -> Iterator[int]:
        self.check_writable()
        with self.lock:
            if self._inbox and not self._transaction.get():
                self._absorb()
            yield time.time_ns() // 1000
        self.delivery.run()

    def _submit(self, steps: list[Step], at_us: int) -> Receipt:
        transaction = self._transaction.get()
        if transaction:
            for step in steps:
                transaction.add(step)
            return Receipt(0, self._writer.done)
        if not steps:
            return Receipt(0, self._writer.done)
        return self._accept(steps, at_us, "")

    def _accept(self, steps: list[Step], at_us: int, label: str, *, undoable: bool = True) -> Receipt:
        journal = self._journal
        if journal is None:
            raise ReadOnlyError("This store is open for reading only.")
        origin = self._origin()
        operations = tuple(step.operation for step in steps)
        txn = f"{journal.writer}-{self.n + 1}"
        intent = Intent(self.n + 1, txn, at_us, self.view.cursor, origin, operations, label)
        journal.append(intent.encode())
        # From here on the edit is accepted, and nothing below may fail.
        self.n += 1
        receipt = Receipt(self.n, self._writer.done)
        for shift in self.view.accept(self.n, at_us, origin.actor, steps):
            self._tell(shift)
        if undoable:
            self._undo.push(Undoable(self.n, label, tuple(steps)))
        self._writer.submit(intent, receipt)
        return receipt

    def _accept_all(self, transaction: Transaction) -> None:
        if not transaction.steps:
            return
        with self._editing() as at_us:
            steps = [self._renewed(step, at_us) for step in transaction.steps.values()]
            for entry in transaction.entries.values():
                self.view.adopt(entry)
            self._accept([step for step in steps if step], at_us, transaction.label)

    def _show_again(self, transaction: Transaction) -> None:
        """Have records whose class a failed block changed show what is really there."""
        for id in transaction.documents:
            entry = self.view.get(id)
            record = entry.record() if entry and entry.record else None
            if entry and record is not None:
                record.show(self.view.document(entry))

    def _renewed(self, step: Step, at_us: int) -> Step | None:
        """Return the step on top of what others changed while the block ran."""
        now = self.seen(step.operation.id)
        if now is step.before:
            return step
        if step.before is None or step.after is None or now is None:
            self._check_still_possible(step, now)
            return edits.delete(now) if now is not None and step.after is None else step
        values = {path: step.after.at(path) for path in step.operation.set}
        return edits.update(self.kinds[now.kind], now, values, at_us)

    def _check_still_possible(self, step: Step, now: Document | None) -> None:
        if step.before is None and step.after is not None:
            self._check_unused(step.after.kind, step.after.name)
        elif now is None:
            raise NotFoundError(f"{step.operation.name!r} was deleted by somebody else meanwhile.")

    def _deliver(self, arrival: Arrival) -> None:
        for receipt in arrival.refused:
            self._undo.drop(receipt.n)
        super()._deliver(arrival)
        self._tidy()

    def _tidy(self) -> None:
        """Empty the outbox when everything in it has an outcome."""
        if self._journal and self._journal.is_large:
            with self.lock:
                if self.n == self._writer.settled:
                    self._journal.reset()

    def _is_stored(self, id: str) -> bool:
        transaction = self._transaction.get()
        entry = self.view.get(id)
        return bool(entry and entry.exists) or bool(transaction and id in transaction.steps)

    def _check_unused(self, kind: str, name: str) -> None:
        if self._find(kind, name):
            raise DuplicateNameError(
                f"There is a {kind} {name!r} already (names are compared in any case). "
                f"Choose another name, or use upsert() to change the existing one."
            )

    def _check_free_name(self, document: Document, changes: Mapping[str, Any]) -> None:
        name = changes.get("name")
        if isinstance(name, str) and name_key(name) != name_key(document.name):
            self._check_unused(document.kind, check_name(name))

    def _new_id(self, kind: str, name: str) -> str:
        space = uuid.UUID(self.engine.store_id)
        count = 0
        while True:
            id = str(uuid.uuid5(space, f"{kind}:{name_key(name)}:{count}"))
            if self.view.get(id) is None and self.seen(id) is None:
                return id
            count += 1

    # -- forks ----------------------------------------------------------------------

    def after_fork_in_child(self) -> None:
        """Refuse everything in the child."""
        super().after_fork_in_child()
        if self._journal:
            self._journal.abandon()


def adopted(intents: Iterable[Intent], engine: Engine, kinds: Kinds, writer: str) -> int:
    """Commit what a dead process had accepted; returns how many intents were left to do."""
    done = engine.applied(writer)
    left = [intent for intent in intents if intent.n > done]
    if left:
        engine.commit(writer, left, decider(kinds))
    return len(left)
