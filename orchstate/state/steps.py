"""Steps: what an edit means for one document, validated, before anything has happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from orchstate.errors import UnknownFieldError, suggestion
from orchstate.models.document import Document, datetime_of, leaves, plain_defaults
from orchstate.models.intent import Operation
from orchstate.models.values import is_same, to_plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchstate.state.kinds import Kind


class Step(NamedTuple):
    """A validated edit of one document.

    Parameters
    ----------
    operation
        What is stored of it.
    before, after
        The document; None where it does not exist.
    """

    operation: Operation
    before: Document | None
    after: Document | None

    def on(self, base: int) -> Step:
        """Return the step with the seq up to which it is known what others did to the document."""
        return Step(self.operation.on(base), self.before, self.after)


def update(kind: Kind, document: Document, changes: Mapping[str, Any], at_us: int) -> Step | None:
    """Return the step that puts new values at paths; None when nothing would change.

    Raises
    ------
    UnknownFieldError
        If the document has no such field.
    ValidationError
        If a value breaks a rule.
    """
    target, wanted = kind.prepare(document, dict(changes))
    check_paths(type(target), wanted)
    after = target.replaced({**wanted, "updated_at": max(datetime_of(at_us), document.created_at)})
    operation = difference("update", document, after, _touched(document, after, wanted))
    return Step(operation, document, after) if operation.set else None


def create(
    kind: Kind, id: str, name: str, values: Mapping[str, Any], at_us: int, *, user: str, upsert: bool = False
) -> Step:
    """Return the step that makes a document.

    Raises
    ------
    UnknownFieldError
        If a document of this kind has no such field.
    ValidationError
        If a value breaks a rule or the name is not valid.
    """
    cls = kind.document_class(values)
    check_paths(cls, values)
    now = datetime_of(at_us)
    envelope = {"id": id, "created_at": now, "updated_at": now, "user_id": user}
    after = cls.created(envelope, {**values, "name": name})
    return Step(Operation("create", cls.kind, id, name, set=after.body(), upsert=upsert), None, after)


def first(step: Step) -> Step:
    """Return an update of a document that was not stored yet as the step that makes it."""
    after = step.after
    if after is None:
        return step
    operation = Operation("create", after.kind, after.id, after.name, set=after.body(), upsert=True)
    return Step(operation, step.before, after)


def on_top_of(kind: Kind, step: Step, now: Document, at_us: int) -> Step | None:
    """Return an update as it is made on a document that others have changed since; None if nothing is left.

    It still tells what it had seen itself, so that what both have changed is known for that.

    Raises
    ------
    ValidationError
        If together with their changes it breaks a rule.
    """
    after = step.after
    if after is None:
        return delete(now)
    known = leaves(type(after))
    renewed = update(kind, now, {path: after.at(path) for path in step.operation.set if path in known}, at_us)
    if renewed is None:
        return None
    seen = {**renewed.operation.seen, **_seen_by(step)}
    return renewed._replace(operation=renewed.operation._replace(seen=seen))


def _seen_by(step: Step) -> Mapping[str, Any]:
    """Return what a step found where it sets something; one that makes a document found its defaults."""
    operation, before = step.operation, step.before
    if operation.verb == "create" and before is not None:
        return {path: _plain_at(before, path) for path in operation.set}
    return operation.seen


def revive(document: Document, at_us: int) -> Step:
    """Return the step that brings a deleted document back as it was."""
    after = document.model_copy(update={"updated_at": datetime_of(at_us)})
    return Step(Operation("create", after.kind, after.id, after.name, set=after.body()), None, after)


def delete(document: Document) -> Step:
    """Return the step that deletes a document."""
    return Step(Operation("delete", document.kind, document.id, document.name), document, None)


def combine(earlier: Step, later: Step) -> Step | None:
    """Return the one step that equals two of the same document; None when they cancel out."""
    before, after = earlier.before, later.after
    is_new = earlier.operation.verb == "create"
    if after is None:
        return None if is_new else Step(later.operation, before, None)
    if is_new and before is not None and before.body() == after.body():
        return None
    if is_new:
        operation = Operation(
            "create", after.kind, after.id, after.name, after.body(), upsert=earlier.operation.upsert
        )
    elif before is None:
        operation = later.operation
    else:
        operation = difference("update", before, after, _all_paths(before, after))
    return Step(operation, before, after) if operation.set else None


def difference(verb: Any, before: Document, after: Document, paths: Iterable[str]) -> Operation:
    """Return the operation that turns one document into the other, looking at some paths only."""
    changed: dict[str, Any] = {}
    seen: dict[str, Any] = {}
    for path in paths:
        old, new = _plain_at(before, path), _plain_at(after, path)
        if not is_same(old, new):
            changed[path], seen[path] = new, old
    for group in type(after).groups:
        if not group.isdisjoint(changed):
            seen |= {path: _plain_at(before, path) for path in group if path not in seen}
    usual = plain_defaults(type(after))
    drop = tuple(path for path, value in changed.items() if is_same(value, usual.get(path)))
    return Operation(verb, after.kind, after.id, after.name, set=changed, drop=drop, seen=seen)


def check_paths(cls: type[Document], paths: Iterable[str]) -> None:
    """Refuse a path that a document class does not have.

    Raises
    ------
    UnknownFieldError
        With the closest names, so that a typo is found.
    """
    known = leaves(cls)
    for path in paths:
        if path not in known:
            raise UnknownFieldError(f"{cls.kind} has no field {path!r}.{suggestion(path, list(known))}")


def _touched(before: Document, after: Document, changes: Mapping[str, Any]) -> Iterable[str]:
    return changes if type(before) is type(after) else _all_paths(before, after)


def _all_paths(before: Document, after: Document) -> list[str]:
    return list(dict.fromkeys([*leaves(type(before)), *leaves(type(after))]))


def _plain_at(document: Document, path: str) -> Any:
    if "." in path:
        return to_plain(document.at(path))
    values = document.__dict__
    return to_plain(values[path] if path in values else (document.__pydantic_extra__ or {}).get(path))
