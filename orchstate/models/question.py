"""What people are asked about a conflict: both sides in a sentence, and what each answer does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchstate.errors import quoted
from orchstate.models.conflict import NEXT_STEP
from orchstate.models.document import leaves
from orchstate.models.secret import is_reference, masked
from orchstate.models.settings import SettingsDocument
from orchstate.models.values import is_same, to_plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
    is_new_name = conflict.cause == "name" and (now is None or conflict.verb == "update")
    if is_new_name:
        return Question(f"{reason} The name was wanted {by}.", "Try again", "Leave it so")
    if now is None:
        gone = reason if conflict.cause == "deleted" else f"{conflict.target_name} is gone by now."
        return Question(f"{gone} {_all_wanted(conflict, by)}", "Bring it back with that", "Leave it so")
    sides = _sides(conflict, now, by) if conflict.cause != "invalid" else ""
    sentence = (
        sides if sides and conflict.cause == "overlap" else f"{reason} {sides or _all_wanted(conflict, by)}"
    )
    disputed = _disputed(conflict, now)
    if len(disputed) != 1 or not sides:
        return Question(sentence, "Use what was wanted", "Keep what is saved")
    ours, theirs = conflict.ours[disputed[0]], now.at(disputed[0])
    return Question(
        sentence,
        "Unset it" if ours is None else f"Use {_in_short(ours, _LONGEST_CAPTION)}",
        "Keep it unset" if theirs is None else f"Keep {_in_short(theirs, _LONGEST_CAPTION)}",
    )


def in_question(conflict: ConflictDocument, now: Document | None) -> list[str]:
    """Return the fields in question by now: also what nobody disputed, and somebody has changed since."""
    known = leaves(type(now)) if now else ()
    return [
        *conflict.fields,
        *(
            path
            for path in conflict.ours
            if now and path in known and path in conflict.theirs and path not in conflict.fields
            if not is_same(to_plain(now.at(path)), to_plain(conflict.theirs[path]))
            if not _is_as_wanted(conflict, now, path)
        ),
    ]


def _disputed(conflict: ConflictDocument, now: Document) -> list[str]:
    """Return which of the fields in question the edit would change still."""
    known, wanted = leaves(type(now)), in_question(conflict, now)
    return [
        path
        for path in wanted
        if path in conflict.ours and path in known and not _is_as_wanted(conflict, now, path)
    ]


def _is_as_wanted(conflict: ConflictDocument, now: Document, path: str) -> bool:
    return is_same(to_plain(now.at(path)), to_plain(conflict.ours[path]))


def _sides(conflict: ConflictDocument, now: Document, by: str) -> str:
    """Return both sides of what is in question, ``""`` if nothing is any more."""
    sides = [
        f"{path}: {_in_short(now.at(path))} is saved, {_in_short(conflict.ours[path])} was wanted"
        for path in _disputed(conflict, now)
    ]
    if not sides:
        return ""
    known = leaves(type(now))
    # What belongs together is in question together, also what the edit has left alone.
    others = [path for path in conflict.fields if path not in conflict.ours and path in known]
    changed = [
        path for path in others if not is_same(to_plain(now.at(path)), to_plain(conflict.base.get(path)))
    ]
    meanwhile = [f"{path} is {_in_short(now.at(path))} by now" for path in changed]
    asked = in_question(conflict, now)
    beside = [
        f"{path} {_in_short(value)}"
        for path, value in conflict.ours.items()
        if path in known and path not in asked and not _is_as_wanted(conflict, now, path)
    ]
    parts = [f"{_listed(sides)} {by}."]
    parts += [f"Meanwhile, {_listed(meanwhile)}."] if meanwhile else []
    # Whoever keeps what is saved loses this, too.
    parts += [f"With it was wanted: {_listed(beside)}."] if beside else []
    return " ".join(parts)


def _all_wanted(conflict: ConflictDocument, by: str) -> str:
    wanted = [f"{path} {_in_short(value)}" for path, value in conflict.ours.items() if path != "name"]
    return f"Wanted {by}: {_listed(wanted)}." if wanted else f"It was wanted {by}."


def _what_waits_with_it(conflict: ConflictDocument) -> Iterator[str]:
    """Return a sentence on the other edits of the same transaction."""
    others = [edit for edit in conflict.edits if edit.get("id") != conflict.target]
    if others:
        label = f" {conflict.label!r}" if conflict.label else ""
        yield f"With it waits the rest of its transaction{label}: {_listed(map(_in_words, others))}."


def _in_words(edit: Any) -> str:
    name, verb, values = edit.get("name", ""), edit.get("verb"), to_plain(edit.get("set", {}))
    # Settings are there before they are stored first.
    if verb != "update" and edit.get("kind") != SettingsDocument.kind:
        return f"{verb} {name}"
    values = {path: value for path, value in values.items() if path != "name" or verb == "update"}
    return ", ".join(f"{path} of {name} {_in_short(value)}" for path, value in values.items())


def _listed(parts: Iterable[str]) -> str:
    found = list(parts)
    more = len(found) - _FIELDS_SHOWN
    return "; ".join(found[:_FIELDS_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _in_short(value: Any, longest: int = _LONGEST_VALUE) -> str:
    plain = to_plain(value)
    if plain is None:
        return "nothing"
    return masked(plain["source"], plain["name"]) if is_reference(plain) else quoted(plain, longest)
