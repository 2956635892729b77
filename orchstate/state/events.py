"""Events: what has been committed, by this process or another, in the order of the seqs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchstate.models.intent import Intent, Verb
    from orchstate.storage.engine import Revision

Cause = Literal["edit", "external", "merge", "rollback"]


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events.

    Parameters
    ----------
    kind, id, name
        The document.
    seq
        Number of the revision; None for an edit that was not committed, which has none.
    changes
        ``{path: (old, new)}`` of the plain values that changed, and no others; for an
        edit that was not committed, those that it wanted to change.
    external
        Whether another process made the change.
    cause
        ``"edit"`` of this process, ``"external"``, or ``"rollback"`` of an edit of this
        process that was not committed.
    """

    kind: str
    id: str
    name: str
    seq: int | None
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    external: bool = False
    cause: Cause = "edit"


class Created(Event):
    """A document was created."""


class Updated(Event):
    """A document was changed."""


class Deleted(Event):
    """A document was deleted."""


class SettingChanged(Updated):
    """A setting was changed."""


class ActiveChanged(Updated):
    """The user's active config was changed."""


class ConflictOpened(Created):
    """An edit met what somebody else had done, and waits in ``store.conflicts``."""


class ConflictResolved(Deleted):
    """Somebody decided about a conflict."""


_CLASSES: dict[tuple[str, Verb], type[Event]] = {
    ("settings", "create"): SettingChanged,
    ("settings", "update"): SettingChanged,
    ("profile", "create"): ActiveChanged,
    ("profile", "update"): ActiveChanged,
    ("conflict", "create"): ConflictOpened,
    ("conflict", "delete"): ConflictResolved,
}
_USUAL: dict[Verb, type[Event]] = {"create": Created, "update": Updated, "delete": Deleted}


def event_of(revision: Revision, *, writer: str) -> Event:
    """Return the event of a committed revision, as the process `writer` sees it."""
    row = revision.row
    changes = {path: (old, new) for path, (old, new) in json.loads(revision.diff).items()}
    external = row.writer != writer
    cause: Cause = "external" if external else "edit"
    return _class(row.kind, revision.verb)(row.kind, row.id, row.name, row.seq, changes, external, cause)


def events_of_refused(intent: Intent) -> list[Event]:
    """Return the events of an own intent that was not committed, one per document."""
    return [
        _class(operation.kind, operation.verb)(
            operation.kind,
            operation.id,
            operation.name,
            None,
            {path: (operation.seen.get(path), value) for path, value in operation.set.items()},
            cause="rollback",
        )
        for operation in intent.operations
        if operation.verb != "pin"
    ]


def _class(kind: str, verb: Verb) -> type[Event]:
    return _CLASSES.get((kind, verb), _USUAL[verb])
