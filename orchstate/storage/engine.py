"""What an engine is: the place where accepted intents become revisions, in one order for all.

An engine gives every revision a *seq*: the store-wide, gap-free number of its commit. It
decides nothing itself: what an intent means for the present rows is said by a pure
function, :data:`Decide`, that is called inside the engine's transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from orchstate.models.intent import Intent, Origin, Verb
    from orchstate.storage.damages import Damages
    from orchstate.storage.loading import Loading

Outcome = Literal["committed", "merged", "conflict", "rejected"]


# Tuples, because every commit and every look at the store makes many; see Origin.
class Row(NamedTuple):
    """The present, or a past, state of one document.

    Parameters
    ----------
    id, kind, name
        Which document.
    revision
        Number of its revision, from 1.
    seq
        Number of the commit that made it.
    schema
        Version of the document's schema.
    created_us, updated_us
        Microseconds since 1970 (UTC).
    user
        Who created it.
    deleted
        Whether the document is gone; the body is its last one.
    body
        Canonical JSON of the flat values that differ from the defaults.
    writer
        Id of the process that made this revision.
    foreign_seq
        Seq of the last revision that was made by another writer than `writer`, 0 if none.
    """

    id: str
    kind: str
    name: str
    revision: int
    seq: int
    schema: int
    created_us: int
    updated_us: int
    user: str
    deleted: bool
    body: str
    writer: str
    foreign_seq: int

    def checksum(self) -> bytes:
        """Return the BLAKE2b sum over everything that the row means."""
        return row_sum(self)


class Revision(NamedTuple):
    """One committed change of one document: a row of the history.

    Parameters
    ----------
    row
        The document after the change.
    verb
        What happened to it.
    diff
        Canonical JSON ``{path: [old, new]}`` of the plain values that changed.
    at_us, committed_us
        When the edit was accepted, and when it was committed, in microseconds since 1970
        (UTC). The two lie far apart where a process died and another one took over.
    txn, label
        Id and name of the transaction it belongs to.
    origin
        Who made it, and where.
    n
        Number of its intent among those of its writer.
    """

    row: Row
    verb: Verb
    diff: str
    at_us: int
    committed_us: int
    txn: str
    label: str
    origin: Origin
    n: int

    def checksum(self, of_row: bytes | None = None) -> bytes:
        """Return the BLAKE2b sum over the row and everything that is known of the change.

        Parameters
        ----------
        of_row
            The row's own sum, where it is known already.
        """
        row, verb, diff, at_us, committed_us, txn, label, origin, n = self
        change = (verb, diff, at_us, committed_us, txn, label, *origin, n)
        return change_sum(of_row or row.checksum(), change)


Change = tuple[Any, ...]
"""What the history says of a change, with the values of ``CHANGE_COLUMNS``."""
CHANGE_COLUMNS: Final = (
    *("seq", "at_us", "txn", "label", "kind", "id", "name", "verb", "diff", "actor", "notebook", "cell"),
)


class Write(NamedTuple):
    """A row that a decision wants written; the engine numbers it."""

    verb: Verb
    id: str
    kind: str
    name: str
    schema: int
    body: str
    diff: str
    created_us: int
    updated_us: int
    user: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of an intent.

    Parameters
    ----------
    outcome
        With ``"rejected"`` and ``"conflict"`` the intent is parked, and nothing of it is written.
    writes
        The rows to write, in order; of a conflict, the document that holds it for a decision.
    reason
        One sentence for people when the intent was not simply committed.
    error
        Name of the error class that stands for a rejection.
    """

    outcome: Outcome
    writes: tuple[Write, ...] = ()
    reason: str = ""
    error: str = ""


class Snapshot(Protocol):
    """Documents as they are, or were at some seq; deleted ones are included where said."""

    def get(self, id: str) -> Row | None:
        """Return the row of an id, also of a deleted document."""

    def find(self, kind: str, name: str) -> Row | None:
        """Return the living document of a name, compared by :func:`name_key`."""

    def rows(self, kind: str | None = None) -> Iterable[Row]:
        """Return all living documents, of one kind or of all, by creation."""

    def gone(self, kind: str) -> Iterable[str]:
        """Return the ids of all deleted documents of a kind."""


Decide = Callable[[Snapshot, "Intent", str], Decision]
"""What becomes of an intent of a writer, given the present rows; pure."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit did.

    Parameters
    ----------
    before
        The seq before it: revisions between the caller's cursor and `before` are foreign.
    revisions
        What it wrote, in order.
    decisions
        What became of each intent, by its number; one that was applied before keeps its
        outcome, and has no new revisions.
    """

    before: int
    revisions: Sequence[Revision]
    decisions: dict[int, Decision]


class Engine(Protocol):
    """The one protocol of SQLite and PostgreSQL."""

    store_id: str
    damages: Damages
    loading: Loading
    known_rows: Callable[[], Iterable[Row]]
    replacements: int

    def commit(self, writer: str, intents: Sequence[Intent], decide: Decide) -> Commit:
        """Apply intents exactly once, all in one durable transaction.

        An intent that can never be applied, whatever the reason, is rejected and parked;
        the others are not affected by it.

        Raises
        ------
        StoreError
            If it could not be done now; nothing was applied, and it can be tried again.
        """

    def verify(self) -> int:
        """Return what :meth:`seq` does, and refuse to go on with what is not the opened store any more.

        Raises
        ------
        StoreMovedError
            If that is so.
        """

    def changes_since(self, seq: int, *, until: int | None = None, id: str | None = None) -> list[Revision]:
        """Return the revisions after `seq` in commit order; damaged ones are left out and logged."""

    def revision(self, id: str, number: int) -> Revision | None:
        """Return one revision of a document, None if the history does not have it.

        Raises
        ------
        CorruptStoreError
            If it is damaged.
        """

    def snapshot(self, seq: int | None = None) -> Snapshot:
        """Return the documents as they are (None), or were at `seq`."""

    def seq(self) -> int:
        """Return the number of the last commit."""

    def applied(self, writer: str) -> int:
        """Return the number of the last intent of a writer that has an outcome, 0 if none."""

    def reread(self) -> Iterator[list[Row]]:
        """Yield all present rows, verified again, a few at a time; damaged ones are written anew.

        What is damaged beyond help is named in :attr:`damages`.
        """

    def known_anew(self) -> list[Row]:
        """Return what is stored by now of the documents of :attr:`known_rows`, also of deleted ones.

        What is damaged is left out, and named in :attr:`damages`.
        """

    def wait(self, timeout_s: float) -> bool:
        """Sleep until woken, or until others may have committed; return whether they may have."""

    def wake(self) -> None:
        """End a running or the next :meth:`wait`, from any thread."""

    def backup(self, path: Path) -> None:
        """Write a consistent copy to a new file while others go on working."""

    def check(self) -> list[str]:
        """Return one sentence per damage found in the stored data; empty when sound."""

    def close(self) -> None:
        """Release everything; harmless when repeated."""


def row_sum(row: Sequence[Any]) -> bytes:
    """Return the sum of a row's values, see :meth:`Row.checksum`."""
    # One text made at once takes half as long as joining, and every look at a row makes one.
    id, kind, name, revision, seq, schema, created, updated, user, deleted, body, writer, foreign = row
    return checksum_of(
        f"{id}\x1f{revision}\x1f{schema}\x1f{kind}\x1f{name}\x1f{seq}\x1f{created}\x1f{updated}"
        f"\x1f{user}\x1f{1 if deleted else 0}\x1f{body}\x1f{writer}\x1f{foreign}"
    )


def change_sum(of_row: bytes, change: Sequence[Any]) -> bytes:
    """Return the sum of a change's values and of its row's sum, see :meth:`Revision.checksum`."""
    verb, diff, at_us, committed_us, txn, label, actor, notebook, cell, n = change
    return checksum_of(
        f"{of_row.hex()}\x1f{verb}\x1f{diff}\x1f{at_us}\x1f{committed_us}\x1f{txn}"
        f"\x1f{label}\x1f{actor}\x1f{notebook}\x1f{cell}\x1f{n}"
    )


def checksum_of(text: str) -> bytes:
    """Return the BLAKE2b sum of a text."""
    # Bytes that are no text are read as lone surrogates; they have to reach the sum as they are.
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
