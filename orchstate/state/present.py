"""The present: what is seen, by whom, and how news of it reach those who observe.

Reading is free of the engine once a document is loaded. What others commit waits in an
inbox until the owner's event loop, or its next access, shows it.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

from orchstate.errors import ClosedError, ForkedStoreError, NotFoundError, OrchstateError
from orchstate.state.delivery import Delivery
from orchstate.state.events import Event, event_of
from orchstate.state.view import Entry, Shift, View
from orchstate.storage import forks

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchstate.models.document import Document
    from orchstate.state.kinds import Kinds
    from orchstate.state.receipt import Receipt
    from orchstate.state.record import Record
    from orchstate.state.transaction import Transaction
    from orchstate.state.writer import Arrival
    from orchstate.storage.engine import Engine

logger = logging.getLogger(__name__)


class Present:
    """The readable half of a state.

    Parameters
    ----------
    engine
        Where rows come from.
    writer
        Id of this process among those that write; ``""`` if it only reads.
    kinds
        The kinds of documents.
    record_class
        Returns the record class of a document class.
    changed
        Called in the owner's thread when status, pending count or error may have changed.
    """

    services: Any = None
    """What records may ask for; set by the store."""

    def __init__(
        self,
        engine: Engine,
        writer: str,
        kinds: Kinds,
        *,
        record_class: Callable[[type[Document]], type[Record]],
        changed: Callable[[], object],
    ) -> None:
        self.engine = engine
        self.kinds = kinds
        self.writer_id = writer
        self.record_class_of = record_class
        self._changed = changed
        self.lock = threading.RLock()
        self.view = View(engine, kinds, writer)
        self.error: OrchstateError | None = None
        self.failing = False
        self.closed = False
        self._forked = False
        self.attention = False
        self._open_transactions = 0
        self._inbox: deque[Arrival] = deque()
        self._listeners: list[tuple[Callable[[Event], object], type[Event]]] = []
        self._held: dict[str, Record] = {}
        self._transaction: ContextVar[Transaction | None] = ContextVar("orchstate_transaction", default=None)
        self.delivery = Delivery(self.catch_up)
        forks.guard(self)

    @property
    def unusable(self) -> bool:
        """Whether it is closed, or was inherited by a forked child."""
        return self.closed or self._forked

    # -- reading --------------------------------------------------------------------

    def document(self, id: str) -> Document | None:
        """Return the document of an id as the calling block sees it; None when there is none."""
        self.catch_up()
        return self.seen(id)

    def seen(self, id: str) -> Document | None:
        """Return what :meth:`document` does, without first showing what has arrived."""
        transaction = self._transaction.get()
        if transaction and id in transaction.documents:
            return transaction.documents[id]
        with self.lock:
            entry = self.view.get(id)
            return self.view.document(entry) if entry else None

    def find(self, kind: str, name_or_id: str) -> str | None:
        """Return the id of an existing document by its name, in any case, or its id."""
        self.catch_up()
        return self._find(kind, name_or_id)

    def _find(self, kind: str, name_or_id: str) -> str | None:
        transaction = self._transaction.get()
        found = transaction.find(kind, name_or_id) if transaction else None
        if found:
            return found
        with self.lock:
            entry = self.view.find(kind, name_or_id) or self._by_id(kind, name_or_id)
        if entry is None:
            return None
        # What the running block renamed or deleted is not found under its old name.
        return None if transaction and entry.id in transaction.documents else entry.id

    def ids(self, kind: str) -> list[str]:
        """Return the ids of all existing documents of a kind, by creation."""
        self.catch_up()
        with self.lock:
            found = [entry.id for entry in self.view.all(kind)]
        transaction = self._transaction.get()
        if not transaction:
            return found
        own = {id: doc for id, doc in transaction.documents.items() if doc is None or doc.kind == kind}
        kept = [id for id in found if own.get(id, True)]
        return kept + [id for id, doc in own.items() if doc is not None and id not in found]

    def singleton(self, id: str, blank: Document) -> Record:
        """Return the record of a document that everybody has, stored or not; `blank` stands in for it."""
        with self.lock:
            self.view.reserve(id, blank)
        return self.record(id)

    def names(self, kind: str) -> list[str]:
        """Return the names of all existing documents of a kind, by creation."""
        return [document.name for id in self.ids(kind) if (document := self.document(id))]

    def record(self, id: str) -> Record:
        """Return the one live record of a document; views are made when first asked for.

        Raises
        ------
        NotFoundError
            If there is no such document.
        """
        document = self.document(id)
        if document is None:
            raise NotFoundError(f"There is no document {id!r} any more.")
        with self.lock:
            entry = self._entry_of(document)
            record = entry.record() if entry.record else None
            if record is None:
                record = self.record_class_of(type(document))(self, entry, document)
                entry.record = weakref.ref(record)
            return record

    def _entry_of(self, document: Document) -> Entry:
        entry = self.view.get(document.id)
        transaction = self._transaction.get()
        if entry is None and transaction:
            # Created by the running block: the view takes the entry over when it is accepted.
            entry = transaction.entries.setdefault(document.id, Entry(document.id, document.kind, None))
        if entry is None:
            raise NotFoundError(f"There is no document {document.id!r} any more.")
        return entry

    def hold(self, record: Record) -> None:
        """Keep an observed record alive, so that its observers are not lost."""
        self._held[record.id] = record

    def let_go(self, record: Record) -> None:
        """Let a record that nobody observes be collected."""
        self._held.pop(record.id, None)

    def _by_id(self, kind: str, id: str) -> Entry | None:
        entry = self.view.get(id) if _is_id(id) else None
        return entry if entry and entry.kind == kind and entry.exists else None

    # -- following ------------------------------------------------------------------

    def catch_up(self) -> None:
        """Show what has arrived, and tell observers; from the owner's thread, outside transactions."""
        if not self.attention or self._forked:
            return
        if self._transaction.get() or self.delivery.is_running or not self.delivery.is_owner:
            return
        with self.lock:
            self._absorb()
        self.delivery.run()

    def subscribe(
        self, listener: Callable[[Event], object], event: type[Event] = Event
    ) -> Callable[[], None]:
        """Have a listener called with every committed event of a class; returns the way to end it."""
        entry = (listener, event)
        self._listeners.append(entry)

        def unsubscribe() -> None:
            if entry in self._listeners:
                self._listeners.remove(entry)

        return unsubscribe

    def _absorb(self) -> None:
        self.attention = self._open_transactions > 0
        while self._inbox:
            arrival = self._inbox.popleft()
            refused = {receipt.n: receipt for receipt in arrival.refused}
            for shift in self.view.arrive(arrival.revisions, set(refused)):
                self._tell(shift)
            for receipt in arrival.refused:
                self._refuse(receipt)
            if self._listeners:
                self._announce(arrival)
        self.delivery.put(self._changed)

    def _announce(self, arrival: Arrival) -> None:
        for revision in arrival.revisions:
            event = event_of(revision, writer=self.writer_id)
            for listener, wanted in list(self._listeners):
                if isinstance(event, wanted):
                    self.delivery.put(partial(listener, event))

    def _refuse(self, receipt: Receipt) -> None:
        self.error = receipt.error
        logger.warning("An edit was not committed: %s", receipt.error)

    def _tell(self, shift: Shift) -> None:
        record = shift.entry.record() if shift.entry.record else None
        if record is not None:
            record.show(shift.after)
            self.delivery.put(partial(record.tell, shift))

    def _deliver(self, arrival: Arrival) -> None:
        self._inbox.append(arrival)
        self.attention = True
        self.delivery.wake()

    def _report(self, error: OrchstateError | None) -> None:
        self.error = error
        self.failing = error is not None
        self.attention = True
        self.delivery.wake()

    def _check_usable(self) -> None:
        if self._forked:
            raise ForkedStoreError("This store was opened before fork(). Call orchstate.open() in the child.")
        if self.closed:
            raise ClosedError("This store is closed. Open it again with orchstate.open().")

    # -- forks ----------------------------------------------------------------------

    def before_fork(self) -> None:
        """Nothing to wait for: the lock is not taken, since a busy store would starve the fork."""

    def after_fork_in_parent(self) -> None:
        """Nothing changes in the parent."""

    def after_fork_in_child(self) -> None:
        """Refuse everything in the child."""
        self._forked = True
        self.lock = threading.RLock()


def _is_id(text: str) -> bool:
    return len(text) == 36 and text.count("-") == 4
