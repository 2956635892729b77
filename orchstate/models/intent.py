"""Intents: edits as they are accepted, before the engine has made revisions of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

Verb = Literal["create", "update", "delete"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Who made an edit, and where."""

    actor: str = ""
    notebook: str = ""
    cell: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """What an intent does to one document.

    Parameters
    ----------
    verb
        What happens.
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
    """

    verb: Verb
    kind: str
    id: str
    name: str
    set: dict[str, Any] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    seen: dict[str, Any] = field(default_factory=dict)
    upsert: bool = False


@dataclass(frozen=True, slots=True)
class Intent:
    """One accepted edit: all of its operations happen, or none.

    Parameters
    ----------
    n
        Its number among the intents of one writer, from 1, without gaps.
    txn
        Id shared by all revisions that come of it.
    at_us
        When it was accepted, in microseconds since 1970 (UTC).
    base
        The seq that its view had seen.
    origin, label
        Who, where, and what for.
    operations
        What it does, in order.
    """

    n: int
    txn: str
    at_us: int
    base: int
    origin: Origin
    operations: tuple[Operation, ...]
    label: str = ""

    def encode(self) -> bytes:
        """Return the bytes that the outbox keeps."""
        operations = [
            [op.verb, op.kind, op.id, op.name, op.set, op.drop, op.seen, op.upsert] for op in self.operations
        ]
        origin = [self.origin.actor, self.origin.notebook, self.origin.cell]
        fields = [self.n, self.txn, self.at_us, self.base, origin, operations, self.label]
        return _dumps(fields).encode()

    @classmethod
    def decode(cls, data: bytes) -> Intent:
        """Return the intent of its bytes.

        Raises
        ------
        ValueError
            If the bytes are not those of an intent.
        """
        try:
            n, txn, at_us, base, origin, operations, label = json.loads(data)
            decoded = tuple(
                Operation(verb, kind, id_, name, set_, tuple(drop), seen, upsert)
                for verb, kind, id_, name, set_, drop, seen, upsert in operations
            )
            return cls(n, txn, at_us, base, Origin(*origin), decoded, label)
        except (TypeError, KeyError, UnicodeDecodeError) as error:
            raise ValueError(f"not an intent: {error}") from error


_dumps = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False
).encode
