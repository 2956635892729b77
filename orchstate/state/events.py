"""Events: what has been committed, by this process or another, in the order of the seqs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        Number of the revision; None for a rejected edit, which has none.
    changes
        ``{path: (old, new)}`` of the plain values that changed, and no others.
    external
        Whether another process made the change.
    cause
        Why the present changed.
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


_CLASSES: dict[str, type[Event]] = {"create": Created, "update": Updated, "delete": Deleted}
_UPDATES: dict[str, type[Event]] = {"settings": SettingChanged, "profile": ActiveChanged}


def event_of(revision: Revision, *, writer: str) -> Event:
    """Return the event of a committed revision, as the process `writer` sees it."""
    row = revision.row
    cls = _CLASSES[revision.verb]
    if revision.verb != "delete":
        cls = _UPDATES.get(row.kind, cls)
    changes = {path: (old, new) for path, (old, new) in json.loads(revision.diff).items()}
    external = row.writer != writer
    return cls(row.kind, row.id, row.name, row.seq, changes, external, "external" if external else "edit")
