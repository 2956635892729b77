"""What becomes of an intent, given the rows that it meets: the one place where conflicts are decided.

Pure: it reads rows through the snapshot that it is given and returns what to write. An
intent that cannot be applied beside what others did becomes a conflict: a document that has
both sides, so that nothing is silently overwritten and nobody has to be there to see it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, get_args

from orchstate.models.canonical import canonical
from orchstate.models.conflict import NEXT_STEP, ConflictDocument, Meeting, Policy
from orchstate.models.document import Document, datetime_of, leaves, plain_defaults
from orchstate.models.merge import merge
from orchstate.models.names import name_key
from orchstate.models.settings import SettingsDocument
from orchstate.models.values import is_same, to_plain
from orchstate.storage.engine import Decision, Write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchstate.models.conflict import Cause
    from orchstate.models.intent import Intent, Operation
    from orchstate.state.kinds import Kinds
    from orchstate.storage.engine import Decide, Row, Snapshot


# What is as good as not set, so that nothing is lost where there is no such field.
UNSET: Final[tuple[Any, ...]] = (None, "", [], {})
_POLICY: Final = "sync.conflict_resolution"


class _RefusedError(Exception):
    """An intent cannot be: nobody has to decide about it."""

    def __init__(self, reason: str, error: str) -> None:
        super().__init__(reason)
        self.decision = Decision("rejected", (), reason, error)


class _MeetingError(Exception):
    """An intent met something, and somebody has to decide."""

    def __init__(self, meeting: Meeting) -> None:
        super().__init__(meeting.reason)
        self.meeting = meeting


def decider(kinds: Kinds, *, late: bool = False) -> Decide:
    """Return the function that decides on intents for documents of these kinds.

    Parameters
    ----------
    kinds
        The kinds.
    late
        Whether those who made the intents are dead, and others have gone on: then what they did
        since is not silently overwritten, whatever the settings say of overlaps.
    """

    def decide(snapshot: Snapshot, intent: Intent, writer: str) -> Decision:
        try:
            return _decide_all(kinds, snapshot, intent, writer, late=late)
        except _RefusedError as refused:
            return refused.decision
        except _MeetingError as error:
            if _is_about(error.meeting, intent, snapshot):
                # A decision about it that came too late: it is still open, and shows what is there now.
                return Decision("rejected", (), error.meeting.reason, "ConflictError")
            return _opened(error.meeting, intent, writer)

    return decide


def _is_about(meeting: Meeting, intent: Intent, snapshot: Snapshot) -> bool:
    """Whether an intent was to end a conflict about the very document that it has met."""
    ends = [one for one in intent.operations if (one.verb, one.kind) == ("delete", ConflictDocument.kind)]
    rows = [row for row in map(snapshot.get, (one.id for one in ends)) if row and not row.deleted]
    return any(json.loads(row.body).get("target") == meeting.operation.id for row in rows)


def _decide_all(kinds: Kinds, snapshot: Snapshot, intent: Intent, writer: str, *, late: bool) -> Decision:
    writes: list[Write] = []
    renamed: list[tuple[Operation, Write]] = []
    merged = False
    for operation in intent.operations:
        row = snapshot.get(operation.id)
        write, with_others = _Deciding(kinds, snapshot, intent, operation, writer, late=late).decide(row)
        merged |= with_others
        if write:
            writes.append(write)
            renamed += [(operation, write)] if _has_new_name(row, write) else []
    _check_names(snapshot, renamed, writes)
    return Decision("merged" if merged else "committed", tuple(writes))


def _opened(meeting: Meeting, intent: Intent, writer: str) -> Decision:
    """Return the decision that keeps an intent as a conflict instead of applying it."""
    conflict = ConflictDocument.opened(intent, writer, meeting)
    body = conflict.body()
    write = Write(
        verb="create",
        id=conflict.id,
        kind=conflict.kind,
        name=conflict.name,
        schema=conflict.schema_version,
        body=canonical(body),
        diff=canonical({path: [None, value] for path, value in body.items()}),
        created_us=intent.at_us,
        updated_us=intent.at_us,
        user=conflict.user_id,
    )
    is_alone = all(one.id == meeting.operation.id for one in intent.operations)
    rest = "" if is_alone else " The rest of its transaction waits with it."
    return Decision("conflict", (write,), f"{meeting.reason}{rest}", "ConflictError")


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
        # Not before it was made, though the clocks of two machines may say so.
        "updated_at": datetime_of(max(row.created_us, row.updated_us)),
        "user_id": row.user,
    }


def flat(document: Document) -> dict[str, Any]:
    """Return all plain values of a document by path, defaults included."""
    values = {path: to_plain(document.at(path)) for path in leaves(type(document))}
    return values | {key: to_plain(value) for key, value in (document.__pydantic_extra__ or {}).items()}


class _Deciding:
    """What one operation of an intent does to the row that it meets."""

    __slots__ = ("_intent", "_is_late", "_kinds", "_operation", "_snapshot", "_writer")

    def __init__(
        self,
        kinds: Kinds,
        snapshot: Snapshot,
        intent: Intent,
        operation: Operation,
        writer: str,
        *,
        late: bool,
    ) -> None:
        self._kinds = kinds
        self._snapshot = snapshot
        self._intent = intent
        self._operation = operation
        self._writer = writer
        self._is_late = late

    def decide(self, row: Row | None) -> tuple[Write | None, bool]:
        """Return what to write, and whether it was merged with what others did."""
        operation = self._operation
        if row is None or row.deleted:
            return self._without(row), False
        if operation.verb == "create":
            return self._beside(row), True
        foreign = row.foreign_seq if row.writer == self._writer else row.seq
        if foreign <= operation.base:
            return self._applied(row), False
        if operation.verb == "delete":
            reason = f"{row.kind} {row.name!r} was changed meanwhile, so it is not deleted."
            if type(decode(self._kinds, row)).is_undisputed:
                raise _RefusedError(f"{reason} Look at it, and delete it again.", "ConflictError")
            raise self._meeting("changed", reason, theirs=json.loads(row.body))
        return self._merged(row, operation.seen), True

    def _applied(self, row: Row) -> Write | None:
        """Do what nobody else has a part in."""
        operation, body = self._operation, json.loads(row.body)
        usual = plain_defaults(self._kinds[row.kind].document_class(body))
        if operation.verb == "delete":
            diff = {path: [value, usual.get(path)] for path, value in body.items()}
            return _write(row, operation, self._intent, body, diff)
        now = {path: body.get(path, usual.get(path)) for path in (*operation.set, *operation.seen)}
        is_as_seen = all(is_same(now[path], value) for path, value in operation.seen.items())
        if not (is_as_seen and self._fits(row, body, usual)):
            # It was made on top of an edit that was refused meanwhile: nobody has looked at the two together.
            return self._merged(row, flat(decode(self._kinds, row)))
        diff = _difference(now, operation.set)
        body.update(operation.set)
        for path in operation.drop:
            body.pop(path, None)
        return _write(row, operation, self._intent, body, diff) if diff else None

    def _fits(self, row: Row, body: Mapping[str, Any], usual: Mapping[str, Any]) -> bool:
        """Whether the document will have the fields that are set; of an unknown kind it keeps any."""
        wanted = self._operation.set
        if wanted.keys() <= usual.keys():
            return True
        together = build(self._kinds, row.kind, {**body, **wanted}, envelope_of(row))
        known = {*leaves(type(together)), *body, *self._operation.drop}
        return wanted.keys() <= known or not self._kinds[row.kind].is_known(together)

    def _without(self, row: Row | None) -> Write | None:
        """Decide where there is no document."""
        operation = self._operation
        if operation.verb == "create":
            return _created(self._kinds, row, operation, self._intent)
        if operation.kind == ConflictDocument.kind:
            raise _RefusedError("The conflict was resolved by somebody else meanwhile.", "ConflictError")
        if operation.verb == "delete":
            return None
        reason = f"{operation.kind} {operation.name!r} was deleted meanwhile."
        raise self._meeting("deleted", reason, base=operation.seen, fields=tuple(operation.set))

    def _beside(self, row: Row) -> Write | None:
        """Create what somebody else has created meanwhile."""
        theirs = decode(self._kinds, row)
        if self._operation.upsert:
            return self._merged(row, plain_defaults(type(theirs)))
        now = flat(theirs)
        fields = tuple(_difference(now, self._operation.set))
        reason = f"{row.kind} {row.name!r} was created meanwhile."
        if type(theirs).is_undisputed:
            raise _RefusedError(f"{reason} Choose another name.", "DuplicateNameError")
        raise self._meeting("name", reason, theirs=now, base={}, fields=fields)

    def _merged(self, row: Row, base: Mapping[str, Any]) -> Write | None:
        theirs = decode(self._kinds, row)
        now = flat(theirs)
        result = merge(base, self._operation.set, now, type(theirs).groups)
        if result.overlaps and not type(theirs).is_undisputed:
            self._check_policy(row, base, now, result.overlaps)
        # A change of provider, theirs or ours, puts fields away and brings others back.
        self._check_fields(row, theirs, now, base, result.changes)
        target, wanted = self._kinds[row.kind].prepare(theirs, dict(result.changes))
        plain = {path: to_plain(value) for path, value in wanted.items()}
        body = _stored(self._kinds, row, target.body(), plain)
        together = build(self._kinds, row.kind, body, envelope_of(row))
        broken = [issue for issue in together.issues() if issue not in theirs.issues()]
        if broken:
            reason = f"Together with another change: {broken[0]}"
            fields = tuple(self._operation.set)
            raise self._meeting("invalid", reason, theirs=now, base=base, fields=fields)
        diff = _difference(now, dict.fromkeys(now) | flat(together))
        return _write(row, self._operation, self._intent, body, diff) if diff else None

    def _check_fields(
        self,
        row: Row,
        theirs: Document,
        now: Mapping[str, Any],
        base: Mapping[str, Any],
        changes: Mapping[str, Any],
    ) -> None:
        """Keep what the document has no field for any more, since its provider is another one now."""
        kind = self._kinds[row.kind]
        target, wanted = kind.prepare(theirs, dict(changes))
        if not kind.is_known(target):
            return
        known = {*leaves(type(target)), *(target.__pydantic_extra__ or ())}
        lost = [path for path, value in wanted.items() if path not in known and value not in UNSET]
        if lost:
            reason = f"{row.kind} {row.name!r} has no {', '.join(lost)} by now."
            raise self._meeting("invalid", reason, theirs=now, base=base, fields=tuple(lost))

    def _check_policy(
        self, row: Row, base: Mapping[str, Any], now: Mapping[str, Any], overlaps: tuple[str, ...]
    ) -> None:
        """Leave an overlap to people, or to a function, where the settings say so."""
        policy = _policy(self._snapshot)
        if self._is_late or policy != "last-write-wins":
            reason = f"{', '.join(overlaps)} of {row.kind} {row.name!r} was changed meanwhile, too."
            raise self._meeting("overlap", reason, theirs=now, base=base, fields=overlaps, policy=policy)

    def _meeting(self, cause: Cause, reason: str, **sides: Any) -> _MeetingError:
        return _MeetingError(Meeting(self._operation, cause, f"{reason} {NEXT_STEP}", **sides))


def _policy(snapshot: Snapshot) -> Policy:
    """Return what the settings say about overlaps."""
    row = snapshot.find(SettingsDocument.kind, SettingsDocument.kind)
    found = json.loads(row.body).get(_POLICY) if row else None
    known: tuple[Policy, ...] = get_args(Policy)
    return next((policy for policy in known if policy == found), "last-write-wins")


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


def _check_names(snapshot: Snapshot, renamed: list[tuple[Operation, Write]], writes: list[Write]) -> None:
    """Refuse a name that another document has once all of the writes are done."""
    after = {write.id: None if write.verb == "delete" else name_key(write.name) for write in writes}
    names = [(write.kind, name_key(write.name)) for write in writes if write.verb != "delete"]
    for operation, write in renamed:
        key = name_key(write.name)
        taken = snapshot.find(write.kind, write.name)
        by_another = taken is not None and taken.id != write.id and after.get(taken.id, key) == key
        if by_another or names.count((write.kind, key)) > 1:
            reason = f"The {write.kind} name {write.name!r} was taken meanwhile. {NEXT_STEP}"
            theirs = {"name": taken.name if taken else write.name}
            raise _MeetingError(Meeting(operation, "name", reason, theirs=theirs, fields=("name",)))
