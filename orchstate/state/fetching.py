"""Fetching: what is asked for first comes from the engine, and nobody else has to wait meanwhile.

Another program may keep the engine busy for seconds. So the question is put without the
lock of the state; when news were shown meanwhile, the answer may be older than they are,
and it is put again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchstate.models.names import is_text

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable

    from orchstate.state.view import View
    from orchstate.storage.engine import Engine, Row, Snapshot

# After so many answers that were too old it is asked with the lock held.
_TRIES: Final = 5


class Fetcher:
    """Brings rows from the engine into the view.

    Parameters
    ----------
    engine
        Where rows come from.
    view
        Where they go.
    lock
        Guards the view.

    Attributes
    ----------
    fetches
        How often the engine was asked.
    """

    def __init__(self, engine: Engine, view: View, lock: threading.RLock) -> None:
        self._engine = engine
        self._view = view
        self.lock = lock
        self.fetches = 0

    def fetch_id(self, id: str, kind: str = "") -> None:
        """Have the document of an id in the view, if there is one; quicker where its kind is known."""
        if self._view.known(id) is None and not self._view.is_absent(kind, id):
            self._fetch(lambda snapshot: _some(snapshot.get(id)))

    def fetch_name(self, kind: str, name: str) -> None:
        """Have the document of a name in the view, if there is one.

        Raises
        ------
        CorruptStoreError
            If it is damaged beyond help.
        """
        if self._engine.damages:
            self._engine.damages.check_name(kind, name)
        if is_text(name) and not self._view.is_sure_of(kind, name):
            self._fetch(lambda snapshot: _some(snapshot.find(kind, name)))

    def fetch_kind(self, kind: str) -> None:
        """Have all documents of a kind in the view."""
        if not self._view.is_complete(kind):
            self._fetch(lambda snapshot: snapshot.rows(kind), kind)

    def deleted(self, kind: str) -> frozenset[str]:
        """Return the ids of all deleted documents of a kind, as the engine has them."""
        return frozenset(self._engine.snapshot().gone(kind))

    def _fetch(self, ask: Callable[[Snapshot], Iterable[Row]], kind: str = "") -> None:
        self.fetches += 1
        for _ in range(_TRIES):
            cursor = self._view.cursor
            snapshot = self._engine.snapshot()
            rows, gone = list(ask(snapshot)), _gone(snapshot, kind)
            with self.lock:
                if self._view.cursor == cursor:
                    self._view.take(rows, kind, gone)
                    return
        with self.lock:
            snapshot = self._engine.snapshot()
            self._view.take(ask(snapshot), kind, _gone(snapshot, kind))


def _gone(snapshot: Snapshot, kind: str) -> Iterable[str]:
    return snapshot.gone(kind) if kind else ()


def _some(row: Row | None) -> list[Row]:
    return [row] if row else []
