"""The view: what this process sees, always *confirmed rows + own pending edits replayed in order*.

A pending edit that is rejected disappears by being left out of the replay, so there is no
inverse patch that could be wrong. Rows are decoded when their document is first asked for,
and documents that nobody asked for are not even loaded.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from orchstate.errors import CorruptStoreError, OrchstateError
from orchstate.models.conflict import ConflictDocument
from orchstate.models.document import Document, datetime_of
from orchstate.models.names import check_name
from orchstate.state.entry import Entry, Pending
from orchstate.state.names import Names
from orchstate.state.reads import listing, naming, progress
from orchstate.state.refusals import Refusals

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from orchstate.models.intent import Intent
    from orchstate.state.events import Cause
    from orchstate.state.kinds import Kinds
    from orchstate.state.reads import Key
    from orchstate.state.refusals import Refused
    from orchstate.state.steps import Step
    from orchstate.storage.engine import Revision, Row

logger = logging.getLogger(__name__)


class Shift(NamedTuple):
    """A change of what is seen: the reason to tell observers.

    Parameters
    ----------
    entry
        The document's place in the view.
    before, after
        The document; None where it does not exist.
    cause
        Why.
    """

    entry: Entry
    before: Document | None
    after: Document | None
    cause: Cause


class _Before(NamedTuple):
    document: Document | None
    name: str | None


class _Touch(NamedTuple):
    """What a bundle of revisions does to one document: "edit" where all of it was seen before."""

    entry: Entry
    before: _Before
    cause: Cause
    rows: list[Row | None]
    """Those before its last one, from the one that was known."""


class View:
    """All documents of a store as this process sees them.

    Parameters
    ----------
    kinds
        The kinds of documents that are known.
    writer
        Id of this process among those that write.
    cursor
        Seq up to which everything is seen that concerns documents in memory.
    unusable
        Called with what is said of a row that is no valid document.

    Attributes
    ----------
    refusals
        Own edits that were not committed.
    touched
        What has changed, for those who note what they read; None while nobody does.
    """

    def __init__(
        self,
        kinds: Kinds,
        writer: str,
        cursor: int,
        *,
        unusable: Callable[[CorruptStoreError], object] = lambda error: None,
    ) -> None:
        self._kinds = kinds
        self._writer = writer
        self._unusable = unusable
        self._entries: dict[str, Entry] = {}
        self._of_kind: dict[str, dict[str, Entry]] = {}
        self._names = Names()
        self._complete: set[str] = set()
        # Ids of deleted documents that nothing else is known of here: of these kinds all.
        self._gone: set[str] = set()
        # Which documents an own edit without an outcome concerns, by its number, oldest first.
        self._open_edits: dict[int, tuple[str, ...]] = {}
        self.refusals = Refusals(self.exists)
        self.cursor = cursor
        self.touched: set[Key] | None = None

    # -- looking up -----------------------------------------------------------------

    def known(self, id: str) -> Entry | None:
        """Return the entry of an id, also of a deleted document, if it is in memory."""
        return self._entries.get(id)

    def find(self, kind: str, name: str) -> Entry | None:
        """Return the entry of the existing document of a name, if it is in memory."""
        id = self._names.last(kind, name)
        return self._entries[id] if id is not None else None

    def is_sure_of(self, kind: str, name: str) -> bool:
        """Whether what :meth:`find` returns is all that there is."""
        return self.is_complete(kind) or self._names.has(kind, name)

    def is_unused(self, id: str) -> bool:
        """Whether nothing is known here of a document with an id, deleted or not."""
        return id not in self._entries and id not in self._gone

    def is_absent(self, kind: str, id: str) -> bool:
        """Whether it is sure, without asking, that no document of a kind has or ever had an id."""
        return self.is_complete(kind) and self.is_unused(id)

    def take(self, rows: Iterable[Row], kind: str = "", gone: Iterable[str] = ()) -> None:
        """Take rows over that are not in memory; with `kind` all of it, and `gone` are its deleted ids."""
        for row in rows:
            # One that is loaded has perhaps been renamed or deleted here.
            if row.id not in self._entries and self._is_usable(row):
                self._index(self._add(Entry(row.id, row.kind, row)), None)
        if kind:
            self._complete.add(kind)
            self._gone.update(gone)

    def document(self, entry: Entry) -> Document | None:
        """Return the document of an entry."""
        return entry.document(self._kinds)

    def is_complete(self, kind: str) -> bool:
        """Whether all documents of a kind are in memory."""
        return kind in self._complete

    def adopt(self, entry: Entry) -> None:
        """Take over an entry that a transaction made for a new document."""
        known = self.known(entry.id) or self._add(entry)
        record = entry.record() if entry.record else None
        if known is not entry and record is not None and known.record is None:
            # Somebody else made the same document meanwhile.
            record._move_to(known)
            known.record = entry.record

    def reserve(self, id: str, blank: Document) -> None:
        """Show `blank` where nothing is stored yet under an id."""
        entry = self.known(id)
        if entry is None:
            entry = self._add(Entry(id, blank.kind, None))
        if entry.blank is None:
            entry.blank = blank
            entry.forget()

    def loaded(self, kind: str) -> list[Entry]:
        """Return the entries of the existing documents of a kind that are in memory, by creation."""
        # A copy first, since other threads may add to it.
        entries = list(self._of_kind.get(kind, {}).values())
        return sorted((entry for entry in entries if entry.exists), key=_age)

    def __len__(self) -> int:
        return len(self._entries)

    def base(self, id: str) -> int:
        """Return the seq up to which it is seen here what others did to a document."""
        entry = self._entries.get(id)
        return max(self.cursor, entry.row.seq) if entry and entry.row else self.cursor

    def rows(self) -> list[Row]:
        """Return the committed rows that are in memory."""
        return [entry.row for entry in list(self._entries.values()) if entry.row]

    # -- changing -------------------------------------------------------------------

    def accept(self, n: int, at_us: int, user: str, steps: Iterable[Step]) -> list[Shift]:
        """Show an own edit that was just accepted."""
        shifts = []
        steps, now = tuple(steps), datetime_of(at_us)
        self._open_edits[n] = tuple(step.operation.id for step in steps)
        for step in steps:
            operation = step.operation
            entry = self._entries.get(operation.id)
            if entry is None:
                entry = self._add(Entry(operation.id, operation.kind, None))
            old_name = entry.name if entry.exists else None
            entry.push(Pending(n, at_us, user, operation))
            if step.after is None or (operation.verb == "update" and step.after.updated_at == now):
                entry.show(step.after)
            else:
                # Made before its time, in a block, or with an envelope that its row will not have.
                entry.forget()
            self._index(entry, old_name)
            if self.touched is not None:
                self._touch(entry, old_name, is_seen=True)
            shifts.append(Shift(entry, step.before, self.document(entry), "edit"))
        return shifts + self._follow(self._open_edits[n], "edit")

    def arrive(
        self, revisions: Sequence[Revision], settled: int, refused: Mapping[int, Refused]
    ) -> list[Shift]:
        """Take over what the engine committed, and drop own edits that have an outcome.

        Parameters
        ----------
        revisions
            Everything after :attr:`cursor`, in order.
        settled
            Own edits up to this number have an outcome.
        refused
            Those among them that were not committed, by number.
        """
        # Of these it has to be known from here on whether they are open.
        for one in refused.values():
            if one.conflict is not None and one.conflict not in self._entries:
                self._add(Entry(one.conflict, ConflictDocument.kind, None))
        touched: dict[str, _Touch] = {}
        shifts = self._drop(refused, revisions, touched) if refused else []
        for revision in revisions:
            if revision.row.seq > self.cursor:
                self.cursor = revision.row.seq
                self._confirm(revision, touched)
        # Once for all revisions of a document, since each replay takes in everything that is pending.
        shifts += [shift for touch in touched.values() for shift in self._reshow(*touch)]
        foreign = [one.row.id for one in revisions if one.row.writer != self._writer]
        own = [one.row.id for one in revisions if one.row.writer == self._writer]
        while self._open_edits and (n := next(iter(self._open_edits))) <= settled:
            ids = self._open_edits.pop(n)
            if n in refused and not self._is_still_asked(refused[n]):
                self.refusals.add(ids, refused[n])
            for id in ids:
                shifts += self._settle(self._entries[id], n, is_refused=n in refused)
            own += ids
        shifts += [*self._follow(foreign, "external"), *self._follow(own, "edit")]
        self._let_go(dict.fromkeys(foreign + own))
        return shifts

    def _is_still_asked(self, refused: Refused) -> bool:
        """Whether it was a decision that came too late: then its conflict says all that is to be said."""
        operations = refused.intent.operations if refused.conflict is None else ()
        ended = [one.id for one in operations if (one.verb, one.kind) == ("delete", ConflictDocument.kind)]
        rows = [entry.row for id in ended if (entry := self._entries.get(id))]
        return any(row and not row.deleted for row in rows)

    def dismiss(self, intent: Intent) -> list[Shift]:
        """Put the error of an own edit away that was not committed, and that waits for no decision."""
        return self._progressed(self.refusals.dismiss(intent), "edit")

    def _follow(self, ids: Iterable[str], cause: Cause) -> list[Shift]:
        """Return what documents tell of conflicts, if these are any, that have come, gone, or come back."""
        return self._progressed(self.refusals.follow(ids), cause)

    def _let_go(self, ids: Iterable[str]) -> None:
        """Forget deleted documents that nobody looks at: the engine has them."""
        for entry in [self._entries[id] for id in ids if id in self._entries]:
            is_deleted = entry.row is not None and entry.row.deleted
            is_held = entry.pending or entry.blank or (entry.record and entry.record())
            if is_deleted and not is_held:
                del self._entries[entry.id], self._of_kind[entry.kind][entry.id]
                self._gone.add(entry.id)

    def _progressed(self, ids: Collection[str], cause: Cause) -> list[Shift]:
        if self.touched is not None:
            self.touched.update(map(progress, ids))
        watched = [entry for id in ids if (entry := self._entries.get(id)) and entry.record]
        seen = [(entry, self.document(entry)) for entry in watched]
        return [Shift(entry, document, document, cause) for entry, document in seen]

    def exists(self, id: str) -> bool:
        """Whether the document of an id is in memory and seen."""
        return id in self._entries and self._entries[id].exists

    def _drop(
        self, refused: Iterable[int], revisions: Iterable[Revision], touched: dict[str, _Touch]
    ) -> list[Shift]:
        """Let refused edits vanish first whose document has a later one among the revisions.

        Replayed on a row that has the later one in it, the refused one would hide it for a moment.
        """
        shifts: list[Shift] = []
        before: dict[str, _Before] = {}
        last = {one.row.id: one.n for one in revisions if one.row.writer == self._writer}
        for n in refused:
            for id in self._open_edits.get(n, ()):
                if n < last.get(id, 0):
                    before.setdefault(id, self._look_at(self._entries[id]))
                    self._entries[id].take(n)
                    self._entries[id].is_misled = True
        for id, was in before.items():
            entry = self._entries[id]
            shift = self._reshow(entry, was, "rollback")
            if entry.exists:
                shifts += shift
            else:
                # Perhaps somebody else's document takes its place with the revisions that came along.
                touched[id] = _Touch(entry, was, "rollback", [])
        return shifts

    def renew(self, rows: Sequence[Row], seq: int) -> list[Shift]:
        """Take over rows that are not those which arrived: revisions are damaged, or were lost in a salvage.

        Parameters
        ----------
        rows
            Present rows.
        seq
            Number of a commit of which there was news before they were read. What is newer arrives by
            itself, and what is known to be newer stays.
        """
        shifts: list[Shift] = []
        for row in rows:
            entry = self._entries.get(row.id)
            if entry is None:
                self._discover(row)
                continue
            known = entry.row
            if max(row.seq, known.seq if known else 0) > seq or not (row == known or self._is_usable(row)):
                continue
            before = self._look_at(entry)
            if row != known:
                entry.confirm(row)
                entry.is_misled = bool(entry.pending)
            elif not entry.redo(self._kinds):
                continue
            shifts += self._reshow(entry, before, "external", (known,))
        return shifts + self._follow([row.id for row in rows], "external")

    def _discover(self, row: Row) -> None:
        if row.kind in self._complete and not row.deleted:
            self.take([row])
        if self.touched is None or row.deleted:
            return
        if entry := self._entries.get(row.id):
            self._touch(entry, None, is_seen=True)
        else:
            # Somebody may have looked it up in vain.
            self.touched.update((row.id, naming(row.kind, row.name)))

    def _confirm(self, revision: Revision, touched: dict[str, _Touch]) -> None:
        row = revision.row
        entry = self._entries.get(row.id)
        is_own = row.writer == self._writer
        # Not by their own numbers: one that was lost in a salvage is given again.
        if entry and entry.row and row.seq <= entry.row.seq:
            return
        # Our own edits were validated; rows of others are untrusted.
        if not is_own and not self._is_usable(row):
            return
        if entry is None:
            if row.kind not in self._complete:
                if self.touched is not None:
                    # Somebody may have looked it up in vain.
                    self.touched.update((row.id, naming(row.kind, row.name)))
                return
            if row.deleted:
                self._gone.add(row.id)
                return
            entry = self._add(Entry(row.id, row.kind, None))
        _, before, so_far, rows = touched.get(row.id) or _Touch(entry, self._look_at(entry), "edit", [])
        own = entry.take(revision.n) if is_own else None
        known = entry.row
        entry.confirm(row)
        # One that was made on top of a refused or merged edit may have become something else than it wanted.
        is_as_shown = own is not None and not entry.is_misled and _is_as_shown(known, row, own)
        if own:
            entry.is_misled = not is_as_shown and bool(entry.pending)
        is_known = is_as_shown or so_far == "rollback"
        cause: Cause = so_far if is_known else "merge" if own and so_far != "external" else "external"
        rows.append(known)
        touched[row.id] = _Touch(entry, before, cause, rows)

    def _settle(self, entry: Entry, n: int, *, is_refused: bool) -> list[Shift]:
        if is_refused:
            entry.is_misled = any(edit.n > n for edit in entry.pending)
        else:
            self.refusals.supersede(entry.id)
        before = self._look_at(entry)
        if self.touched is not None:
            self.touched.add(progress(entry.id))
        if not entry.take(n):
            return []
        # It became no revision, so nothing else would make it vanish.
        return self._reshow(entry, before, "rollback" if is_refused else "merge")

    def _look_at(self, entry: Entry) -> _Before:
        # Nobody is told of what nobody looks at, so it is not decoded either.
        document = self.document(entry) if entry.record else None
        return _Before(document, entry.name if entry.exists else None)

    def _reshow(
        self, entry: Entry, before: _Before, cause: Cause, rows: Sequence[Row | None] = ()
    ) -> list[Shift]:
        if cause != "edit":
            entry.forget()
            self._set_aside(entry, rows)
            self._index(entry, before.name)
        if self.touched is not None:
            self._touch(entry, before.name, is_seen=cause != "edit")
        if not entry.record:
            return []
        return [Shift(entry, before.document, self.document(entry), cause)]

    def _set_aside(self, entry: Entry, rows: Sequence[Row | None]) -> None:
        """Go back to the last one of the earlier rows of a document on which it can be decoded."""
        if not (entry.record or entry.pending):
            # Nobody looks at it.
            return
        for row in reversed(rows):
            try:
                self.document(entry)
                return
            except Exception as error:
                # Its body may be anything, so what comes of decoding it may be as well.
                if entry.row:
                    self._report(entry.row, error)
                entry.confirm(row)
                entry.is_misled = bool(entry.pending)

    def _is_usable(self, row: Row) -> bool:
        """Whether a row can be one of ours; one that cannot is left where it is."""
        try:
            check_name(row.name)
            if not row.body.startswith("{"):
                raise ValueError("its body is no JSON object")
            datetime_of(row.created_us)
            datetime_of(row.updated_us)
        except (OrchstateError, ValueError, OverflowError, OSError, TypeError) as error:
            self._report(row, error)
            return False
        return True

    def _report(self, row: Row, error: Exception) -> None:
        what = f"The stored {row.kind} {row.id} is no valid document and is not used: {error}"
        logger.error("%s", what)
        self._unusable(CorruptStoreError(what, ids=[row.id]))

    def _add(self, entry: Entry) -> Entry:
        self._entries[entry.id] = self._of_kind.setdefault(entry.kind, {})[entry.id] = entry
        return entry

    def _touch(self, entry: Entry, old_name: str | None, *, is_seen: bool) -> None:
        """Note what of a document has changed: with `is_seen` more than its progress."""
        touched = self.touched
        if touched is None:
            return
        touched.add(progress(entry.id))
        if not is_seen:
            return
        touched.add(entry.id)
        name = entry.name if entry.exists else None
        if name != old_name:
            touched.add(listing(entry.kind))
            touched.update(naming(entry.kind, one) for one in (name, old_name) if one is not None)

    def _index(self, entry: Entry, old_name: str | None) -> None:
        self._names.move(entry.kind, entry.id, old_name, entry.name if entry.exists else None)


def _is_as_shown(known: Row | None, row: Row, edit: Pending) -> bool:
    """Whether an own edit was committed on exactly the row that it was made on, without a merge."""
    if edit.operation.verb == "create" and known and not known.deleted:
        # An upsert that found the document made by somebody else.
        return False
    # What it was committed on is the known one only if that has all that others did before.
    foreign_seq = (known.foreign_seq if known.writer == row.writer else known.seq) if known else 0
    is_known = row.revision == (known.revision if known else 0) + 1 and row.foreign_seq == foreign_seq
    return is_known and foreign_seq <= edit.operation.base


def _age(entry: Entry) -> tuple[int, int]:
    if entry.row:
        return entry.row.created_us, entry.row.seq
    return entry.pending[0].at_us, entry.pending[0].n
