"""What people are asked about a conflict: both sides in a sentence, and what each answer does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchstate.errors import quoted
from orchstate.models.conflict import NEXT_STEP
from orchstate.models.document import leaves
from orchstate.models.secret import is_reference, masked
from orchstate.models.values import to_plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchstate.models.conflict import ConflictDocument
    from orchstate.models.document import Document

_FIELDS_SHOWN: Final = 3
# Characters of a value in a sentence, and on a button.
_LONGEST_VALUE: Final = 40
_LONGEST_CAPTION: Final = 16


class Question(NamedTuple):
    """What is to be decided."""

    sentence: str
    """Both sides."""

    ours: str
    """What ``resolve("ours")`` does, in the words of a button."""

    theirs: str
    """What ``resolve("theirs")`` does."""


def question(conflict: ConflictDocument, now: Document | None, *, is_own: bool = False) -> Question:
    """Return what people are asked about a conflict.

    Parameters
    ----------
    conflict
        The conflict.
    now
        The document that it is about as it is now, which may not be as it was then; None if there
        is none.
    is_own
        Whether the edit was made in this notebook.
    """
    by = "here" if is_own else f"by {conflict.user_id}"
    asked = _about_deletion(now, by) if conflict.verb == "delete" else _about_values(conflict, now, by)
    return asked._replace(sentence=" ".join([asked.sentence, *_what_waits_with_it(conflict)]))


def _about_deletion(now: Document | None, by: str) -> Question:
    sentence = "It was changed" if now else "It is gone by now, and was changed"
    return Question(f"{sentence} while deleting it was wanted {by}.", "Delete it", "Keep it")


def _about_values(conflict: ConflictDocument, now: Document | None, by: str) -> Question:
    reason = conflict.reason.removesuffix(NEXT_STEP).strip()
    if now is None:
        wanted = _listed(f"{path} {_wanted(conflict, path)}" for path in conflict.ours if path != "name")
        gone = reason if conflict.cause == "deleted" else f"{conflict.target_name} is gone by now."
        sentence = f"{gone} Wanted {by}: {wanted or 'to have it'}."
        return Question(sentence, "Bring it back with that" if wanted else "Bring it back", "Leave it so")
    paths = [path for path in conflict.fields if path in leaves(type(now))]
    if conflict.cause in ("overlap", "deleted") or (conflict.cause == "name" and conflict.verb == "create"):
        return _overlap(conflict, now, paths, by, reason)
    if conflict.cause == "name":
        return Question(f"{reason} The name was wanted {by}.", "Try again", "Keep the name")
    wanted = _listed(f"{path} {_wanted(conflict, path)}" for path in conflict.ours)
    return Question(f"{reason} Wanted {by}: {wanted}.", "Use what was wanted", "Keep what is saved")


def _overlap(conflict: ConflictDocument, now: Document, paths: list[str], by: str, reason: str) -> Question:
    sides = _listed(
        f"{path}, {_in_short(now.at(path))} is saved and {_wanted(conflict, path)} was wanted"
        for path in paths
    )
    told = f"{sides} {by}." if sides else f"It was wanted {by} as it is."
    sentence = told if conflict.cause == "overlap" else f"{reason} {told[:1].upper()}{told[1:]}"
    if len(paths) == 1:
        ours = _in_short(conflict.ours.get(paths[0]), _LONGEST_CAPTION)
        theirs = _in_short(now.at(paths[0]), _LONGEST_CAPTION)
        return Question(sentence, f"Use {ours}", f"Keep {theirs}")
    return Question(sentence, "Use what was wanted", "Keep what is saved")


def _what_waits_with_it(conflict: ConflictDocument) -> Iterator[str]:
    """Return a sentence on the other edits of the same transaction."""
    others = [edit for edit in conflict.edits if edit.get("id") != conflict.target]
    if others:
        label = f" {conflict.label!r}" if conflict.label else ""
        yield f"With it waits the rest of its transaction{label}: {_listed(map(_in_words, others))}."


def _in_words(edit: Any) -> str:
    name, verb, values = edit.get("name", ""), edit.get("verb"), to_plain(edit.get("set", {}))
    if verb != "update":
        return f"{verb} {name}"
    return ", ".join(f"{path} of {name} {_in_short(value)}" for path, value in values.items())


def _wanted(conflict: ConflictDocument, path: str) -> str:
    return _in_short(conflict.ours.get(path))


def _listed(parts: Iterator[str]) -> str:
    found = list(parts)
    more = len(found) - _FIELDS_SHOWN
    return "; ".join(found[:_FIELDS_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _in_short(value: Any, longest: int = _LONGEST_VALUE) -> str:
    plain = to_plain(value)
    return masked(plain["source"], plain["name"]) if is_reference(plain) else quoted(plain, longest)
