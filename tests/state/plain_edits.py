"""What edits are in the plain dicts: what each does to a document, and how those of a block become one."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Values = dict[str, Any]
SETTINGS = "settings"
DEFAULTS: Values = {"temperature": None, "seed": None, "tags": (), "model": None, "base_url": None}
# Settings have no name, so that nothing here mixes them up with a config.
BLANK: Values = {"name": None, "timeout": 60_000, "policy": "last-write-wins"}
TOGETHER = ("base_url", "model")


class TakenError(Exception):
    """A name that another document has."""


class GoneError(Exception):
    """A document that never was committed."""


class NoValuesError(Exception):
    """Values for a document that was to be deleted."""


class RejectedError(Exception):
    """An edit about which nobody has to decide."""


class Op(NamedTuple):
    """What an edit does to one document: "make" it with all its values, "set" some, or "delete" it."""

    verb: Literal["make", "set", "delete"]
    id: str
    values: Values
    is_upsert: bool = False


class Step(NamedTuple):
    """An edit of one document, with what was seen of it before and after; None where it is not there."""

    op: Op
    before: Values | None
    after: Values | None


class Conflict(NamedTuple):
    """What the document of a conflict is about: what an edit met, and all that it wanted."""

    met: Op
    cause: str
    fields: frozenset[str]
    theirs: Values = {}
    edits: tuple[Op, ...] = ()


class Block:
    """A running transaction: its steps so far, one for each document, and what it sees."""

    def __init__(self, seen: dict[str, Values]) -> None:
        self.seen = dict(seen)
        self.steps: dict[str, Step] = {}

    def add(self, step: Step) -> None:
        """Add a step; two of one document become one, or none when they cancel out."""
        id = step.op.id
        known = self.steps.get(id)
        combined = combine(known, step) if known else step
        if combined:
            self.steps[id] = combined
        else:
            del self.steps[id]
        self.seen.pop(id, None)
        if step.after is not None:
            self.seen[id] = step.after

    def set(self, id: str, after: Values, *, is_stored: bool) -> None:
        """Give a document these values; what is not stored yet is made by it."""
        before = self.seen[id]
        if after == before:
            return
        is_there = is_stored or id in self.steps
        op = Op("set", id, changed(before, after)) if is_there else Op("make", id, after, True)
        self.add(Step(op, before, after))

    def mark(self) -> tuple[dict[str, Values], dict[str, Step]]:
        return dict(self.seen), dict(self.steps)

    def go_back(self, mark: tuple[dict[str, Values], dict[str, Step]]) -> None:
        self.seen, self.steps = mark


def combine(earlier: Step, later: Step) -> Step | None:
    before, after, id = earlier.before, later.after, later.op.id
    is_new = earlier.op.verb == "make"
    if after is None:
        return None if is_new else Step(Op("delete", id, {}), before, None)
    if before == after:
        return None
    if is_new:
        return Step(Op("make", id, after, earlier.op.is_upsert), before, after)
    assert before is not None
    return Step(Op("set", id, changed(before, after)), before, after)


def changed(before: Values, after: Values) -> Values:
    return {path: value for path, value in after.items() if before[path] != value}
