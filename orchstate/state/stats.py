"""Figures of one process on one store, for whoever looks for what is slow or does not arrive.

They are counted where things happen anyway, most of them in the writer's thread.
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchstate.display import Table, html_page, text_page

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

    from orchstate.state.receipt import Receipt


class Counts:
    """What a writer counts; only its thread changes it."""

    __slots__ = ("commits", "failures", "foreign", "largest_batch", "last_commit_us", "outcomes")

    def __init__(self) -> None:
        self.commits = self.failures = self.foreign = self.largest_batch = self.last_commit_us = 0
        self.outcomes = dict.fromkeys(("committed", "merged", "conflict", "rejected"), 0)

    def committed(self, receipts: Iterable[Receipt], at_us: int) -> None:
        """Count a commit of these edits."""
        size = 0
        for receipt in receipts:
            size += 1
            self.outcomes[receipt.state] += 1
        self.commits += 1
        self.largest_batch = max(self.largest_batch, size)
        self.last_commit_us = at_us


@dataclass(frozen=True, slots=True, repr=False)
class Stats:
    """Figures of this process on a store, from its opening to now; ``print(stats)`` shows them all.

    Parameters
    ----------
    accepted
        Edits that were accepted; a transaction, an undo and a restored moment count as one, and so does
        each revision that a stamp has pinned.
    pending
        Those that have no outcome yet.
    committed, merged, conflicts, rejected
        Outcomes of the others.
    commits
        Durable transactions of the engine that brought them there.
    largest_batch
        Edits in the largest of these.
    failures
        Turns of the writer that failed and were tried again.
    foreign_revisions
        Revisions that other processes made and that were seen here.
    last_commit
        When the last of the commits was done, in UTC; None before the first.
    seq
        Number of the last revision that is known here.
    documents
        Documents in memory, also deleted ones.
    loads
        Questions to the engine for documents that were not in memory.
    selections
        Selections that follow something.
    selector_runs
        How often their selectors have run.
    file_bytes
        Size of the store's file with its write-ahead log, in bytes; 0 for one in memory.
    outbox_bytes
        Size of this process's outbox, in bytes; it is emptied when it is large and all has an outcome.
    journal_mode
        SQLite's journal mode: ``"wal"``, ``"truncate"``, or ``"memory"``.
    """

    accepted: int
    pending: int
    committed: int
    merged: int
    conflicts: int
    rejected: int
    commits: int
    largest_batch: int
    failures: int
    foreign_revisions: int
    last_commit: datetime | None
    seq: int
    documents: int
    loads: int
    selections: int
    selector_runs: int
    file_bytes: int
    outbox_bytes: int
    journal_mode: str

    def to_dict(self) -> dict[str, Any]:
        """Return all figures by name.

        Examples
        --------
        >>> store.stats().to_dict()["committed"]
        1
        """
        return dataclasses.asdict(self)

    def _tables(self) -> list[Table]:
        figures = [(name, "never" if value is None else str(value)) for name, value in self.to_dict().items()]
        return [Table(("figure", "value"), figures)]

    def __str__(self) -> str:
        return text_page("This process", self._tables())

    def _repr_html_(self) -> str:
        return html_page("This process", self._tables())

    def __repr__(self) -> str:
        edits = "1 edit" if self.accepted == 1 else f"{self.accepted} edits"
        problems = {"conflicts": self.conflicts, "rejected": self.rejected, "failures": self.failures}
        shown = [f"{count} {name}" for name, count in problems.items() if count]
        return f"<Stats {', '.join([edits, f'{self.pending} pending', *shown, f'seq {self.seq}'])}>"


def size_of(*paths: Path | None) -> int:
    """Return the sizes of files together, in bytes; one that is not there has none."""
    size = 0
    for path in paths:
        with contextlib.suppress(OSError):
            size += path.stat().st_size if path else 0
    return size
