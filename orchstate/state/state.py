"""The state: what of a store is there now, and every way to change it."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast

from orchstate.errors import DuplicateNameError, FlushError, NotFoundError, OrchstateError, StoreError
from orchstate.loops import in_thread
from orchstate.models.document import datetime_of, leaves
from orchstate.models.intent import Operation
from orchstate.models.names import check_label, check_name
from orchstate.state import resolving
from orchstate.state import steps as edits
from orchstate.state.acceptance import Acceptance
from orchstate.state.interrupts import uninterrupted
from orchstate.state.reads import progress
from orchstate.state.receipt import Receipt, checked_timeout
from orchstate.state.restore import Former, Restored, restoring
from orchstate.state.stats import Stats, size_of
from orchstate.state.undo import Undoable, Undone, inverse, lost_keys, refused
from orchstate.tracebacks import forget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from orchstate.models.document import Document
    from orchstate.state.record import Record
    from orchstate.state.resolving import Choice
    from orchstate.state.steps import Step

_P = ParamSpec("_P")
_T = TypeVar("_T")
logger = logging.getLogger(__name__)


class State(Acceptance):
    """The present of one store in one process, and the way to change it."""

    # -- editing --------------------------------------------------------------------

    def update(
        self,
        id: str,
        changes: Mapping[str, Any],
        *,
        check: Callable[[Document], object] = lambda document: None,
    ) -> Receipt:
        """Change values of a document by path; returns when the edit is accepted.

        Parameters
        ----------
        id
            Which document.
        changes
            New values by path.
        check
            Called with the document as it is in the moment of the edit; raises to refuse it.

        Raises
        ------
        ValidationError, UnknownFieldError, DuplicateNameError, NotFoundError
            If the edit cannot be; nothing changed.
        StoreWriteError, ReadOnlyError, ClosedError, ForkedStoreError
            If it could not be accepted; nothing changed.
        """
        if isinstance(name := changes.get("name"), str) and (document := self.seen(id)):
            self._fetcher.fetch_name(document.kind, name)
        with self._editing() as at_us:
            document = self.look(id)
            if document is None:
                raise self.gone(id)
            check(document)
            step = edits.update(self.kinds[document.kind], document, changes, at_us)
            if step and not self._is_stored(id):
                step = edits.first(step)
            return self._submit([step] if step else [], at_us)

    def create(
        self, kind: str, name: str, values: Mapping[str, Any], *, upsert: bool = False
    ) -> tuple[Record, Receipt]:
        """Create a document; returns its record and the receipt.

        With `upsert` one of this name that somebody else has just made is changed instead.

        Raises
        ------
        DuplicateNameError
            If the name is taken, in any case.
        ValidationError, UnknownFieldError
            If the name or a value breaks a rule.
        StoreWriteError, ReadOnlyError, ClosedError, ForkedStoreError
            If it could not be accepted; nothing changed.
        """
        self._fetch_for(kind, check_name(name))
        with self._editing() as at_us:
            id = self._new_id(kind, name)
            known = self._find(kind, name) if upsert else None
            if known is None:
                self._check_unused(kind, name)
                user = self._origin().actor
                step = edits.create(self.kinds[kind], id, name, values, at_us, user=user, upsert=upsert)
                receipt = self._submit([step], at_us)
                # Before anybody who is told of it can delete it.
                return self._record_of(cast("Document", self.look(id))), receipt
        return self.record(known), self.update(known, values)

    def delete(self, id: str) -> Receipt:
        """Delete a document; its history stays.

        Raises
        ------
        NotFoundError
            If it does not exist.
        """
        self.seen(id)
        with self._editing() as at_us:
            document = self.look(id)
            if document is None:
                raise self.gone(id)
            return self._submit([edits.delete(document)], at_us)

    def revive(self, id: str, changes: Mapping[str, Any]) -> Receipt:
        """Bring a deleted document back as it was last, with other values at some paths.

        What a running block has changed before it deleted the document does not count.

        Raises
        ------
        NotFoundError
            If there never was one.
        ValidationError, DuplicateNameError
            If it cannot be; nothing changed.
        """
        self._fetcher.fetch_id(id)
        with self._editing() as at_us:
            entry = self.view.known(id)
            last = entry.last(self.kinds) if entry else None
            if last is None:
                raise self.gone(id)
            last = last.model_copy(update=lost_keys(last, None))
            target, wanted = self.kinds[last.kind].prepare(last, dict(changes))
            after = target.replaced({path: wanted[path] for path in leaves(type(target)) if path in wanted})
            return self._submit([edits.revive(after, at_us)], at_us)

    def gone(self, id: str) -> NotFoundError:
        """Return the error for a document that is not there any more, or never was."""
        entry = self.view.known(id)
        if entry is None:
            return NotFoundError(f"There is no {id!r}.")
        if entry.row is None and not entry.pending:
            refused = self.view.refusals.last(id)
            why = str(refused.error) if refused else "Make it again."
            return NotFoundError(f"This {entry.kind} was not saved. {why}")
        step = "store.undo() brings back what was deleted here last"
        if entry.row is not None and entry.row.deleted:
            step += f", and store.at({entry.row.seq - 1}).restore({entry.name!r}) what was deleted anywhere"
        return NotFoundError(f"{entry.kind} {entry.name!r} was deleted: {step}.")

    def resolve(self, id: str, choice: Choice) -> Receipt:
        """Decide about a conflict; see :func:`orchstate.state.resolving.resolve`."""
        return resolving.resolve(self, id, choice)

    def retry(self, id: str) -> Receipt:
        """Make a document's edit again that was not committed."""
        return resolving.retry(self, id)

    def discard(self, id: str) -> None:
        """Give a document's edit up that was not committed."""
        resolving.discard(self, id)

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

    def _step_back(
        self, source: list[Undoable], target: list[Undoable], verb: Literal["undo", "redo"]
    ) -> Undone:
        if self.transaction_here:
            raise StoreError(f"A transaction is still running. Call {verb}() after the end of its block.")
        for step in source[-1].steps if source else ():
            if step.before:
                self._fetcher.fetch_name(step.before.kind, step.before.name)
        with self._editing() as at_us:
            if not source:
                return Undone("", (), verb=verb)
            entry = source[-1]
            taken, undone = inverse(entry, self.kinds, self.look, self._is_free, at_us)
            if taken:
                try:
                    receipt = self._accept(taken, at_us, f"{verb} {entry.label}".strip(), undoable=False)
                    target.append(Undoable(receipt.n, entry.label, tuple(taken)))
                except DuplicateNameError:
                    # A step that cannot be must not be in the way of those before it.
                    undone = refused(undone)
            source.pop()
        return replace(undone, verb=verb)

    # -- the past -------------------------------------------------------------------

    def restore(
        self, wanted: Mapping[str, Former], seq: int, *, label: str = "", is_preview: bool = False
    ) -> Restored:
        """Make documents what they were at a moment, as new revisions in one transaction.

        Inside a block it joins that.

        Parameters
        ----------
        wanted
            What they were, by id; of singletons that did not exist the usual values.
        seq
            The moment.
        label
            What the transaction is called in the history.
        is_preview
            Whether only to say what would be done.

        Raises
        ------
        DuplicateNameError
            If a name is taken by a document that was just made elsewhere; nothing changed.
        StoreWriteError, ReadOnlyError, ClosedError, ForkedStoreError
            If it could not be accepted; nothing changed.
        """
        self.check_usable()
        check_label(label)
        for id, one in wanted.items():
            self._fetcher.fetch_id(id)
            if one.document:
                self._fetcher.fetch_name(one.document.kind, one.document.name)
        if is_preview:
            with self.lock:
                _, restored = self._restoring(wanted, time.time_ns() // 1000)
            return replace(restored, seq=seq, is_preview=True)
        with self._editing() as at_us:
            steps, restored = self._restoring(wanted, at_us)
            self._submit(steps, at_us, label)
        return replace(restored, seq=seq)

    def _restoring(self, wanted: Mapping[str, Former], at_us: int) -> tuple[list[Step], Restored]:
        entries = {id: self.view.known(id) for id in wanted}
        wanted = {
            # What everybody has, stored or not, is not deleted.
            id: Former(entry.blank) if entry and entry.blank and one == Former(None) else one
            for (id, one), entry in zip(wanted.items(), entries.values(), strict=True)
        }
        steps, restored = restoring(wanted, self.kinds, self.look, self._is_free, at_us)
        # Of what everybody has, the first change is what stores it.
        steps = [edits.first(step) if self._is_first(step) else step for step in steps]
        return steps, restored

    def _is_first(self, step: Step) -> bool:
        return step.operation.verb == "update" and not self._is_stored(step.operation.id)

    # -- being exact ----------------------------------------------------------------

    def settle(self, timeout_s: float) -> None:
        """Give own edits that are on their way some time to be committed; from any thread."""
        with contextlib.suppress(StoreError):
            self.wait(timeout_s)

    def pinned(self, id: str) -> tuple[Document | None, int | None]:
        """Return a document, and the number of the revision that it is; from any thread.

        The number is None where none is exactly that: an edit is still on its way, or is part
        of the running block.
        """
        self._take_in()
        if self.reads.noting:
            self.reads.note(progress(id))
        with self.lock:
            document, entry, transaction = self.seen(id), self.view.known(id), self.transaction_here
            is_exact = (
                entry is not None and not entry.pending and not (transaction and id in transaction.steps)
            )
            # Outside, another thread's edit could already be the revision that the row names.
            return document, entry.row.revision if is_exact and entry and entry.row else None

    def pin(self, id: str, revision: int) -> bool:
        """Have a committed revision kept by every compaction, since a result refers to it.

        It is no edit: nobody is told, and it cannot be undone. Returns whether it was new here.

        Parameters
        ----------
        id
            Which document.
        revision
            Number of its revision.
        """
        if self._journal is None or (id, revision) in self._pins or self.reads.reader_here:
            return False
        entry = self.view.known(id)
        kind, name = (entry.kind, entry.name) if entry else ("", "")
        operation = Operation("pin", kind, id, name, {"revision": revision})
        with self._editing() as at_us:
            # Not part of a running block, which may still be given up.
            intent = self._intent([operation], at_us, "")
            self._append(intent)
            receipt = Receipt(self._writer.outcomes)
            self.n = receipt.n = intent.n
            self._pins.add((id, revision))
            self._writer.submit(intent, receipt)
        return True

    def _take_in(self) -> None:
        """Show what has arrived, also from a thread that is not the owner's, who tells observers later."""
        if self.reads.noting and self.reads.reader_here:
            return
        with uninterrupted, self.lock:
            if self._inbox and not self.transaction_here:
                self._absorb()
        self._hand_out()

    # -- outcomes -------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """How many edits are accepted and have no outcome yet."""
        return self.n - self._writer.settled

    @property
    def seq(self) -> int:
        """Number of the last revision that this process knows of."""
        return self._writer.cursor

    def stats(self, *, journal_mode: str, files: Iterable[Path]) -> Stats:
        """Return the figures of this process; `files` are those of the engine."""
        counts, outcomes = self._writer.counts, self._writer.counts.outcomes
        at_us = counts.last_commit_us
        return Stats(
            accepted=self.n,
            pending=self.pending,
            committed=outcomes["committed"],
            merged=outcomes["merged"],
            conflicts=outcomes["conflict"],
            rejected=outcomes["rejected"],
            commits=counts.commits,
            largest_batch=counts.largest_batch,
            failures=counts.failures,
            foreign_revisions=counts.foreign,
            last_commit=datetime_of(at_us) if at_us else None,
            seq=self.seq,
            documents=len(self.view),
            loads=self._fetcher.fetches,
            selections=len(self.reads),
            selector_runs=self.reads.runs,
            file_bytes=size_of(*files),
            outbox_bytes=size_of(getattr(self._journal, "path", None)),
            journal_mode=journal_mode,
        )

    def wait(self, timeout_s: float | None = None) -> None:
        """Do what :meth:`flush` does without telling observers; from any thread."""
        self._writer.flush(self.n, self._loaded(timeout_s))

    def _loaded(self, timeout_s: float | None) -> float | None:
        """Return what is left of a time limit when what is stored may be read."""
        self.check_usable()
        if not self.engine.loading.is_running:
            return timeout_s
        timeout_s, begun_s = checked_timeout(timeout_s), time.monotonic()
        if not self.engine.loading.wait(timeout_s):
            raise FlushError(
                f"The store was still loading after {timeout_s or 0:g} s. Try again.", receipts=[]
            )
        self.check_usable()
        return None if timeout_s is None else max(0.0, timeout_s - (time.monotonic() - begun_s))

    def wait_for_news(self, timeout_s: float | None = None) -> None:
        """Do what :meth:`refresh` does without telling observers; from any thread."""
        timeout_s = self._loaded(timeout_s)
        self.engine.damages.clear()
        self._writer.refresh(timeout_s)
        # What is committed while they are read arrives by itself.
        seq = self._writer.cursor
        for rows in self.engine.reread():
            with uninterrupted, self.lock:
                for shift in self.view.renew(rows, seq):
                    self._tell(shift)
                self._spoil()
        self.delivery.put_once(self._follow_up)
        self._hand_out()

    async def elsewhere(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Return what a call returns that may take long, while the event loop goes on."""
        try:
            result = await in_thread(call, *args, **kwargs)
        except BaseException as error:
            # One of them may be a key.
            del args, kwargs
            forget(error)
            raise
        self.catch_up()
        return result

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
        return self.seq

    def refresh(self, timeout_s: float | None = None) -> int:
        """Return the store's seq once everything that others have committed by now is seen.

        Raises
        ------
        StoreError
            If it could not be read in time.
        """
        self.wait_for_news(timeout_s)
        self._take_in()
        self.catch_up()
        return self.seq

    def close(self, timeout_s: float) -> None:
        """Commit what is accepted, and release everything; harmless when repeated."""
        if self.unusable:
            return
        try:
            self._writer.flush(self.n, timeout_s)
        except OrchstateError as error:
            logger.warning("Closed with open edits: %s", error)
        self._writer.stop()
        self.catch_up()
        with self.lock:
            # An edit of another thread is now either counted, or refused.
            self.closed = True
            if self._journal:
                self._journal.close(keep=self.pending > 0)
        self.engine.close()
        self.delivery.put_once(self._follow_up)
        self._hand_out()
