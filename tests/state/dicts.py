"""The store in plain dicts: what it has to be, written down once more and as simply as can be."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from state.plain_edits import (
    BLANK,
    DEFAULTS,
    SETTINGS,
    TOGETHER,
    Block,
    Conflict,
    GoneError,
    NoValuesError,
    Op,
    RejectedError,
    Step,
    TakenError,
    Values,
    changed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

Outcome = Literal["committed", "conflict", "rejected"]


class MeetingError(Exception):
    """An edit that cannot be applied beside what others did."""

    def __init__(self, met: Op, cause: str, fields: Iterable[str] = ()) -> None:
        super().__init__(cause)
        self.conflict = Conflict(met, cause, frozenset(fields))


@dataclass(eq=False)
class Intent:
    """An accepted edit: its steps, its number, and up to which revision its process had seen others."""

    steps: list[Step]
    n: int = 0
    base: int = 0
    receipt: Any = None


def applied(values: Values | None, op: Op) -> Values | None:
    """Return a document after an operation, as it is replayed on what is confirmed."""
    if op.verb == "make":
        return op.values
    return None if op.verb == "delete" or values is None else values | op.values


def said(op: Op) -> Values:
    """Return the values that an operation names: of what is made, those which are not as usual."""
    usual = BLANK if op.id == SETTINGS else DEFAULTS
    is_all = op.verb == "make"
    return {path: value for path, value in op.values.items() if not is_all or value != usual.get(path)}


class File:
    """What is committed, by whom, and what it was after each revision."""

    def __init__(self) -> None:
        self.rows: dict[str, Values | None] = {}
        self.last: dict[str, Values] = {}
        self.writers: list[tuple[str, object]] = []
        self.past: list[dict[str, Values | None]] = [{}]

    def commit(
        self, process: Process, intent: Intent, *, late: bool = False, later: Collection[Op] = ()
    ) -> Outcome:
        """Apply an edit whole, or keep it as a conflict, which is a document of its own.

        With `late` its process is dead and has accepted `later` ones: others are not overwritten.
        """
        self.is_late = late
        outcome: Outcome = "committed"
        try:
            after = {step.op.id: self._after(step, process, intent.base) for step in intent.steps}
            after = {id: now for id, now in after.items() if now != self.rows.get(id)}
            self._check_names(intent.steps, after)
        except RejectedError:
            return "rejected"
        except MeetingError as meeting:
            made_anew = {
                id: [path for op in later if op.id == id for path in op.values if op.verb == "set"]
                for id in (op.id for op in later)
            }
            ops = [step.op for step in intent.steps]
            if late and all(op.verb == "set" and {*op.values} <= {*made_anew.get(op.id, ())} for op in ops):
                return "rejected"
            ended = [self.rows.get(step.op.id) for step in intent.steps if step.op.verb == "delete"]
            if any(
                row and "about" in row and row["about"].met.id == meeting.conflict.met.id for row in ended
            ):
                # A decision that came too late.
                return "rejected"
            outcome = "conflict"
            theirs = self.rows.get(meeting.conflict.met.id) or {}
            about = meeting.conflict._replace(theirs=theirs, edits=tuple(step.op for step in intent.steps))
            after = {process.conflict_id(intent.n): {"name": None, "about": about}}
        for id, now in after.items():
            self.rows[id] = now
            self.last |= {id: now} if now else {}
            self.writers.append((id, process))
            self.past.append(dict(self.rows))
        return outcome

    def _after(self, step: Step, process: Process, base: int) -> Values | None:
        op, row = step.op, self.rows.get(step.op.id)
        is_conflict = "about" in (row or step.before or step.after or {})
        seqs = (seq for seq, (id, by) in enumerate(self.writers, 1) if id == op.id and by is not process)
        is_foreign = max(seqs, default=0) > base
        if row is None:
            return self._without_row(op, is_conflict=is_conflict)
        if is_conflict and (op.verb == "make" or is_foreign):
            raise RejectedError
        if op.verb == "make":
            if op.is_upsert:
                return self._merged(op, BLANK if op.id == SETTINGS else DEFAULTS, row)
            raise MeetingError(op, "name", [path for path, value in said(op).items() if row[path] != value])
        if op.verb == "delete":
            if is_foreign:
                raise MeetingError(op, "changed")
            return None
        assert step.before
        seen = {path for unit in units(op.values) for path in unit}
        is_as_seen = all(row[path] == step.before[path] for path in seen)
        return row | op.values if is_as_seen and not is_foreign else self._merged(op, step.before, row)

    def _without_row(self, op: Op, *, is_conflict: bool) -> Values | None:
        if op.verb == "make":
            return op.values
        if is_conflict:
            raise RejectedError
        if op.verb == "set":
            raise MeetingError(op, "deleted", op.values)
        return None

    def _merged(self, op: Op, base: Values, row: Values) -> Values:
        ours, after, overlaps = said(op), dict(row), list[str]()
        for unit in units(ours):
            named = {path: ours[path] for path in unit if path in ours}
            if all(row[path] == value for path, value in named.items()):
                continue
            alike = [path for path, value in named.items() if row[path] == value]
            if any(row[path] != base.get(path) for path in unit if path not in alike):
                named = {path: ours.get(path, base.get(path)) for path in unit}
                overlaps += unit
            after |= named
        policy = (self.rows.get(SETTINGS) or BLANK)["policy"]
        if overlaps and (self.is_late or policy != "last-write-wins"):
            raise MeetingError(op, "overlap", overlaps)
        return after

    def _check_names(self, steps: Iterable[Step], after: dict[str, Values | None]) -> None:
        everything = self.rows | after
        names = Counter(values["name"] for values in everything.values() if values and values["name"])
        for op in (step.op for step in steps):
            now = after.get(op.id)
            if now and not _has_name(self.rows.get(op.id), now) and names[now["name"]] > 1:
                raise MeetingError(op, "name", ["name"])


def units(paths: Iterable[str]) -> list[tuple[str, ...]]:
    """Return what paths are merged with: by themselves, but for those which travel together."""
    alone = [(path,) for path in paths if path not in TOGETHER]
    return [*alone, TOGETHER] if any(path in TOGETHER for path in paths) else alone


class Process:
    """One process: what is confirmed to it, its edits on their way, and what it can take back.

    Parameters
    ----------
    file
        What it has open.
    conflict_id
        Returns the id of the conflict that its edit of a number opens.
    """

    def __init__(self, file: File, conflict_id: Callable[[int], str]) -> None:
        self.file = file
        self.conflict_id = conflict_id
        self.n = 0
        self.refused: dict[int, Intent] = {}
        self.waiting: dict[str, set[int]] = defaultdict(set)
        self.failed: dict[str, int] = {}
        self.pending: list[Intent] = []
        self.done: list[Intent] = []
        self.undone: list[Intent] = []
        self.take_news()

    def take_news(self) -> None:
        self.confirmed = dict(self.file.rows)
        self.last = dict(self.file.last)
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
        if intent.steps:
            self.n += 1
            intent.n, intent.base = self.n, self.cursor
            self.pending.append(intent)

    def settle(self, *, late: bool = False) -> list[tuple[Intent, Outcome]]:
        """Have everything that is on its way committed, by others if `late`; return what became of it."""
        outcomes = []
        for number, intent in enumerate(self.pending, 1):
            rows, seqs = dict(self.file.rows), len(self.file.writers)
            later = [step.op for other in self.pending[number:] for step in other.steps]
            outcomes.append((intent, self.file.commit(self, intent, late=late, later=later)))
            if outcomes[-1][1] == "committed":
                changed = {id for id, _ in self.file.writers[seqs:]}
                intent.steps = [
                    self._on_top_of(step, rows, intent.base) if step.op.id in changed else step
                    for step in intent.steps
                ]
        self.pending.clear()
        for intent, outcome in outcomes:
            if outcome != "committed":
                for stack in (self.done, self.undone):
                    is_there = any(other.n == intent.n for other in stack)
                    left = [other for other in stack if other.n != intent.n]
                    stack[:] = [_without(intent, other) for other in left] if is_there else left
                self.refused[intent.n] = intent
            for id in (step.op.id for step in intent.steps):
                if outcome == "conflict":
                    self.waiting[id].add(intent.n)
                elif outcome == "rejected" and not self._is_still_asked(intent):
                    self.failed[id] = intent.n
                elif outcome == "rejected":
                    pass
                else:
                    self.failed.pop(id, None)
        if outcomes:
            self.take_news()
        return outcomes

    def _is_still_asked(self, intent: Intent) -> bool:
        """Whether an edit was to end a conflict that is still open."""
        deleted = (step.op.id for step in intent.steps if step.op.verb == "delete")
        return any("about" in (self.file.rows.get(id) or {}) for id in deleted)

    def _on_top_of(self, step: Step, rows: dict[str, Values | None], base: int) -> Step:
        """Return a step as it was committed: what is put back is what others had made in between."""
        row, before = rows.get(step.op.id), step.before
        seqs = (
            seq for seq, (id, by) in enumerate(self.file.writers, 1) if id == step.op.id and by is not self
        )
        if step.op.verb != "set" or not before or not step.after or not row or max(seqs, default=0) <= base:
            return step
        return step._replace(before=before | {path: row[path] for path in step.op.values})

    def has_heard_of(self, ops: Iterable[Op]) -> bool:
        """Whether all documents of edits are known here: of others the newest would be looked up."""
        return all(op.id in self.confirmed or not self.file.rows.get(op.id) for op in ops)

    def blames(self, id: str) -> list[int]:
        """Return the numbers of the edits of a document that were not committed, and are not dealt with."""
        seen = self.seen()
        waiting = {n for n in self.waiting[id] if self.conflict_id(n) in seen}
        return sorted(waiting | {self.failed[id]} if id in self.failed else waiting)

    def progress(self, id: str) -> str:
        """Return what is said of a document: "saving", "conflict", "failed" or "saved"."""
        if any(step.op.id == id for intent in self.pending for step in intent.steps):
            return "saving"
        blames = self.blames(id)
        if not blames:
            return "saved"
        return "failed" if blames[-1] == self.failed.get(id) else "conflict"

    def forgive(self, n: int) -> None:
        """Put away what is said of an edit that nobody is asked about."""
        self.failed = {id: failed for id, failed in self.failed.items() if failed != n}

    def again(self, ops: Iterable[Op], new_id: Callable[[str], str], *, decided: str = "") -> Intent:
        """Return the edit that does once more what others wanted, and ends the conflict about it.

        Parameters
        ----------
        ops
            What is to be done, on top of what is there now.
        new_id
            Returns the id that a document of a name gets.
        decided
            Id of the conflict.
        """
        block = Block(self.seen())
        if decided:
            block.add(Step(Op("delete", decided, {}), block.seen[decided], None))
        for op in ops:
            now = block.seen.get(op.id)
            if op.verb == "delete":
                if now is not None:
                    block.add(Step(op, now, None))
            elif "about" in op.values:
                # A conflict that an undo has opened again is the same one.
                if now is None:
                    again = Op("make", op.id, {"name": None} | op.values)
                    block.add(Step(again, None, again.values))
            elif now is not None and (op.verb == "set" or _has_name(now, {"name": None} | op.values)):
                block.set(op.id, now | op.values, is_stored=self.is_stored(op.id))
            elif op.verb == "make":
                if id_of(block.seen, op.values["name"]):
                    raise TakenError(op.values["name"])
                made = Op("make", new_id(op.values["name"]), DEFAULTS | op.values)
                block.add(Step(made, None, made.values))
            elif last := self._last(op.id):
                block.add(Step(Op("make", op.id, last | op.values), None, last | op.values))
            else:
                raise GoneError(op.id)
        return Intent(list(block.steps.values()))

    def is_stored(self, id: str) -> bool:
        """Whether a document is there, or is on its way there; what is as usual may be neither."""
        pending = (step.op.id for intent in self.pending for step in intent.steps)
        return id != SETTINGS or self.confirmed.get(id) is not None or id in pending

    def _last(self, id: str) -> Values | None:
        """Return what was last seen of a document that is deleted."""
        last = self.last.get(id)
        for op in (step.op for intent in self.pending for step in intent.steps):
            if op.id == id and op.verb != "delete":
                last = applied(last, op)
        return last if id in self.last else None

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
        if back.after is None or not back.after["name"] or _has_name(back.before, back.after):
            return False
        moving = {one.op.id for one in backs if one and not _has_name(one.before, one.after)}
        return any(back.after["name"] == seen[id]["name"] for id in seen.keys() - moving)


def chosen(about: Conflict, choice: str | Values, now: Values | None) -> list[Op]:
    """Return what is to be done where people choose "ours", "theirs", or values, about a conflict."""
    met, edits = about.met, [op._replace(values=said(op)) for op in about.edits]
    if choice == "theirs":
        return []
    if isinstance(choice, str):
        return edits
    if met.verb == "delete":
        raise NoValuesError
    is_another = met.verb == "make" and "name" in choice
    asked = set(about.fields)
    if now is not None:
        # What nobody disputed is in question once somebody has changed it.
        asked |= {
            path
            for path, value in said(met).items()
            if path in about.theirs and now[path] not in (about.theirs[path], value)
        }
    agreed = {path: value for path, value in said(met).items() if is_another or path not in asked}
    name = {"name": met.values["name"]} if met.verb == "make" else {}
    return [op._replace(values=name | agreed | choice) if op.id == met.id else op for op in edits]


def by_name(seen: dict[str, Values]) -> dict[str, Values]:
    return {values["name"]: values for values in seen.values() if values["name"]}


def id_of(seen: dict[str, Values], name: str) -> str | None:
    return next((id for id, values in seen.items() if values["name"] == name), None)


def names_are_unique(rows: Iterable[Values | None]) -> bool:
    names = Counter(values["name"] for values in rows if values and values["name"])
    return all(count == 1 for count in names.values())


def _without(refused: Intent, later: Intent) -> Intent:
    """Return an edit as if one before it had never been: what is put back is what was there before both."""
    for never in refused.steps:
        later = replace(later, steps=[_as_if_never(never, step) for step in later.steps])
    return later


def _as_if_never(never: Step, step: Step) -> Step:
    if not (never.before and never.after and step.before) or never.op.id != step.op.id:
        return step
    wanted, was = changed(never.before, never.after), step.before
    back = {path: never.before[path] for path, value in wanted.items() if was[path] == value}
    return step._replace(before=was | back)


def _has_name(before: Values | None, after: Values | None) -> bool:
    return before is not None and after is not None and before["name"] == after["name"]
