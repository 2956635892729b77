"""What the state has to know of a kind of documents; everything else is the same for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchstate.models.document import leaves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from orchstate.models.document import Document


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of documents.

    Parameters
    ----------
    name
        The word stored with each document, such as ``"config"``.
    document_class
        Returns the class for the flat plain values of a document: that of its provider,
        for a config.
    paths
        Returns the paths of all fields that such a document may have.
    prepare
        Returns the document that an edit really starts from, and the changes that it
        really means: a change of provider puts old fields away and brings others back.
        Most kinds return what they are given.
    is_known
        Whether such a document can be edited here: not where what defines it is missing.
    plural
        What a store calls its collection of them, ``""`` where it has none.
    is_restored
        Whether a moment of the store that is restored includes them: what belongs to one user does
        not, nor what has been noted of the past itself.
    """

    name: str
    document_class: Callable[[Mapping[str, Any]], type[Document]]
    paths: Callable[[], Iterable[str]]
    prepare: Callable[[Document, dict[str, Any]], tuple[Document, dict[str, Any]]] = (
        lambda document, changes: (
            document,
            changes,
        )
    )
    is_known: Callable[[Document], bool] = lambda document: True
    plural: str = ""
    is_restored: bool = False


Kinds = dict[str, Kind]


def plain_kind(document_class: type[Document], *, plural: str = "", is_restored: bool = False) -> Kind:
    """Return the kind of documents that all have one class."""
    return Kind(
        document_class.kind,
        lambda body: document_class,
        lambda: leaves(document_class),
        plural=plural,
        is_restored=is_restored,
    )
