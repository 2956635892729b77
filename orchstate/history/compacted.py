"""Compacted: what a compaction of the history did, or would do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchstate.storage import sqlite as storage


@dataclass(frozen=True, slots=True, repr=False)
class Compacted:
    """What ``store.history.compact()`` did, or with ``preview=True`` would do.

    Parameters
    ----------
    kept_from
        The seq from which on every moment is exact.
    kept
        Earlier moments that are exact too, since snapshots name them.
    revisions
        How many revisions were removed.
    revisions_before
        How many there were.
    snapshots
        Names of snapshots whose moment was removed.
    stamps
        Config id and revision of stamps whose revision was removed.
    bytes_before, bytes_after
        Size of the store; for a preview the second is an estimate.
    preview
        Whether nothing was done.

    Examples
    --------
    >>> gpt.temperature = 0.9
    >>> store.history.compact("9999-12-31", preview=True)
    <Compacted: would remove 1 of 2 revisions; all of revision 2 and later stays>
    """

    kept_from: int
    kept: tuple[int, ...]
    revisions: int
    revisions_before: int
    snapshots: tuple[str, ...]
    stamps: tuple[tuple[str, int], ...]
    bytes_before: int
    bytes_after: int
    preview: bool

    @classmethod
    def of(cls, done: storage.Shrunk, *, preview: bool) -> Compacted:
        """Return what the engine did, in the words of the history."""
        plan = done.plan
        return cls(
            kept_from=plan.horizon,
            kept=plan.kept,
            revisions=len(plan.removed),
            revisions_before=plan.revisions,
            snapshots=plan.snapshots,
            stamps=plan.stamps,
            bytes_before=done.bytes_before,
            bytes_after=done.bytes_before - plan.freed_bytes if preview else done.bytes_after,
            preview=preview,
        )

    def __repr__(self) -> str:
        if not self.revisions:
            return "<Compacted: nothing to remove>"
        verb = "would remove" if self.preview else "removed"
        parts = [f"{verb} {self.revisions:,} of {self.revisions_before:,} revisions"]
        parts += [f"what snapshots need: {', '.join(self.snapshots)}"] if self.snapshots else []
        parts += [f"what {len(self.stamps)} stamps need"] if self.stamps else []
        freed = self.bytes_before - self.bytes_after
        size = f", {freed / 1e6:,.1f} MB" if freed > 50_000 else ""
        return f"<Compacted: {', '.join(parts)}{size}; all of revision {self.kept_from} and later stays>"
