"""Three-way merge of flat values: by field, with fields that belong together as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchstate.models.values import is_same

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Merge:
    """The outcome of a merge.

    Parameters
    ----------
    changes
        What has to be set on their values to get the merged ones; ours wins an overlap.
    overlaps
        Paths, or whole groups of them, that both sides changed to different values.
    """

    changes: dict[str, Any]
    overlaps: tuple[str, ...]


def merge(
    base: Mapping[str, Any],
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    groups: Iterable[frozenset[str]] = (),
) -> Merge:
    """Return how `ours` is applied to `theirs`, both made from `base`.

    Parameters
    ----------
    base
        Plain values before either side changed them: every path in `ours`, and every
        path of a group that `ours` touches.
    ours
        Our new values by path.
    theirs
        All values of the other side by path.
    groups
        Sets of paths that win or lose as one.

    Examples
    --------
    >>> merge({"a": 1}, {"a": 2}, {"a": 1, "b": 5})
    Merge(changes={'a': 2}, overlaps=())
    >>> merge({"a": 1}, {"a": 2}, {"a": 3})
    Merge(changes={'a': 2}, overlaps=('a',))
    """
    changes: dict[str, Any] = {}
    overlaps: list[str] = []
    for unit in _units(ours, base, groups):
        if all(is_same(theirs.get(path), ours[path]) for path in unit if path in ours):
            # They did the same, perhaps with more that belongs to it, which we knew nothing of.
            continue
        ours_now = {path: ours.get(path, base.get(path)) for path in unit}
        # What both have changed alike parts nobody: two that make a config of one provider at once.
        differing = [path for path in unit if path not in ours or not is_same(theirs.get(path), ours[path])]
        they_changed = any(not is_same(theirs.get(path), base.get(path)) for path in differing)
        if they_changed and any(not is_same(theirs.get(path), ours_now[path]) for path in unit):
            overlaps += unit
        # Without a change of theirs only what we touched is written; with one, the unit travels whole.
        changes |= {path: value for path, value in ours_now.items() if they_changed or path in ours}
    return Merge(changes, tuple(overlaps))


def _units(
    ours: Mapping[str, Any], base: Mapping[str, Any], groups: Iterable[frozenset[str]]
) -> list[tuple[str, ...]]:
    units: list[tuple[str, ...]] = []
    left = dict.fromkeys(ours)
    for group in groups:
        if any(path in group for path in left):
            units.append(tuple(sorted(path for path in group if path in base or path in ours)))
            left = {path: None for path in left if path not in group}
    return units + [(path,) for path in left]
