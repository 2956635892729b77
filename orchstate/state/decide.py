"""What becomes of an intent, given the rows that it meets: the one place where conflicts are decided.

Pure: it reads rows through the snapshot that it is given and returns what to write.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchstate.models.canonical import canonical
from orchstate.models.document import Document, datetime_of, leaves, plain_defaults
from orchstate.models.merge import merge
from orchstate.models.names import name_key
from orchstate.models.values import is_same, to_plain
from orchstate.storage.engine import Decision, Write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchstate.models.intent import Intent, Operation
    from orchstate.state.kinds import Kinds
    from orchstate.storage.engine import Decide, Row, Snapshot


class _RefusedError(Exception):
    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.reason)
        self.decision = decision


def decider(kinds: Kinds) -> Decide:
    """Return the function that decides on intents for documents of these kinds."""

    def decide(snapshot: Snapshot, intent: Intent, writer: str) -> Decision:
        writes: list[Write] = []
        renamed: list[Write] = []
        merged = False
        try:
            for operation in intent.operations:
                row = snapshot.get(operation.id)
                write, with_others = _decide(kinds, row, operation, intent, writer)
                merged |= with_others
                if write:
                    writes.append(write)
                    renamed += [write] if _has_new_name(row, write) else []
            _check_names(snapshot, renamed, writes)
        except _RefusedError as refused:
            return refused.decision
        return Decision("merged" if merged else "committed", tuple(writes))

    return decide


def decode(kinds: Kinds, row: Row) -> Document:
    """Return the document of a row.

    Raises
    ------
    ValidationError
        If what every document needs is missing.
    """
    return build(kinds, row.kind, json.loads(row.body), envelope_of(row))


def build(kinds: Kinds, kind: str, body: dict[str, Any], envelope: dict[str, Any]) -> Document:
    """Return the document of flat plain values and its envelope."""
    return kinds[kind].document_class(body).from_body(envelope, body)


def envelope_of(row: Row) -> dict[str, Any]:
    """Return what a document's envelope takes from its row."""
    return {
        "id": row.id,
        "created_at": datetime_of(row.created_us),
        "updated_at": datetime_of(row.updated_us),
        "user_id": row.user,
    }


def flat(document: Document) -> dict[str, Any]:
    """Return all plain values of a document by path, defaults included."""
    values = {path: to_plain(document.at(path)) for path in leaves(type(document))}
    return values | {key: to_plain(value) for key, value in (document.__pydantic_extra__ or {}).items()}


def _decide(
    kinds: Kinds, row: Row | None, operation: Operation, intent: Intent, writer: str
) -> tuple[Write | None, bool]:
    alive = row is not None and not row.deleted
    if operation.verb == "create":
        if row is None or not alive:
            return _created(kinds, row, operation, intent), False
        if not operation.upsert:
            raise _refused(
                "rejected", f"{row.kind} {row.name!r} was created by somebody else.", "DuplicateNameError"
            )
        return _merged(kinds, row, operation, intent), True
    if row is None or not alive:
        if operation.verb == "delete":
            return None, False
        raise _refused("conflict", f"{operation.kind} {operation.name!r} was deleted by somebody else.")
    foreign = row.foreign_seq if row.writer == writer else row.seq
    if foreign <= operation.base:
        return _applied(kinds, row, operation, intent), False
    if operation.verb == "delete":
        raise _refused(
            "conflict", f"{row.kind} {row.name!r} was changed by somebody else, so it is not deleted."
        )
    return _merged(kinds, row, operation, intent), True


def _created(kinds: Kinds, row: Row | None, operation: Operation, intent: Intent) -> Write:
    cls = kinds[operation.kind].document_class(operation.set)
    diff = _difference(plain_defaults(cls), operation.set)
    return Write(
        verb="create",
        id=operation.id,
        kind=operation.kind,
        name=operation.name,
        schema=cls.schema_version,
        body=canonical(operation.set),
        diff=canonical(diff),
        created_us=row.created_us if row else intent.at_us,
        updated_us=intent.at_us,
        user=row.user if row else intent.origin.actor,
    )


def _applied(kinds: Kinds, row: Row, operation: Operation, intent: Intent) -> Write | None:
    body = json.loads(row.body)
    usual = plain_defaults(kinds[row.kind].document_class(body))
    if operation.verb == "delete":
        diff = {path: [value, usual.get(path)] for path, value in body.items()}
        return _write(row, operation, intent, body, diff)
    # What the edit saw may have been rejected meanwhile: old values are those of the row.
    diff = _difference({path: body.get(path, usual.get(path)) for path in operation.set}, operation.set)
    body.update(operation.set)
    for path in operation.drop:
        body.pop(path, None)
    return _write(row, operation, intent, body, diff) if diff else None


def _merged(kinds: Kinds, row: Row, operation: Operation, intent: Intent) -> Write | None:
    theirs = decode(kinds, row)
    now = flat(theirs)
    base = operation.seen if operation.verb == "update" else plain_defaults(type(theirs))
    result = merge(base, operation.set, now, type(theirs).groups)
    # A change of provider, theirs or ours, puts fields away and brings others back.
    target, wanted = kinds[row.kind].prepare(theirs, dict(result.changes))
    body = _stored(kinds, row, target.body(), {path: to_plain(value) for path, value in wanted.items()})
    together = build(kinds, row.kind, body, envelope_of(row))
    broken = [issue for issue in together.issues() if issue not in theirs.issues()]
    if broken:
        raise _refused("conflict", f"Together with somebody else's change: {broken[0]}", "ConflictError")
    after = flat(together)
    diff = _difference(now, dict.fromkeys(now) | after)
    return _write(row, operation, intent, body, diff) if diff else None


def _difference(before: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        path: [before.get(path), value]
        for path, value in changes.items()
        if not is_same(before.get(path), value)
    }


def _stored(kinds: Kinds, row: Row, body: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    body.update(changes)
    usual = plain_defaults(kinds[row.kind].document_class(body))
    return {path: value for path, value in body.items() if not is_same(value, usual.get(path))}


def _write(
    row: Row, operation: Operation, intent: Intent, body: dict[str, Any], diff: dict[str, Any]
) -> Write:
    return Write(
        verb="delete" if operation.verb == "delete" else "update",
        id=row.id,
        kind=row.kind,
        name=str(body.get("name", row.name)),
        schema=row.schema,
        body=canonical(body),
        diff=canonical(diff),
        created_us=row.created_us,
        updated_us=intent.at_us,
        user=row.user,
    )


def _has_new_name(row: Row | None, write: Write) -> bool:
    if write.verb == "delete":
        return False
    return row is None or row.deleted or name_key(row.name) != name_key(write.name)


def _check_names(snapshot: Snapshot, renamed: list[Write], writes: list[Write]) -> None:
    """Refuse a name that another document has once all of the writes are done."""
    after = {write.id: None if write.verb == "delete" else name_key(write.name) for write in writes}
    names = [(write.kind, name_key(write.name)) for write in writes if write.verb != "delete"]
    for write in renamed:
        key = name_key(write.name)
        taken = snapshot.find(write.kind, write.name)
        by_another = taken is not None and taken.id != write.id and after.get(taken.id, key) == key
        if by_another or names.count((write.kind, key)) > 1:
            text = f"The {write.kind} name {write.name!r} was taken by somebody else."
            raise _refused("rejected", text, "DuplicateNameError")


def _refused(outcome: Any, reason: str, error: str = "ConflictError") -> _RefusedError:
    return _RefusedError(Decision(outcome, (), reason, error))
