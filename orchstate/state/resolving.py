"""What becomes of edits that were not committed: made again, given up, or decided about.

An edit that met what somebody else had done is a document of the kind "conflict"; one that
was refused for another reason is known to its own process alone. Both are made again by
ordinary edits in one transaction, so all rules hold, and undo takes them back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from orchstate.errors import (
    ConflictError,
    NotFoundError,
    StoreError,
    UnknownFieldError,
    ValidationError,
    quoted,
    suggestion,
)
from orchstate.models.conflict import ConflictDocument
from orchstate.models.document import leaves
from orchstate.models.names import name_key
from orchstate.models.question import Question, in_question, question
from orchstate.models.secret import keys_in
from orchstate.state.decide import UNSET

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchstate.models.document import Document
    from orchstate.state.present import Present
    from orchstate.state.receipt import Receipt
    from orchstate.state.refusals import Refused
    from orchstate.state.state import State

Choice = str | Mapping[str, Any]
"""``"ours"``, ``"theirs"``, or values by field."""


class Wanted(NamedTuple):
    """What an edit wanted to do with one document."""

    verb: str
    kind: str
    id: str
    name: str
    values: Mapping[str, Any]


def resolve(state: State, id: str, choice: Choice) -> Receipt:
    """Decide about a conflict: do what the edit wanted, leave it, or do it with other values.

    Parameters
    ----------
    state
        Where the conflict is.
    id
        Of the conflict.
    choice
        ``"ours"``, ``"theirs"``, or values by field: of the fields in question those that are
        not named stay as they are; whatever else the edit wanted is done.

    Raises
    ------
    NotFoundError
        If it was resolved already.
    ValidationError, UnknownFieldError, DuplicateNameError
        If it cannot be resolved so; it stays open, and nothing changed.
    """
    conflict = state.document(id)
    if not isinstance(conflict, ConflictDocument):
        raise NotFoundError("This conflict was resolved already, here or by somebody else.")
    values = _chosen(conflict, choice, state.document(conflict.target))
    with state.transaction("conflict resolved"):
        # First, so that of two who decide at once the second is told, and opens no new conflict.
        receipt = state.delete(id)
        if values is not None:
            again(state, [_with(edit, conflict, values) for edit in _edits(conflict)])
    return receipt


def again(state: State, edits: Iterable[Wanted]) -> None:
    """Do what edits wanted, on top of what is there now; within a transaction."""
    for edit in edits:
        _do(state, edit)


def retry(state: State, id: str) -> Receipt:
    """Make the edit of a document again that was not committed; its conflict, if it has one, ends.

    Raises
    ------
    StoreError
        If there is none.
    ValidationError, DuplicateNameError, NotFoundError
        If it still cannot be; nothing changed.
    """
    refused = _refused(state, id)
    if refused.conflict:
        return resolve(state, refused.conflict, "ours")
    with state.transaction("retry"):
        for operation in refused.intent.operations:
            # A key that was not committed was not kept either.
            values = _without_keys(operation.set)
            _do(state, Wanted(operation.verb, operation.kind, operation.id, operation.name, values))
        state.dismiss(refused.intent)
        return state.receipt_here()


def discard(state: State, id: str) -> None:
    """Give the edit of a document up that was not committed; its conflict, if it has one, ends.

    Raises
    ------
    StoreError
        If there is none.
    """
    refused = _refused(state, id)
    if refused.conflict:
        resolve(state, refused.conflict, "theirs")
    else:
        state.dismiss(refused.intent)


def conflicts_about(state: Present, id: str) -> list[ConflictDocument]:
    """Return the open conflicts about a document, oldest first."""
    found = map(state.document, state.ids(ConflictDocument.kind))
    conflicts = [one for one in found if isinstance(one, ConflictDocument)]
    return [one for one in conflicts if id in (one.target, *(edit.get("id") for edit in one.edits))]


def asked(state: Present, conflict: ConflictDocument) -> Question:
    """Return what people are asked about a conflict, as things are now."""
    if conflict.target_kind not in state.kinds:
        sentence = f"Only a later version of orchstate knows what {conflict.target_kind!r} is: decide there."
        return Question(sentence, "Use what was wanted", "Keep what is saved")
    is_own = any(one.conflict == conflict.id for one in state.view.refusals.of(conflict.target))
    return question(conflict, state.document(conflict.target), is_own=is_own)


def _refused(state: State, id: str) -> Refused:
    refused = state.view.refusals.last(id)
    if refused is None:
        entry = state.view.known(id)
        name = repr(entry.name) if entry else "It"
        raise StoreError(f"{name} has no edit that was not committed, so there is nothing to decide.")
    return refused


def _chosen(conflict: ConflictDocument, choice: Choice, now: Document | None) -> Mapping[str, Any] | None:
    """Return the values that the target is to get; None to leave it as it is."""
    if choice == "ours":
        return conflict.ours
    if choice == "theirs":
        return None
    if not isinstance(choice, Mapping):
        shown = quoted(choice)
        raise ValidationError(f"{shown} is no way to resolve. Give 'ours', 'theirs', or a value per field.")
    if conflict.verb == "delete":
        raise ValidationError(
            "What was wanted is a deletion, which has no values. Give 'ours' to do it, 'theirs' to keep it."
        )
    if conflict.verb == "create" and "name" in choice:
        # It becomes a document of its own, of which nothing is in question.
        return {**conflict.ours, **choice}
    asked = in_question(conflict, now)
    agreed = {path: value for path, value in conflict.ours.items() if path not in asked}
    return {**agreed, **choice}


def _edits(conflict: ConflictDocument) -> list[Wanted]:
    try:
        return [
            Wanted(str(edit["verb"]), str(edit["kind"]), str(edit["id"]), str(edit["name"]), edit["set"])
            for edit in conflict.edits
        ]
    except KeyError as error:
        raise ConflictError(
            f"What {conflict.name!r} is about cannot be done again, since {error} of it is missing. "
            "Resolve it with 'theirs', and make the edit anew."
        ) from error


def _with(edit: Wanted, conflict: ConflictDocument, values: Mapping[str, Any]) -> Wanted:
    return edit._replace(values=values) if edit.id == conflict.target else edit


def _do(state: State, edit: Wanted) -> None:
    document = state.document(edit.id)
    if edit.verb == "delete":
        if document is not None:
            state.delete(edit.id)
    elif edit.kind == ConflictDocument.kind:
        # An undo has opened it again: it is the same one, known by its id.
        if document is None:
            state.revive(edit.id, edit.values)
    elif document is not None and not _has_another_name(edit, document):
        state.update(edit.id, _fitting(state, document, edit.values))
    elif edit.verb == "create":
        # Under a new name it is another document, and what belongs to one has no place in another.
        values = _without_keys(edit.values)
        state.create(edit.kind, str(values.pop("name", edit.name)), values)
    else:
        state.revive(edit.id, edit.values)


def _has_another_name(edit: Wanted, document: Document) -> bool:
    wanted = edit.values.get("name", edit.name)
    return edit.verb == "create" and name_key(str(wanted)) != name_key(document.name)


def _fitting(state: State, document: Document, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that the document can have: one of another provider has other fields."""
    kind = state.kinds[document.kind]
    target, _ = kind.prepare(document, dict(values))
    known = {*leaves(type(target)), *(target.__pydantic_extra__ or ())}
    for path in values.keys() - known - {*kind.paths()}:
        closest = suggestion(path, sorted(known))
        raise UnknownFieldError(f"{kind.name} has no field {quoted(path)}.{closest}")
    lost = [path for path, value in values.items() if path not in known and value not in UNSET]
    if lost:
        raise ValidationError(
            f"{document.kind} {document.name!r} has no {', '.join(lost)} by now, since its provider is "
            "another one. Change it back first, or give values for the fields that it has, or 'theirs'."
        )
    return {path: value for path, value in values.items() if path in known}


def _without_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in values.items() if not keys_in(value)}
