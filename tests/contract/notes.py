"""A small kind of documents, and intents about them, for tests of engines and states."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from orchstate.models.document import Document
from orchstate.models.intent import Intent, Operation, Origin
from orchstate.state.decide import decider
from orchstate.state.kinds import plain_kind


class Note(Document):
    """What the tests store."""

    kind: ClassVar[str] = "note"
    groups: ClassVar[tuple[frozenset[str], ...]] = (frozenset({"text", "author"}),)

    text: str = ""
    author: str = ""
    size: int = 0


KINDS = {"note": plain_kind(Note)}
decide = decider(KINDS)
ME = Origin("me", "work.ipynb", "[1]")


def id_of(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


def created(of: str, *, upsert: bool = False, **values: Any) -> Operation:
    values = {"name": of, **values}
    return Operation("create", "note", id_of(of), values["name"], values, upsert=upsert)


def updated(of: str, *, base: int = 0, seen: dict[str, Any] | None = None, **values: Any) -> Operation:
    return Operation("update", "note", id_of(of), values.get("name", of), values, seen=seen or {}, base=base)


def deleted(name: str, *, base: int = 0) -> Operation:
    return Operation("delete", "note", id_of(name), name, base=base)


def intent(n: int, *operations: Operation, at_us: int | None = None) -> Intent:
    return Intent(n, f"txn-{n}", at_us or 1_700_000_000_000_000 + n, ME, operations)
