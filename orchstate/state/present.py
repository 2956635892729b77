"""The present: what is seen, by whom, and how news of it reach those who observe.

Reading is free of the engine once a document is loaded. What others commit waits in an
inbox until the owner's event loop, or its next access, shows it.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
import weakref
from collections import deque
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

from orchstate.errors import ClosedError, ConflictError, ForkedStoreError, NotFoundError, OrchstateError
from orchstate.models.conflict import conflict_id
from orchstate.state.delivery import Delivery, put_off
from orchstate.state.entry import Entry
from orchstate.state.events import Event, event_of, events_of_refused
from orchstate.state.fetching import Fetcher
from orchstate.state.interrupts import uninterrupted
from orchstate.state.reads import STORE, Reads, listing, naming
from orchstate.state.refusals import Refused
from orchstate.state.view import Shift, View
from orchstate.storage import forks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchstate.models.document import Document
    from orchstate.models.intent import Intent
    from orchstate.state.kinds import Kinds
    from orchstate.state.reads import Key, Reader
    from orchstate.state.receipt import Receipt
    from orchstate.state.record import Record
    from orchstate.state.transaction import Transaction
    from orchstate.state.writer import Arrival
    from orchstate.storage.engine import Engine

logger = logging.getLogger(__name__)

# A script that does not look at its store for hours keeps so many bundles of news in memory; more wait in
# the engine.
MAX_WAITING: Final = 1000
# What the event loop is held up for at most, apart from what one bundle takes.
_A_WHILE_S: Final = 0.01

Subscription = tuple["Callable[[Event], object]", type[Event], str]


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
        self.view = View(kinds, writer, engine.seq(), unusable=engine.damages.add)
        self._fetcher = Fetcher(engine, self.view, self.lock)
        self.error: OrchstateError | None = None
        # The conflict that the error tells of.
        self._blamed = ""
        self.failing = False
        self.closed = False
        self._forked = False
        self.attention = False
        self._open_transactions: set[Transaction] = set()
        self._inbox: deque[Arrival] = deque()
        self._listeners: list[Subscription] = []
        self._held: dict[str, Record] = {}
        self._transaction_here: ContextVar[Transaction | None]
        self._transaction_here = ContextVar("orchstate_transaction", default=None)
        self.delivery = Delivery(self._catch_up_a_while)
        self.reads = Reads()
        self._outlook_before: tuple[Any, ...] = ()
        engine.known_rows = self.view.rows
        engine.damages.tell = self.look_again
        forks.guard(self)

    @property
    def unusable(self) -> bool:
        """Whether it is closed, or was inherited by a forked child."""
        return self.closed or self._forked

    @property
    def transaction_here(self) -> Transaction | None:
        """The transaction whose block the caller is in."""
        transaction = self._transaction_here.get()
        return transaction if transaction and transaction.is_here else None

    # -- reading --------------------------------------------------------------------

    def document(self, id: str) -> Document | None:
        """Return the document of an id as the calling block sees it; None when there is none."""
        self.catch_up()
        return self.seen(id)

    def seen(self, id: str) -> Document | None:
        """Return what :meth:`document` does, without first showing what has arrived."""
        if self.reads.noting:
            self.reads.note(id)
        transaction = self.transaction_here
        if transaction and id in transaction.documents:
            return transaction.documents[id]
        self._fetcher.fetch_id(id)
        return self.look(id)

    def look(self, id: str) -> Document | None:
        """Return what :meth:`seen` does, from memory alone."""
        transaction = self.transaction_here
        if transaction and id in transaction.documents:
            return transaction.documents[id]
        with self.lock:
            entry = self.view.known(id)
            return self.view.document(entry) if entry else None

    def is_there(self, id: str) -> bool:
        """Return whether the calling block sees a document; from memory alone, and decoding nothing."""
        transaction = self.transaction_here
        if transaction and id in transaction.documents:
            return transaction.documents[id] is not None
        entry = self.view.known(id)
        return entry is not None and (entry.exists or entry.blank is not None)

    def find(self, kind: str, name_or_id: str) -> str | None:
        """Return the id of an existing document by its name, in any case, or its id."""
        self.catch_up()
        if self.reads.noting:
            self.reads.note(naming(kind, name_or_id))
            # It may be an id: then it is to be seen when that document comes or goes.
            self.reads.note(name_or_id)
        found = self._find(kind, name_or_id)
        if found is None:
            self._fetcher.fetch_name(kind, name_or_id)
            if _is_id(name_or_id):
                self._fetcher.fetch_id(name_or_id)
            found = self._find(kind, name_or_id)
        return found

    def _find(self, kind: str, name_or_id: str) -> str | None:
        """Return what :meth:`find` does, from memory alone."""
        transaction = self.transaction_here
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
        return list(self.listed(kind))

    def names(self, kind: str) -> list[str]:
        """Return the names of all existing documents of a kind, by creation."""
        return list(self.listed(kind).values())

    def listed(self, kind: str) -> dict[str, str]:
        """Return the names of all existing documents of a kind by id, by creation."""
        self.catch_up()
        if self.reads.noting:
            self.reads.note(listing(kind))
        self._fetcher.fetch_kind(kind)
        with self.lock:
            names = {entry.id: entry.name for entry in self.view.loaded(kind)}
        transaction = self.transaction_here
        for id, document in transaction.documents.items() if transaction else ():
            if document is None:
                names.pop(id, None)
            elif document.kind == kind:
                names[id] = document.name
        return names

    def fetch_all(self, kind: str) -> None:
        """Have all documents of a kind in memory."""
        self._fetcher.fetch_kind(kind)

    def singleton(self, id: str, blank: Document) -> Record:
        """Return the record of a document that everybody has, stored or not; `blank` stands in for it."""
        self._fetcher.fetch_id(id, blank.kind)
        with self.lock:
            self.view.reserve(id, blank)
        return self.record(id)

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
        return self._record_of(document)

    def _record_of(self, document: Document) -> Record:
        with self.lock:
            entry = self._entry_of(document)
            record = entry.record() if entry.record else None
            if record is None:
                record = self.record_class_of(type(document))(self, entry, document)
                entry.record = weakref.ref(record)
            return record

    def _entry_of(self, document: Document) -> Entry:
        entry = self.view.known(document.id)
        transaction = self.transaction_here
        if entry is None and transaction:
            # Created by the running block: the view takes the entry over when it is accepted.
            entry = transaction.entries.setdefault(document.id, Entry(document.id, document.kind, None))
        if entry is None:
            raise NotFoundError(f"There is no document {document.id!r} any more.")
        return entry

    def hold(self, id: str, record: Record) -> None:
        """Keep an observed record alive, so that its observers are not lost."""
        self.delivery.attach()
        self._held[id] = record

    def let_go(self, id: str) -> None:
        """Let a record that nobody observes be collected."""
        self._held.pop(id, None)

    def _by_id(self, kind: str, id: str) -> Entry | None:
        entry = self.view.known(id)
        return entry if entry and entry.kind == kind and entry.exists else None

    # -- following ------------------------------------------------------------------

    def catch_up(self) -> None:
        """Show what has arrived, and tell observers; from the owner's thread, outside transactions."""
        if not self.attention or self._forked:
            return
        if self.delivery.is_running or not self.is_free:
            return
        self._catch_up()

    def _catch_up(self, until: float = math.inf) -> None:
        self.delivery.attach()
        with uninterrupted, self.lock:
            self._absorb(until)
        self._hand_out()

    def _catch_up_a_while(self) -> None:
        """Do what :meth:`catch_up` does on the event loop, which others need too: the rest in later turns."""
        if not self.attention or self._forked or self.delivery.is_running or not self.is_free:
            return
        self._catch_up(time.monotonic() + _A_WHILE_S)
        if self._inbox:
            self.delivery.wake()

    def catch_up_quietly(self) -> None:
        """Show what has arrived where it is only printed; observers are told with the next access."""
        if self.attention and not self._forked and not self.delivery.is_running and self.is_free:
            with uninterrupted, self.lock:
                self._absorb()
                self.attention = True

    def subscribe(
        self, listener: Callable[[Event], object], event: type[Event] = Event, *, mentions: str = ""
    ) -> Callable[[], None]:
        """Have a listener called with every committed event of a class; returns the way to end it.

        With `mentions` only if that is part of the changes' JSON: most edits then need no decoding.
        """
        self.delivery.attach()
        entry = (listener, event, mentions)
        self._listeners = [*self._listeners, entry]

        def unsubscribe() -> None:
            self._listeners = [other for other in self._listeners if other is not entry]

        return unsubscribe

    @property
    def is_free(self) -> bool:
        """Whether the caller may be told of news: the owner, neither in a block nor in a selector."""
        if self.transaction_here or not self.delivery.is_owner:
            return False
        return not (self.reads.noting and self.reads.reader_here)

    @contextlib.contextmanager
    def noting(self, reader: Reader) -> Iterator[set[Key]]:
        """Note what the block reads, as it is outside of all transactions; nothing new is shown in it."""
        outside = self._transaction_here.set(None)
        try:
            with self.reads.by(reader) as keys:
                with self.lock:
                    # From now on reading goes the long way, past those who note it.
                    self.attention = True
                    if self.view.touched is None:
                        self.view.touched = set()
                        self._outlook_before = self._outlook()
                yield keys
        finally:
            self._transaction_here.reset(outside)

    @property
    def seen_itself(self) -> Self:
        """The same, where its own error, or how much is pending, is what is read."""
        if self.reads.noting:
            self.reads.note(STORE)
        return self

    def _spoil(self) -> None:
        """Have those look again who have read what has just changed in the view."""
        touched = self.view.touched
        if touched:
            self.reads.spoil(touched)
            touched.clear()

    def _follow_up(self) -> None:
        """Bring what follows from the state up to date; in the owner's thread, after observers of records."""
        if self._blamed and not self.view.exists(self._blamed):
            self._blamed, ended = "", isinstance(self.error, ConflictError)
            self.error = None if ended else self.error
        if self.view.touched is not None:
            before, self._outlook_before = self._outlook_before, self._outlook()
            if before != self._outlook_before:
                self.reads.spoil([STORE])
            self.reads.settle()
        self._changed()

    def _outlook(self) -> tuple[Any, ...]:
        """Return what the store's status, pending and error follow from."""
        return (self.error, self.failing, self.closed, self.engine.loading.is_running)

    def _absorb(self, until: float = math.inf) -> None:
        """Take in what has arrived: at least a bundle, and no more after a moment of the monotonic clock."""
        # Reading goes the long way as long as a block shows something else than the view.
        self.attention = bool(self._open_transactions or self.reads.noting)
        try:
            while self._inbox:
                self._take_over(self._inbox.popleft())
                if self._inbox and time.monotonic() > until:
                    self.attention = True
                    break
        except BaseException:
            # The rest comes with the next access.
            self.attention = True
            raise
        finally:
            self.delivery.put_once(self._follow_up)

    def _take_over(self, arrival: Arrival) -> None:
        refused = {
            intent.n: Refused(intent, receipt.error, self._conflict_of(intent, receipt))
            for intent, receipt in arrival.refused
            if receipt.error
        }
        for shift in self.view.arrive(arrival.revisions, arrival.settled, refused):
            self._tell(shift)
        for shift in self.view.renew(arrival.renewed, arrival.seq):
            self._tell(shift)
        self._spoil()
        for one in refused.values():
            self._refused(one)
        self._announce(arrival)

    def _conflict_of(self, intent: Intent, receipt: Receipt) -> str | None:
        return conflict_id(self.writer_id, intent.n) if receipt.state == "conflict" else None

    def _refused(self, refused: Refused) -> None:
        self.error, self._blamed = refused.error, refused.conflict or ""
        what = "An edit waits for a decision" if refused.conflict else "An edit was not committed"
        logger.warning("%s: %s", what, refused.error)

    def _hand_out(self) -> None:
        """Deliver notifications if this is the owner, and it may; else let the owner know of them."""
        if put_off(self._hand_out):
            return
        # Observers see what is really there, and what they edit is not taken back with a block.
        if self.delivery.is_owner and not self.transaction_here:
            try:
                self.delivery.run()
            except BaseException:
                # An observer was interrupted: the rest comes with the next access.
                self.attention = True
                raise
            if self.delivery.is_waiting and not self.delivery.is_running:
                # So does what other threads have added since it began.
                self.attention = True
                self.delivery.wake()
        elif self.delivery.is_waiting:
            self.attention = True
            self.delivery.wake()

    def _announce(self, arrival: Arrival) -> None:
        if not self._listeners:
            return
        for revision in arrival.revisions:
            wanted = [entry for entry in self._listeners if entry[2] in revision.diff]
            if not wanted:
                continue
            try:
                event = event_of(revision, writer=self.writer_id)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                # The verb or the changes are none that were written by us.
                logger.error("Revision %d is no valid change and is not told: %s", revision.row.seq, error)
                continue
            self._send(event, wanted)
        for intent, _ in arrival.refused:
            for event in events_of_refused(intent):
                self._send(event, self._listeners)

    def _send(self, event: Event, entries: list[Subscription]) -> None:
        for entry in entries:
            if isinstance(event, entry[1]):
                self.delivery.put(partial(self._pass_on, entry, event))

    def _pass_on(self, entry: Subscription, event: Event) -> None:
        # It may have been ended meanwhile.
        if entry in self._listeners:
            entry[0](event)

    def _tell(self, shift: Shift) -> None:
        record = shift.entry.record() if shift.entry.record else None
        if record is not None:
            record.show(shift.after)
            if shift.entry.id in self._held:
                self.delivery.put(partial(record.tell, shift), shift.entry.id)

    def _deliver(self, arrival: Arrival) -> bool:
        self._inbox.append(arrival)
        self.attention = True
        self.delivery.wake()
        return len(self._inbox) < MAX_WAITING

    def _report(self, error: OrchstateError | None) -> None:
        self.error = error
        self.failing = error is not None
        self.attention = True
        self.delivery.wake()

    def look_again(self) -> None:
        """Have the owner look at what the store's status follows from; from any thread."""
        self.attention = True
        self.delivery.wake()

    def check_usable(self) -> None:
        """Refuse what a closed or inherited state cannot do."""
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
        self.lock = self._fetcher.lock = threading.RLock()


def _is_id(text: str) -> bool:
    return len(text) == 36 and text.count("-") == 4
