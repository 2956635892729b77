"""Restoring: a moment of the past as new revisions, in one transaction that can be undone.

The past is not rewritten. What has been since then stays in the history, and so does the step
that restores. As with undo, keys are left alone, and what cannot come back is told with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from orchstate.models.document import ENVELOPE
from orchstate.state import steps as edits
from orchstate.state.undo import (
    Account,
    Left,
    blocked,
    dotted,
    left_in_sentences,
    left_in_short,
    listed,
    values_back,
    without_lost_keys,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchstate.models.document import Document
    from orchstate.state.kinds import Kinds
    from orchstate.state.steps import Step
    from orchstate.state.undo import IsFree, Reason


class Former(NamedTuple):
    """What one document was at a moment.

    Parameters
    ----------
    document
        None if it did not exist, or cannot be read.
    problem
        Why it cannot be restored at all, None if it can be.
    name
        What it is called, where `document` does not say.
    """

    document: Document | None
    problem: Reason | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Restored:
    """What restoring a moment did, or would do; ``str()`` says it in sentences.

    Parameters
    ----------
    seq
        The last revision that belongs to the moment.
    changed
        ``(name, path)`` of every value that was put back.
    created, deleted
        Names of what was made again, and of what was deleted since it came later; a deleted config's
        key goes with it.
    left
        What was left alone, and why.
    is_preview
        Whether nothing was done yet.

    Examples
    --------
    >>> gpt.temperature = 0.9
    >>> print(store.at(1).restore("gpt"))
    Restored: temperature of gpt.
    """

    seq: int
    changed: tuple[tuple[str, str], ...] = ()
    created: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    left: tuple[Left, ...] = ()
    is_preview: bool = False

    @property
    def message(self) -> str:
        """What came back, what went, what did not and why, in sentences for people."""
        parts = {
            "Restored": listed(self.changed),
            "Made again": ", ".join(self.created),
            "Deleted, since it came later": ", ".join(self.deleted),
        }
        sentences = [f"{what}: {things}." for what, things in parts.items() if things]
        sentences += left_in_sentences(self.left)
        if not sentences:
            return f"Nothing to restore: it is as it was at revision {self.seq}."
        return " ".join([*(["Nothing is done yet."] if self.is_preview else []), *sentences])

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        parts = [
            *(dotted(name, path) for name, path in self.changed),
            *(f"{name} made again" for name in self.created),
            *(f"{name} deleted" for name in self.deleted),
        ]
        word = "Preview" if self.is_preview else "Restored"
        done = ", ".join(parts) or "nothing"
        return f"<{word} {done} as of revision {self.seq}{left_in_short(self.left)}>"


class _Part:
    """One document on its way back."""

    def __init__(self, wanted: Former, now: Document | None) -> None:
        self.wanted = wanted
        self.now = now
        self.account = Account()
        self.step: Step | None = None

    @property
    def verb(self) -> str:
        return self.step.operation.verb if self.step else ""


def restoring(
    wanted: Mapping[str, Former],
    kinds: Kinds,
    present: Callable[[str], Document | None],
    is_free: IsFree,
    at_us: int,
) -> tuple[list[Step], Restored]:
    """Return the steps that make documents what they were, and what is to be told of it.

    Parameters
    ----------
    wanted
        What they were, by id.
    kinds
        The kinds of documents.
    present
        Returns the document of an id as it is now.
    is_free
        Whether a kind's name is free, apart from the documents of some ids.
    at_us
        The time of the new steps.
    """
    parts = [_Part(one, _as_of_today(present(id), kinds)) for id, one in wanted.items()]
    for part in parts:
        part.step = _step(part, kinds, at_us)
    while taken := blocked([part.step for part in parts], is_free):
        for index in taken:
            _without_name(parts[index], kinds, at_us)
    return [part.step for part in parts if part.step], _told(parts)


def _as_of_today(document: Document | None, kinds: Kinds) -> Document | None:
    """Return a document as the definition of now reads it, which may be newer than that it was read by."""
    if document is None:
        return None
    cls = kinds[document.kind].document_class(document.__dict__)
    if type(document) is cls:
        return document
    return cls.from_body({name: getattr(document, name) for name in ENVELOPE}, document.body())


def _told(parts: Sequence[_Part]) -> Restored:
    changed = [thing for part in parts if part.verb == "update" for thing in part.account.changed]
    names = {
        verb: tuple(part.account.changed[0][0] for part in parts if part.verb == verb)
        for verb in ("create", "delete")
    }
    left = tuple(one for part in parts for one in part.account.left)
    return Restored(0, tuple(changed), names["create"], names["delete"], left)


def _step(part: _Part, kinds: Kinds, at_us: int) -> Step | None:
    then, now, account = part.wanted.document, part.now, part.account
    if part.wanted.problem:
        account.left.append(Left(part.wanted.name, "", part.wanted.problem))
        return None
    if then is None:
        if now is None:
            return None
        account.put_back(now)
        return edits.delete(now)
    if not kinds[then.kind].is_known(then):
        account.leave(then, "", "not defined")
        return None
    sound = _sound(then, now, account)
    if sound is None:
        return None
    if now is not None:
        return _changed(sound, now, kinds, at_us, account)
    account.put_back(sound)
    return edits.revive(without_lost_keys(sound, None, account), at_us)


def _changed(then: Document, now: Document, kinds: Kinds, at_us: int, account: Account) -> Step | None:
    step = values_back(then, now, now, kinds, at_us, account)
    # Nobody else is in the way here: what does not fit breaks a rule.
    account.left = [
        Left(one.name, one.path, "not valid") if one.reason == "changed" else one for one in account.left
    ]
    return step


def _without_name(part: _Part, kinds: Kinds, at_us: int) -> None:
    """Leave a name alone that another document has by now, and with it what was to be made again."""
    then, now = part.wanted.document, part.now
    if then is None or now is None:
        part.account.leave_all("name taken")
        part.step = None
        return
    part.account = Account()
    part.wanted = Former(then.model_copy(update={"name": now.name}))
    part.step = _step(part, kinds, at_us)
    part.account.leave(now, "name", "name taken")


def _sound(then: Document, now: Document | None, account: Account) -> Document | None:
    """Return a document without what breaks a rule of today; None if it cannot be without that."""
    faulty = {issue.field.partition(".")[0] for issue in then.issues()}
    if not faulty:
        return then
    usual = now if type(now) is type(then) else None
    needed = {name for name, info in type(then).model_fields.items() if info.is_required()}
    if "" in faulty or (usual is None and faulty & needed):
        account.leave(then, "", "not valid")
        return None
    for name in sorted(faulty):
        account.leave(then, name, "not valid")
    fields = type(then).model_fields
    values = {
        name: getattr(usual, name) if usual else fields[name].get_default(call_default_factory=True)
        for name in faulty
    }
    return then.model_copy(update=values)
