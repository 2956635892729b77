"""Losses: what damage took from a store, as it is noted in what was saved of it.

The note says which seqs are missing, so that nobody looks for them again, and which
documents are gone, so that they are not taken for ones that never were. It has a checksum:
of a note that does not fit its own, it is known alone that something was lost.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchstate.errors import CorruptStoreError
from orchstate.storage.engine import checksum_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from orchstate.storage.connection import Query

# What the keys of such notes in the table of what is fixed begin with; the rest orders them.
PREFIX: Final = "salvage "
_NOTES: Final = f"SELECT key, value FROM meta WHERE key LIKE '{PREFIX}%'"  # noqa: S608
UNKNOWN: Final = (
    "What an earlier salvage had noted of losses is damaged: something was lost, and it is not known what. "
    "Compare with the damaged file that was kept, and then run: orchstate salvage"
)


@dataclass(frozen=True, slots=True)
class Loss:
    """A document that is not what it was.

    Parameters
    ----------
    id, kind, name
        Which; ``""`` where that is not known.
    what
        What happened to it, as a sentence.
    is_gone
        Whether nothing of it is left.
    """

    id: str
    kind: str
    name: str
    what: str
    is_gone: bool = False


class Owned(NamedTuple):
    """What was lost of one document.

    Parameters
    ----------
    called
        Which, for people.
    seqs
        The first and the last of each run of its revisions.
    """

    called: str
    seqs: Sequence[Sequence[int]]


def lost_seqs(meta: dict[str, str]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of each run of seqs that earlier damage took."""
    for report in reports(meta):
        yield from ((start, end) for start, end in report["seqs"])


def reports(meta: dict[str, str]) -> list[dict[str, Any]]:
    """Return what was noted of each earlier damage, oldest first, without notes that are damaged."""
    damaged = unreadable(meta)
    notes = (meta[key] for key in sorted(meta) if key.startswith(PREFIX) and key not in damaged)
    return [json.loads(text.partition(" ")[2]) for text in notes]


def unreadable(meta: dict[str, str]) -> set[str]:
    """Return the keys of the notes that are damaged, or from before they had checksums."""
    return {key for key in meta if key.startswith(PREFIX) and not _is_sound(meta[key])}


def _is_sound(noted: object) -> bool:
    # Damage makes other things of texts.
    checksum, _, text = noted.partition(" ") if isinstance(noted, str) else ("", "", "")
    return checksum == checksum_of(text).hex()


def told(report: dict[str, Any], path: Path) -> CorruptStoreError:
    """Return what people are told of a report when somebody else made it."""
    losses = [Loss(**loss) for loss in report["lost"]]
    lost = " ".join(loss.what for loss in losses) or "Nothing is lost of any document."
    lost += doubtful(report)
    kept = f"; the damaged file is kept as {report['kept']!r}" if report["kept"] else ""
    return CorruptStoreError(
        f"{str(path)!r} was damaged, and another process saved what is sound{kept}. {lost} "
        "When you have seen this, call store.refresh().",
        ids=[loss.id for loss in losses if loss.id],
    )


def lost_names(meta: dict[str, str]) -> Iterator[tuple[str, Loss]]:
    """Yield the documents of which nothing is left, and where the damaged file was kept."""
    for found in reports(meta):
        losses = (Loss(**loss) for loss in found["lost"])
        yield from ((found["kept"], loss) for loss in losses if loss.is_gone)


def report_of(
    seqs: Sequence[int],
    owned: Mapping[str, Owned],
    count: int,
    until: int,
    kept: str,
    losses: Iterable[Loss],
) -> dict[str, Any]:
    """Return what is noted of damage in what was saved.

    Parameters
    ----------
    seqs
        Of the revisions that are known to be missing.
    owned
        The same by the id of the document, where it is certain of each whose it was; else nothing.
    count
        How many are missing; more, where a compaction had removed others.
    until
        Number of the last commit by then.
    kept
        Name of the damaged file, ``""`` if it was not moved.
    losses
        What is not as it was.
    """
    return {
        "kept": kept,
        "seqs": list(runs(seqs)),
        "count": count,
        "until": until,
        "lost": [asdict(loss) for loss in losses],
        "owned": {id: list(one) for id, one in owned.items()},
    }


def note(report: dict[str, Any]) -> str:
    """Return a report as it is stored."""
    text = json.dumps(report)
    return f"{checksum_of(text).hex()} {text}"


def doubtful(report: dict[str, Any]) -> str:
    """Return what is said of what is not certain any more, with a space before; ``""`` for nothing."""
    first = min((start for start, _ in report["seqs"]), default=1)
    if not report["count"] or first >= report["until"]:
        return ""
    last = report["until"] - 1
    owned = _owned(report)
    if not owned:
        return f" What the store was from {first} to {last} is not certain any more."
    spans = ", ".join(f"{called} from {runs[0][0]} on" for called, runs in owned.values())
    return f" Not certain any more before {report['until']}: what was {spans}."


def _owned(report: dict[str, Any]) -> dict[str, Owned]:
    """Return by document what was lost, where that is known of all; else nothing."""
    return {id: Owned(*one) for id, one in report.get("owned", {}).items()}


def has_unreadable(query: Query) -> bool:
    """Return whether something was lost of which it is not known any more what."""
    return bool(unreadable(dict(query(_NOTES, []))))


def count_lost(query: Query) -> int:
    """Return how many revisions were lost in damage."""
    return sum(report["count"] for report in reports(dict(query(_NOTES, []))))


def check_lost(query: Query, seq: int) -> None:
    """Refuse a moment of which revisions were lost in damage.

    Raises
    ------
    CorruptStoreError
        If that is so.
    """
    notes: dict[str, str] = dict(query(_NOTES, []))
    if unreadable(notes) and seq < query("SELECT seq FROM clock", [])[0][0]:
        raise CorruptStoreError(f"What the store was at {seq} is not certain. {UNKNOWN}")
    for report in reports(notes):
        if (owned := _owned(report)) and all(_is_known_before(query, id, one) for id, one in owned.items()):
            # Then these documents are uncertain, and no others.
            continue
        first = min((start for start, _ in report["seqs"]), default=1)
        if report["count"] and first <= seq < report["until"]:
            raise CorruptStoreError(
                f"What the store was at {seq} is not certain: changes between {first} and {report['until']} "
                f"were lost in damage. The nearest certain moments are {first - 1} and {report['until']}."
            )


def _is_known_before(query: Query, id: str, lost: Owned) -> bool:
    """Whether the history has a revision of a document before the first one that is lost."""
    first = lost.seqs[0][0]
    return bool(query("SELECT 1 FROM rev WHERE id = ? AND seq < ? LIMIT 1", [id, first]))


def doubted(query: Query, seq: int) -> dict[str, int]:
    """Return by document the last revision up to a moment that was lost, where it is certain whose it was."""
    found: dict[str, int] = {}
    for report in reports(dict(query(_NOTES, []))):
        for id, (_, lost) in _owned(report).items() if seq < report["until"] else ():
            last = max((min(end, seq) for start, end in lost if start <= seq), default=0)
            if last:
                found[id] = max(last, found.get(id, 0))
    return found


def in_words(numbers: Iterable[int]) -> str:
    """Return ascending numbers as people write them.

    Examples
    --------
    >>> in_words([1, 2, 3, 7])
    '1-3, 7'
    """
    return ", ".join(f"{start}" if start == end else f"{start}-{end}" for start, end in runs(numbers))


def runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of each run in ascending numbers.

    Examples
    --------
    >>> list(runs([1, 2, 3, 7]))
    [(1, 3), (7, 7)]
    """
    start = end = None
    for number in numbers:
        if end is not None and number == end + 1:
            end = number
            continue
        if start is not None and end is not None:
            yield start, end
        start = end = number
    if start is not None and end is not None:
        yield start, end
