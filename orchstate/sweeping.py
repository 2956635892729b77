"""Sweeping: the value of a key that no document refers to any more is removed from where it lived."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from orchstate.errors import OrchstateError, StoreError
from orchstate.keyed import is_own_key, owner_of, was_written_at
from orchstate.models.config import ConfigDocument
from orchstate.models.conflict import ConflictDocument
from orchstate.models.secret import references

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orchstate.models.secret import SecretRef
    from orchstate.secrets.secrets import Secrets
    from orchstate.state.events import Event
    from orchstate.state.state import State

logger = logging.getLogger(__name__)

_HOLDERS: Final = (ConfigDocument.kind, ConflictDocument.kind)


class Sweeper:
    """Removes the keys that this process's own edits leave without a reference.

    A replaced key is gone when the edit is committed, and a new one when it is not.

    Parameters
    ----------
    state
        Where documents refer to keys.
    secrets
        Where the keys are.
    places
        Returns which files the store was in: a copy of it leaves the keys of the other alone.
    """

    def __init__(self, state: State, secrets: Secrets, places: Callable[[], Iterable[str]]) -> None:
        self._state = state
        self._secrets = secrets
        self._places = places
        state.subscribe(self._follow, mentions='"source"')

    def drop_unused(self, id: str, ref: SecretRef) -> None:
        """Remove the value of a document's own key in the background, unless it refers to it after all."""
        is_own = is_own_key(id, ref) and was_written_at(self._places(), ref)
        if ref.source in ("none", "env") or not is_own:
            return
        try:
            now = self._state.seen(id)
        except StoreError as error:
            logger.warning("Whether a key is still used could not be seen, so it is kept: %s", error)
            return
        if ref not in references(now.body() if now else {}) and not self._is_in_question(ref):
            self._state.in_background(partial(self._delete, ref))

    def _is_in_question(self, ref: SecretRef) -> bool:
        """Whether an open conflict may still bring a key into use."""
        open_ones = map(self._state.seen, self._state.listed(ConflictDocument.kind))
        return any(ref in references(conflict.body()) for conflict in open_ones if conflict)

    def _delete(self, ref: SecretRef) -> None:
        try:
            self._secrets.delete(ref)
        except OrchstateError as error:
            logger.warning("A key that is not used any more could not be removed: %s", error)

    def _follow(self, event: Event) -> None:
        if event.external or event.kind not in _HOLDERS:
            return
        which = 1 if event.seq is None else 0
        for change in event.changes.values():
            for ref in references(change[which]):
                # A conflict has the keys of the documents that it is about.
                self.drop_unused(owner_of(ref), ref)
