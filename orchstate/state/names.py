"""Names: which of the documents that are seen has which."""

from __future__ import annotations

from orchstate.models.names import name_key


class Names:
    """Ids of existing documents by kind and name, in any case.

    A name has more than one id only while an own edit is on its way to being refused for it.
    """

    def __init__(self) -> None:
        self._ids: dict[tuple[str, str], tuple[str, ...]] = {}

    def last(self, kind: str, name: str) -> str | None:
        """Return the id of the document that a name means, None if there is none."""
        ids = self._ids.get((kind, name_key(name)))
        return ids[-1] if ids else None

    def has(self, kind: str, name: str) -> bool:
        """Whether a document has a name."""
        return (kind, name_key(name)) in self._ids

    def of_kind(self, kind: str) -> set[str]:
        """Return the keys of all names of a kind."""
        return {key for known, key in self._ids if known == kind}

    def move(self, kind: str, id: str, old: str | None, new: str | None) -> None:
        """Note that a document had one name and has another; None where it does not exist."""
        before = (kind, name_key(old)) if old is not None else None
        after = (kind, name_key(new)) if new is not None else None
        if before and before != after:
            left = tuple(other for other in self._ids.get(before, ()) if other != id)
            if left:
                self._ids[before] = left
            else:
                self._ids.pop(before, None)
        if after and id not in self._ids.get(after, ()):
            self._ids[after] = (*self._ids.get(after, ()), id)
