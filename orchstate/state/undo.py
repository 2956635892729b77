"""Undo and redo of this process's own steps, as new revisions.

Only what still holds our value is put back; what somebody changed since is left alone and
reported. Secrets are left alone too: a replaced key is gone from where it lived.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from orchstate.models.document import Document, leaves
from orchstate.models.secret import SecretRef
from orchstate.models.values import is_same, to_plain
from orchstate.state import steps as edits

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from orchstate.state.kinds import Kinds
    from orchstate.state.steps import Step


# Steps that can be undone; older ones stay in the history.
MAX_UNDO: Final = 500


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo or redo did.

    Parameters
    ----------
    label
        What the step was called.
    changed
        ``(name, path)`` of everything that was put back; path ``""`` for a whole document, or
        for which config is active.
    skipped
        ``(name, path)`` of what was left alone, because somebody changed it since or
        because it is a secret.
    """

    label: str
    changed: tuple[tuple[str, str], ...]
    skipped: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        done = ", ".join(f"{name}.{path}" if path else name for name, path in self.changed) or "nothing"
        left = ", ".join(f"{name}.{path}" if path else name for name, path in self.skipped)
        label = f" of {self.label!r}" if self.label else ""
        return f"<Undone {done}{label}{f'; left alone: {left}' if left else ''}>"


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
    changed: list[tuple[str, str]] = []
    skipped: list[tuple[str, str]] = []
    ids = {step.operation.id for step in entry.steps}
    for step in reversed(entry.steps):
        now = present(step.operation.id)
        done: list[tuple[str, str]] = []
        back = _inverse_of(step, kinds, now, at_us, done, skipped)
        after = back.after if back else None
        if after and (now is None or after.name != now.name) and not is_free(after.kind, after.name, ids):
            skipped += done
            continue
        changed += done
        taken += [back] if back else []
    return taken, Undone(entry.label, tuple(changed), tuple(skipped))


def _inverse_of(
    step: Step,
    kinds: Kinds,
    now: Document | None,
    at_us: int,
    changed: list[tuple[str, str]],
    skipped: list[tuple[str, str]],
) -> Step | None:
    if step.before is None or step.after is None:
        back = _existence(step, now, at_us)
        (changed if back else skipped).append(_called(step.after or step.before))
        return back
    if now is None:
        skipped.append(_called(step.after))
        return None
    return _values(step.before, step.after, now, kinds, at_us, changed, skipped)


def _existence(step: Step, now: Document | None, at_us: int) -> Step | None:
    if step.before is None:
        untouched = now is not None and step.after is not None and now.body() == step.after.body()
        return edits.delete(now) if now is not None and untouched else None
    return edits.revive(_without_secrets(step.before), at_us) if now is None else None


def _values(
    before: Document,
    after: Document,
    now: Document,
    kinds: Kinds,
    at_us: int,
    changed: list[tuple[str, str]],
    skipped: list[tuple[str, str]],
) -> Step | None:
    if type(before) is not type(after):
        return _provider(before, after, now, kinds, at_us, changed, skipped)
    wanted = {}
    for path, info in leaves(type(after)).items():
        old, new = before.at(path), after.at(path)
        if is_same(to_plain(old), to_plain(new)):
            continue
        stands = path in leaves(type(now)) and is_same(to_plain(now.at(path)), to_plain(new))
        if stands and info.annotation is not SecretRef:
            wanted[path] = old
            changed.append(_called(now, path))
        else:
            skipped.append(_called(now, path))
    return edits.update(kinds[now.kind], now, wanted, at_us) if wanted else None


def _provider(
    before: Document,
    after: Document,
    now: Document,
    kinds: Kinds,
    at_us: int,
    changed: list[tuple[str, str]],
    skipped: list[tuple[str, str]],
) -> Step | None:
    """Take a change of provider back whole, or not at all."""
    if now.body() != after.body():
        skipped.append((now.name, "provider"))
        return None
    back = _without_secrets(before)
    operation = edits.difference(
        "update", now, back, dict.fromkeys([*leaves(type(now)), *leaves(type(back))])
    )
    changed.append((now.name, "provider"))
    return edits.Step(operation, now, back)


def _called(document: Document | None, path: str = "") -> tuple[str, str]:
    if document is None or document.kind == "profile":
        # Its name is the user's, who only knows of the choice in it.
        return "the active config", ""
    return document.name, path


def _without_secrets(document: Document) -> Document:
    secret = {
        path: SecretRef() for path, info in leaves(type(document)).items() if info.annotation is SecretRef
    }
    return document.model_copy(update=secret)
