"""Undo and redo of this process's own steps, as new revisions.

Only what still holds our value is put back; what somebody changed since is left alone and
reported with the reason. Keys are left alone too: a replaced one is gone from where it lived.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from orchstate.models.document import Document, leaves, secret_fields
from orchstate.models.secret import SecretRef, references
from orchstate.models.values import is_same, to_plain
from orchstate.state import steps as edits

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from orchstate.state.kinds import Kinds
    from orchstate.state.steps import Step


# Steps that can be undone; older ones stay in the history.
MAX_UNDO: Final = 500
# References that no edit makes invalid: to nothing, and to a variable of the environment.
_LASTING: Final = ("none", "env")


Reason = Literal["changed", "deleted", "name taken", "key gone", "key kept"]
_IN_SHORT: Final[dict[Reason, str]] = {
    "changed": "changed since",
    "deleted": "deleted since",
    "name taken": "its name is taken",
    "key gone": "the key is gone: enter it again",
    "key kept": "keys are not undone",
}
_AS_SENTENCE: Final[dict[Reason, str]] = {
    "changed": "Left alone, since it was changed meanwhile: {}.",
    "deleted": "Left alone, since it was deleted meanwhile: {}.",
    "name taken": "Left alone, since the name is taken by now: {}.",
    "key gone": "A key that was removed from where keys are kept cannot come back; enter it again: {}.",
    "key kept": "A new key is not taken back; to remove it, assign None or use the form: {}.",
}


@dataclass(frozen=True, slots=True)
class Left:
    """One thing that an undo or redo left alone.

    Parameters
    ----------
    name, path
        Of which document, and what of it; path ``""`` for the whole document.
    reason
        ``"changed"`` or ``"deleted"`` since, by somebody; ``"name taken"`` by another document;
        ``"key gone"``: the earlier key is no more where keys are kept; ``"key kept"``: a key that
        was entered stays.
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
        sentences = [f"{'Undone' if self.verb == 'undo' else 'Done again'}: {_listed(self.changed)}."]
        for reason, sentence in _AS_SENTENCE.items():
            found = [(left.name, left.path) for left in self.left if left.reason == reason]
            sentences += [sentence.format(_listed(found))] if found else []
        return " ".join(sentences if self.changed else sentences[1:])

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        done = ", ".join(_dotted(name, path) for name, path in self.changed) or "nothing"
        left = ", ".join(f"{_dotted(one.name, one.path)} ({_IN_SHORT[one.reason]})" for one in self.left)
        label = f" of {self.label!r}" if self.label else ""
        return f"<Undone {done}{label}{f'; left alone: {left}' if left else ''}>"


def _dotted(name: str, path: str) -> str:
    return f"{name}.{path}" if path else name


def _listed(things: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{path} of {name}" if path else name for name, path in things)


class Undoable(NamedTuple):
    """One undoable transaction."""

    n: int
    label: str
    steps: tuple[Step, ...]


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

    def drop(self, n: int) -> None:
        """Forget a step that was not committed."""
        for stack in (self.done, self.undone):
            stack[:] = [entry for entry in stack if entry.n != n]


def inverse(
    entry: Undoable,
    kinds: Kinds,
    present: Callable[[str], Document | None],
    is_free: Callable[[str, str, Collection[str]], bool],
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
    taken: list[Step] = []
    log = _Log()
    ids = {step.operation.id for step in entry.steps}
    for step in reversed(entry.steps):
        now, part = present(step.operation.id), _Log()
        back = _inverse_of(step, kinds, now, at_us, part)
        after = back.after if back else None
        if after and (now is None or after.name != now.name) and not is_free(after.kind, after.name, ids):
            log.left += [Left(name, path, "name taken") for name, path in part.changed]
            continue
        log.changed += part.changed
        log.left += part.left
        taken += [back] if back else []
    return taken, Undone(entry.label, tuple(log.changed), tuple(log.left))


class _Log:
    """What is being put back, and what is left alone."""

    def __init__(self) -> None:
        self.changed: list[tuple[str, str]] = []
        self.left: list[Left] = []

    def put_back(self, document: Document | None, path: str = "") -> None:
        self.changed.append(_called(document, path))

    def leave(self, document: Document | None, path: str, reason: Reason) -> None:
        self.left.append(Left(*_called(document, path), reason))


def _inverse_of(step: Step, kinds: Kinds, now: Document | None, at_us: int, log: _Log) -> Step | None:
    if step.before is None or step.after is None:
        return _existence(step, now, at_us, log)
    if now is None:
        log.leave(step.after, "", "deleted")
        return None
    return _values(step.before, step.after, now, kinds, at_us, log)


def _existence(step: Step, now: Document | None, at_us: int, log: _Log) -> Step | None:
    if step.before is None:
        untouched = now is not None and step.after is not None and now.body() == step.after.body()
        if now is None or not untouched:
            log.leave(step.after, "", "changed" if now else "deleted")
            return None
        log.put_back(step.after)
        return edits.delete(now)
    if now is not None:
        # Made anew, with the name and so with the id of the one that was deleted.
        log.leave(step.before, "", "name taken")
        return None
    log.put_back(step.before)
    return edits.revive(_without_lost_keys(step.before, None, log), at_us)


def _values(
    before: Document, after: Document, now: Document, kinds: Kinds, at_us: int, log: _Log
) -> Step | None:
    if type(before) is not type(after):
        return _provider(before, after, now, log)
    wanted = {}
    for path in leaves(type(after)):
        old, new = before.at(path), after.at(path)
        if is_same(to_plain(old), to_plain(new)):
            continue
        stands = path in leaves(type(now)) and is_same(to_plain(now.at(path)), to_plain(new))
        reason = _of_key(old, new) if stands else "changed"
        if reason:
            log.leave(now, path, reason)
        else:
            wanted[path] = old
            log.put_back(now, path)
    return edits.update(kinds[now.kind], now, wanted, at_us) if wanted else None


def _of_key(old: Any, new: Any) -> Reason | None:
    """Return why a value that is the reference to a key is left alone; None for all that can come back."""
    if not isinstance(old, SecretRef) or not isinstance(new, SecretRef):
        return None
    return "key gone" if old.source not in _LASTING else "key kept" if new.source not in _LASTING else None


def _provider(before: Document, after: Document, now: Document, log: _Log) -> Step | None:
    """Take a change of provider back whole, or not at all."""
    if now.body() != after.body():
        log.leave(now, "provider", "changed")
        return None
    log.put_back(now, "provider")
    back = _without_lost_keys(before, now, log)
    operation = edits.difference(
        "update", now, back, dict.fromkeys([*leaves(type(now)), *leaves(type(back))])
    )
    return edits.Step(operation, now, back)


def _called(document: Document | None, path: str = "") -> tuple[str, str]:
    if document is None or document.kind == "profile":
        # Its name is the user's, who only knows of the choice in it.
        return "the active config", ""
    return document.name, path


def _without_lost_keys(document: Document, now: Document | None, log: _Log) -> Document:
    """Return a document without the keys that nothing refers to any more, which are gone by now."""
    alive = set(references(now.body())) if now else set()
    lost = {}
    for path in sorted(secret_fields(type(document))):
        ref = document.at(path)
        if isinstance(ref, SecretRef) and ref.source not in _LASTING and ref not in alive:
            lost[path] = SecretRef()
            log.leave(document, path, "key gone")
    return document.model_copy(update=lost) if lost else document
