"""Undo and redo of this process's own steps, as new revisions.

Only what still holds our value is put back; what somebody changed since is left alone and
reported with the reason. Keys are left alone too: a replaced one is gone from where it lived,
and one that came with another provider is put away for that.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from orchstate.errors import ValidationError
from orchstate.models.config import ConfigDocument
from orchstate.models.conflict import ConflictDocument
from orchstate.models.document import Document, leaves, secret_fields
from orchstate.models.names import name_key
from orchstate.models.secret import SecretRef, is_reference, keys_in
from orchstate.models.values import FrozenMap, is_same, to_plain
from orchstate.state import steps as edits

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from orchstate.state.kinds import Kinds
    from orchstate.state.steps import Step
    from orchstate.storage.engine import Revision

    IsFree = Callable[[str, str, Collection[str]], bool]

# Steps that can be undone; older ones stay in the history.
MAX_UNDO: Final = 500


Reason = Literal[
    "changed", "deleted", "name taken", "key gone", "key kept", "not valid", "not defined", "damaged"
]
_IN_SHORT: Final[dict[Reason, str]] = {
    "changed": "changed since",
    "deleted": "deleted since",
    "name taken": "its name is taken",
    "key gone": "the key is gone: enter it again",
    "key kept": "keys are not undone",
    "not valid": "it breaks a rule of today",
    "not defined": "its provider is not defined here",
    "damaged": "what it was is damaged",
}
_AS_SENTENCE: Final[dict[Reason, str]] = {
    "changed": "Left alone, since it was changed meanwhile: {}.",
    "deleted": "Left alone, since it was deleted meanwhile: {}.",
    "name taken": "Left alone, since the name is taken by now: {}.",
    "key gone": "A key that was removed from where keys are kept cannot come back; enter it again: {}.",
    "key kept": "A new key is not taken back; to remove it, assign None or use the form: {}.",
    "not valid": "Left alone, since what it was breaks a rule of today: {}.",
    "not defined": "Left alone, since its provider of then is not defined here; add that first: {}.",
    "damaged": "Left alone, since what it was is damaged; run orchstate doctor: {}.",
}


@dataclass(frozen=True, slots=True)
class Left:
    """One thing that an undo, a redo, or the restoring of a moment left alone.

    Parameters
    ----------
    name, path
        Of which document, and what of it; path ``""`` for the whole document.
    reason
        ``"changed"`` or ``"deleted"`` since, by somebody; ``"name taken"`` by another document;
        ``"key gone"``: the earlier key is no more where keys are kept; ``"key kept"``: a key that
        was entered stays. When a moment is restored also ``"not valid"``: the old value breaks a rule of
        today; ``"not defined"``: its provider is not there; ``"damaged"``: the old value cannot be read.
    """

    name: str
    path: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo or redo did; ``str()`` says it in sentences.

    Parameters
    ----------
    label
        What the step was called.
    changed
        ``(name, path)`` of everything that was put back; path ``""`` for a whole document, or
        for which config is active.
    left
        What was left alone, and why.
    verb
        ``"undo"`` or ``"redo"``.

    Examples
    --------
    >>> gpt.temperature = 0.9
    >>> print(store.undo())
    Undone: temperature of gpt.
    """

    label: str
    changed: tuple[tuple[str, str], ...]
    left: tuple[Left, ...] = ()
    verb: Literal["undo", "redo"] = "undo"

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """``(name, path)`` of what was left alone."""
        return tuple((left.name, left.path) for left in self.left)

    @property
    def message(self) -> str:
        """What came back, what did not and why, in sentences for people."""
        if not self.changed and not self.left:
            return "Nothing to undo." if self.verb == "undo" else "Nothing to do again."
        sentences = [f"{'Undone' if self.verb == 'undo' else 'Done again'}: {listed(self.changed)}."]
        return " ".join([*(sentences if self.changed else ()), *left_in_sentences(self.left)])

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        done = ", ".join(dotted(name, path) for name, path in self.changed) or "nothing"
        label = f" of {self.label!r}" if self.label else ""
        return f"<{'Undone' if self.verb == 'undo' else 'Redone'} {done}{label}{left_in_short(self.left)}>"


def left_in_sentences(left: Iterable[Left]) -> list[str]:
    """Return what was left alone and why, one sentence per reason."""
    sentences = []
    for reason, sentence in _AS_SENTENCE.items():
        found = [(one.name, one.path) for one in left if one.reason == reason]
        sentences += [sentence.format(listed(found))] if found else []
    return sentences


def left_in_short(left: Iterable[Left]) -> str:
    """Return the same for a repr, ``""`` for nothing."""
    shown = ", ".join(f"{dotted(one.name, one.path)} ({_IN_SHORT[one.reason]})" for one in left)
    return f"; left alone: {shown}" if shown else ""


def dotted(name: str, path: str) -> str:
    """Return a document's name and a path in it, for a repr."""
    return f"{name}.{path}" if path else name


def listed(things: Iterable[tuple[str, str]]) -> str:
    """Return names and paths for a sentence."""
    return ", ".join(f"{path} of {name}" if path else name for name, path in things)


class Undoable(NamedTuple):
    """One undoable transaction."""

    n: int
    label: str
    steps: tuple[Step, ...]

    def without(self, refused: Iterable[Step]) -> Undoable:
        """Return it as if some steps before it had never been."""
        steps = self.steps
        for one in refused:
            steps = tuple(_as_if_never(one, step) for step in steps)
        return self._replace(steps=steps)


def _on_top_of(step: Step, revision: Revision) -> Step:
    """Return a step as it was committed, where others had changed its document in between.

    To take it back is to have what they had made, and not what was there before them.
    """
    row, operation = revision.row, step.operation
    is_merged = operation.id == row.id and row.foreign_seq > operation.base
    if not (is_merged and step.before and step.after and revision.verb == "update"):
        return step
    diff = json.loads(revision.diff)
    # What they had changed alike is no difference.
    found = {path: diff[path][0] if path in diff else value for path, value in operation.set.items()}
    known = leaves(type(step.before))
    # With what is gone since, a value may break a rule.
    with contextlib.suppress(ValidationError):
        back = {path: value for path, value in found.items() if path in known}
        return step._replace(before=step.before.replaced(back))
    return step


def _as_if_never(refused: Step, step: Step) -> Step:
    before, earlier, wanted = step.before, refused.before, refused.after
    if before is None or earlier is None or wanted is None or step.operation.id != refused.operation.id:
        return step
    if not type(before) is type(earlier) is type(wanted):
        return step
    paths = [path for path in leaves(type(before)) if path in refused.operation.set]
    back = {path: earlier.at(path) for path in paths if is_same(before.at(path), wanted.at(path))}
    # Together with what was set since, the earlier value may break a rule.
    with contextlib.suppress(ValidationError):
        return step._replace(before=before.replaced(back))
    return step


class UndoStack:
    """What this process did, and what of it was undone, latest last."""

    def __init__(self) -> None:
        self.done: list[Undoable] = []
        self.undone: list[Undoable] = []

    def push(self, entry: Undoable) -> None:
        """Add a new step; what was undone before can no longer be done again."""
        self.done.append(entry)
        del self.done[:-MAX_UNDO]
        self.undone.clear()

    def rebase(self, revision: Revision) -> None:
        """Take over on top of what an own edit was committed."""
        for stack in (self.done, self.undone):
            # The latest is last, and it is one of the latest.
            for index in range(len(stack) - 1, -1, -1):
                entry = stack[index]
                if entry.n == revision.n:
                    steps = tuple(_on_top_of(step, revision) for step in entry.steps)
                    stack[index] = entry._replace(steps=steps)
                if entry.n <= revision.n:
                    break

    def drop(self, n: int) -> None:
        """Forget a step that was not committed, also as what was there before later ones."""
        for stack in (self.done, self.undone):
            refused = [step for entry in stack if entry.n == n for step in entry.steps]
            stack[:] = [entry.without(refused) for entry in stack if entry.n != n]


def inverse(
    entry: Undoable,
    kinds: Kinds,
    present: Callable[[str], Document | None],
    is_free: IsFree,
    at_us: int,
) -> tuple[list[Step], Undone]:
    """Return the steps that take a transaction back, as far as it still stands.

    Parameters
    ----------
    entry, kinds
        What is taken back, and the kinds of documents.
    present
        Returns the document of an id as it is now.
    is_free
        Whether a kind's name is free, apart from the documents of some ids.
    at_us
        The time of the new steps.
    """
    parts = [Account() for _ in entry.steps]
    backs = [
        _inverse_of(step, kinds, present(step.operation.id), at_us, part)
        for step, part in zip(reversed(entry.steps), parts, strict=True)
    ]
    for index, back in enumerate(backs):
        if back and back.before is None and isinstance(back.after, ConflictDocument):
            backs[index] = edits.revive(_with_present_keys(back.after, present, parts[index]), at_us)
    while taken := blocked(backs, is_free):
        for index in taken:
            # It keeps its present name, which another one may have counted on.
            backs[index] = None
            parts[index].leave_all("name taken")
    changed = tuple(itertools.chain.from_iterable(part.changed for part in parts))
    left = tuple(itertools.chain.from_iterable(part.left for part in parts))
    return [back for back in backs if back], Undone(entry.label, changed, left)


def refused(undone: Undone) -> Undone:
    """Return what is to be told where a name turned out to be taken after all, so that nothing came back."""
    left = (Left(name, path, "name taken") for name, path in undone.changed)
    return replace(undone, changed=(), left=(*undone.left, *left))


def blocked(backs: Sequence[Step | None], is_free: IsFree) -> list[int]:
    """Return which steps take a name back that somebody has, and does not give up in another step."""
    moves = {index: back for index, back in enumerate(backs) if back and _is_new_name(back)}
    ids = {back.operation.id for back in moves.values()}
    return [
        index
        for index, back in moves.items()
        if back.after and not is_free(back.after.kind, back.after.name, ids)
    ]


def _is_new_name(step: Step) -> bool:
    """Whether a step gives a name up, takes one, or both."""
    if step.before is None or step.after is None:
        return True
    return name_key(step.before.name) != name_key(step.after.name)


class Account:
    """What is being put back, and what is left alone."""

    def __init__(self) -> None:
        self.changed: list[tuple[str, str]] = []
        self.left: list[Left] = []

    def put_back(self, document: Document | None, path: str = "") -> None:
        """Note what comes back; path ``""`` for a whole document."""
        self.changed.append(_called(document, path))

    def leave(self, document: Document | None, path: str, reason: Reason) -> None:
        """Note what does not, and why."""
        self.left.append(Left(*_called(document, path), reason))

    def leave_all(self, reason: Reason) -> None:
        """Leave alone what was to be put back."""
        # Of a document that stays deleted, nothing else is worth telling.
        known = [left for left in self.left if all(path for _, path in self.changed)]
        self.left = [*known, *(Left(name, path, reason) for name, path in self.changed)]
        self.changed = []


def _inverse_of(step: Step, kinds: Kinds, now: Document | None, at_us: int, account: Account) -> Step | None:
    if step.before is None or step.after is None:
        return _existence(step, now, at_us, account)
    if now is None:
        account.leave(step.after, "", "deleted")
        return None
    return values_back(step.before, step.after, now, kinds, at_us, account)


def _existence(step: Step, now: Document | None, at_us: int, account: Account) -> Step | None:
    if step.before is None:
        untouched = now is not None and step.after is not None and now.body() == step.after.body()
        if now is None or not untouched:
            account.leave(step.after, "", "changed" if now else "deleted")
            return None
        account.put_back(step.after)
        return edits.delete(now)
    if now is not None:
        # Made anew, with the name and so with the id of the one that was deleted.
        account.leave(step.before, "", "name taken")
        return None
    account.put_back(step.before)
    return edits.revive(without_lost_keys(step.before, None, account), at_us)


def values_back(
    before: Document, after: Document, now: Document, kinds: Kinds, at_us: int, account: Account
) -> Step | None:
    """Return the step that gives a document its values of `before` where it still has those of `after`."""
    if type(before) is not type(after):
        return _provider(before, after, now, account)
    wanted = {}
    for path in leaves(type(after)):
        old, new = before.at(path), after.at(path)
        if is_same(to_plain(old), to_plain(new)):
            continue
        stands = path in leaves(type(now)) and is_same(to_plain(now.at(path)), to_plain(new))
        reason = _of_key(old, new) if stands else "changed"
        if reason:
            account.leave(now, path, reason)
        else:
            wanted[path] = old
    fitting = _fitting(now, wanted, kinds, at_us)
    for path in wanted:
        if path in fitting:
            account.put_back(now, path)
        else:
            account.leave(now, path, "changed")
    return edits.update(kinds[now.kind], now, fitting, at_us) if fitting else None


def _fitting(now: Document, wanted: dict[str, Any], kinds: Kinds, at_us: int) -> dict[str, Any]:
    """Return the values that can come back: all, or those that break no rule with what others changed."""
    with contextlib.suppress(ValidationError):
        edits.update(kinds[now.kind], now, wanted, at_us)
        return wanted
    fitting: dict[str, Any] = {}
    for path, value in wanted.items():
        with contextlib.suppress(ValidationError):
            edits.update(kinds[now.kind], now, {**fitting, path: value}, at_us)
            fitting[path] = value
    return fitting


def _of_key(old: Any, new: Any) -> Reason | None:
    """Return why a value that refers to keys is left alone; None for all that can come back."""
    before, after = keys_in(to_plain(old)), keys_in(to_plain(new))
    return "key gone" if before - after else "key kept" if after - before else None


def _provider(before: Document, after: Document, now: Document, account: Account) -> Step | None:
    """Take a change of provider back whole, or not at all."""
    if now.body() != after.body():
        account.leave(now, "provider", "changed")
        return None
    account.put_back(now, "provider")
    back = _with_new_keys(without_lost_keys(before, now, account), now, account)
    operation = edits.difference(
        "update", now, back, dict.fromkeys([*leaves(type(now)), *leaves(type(back))])
    )
    return edits.Step(operation, now, back)


def _called(document: Document | None, path: str = "") -> tuple[str, str]:
    if document is None or document.kind == "profile":
        # Its name is the user's, who only knows of the choice in it.
        return "the active config", ""
    return document.name, path


def _with_new_keys(back: Document, now: Document, account: Account) -> Document:
    """Return what comes back with the keys that came meanwhile, put away for the providers they are for."""
    if not isinstance(back, ConfigDocument) or not isinstance(now, ConfigDocument):
        return back
    held, stash, own = keys_in(back.body()), dict(back.stash), {}
    for provider, values in {**now.stash, now.provider: now.body() | {"stash": None}}.items():
        new = {path: value for path, value in _as_map(values).items() if keys_in(value) - held}
        if provider == back.provider:
            own = {path: SecretRef(**new.pop(path)) for path in secret_fields(type(back)) & new.keys()}
        if new:
            stash[provider] = {**_as_map(stash.get(provider)), **new}
    for path in own:
        account.leave(back, path, "key kept")
    return back.model_copy(update={**own, "stash": FrozenMap(stash)})


def _as_map(values: Any) -> Mapping[str, Any]:
    # What a damaged or foreign document has put away may be anything.
    return values if isinstance(values, dict) else {}


def without_lost_keys(document: Document, now: Document | None, account: Account) -> Document:
    """Return a document without the keys that nothing refers to any more, which are gone by now."""
    lost = lost_keys(document, now)
    for path in lost:
        account.leave(document, path, "key gone")
    return document.model_copy(update=lost) if lost else document


def _with_present_keys(
    conflict: ConflictDocument, present: Callable[[str], Document | None], account: Account
) -> ConflictDocument:
    """Return a conflict that comes back, without the keys that were removed when it was decided."""
    about = [present(id) for id in {conflict.target, *(str(edit.get("id")) for edit in conflict.edits)}]
    alive = set[SecretRef]().union(*(keys_in(document.body()) for document in about if document))
    if not keys_in(conflict.body()) - alive:
        return conflict
    for path in sorted(path for path, value in conflict.ours.items() if keys_in(to_plain(value)) - alive):
        account.leave(conflict, path, "key gone")
    values = {side: _without(to_plain(conflict.at(side)), alive) for side in ("base", "theirs", "ours")}
    fields = tuple(path for path in conflict.fields if path in values["ours"] or path not in conflict.ours)
    done = [_without(to_plain(edit), alive) for edit in conflict.edits]
    return conflict.replaced({**values, "edits": done, "fields": fields})


def _without(values: Mapping[str, Any], alive: Collection[SecretRef]) -> dict[str, Any]:
    """Return plain values without the references to other keys, however deep; a path without one stays."""
    kept = {}
    for path, value in values.items():
        if is_reference(value):
            if keys_in(value).issubset(alive):
                kept[path] = value
        else:
            kept[path] = _without(value, alive) if isinstance(value, dict) else value
    return kept


def lost_keys(document: Document, now: Document | None) -> dict[str, SecretRef]:
    """Return what a document has instead of the keys that nothing refers to any more, which are gone by now.

    Parameters
    ----------
    document
        What is to come back.
    now
        What is there; None if it was deleted.
    """
    alive = keys_in(now.body()) if now else set()
    paths = sorted(secret_fields(type(document)))
    return {path: SecretRef() for path in paths if keys_in(to_plain(document.at(path))) - alive}
