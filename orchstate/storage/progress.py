"""Progress: how far each writer got, which tells what of an outbox is still to be done.

A number that is too high would have later edits count as done, and nothing would be written
of them. So it is believed with its checksum alone, or as far as something bears it out.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from orchstate.models.intent import Intent
from orchstate.storage import tables
from orchstate.storage.engine import checksum_of
from orchstate.storage.horizon import compactions

if TYPE_CHECKING:
    from orchstate.storage.pieces import Reader

logger = logging.getLogger(__name__)

_PARKED: Final = "SELECT intent FROM parked WHERE writer = ?"
# Intents that changed nothing leave no trace, so a writer may have got further than its traces by some.
# A number without a checksum that is further beyond them is taken for damaged: believing it would lose
# all that the writer had accepted, and doing again what changed nothing is harmless.
UNTRACED: Final = 1_000


def applied(read: Reader, writer: str) -> int:
    """Return the number of the last intent of a writer that has an outcome, 0 if none."""
    for n, checksum in read("SELECT n, checksum FROM applied WHERE writer = ?", [writer]):
        if checksum == applied_sum(writer, n):
            return int(n)
        traced = _traced(read, writer)
        # Rows from before there were checksums have none.
        if checksum == b"" and isinstance(n, int) and n <= traced + UNTRACED:
            return max(n, traced)
        logger.error("What was applied of writer %s is damaged, and was read from the history.", writer)
        return traced
    return 0


def applied_sum(writer: str, n: int) -> bytes:
    """Return the checksum of what was applied of a writer."""
    return checksum_of(f"applied\x1f{writer}\x1f{n}")


def number_of_parked(writer: str, data: object) -> int | None:
    """Return the number of a parked intent as itself says it, in two places; None if it is damaged.

    Its row has no checksum, so the number in the row is not believed.
    """
    try:
        intent = Intent.decode(data) if isinstance(data, bytes) else None
    except ValueError:
        return None
    is_sure = intent and type(intent.n) is int and intent.txn == f"{writer}-{intent.n}"
    return intent.n if intent and is_sure else None


def _traced(read: Reader, writer: str) -> int:
    """Return the number of a writer's last intent that sound rows bear out, also of what was removed."""
    parked = (number_of_parked(writer, data) or 0 for (data,) in read(_PARKED, [writer]))
    last = max([0, *parked, *(done.applied.get(writer, 0) for done in compactions(read))])
    for seq, n in read("SELECT seq, n FROM rev WHERE writer = ? ORDER BY n DESC", [writer]):
        if isinstance(n, int) and n <= last:
            break
        for revision in tables.revisions(read, seq - 1, until=seq, id=None):
            return revision.n
    return last
