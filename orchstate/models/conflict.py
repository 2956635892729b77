"""Conflicts: edits that met what somebody else had done, kept until a person or a function decides.

A conflict is a document like any other, written by the very commit that did not apply the
edit. So whoever opens the store sees it, it outlives its process, and the history keeps it.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from orchstate.models.document import Document, datetime_of
from orchstate.models.names import MAX_NAME_LENGTH
from orchstate.models.values import FrozenMap, PlainMap, Strings, Text, tuple_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchstate.models.intent import Intent, Operation

Policy = Literal["last-write-wins", "merge", "prompt"]
Cause = Literal["overlap", "deleted", "changed", "name", "invalid"]
NEXT_STEP: Final = "Both are in store.conflicts: resolve it there."
"""What people can do about it, at the end of each reason."""
# How much of a conflict's id stands in its name, so that two about one document are told apart.
_SHOWN_OF_ID: Final = 8


class ConflictDocument(Document):
    """An edit that was not applied, with everything that is needed to decide about it."""

    kind: ClassVar[str] = "conflict"
    is_undisputed: ClassVar[bool] = True

    target: str = ""
    """Id of the document that the edit met."""

    target_kind: str = ""
    """Its kind, such as ``"config"``."""

    target_name: str = ""
    """Its name, as the edit would have it."""

    verb: str = "update"
    """What the edit wanted to do with it: ``"create"``, ``"update"`` or ``"delete"``."""

    cause: str = "overlap"
    """``"overlap"``: both changed a field; ``"deleted"`` or ``"changed"`` by somebody else;
    ``"name"``: the name was taken; ``"invalid"``: the two break a rule together."""

    reason: Text = ""
    """One sentence for people."""

    policy: str = "prompt"
    """What the setting ``sync.conflict_resolution`` said when they met."""

    fields: Strings = ()
    """Paths that both sides changed, to different values."""

    base: PlainMap = Field(default_factory=FrozenMap)
    """Plain values by path as the edit had found them."""

    theirs: PlainMap = Field(default_factory=FrozenMap)
    """What stood there when it was to be applied."""

    ours: PlainMap = Field(default_factory=FrozenMap)
    """What the edit wanted."""

    edits: Annotated[tuple[PlainMap, ...], BeforeValidator(tuple_of)] = ()
    """All that the edit wanted to do, also with other documents: operations as mappings."""

    label: Text = ""
    """Name of its transaction."""

    @classmethod
    def opened(cls, intent: Intent, writer: str, meeting: Meeting) -> ConflictDocument:
        """Return the conflict of an intent that met something; the same one whenever it is asked for."""
        operation, at = meeting.operation, datetime_of(intent.at_us)
        id = conflict_id(writer, intent.n)
        name = f"{operation.name[: MAX_NAME_LENGTH - _SHOWN_OF_ID - 1]} {id[:_SHOWN_OF_ID]}"
        envelope = {"id": id, "created_at": at, "updated_at": at, "user_id": intent.origin.actor}
        values = {
            "name": name,
            "target": operation.id,
            "target_kind": operation.kind,
            "target_name": operation.name,
            "verb": operation.verb,
            "cause": meeting.cause,
            "reason": meeting.reason,
            "policy": meeting.policy,
            "fields": meeting.fields,
            "base": meeting.base,
            "theirs": {path: meeting.theirs.get(path) for path in _in_question(meeting)},
            "ours": operation.set,
            "edits": [_as_map(one) for one in intent.operations],
            "label": intent.label,
        }
        # Nothing here may fail: what an older rule let in is kept, too.
        return cls.from_body(envelope, values)


class Meeting(NamedTuple):
    """How an operation met what others had done.

    Parameters
    ----------
    operation
        What was to be done.
    cause, reason
        Why it was not.
    theirs
        All plain values that stood there, by path; none if the document was gone.
    base
        Those that the operation had found.
    fields
        The paths in question.
    policy
        What the settings say about overlaps.
    """

    operation: Operation
    cause: Cause
    reason: str
    theirs: Mapping[str, Any] = FrozenMap()
    base: Mapping[str, Any] = FrozenMap()
    fields: tuple[str, ...] = ()
    policy: Policy = "prompt"


def conflict_id(writer: str, n: int) -> str:
    """Return the id of the conflict that an intent of a writer opens if it meets something.

    Examples
    --------
    >>> conflict_id("a", 1) == conflict_id("a", 1) != conflict_id("a", 2)
    True
    """
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"conflict:{writer}:{n}"))


def _in_question(meeting: Meeting) -> list[str]:
    # Who wanted to delete wants to know all that would be lost.
    paths = (*meeting.operation.set, *meeting.base) if meeting.operation.set else meeting.theirs
    return [path for path in paths if path in meeting.theirs]


def _as_map(operation: Operation) -> dict[str, Any]:
    return {
        "verb": operation.verb,
        "kind": operation.kind,
        "id": operation.id,
        "name": operation.name,
        "set": operation.set,
    }
