"""Intents: edits as they are accepted, before the engine has made revisions of them."""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple

from orchstate.models.values import FrozenMap

Verb = Literal["create", "update", "delete"]
"""What happens to a document; "pin" besides is a wish about its history, and no change of it."""


# Tuples, because every edit makes some: a frozen dataclass takes four times as long to make.
class Origin(NamedTuple):
    """Who made an edit, and where."""

    actor: str = ""
    notebook: str = ""
    cell: str = ""


class Operation(NamedTuple):
    """What an intent does to one document.

    Parameters
    ----------
    verb
        What happens. ``"pin"`` changes nothing: it has the revision in ``set["revision"]`` kept for ever,
        since a result refers to it.
    kind, id, name
        The document; `name` as it is after the operation.
    set
        New plain values by path.
    drop
        Those of the paths in `set` that went back to their default, so are not stored.
    seen
        Values of the touched paths, and of those that belong together with them, as the
        edit saw them: the base of a three-way merge.
    upsert
        For ``"create"``: if somebody else created the same document at the same time,
        merge instead of refusing.
    base
        The seq up to which the edit saw what others did to the document.
    """

    verb: Verb | Literal["pin"]
    kind: str
    id: str
    name: str
    set: dict[str, Any] = FrozenMap()
    drop: tuple[str, ...] = ()
    seen: dict[str, Any] = FrozenMap()
    upsert: bool = False
    base: int = 0

    def on(self, base: int) -> Operation:
        """Return this operation as it is made on top of `base`."""
        return Operation(
            self.verb, self.kind, self.id, self.name, self.set, self.drop, self.seen, self.upsert, base
        )


class Intent(NamedTuple):
    """One accepted edit: all of its operations happen, or none.

    Parameters
    ----------
    n
        Its number among the intents of one writer, from 1, without gaps.
    txn
        Id shared by all revisions that come of it.
    at_us
        When it was accepted, in microseconds since 1970 (UTC).
    origin, label
        Who, where, and what for.
    operations
        What it does, in order.
    """

    n: int
    txn: str
    at_us: int
    origin: Origin
    operations: tuple[Operation, ...]
    label: str = ""

    def encode(self) -> bytes:
        """Return the bytes that the outbox keeps.

        Raises
        ------
        ValueError
            If it holds what JSON, or UTF-8, has no form for.
        """
        # To JSON a tuple is an array.
        return _dumps(self).encode()

    @classmethod
    def decode(cls, data: bytes) -> Intent:
        """Return the intent of its bytes.

        Raises
        ------
        ValueError
            If the bytes are not those of an intent.
        """
        try:
            n, txn, at_us, origin, operations, label = json.loads(data)
            decoded = tuple(
                Operation(verb, kind, id_, name, set_, tuple(drop), seen, upsert, base)
                for verb, kind, id_, name, set_, drop, seen, upsert, base in operations
            )
            return cls(n, txn, at_us, Origin(*origin), decoded, label)
        except (TypeError, ValueError) as error:
            raise ValueError(f"not an intent: {error}") from error


_dumps = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False
).encode
