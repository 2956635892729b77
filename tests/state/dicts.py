"""The store in plain dicts: what it has to be, written down once more and as simply as can be."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

Values = dict[str, Any]
Outcome = Literal["committed", "conflict"]
SETTINGS = "settings"
DEFAULTS: Values = {"temperature": None, "seed": None, "tags": ()}
# Settings have no name, so that nothing here mixes them up with a config.
BLANK: Values = {"name": None, "timeout": 60_000}
CONFLICT: Values = {"name": None}


class TakenError(Exception):
    """A name that another document has."""


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


@dataclass(eq=False)
class Intent:
    """An accepted edit: its steps, and up to which revision its process had seen what others did."""

    steps: list[Step]
    base: int = 0
    receipt: Any = None


def applied(values: Values | None, op: Op) -> Values | None:
    """Return a document after an operation, as it is replayed on what is confirmed."""
    if op.verb == "make":
        return op.values
    return None if op.verb == "delete" or values is None else values | op.values


class File:
    """What is committed, by whom, and what it was after each revision."""

    def __init__(self) -> None:
        self.rows: dict[str, Values | None] = {}
        self.writers: list[tuple[str, object]] = []
        self.past: list[dict[str, Values | None]] = [{}]

    def commit(self, writer: object, intent: Intent) -> Outcome:
        """Apply an edit whole, or keep it as a conflict, which is a document of its own."""
        rows = {step.op.id: self.rows.get(step.op.id) for step in intent.steps}
        met = [self._meets(step.op, rows[step.op.id], writer, intent.base) for step in intent.steps]
        after = {step.op.id: self._meeting(step.op, rows[step.op.id]) for step in intent.steps}
        after = {id: now for id, now in after.items() if now != rows[id]}
        is_conflict = any(met) or self._takes_a_name(after)
        if is_conflict:
            after = {f"conflict {len(self.writers)}": CONFLICT}
        for id, now in after.items():
            self.rows[id] = now
            self.writers.append((id, writer))
            self.past.append(dict(self.rows))
        return "conflict" if is_conflict else "committed"

    def _meets(self, op: Op, row: Values | None, writer: object, base: int) -> bool:
        if op.verb == "make":
            return row is not None and not op.is_upsert
        if op.verb == "set":
            return row is None
        seqs = (seq for seq, (id, by) in enumerate(self.writers, 1) if id == op.id and by is not writer)
        return row is not None and max(seqs, default=0) > base

    def _meeting(self, op: Op, row: Values | None) -> Values | None:
        if op.verb == "make" and row is not None:
            # An upsert that meets another one says nothing of what it left as usual.
            usual = BLANK if op.id == SETTINGS else DEFAULTS
            return row | {path: value for path, value in op.values.items() if value != usual.get(path)}
        return applied(row, op)

    def _takes_a_name(self, after: dict[str, Values | None]) -> bool:
        all_after = self.rows | after
        names = Counter(values["name"] for values in all_after.values() if values and values["name"])
        new = [now["name"] for id, now in after.items() if now and not _has_name(self.rows.get(id), now)]
        return any(names[name] > 1 for name in new)


class Process:
    """One process: what is confirmed to it, its edits on their way, and what it can take back."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.pending: list[Intent] = []
        self.done: list[Intent] = []
        self.undone: list[Intent] = []
        self.take_news()

    def take_news(self) -> None:
        self.confirmed = dict(self.file.rows)
        self.cursor = len(self.file.writers)

    def seen(self) -> dict[str, Values]:
        rows = dict(self.confirmed)
        for op in (step.op for intent in self.pending for step in intent.steps):
            rows[op.id] = applied(rows.get(op.id), op)
        return {SETTINGS: BLANK} | {id: values for id, values in rows.items() if values is not None}

    def accept(self, intent: Intent) -> None:
        """Take an edit that can be undone."""
        self._submit(intent)
        if intent.steps:
            self.done.append(intent)
            self.undone.clear()

    def _submit(self, intent: Intent) -> None:
        seen = self.seen()
        after = {step.op.id: step.after for step in intent.steps}
        names = Counter(now["name"] for now in (seen | after).values() if now and now["name"])
        for step in intent.steps:
            if step.after and not _has_name(step.before, step.after) and names[step.after["name"]] > 1:
                raise TakenError(step.after["name"])
        intent.base = self.cursor
        self.pending += [intent] if intent.steps else []

    def settle(self) -> list[tuple[Intent, Outcome]]:
        """Have everything that is on its way committed, and return what became of it."""
        outcomes = [(intent, self.file.commit(self, intent)) for intent in self.pending]
        self.pending.clear()
        for intent, outcome in outcomes:
            if outcome != "committed":
                for stack in (self.done, self.undone):
                    stack[:] = [other for other in stack if other is not intent]
        if outcomes:
            self.take_news()
        return outcomes

    def undo(self) -> None:
        self._take_back(self.done, self.undone)

    def redo(self) -> None:
        self._take_back(self.undone, self.done)

    def _take_back(self, source: list[Intent], target: list[Intent]) -> None:
        if not source:
            return
        seen, taken = self.seen(), source.pop()
        backs = [self._inverse(step, seen.get(step.op.id)) for step in reversed(taken.steps)]
        while blocked := [back for back in backs if back and self._is_blocked(back, backs, seen)]:
            backs = [None if back in blocked else back for back in backs]
        intent = Intent([back for back in backs if back])
        try:
            self._submit(intent)
        except TakenError:
            return
        if intent.steps:
            target.append(intent)

    def _inverse(self, step: Step, now: Values | None) -> Step | None:
        id, before, after = step.op.id, step.before, step.after
        if before is None:
            return Step(Op("delete", id, {}), now, None) if now is not None and now == after else None
        if after is None:
            return Step(Op("make", id, before), None, before) if now is None else None
        if now is None:
            return None
        back = {path: before[path] for path in after if before[path] != after[path] == now[path]}
        return Step(Op("set", id, back), now, now | back) if back else None

    def _is_blocked(self, back: Step, backs: Collection[Step | None], seen: dict[str, Values]) -> bool:
        if back.after is None or _has_name(back.before, back.after):
            return False
        moving = {one.op.id for one in backs if one and not _has_name(one.before, one.after)}
        return any(back.after["name"] == seen[id]["name"] for id in seen.keys() - moving)


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


def by_name(seen: dict[str, Values]) -> dict[str, Values]:
    return {values["name"]: values for values in seen.values() if values["name"]}


def id_of(seen: dict[str, Values], name: str) -> str | None:
    return next((id for id, values in seen.items() if values["name"] == name), None)


def names_are_unique(rows: Iterable[Values | None]) -> bool:
    names = Counter(values["name"] for values in rows if values and values["name"])
    return all(count == 1 for count in names.values())


def _has_name(before: Values | None, after: Values | None) -> bool:
    return before is not None and after is not None and before["name"] == after["name"]
