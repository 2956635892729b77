"""Findings: what the doctor says, and what it says of the place of a store and of damage before."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from orchstate.storage.losses import reports
from orchstate.storage.outbox import DAMAGED_SUFFIX
from orchstate.storage.placement import LITTLE_SPACE_BYTES, is_network, mount_type
from orchstate.storage.presence import is_interrupted, outboxes
from orchstate.storage.salvage import kept_files
from orchstate.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchstate.storage.sqlite import SqliteEngine

Level = Literal["ok", "warning", "problem"]
_MB: Final = 1024 * 1024
_COMPARE: Final = "Compare it with what is there now; then remove it, or keep it."


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    level
        ``"ok"``; ``"warning"``: it works, and could be better; ``"problem"``: it does not.
    what
        What was looked at, in one word.
    message
        What was found.
    next_step
        What to do about it, ``""`` if nothing.
    """

    level: Level
    what: str
    message: str
    next_step: str = ""


def place(path: Path) -> Iterator[Finding]:
    """Yield what is to be said of the file system of a store."""
    kind = mount_type(path) or "unknown"
    if is_network(path):
        message = f"It is on the network ({kind}), so others must be on this machine too, and it is slower."
        yield Finding("warning", "place", message, "Keep it on a local disk; share it with export().")
    else:
        yield Finding("ok", "place", f"File system: {kind}.")
    free = shutil.disk_usage(path.parent).free
    message = f"{free / _MB:,.0f} MB are free on its disk."
    if free < LITTLE_SPACE_BYTES:
        step = "Free some space: edits are refused when none is left, and go on by themselves when there is."
        yield Finding("warning" if free else "problem", "place", message, step)
    else:
        yield Finding("ok", "place", message)


def kept(path: Path) -> Iterator[Finding]:
    """Yield the damaged files that were kept beside a store."""
    if is_interrupted(path):
        message = "It was damaged, and whoever salvaged it was interrupted."
        yield Finding("warning", "damage", message, "It is done again when the store is opened for editing.")
    for file in kept_files(path):
        yield Finding("warning", "kept", f"{str(file)!r} is this store as it was damaged.", _COMPARE)
    for file in sorted(outboxes(path).glob(f"*{DAMAGED_SUFFIX}")):
        yield Finding("warning", "kept", f"{str(file)!r} is a damaged outbox.", _COMPARE)


def lost(engine: SqliteEngine) -> Iterator[Finding]:
    """Yield what earlier damage took from a store."""
    for report in reports(dict(engine.query("SELECT key, value FROM meta"))):
        missing = sum(end - start + 1 for start, end in report["seqs"])
        where = f"; the damaged file was kept as {report['kept']!r}" if report["kept"] else ""
        message = f"{counted(missing, 'revision')} of the history were lost in damage{where}."
        whose = " ".join(loss["what"] for loss in report["lost"])
        yield Finding("warning", "lost", f"{message} {whose}".strip())
