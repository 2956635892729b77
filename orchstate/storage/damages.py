"""Damages: what was found damaged since a store was opened, until it is looked over again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchstate.errors import CorruptStoreError
from orchstate.models.names import name_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Name = tuple[str, str]
# Sentences of one error that people are shown; its ids are complete.
_MOST_SHOWN: Final = 100
_STEP: Final = " Run: orchstate doctor"


class Damages:
    """What is damaged in a store, by the documents that it concerns.

    Attributes
    ----------
    error
        All that was met, in one; None if there was none.
    tell
        Called when there is a new one, in the thread that met it.
    """

    def __init__(self) -> None:
        self.error: CorruptStoreError | None = None
        self._messages: list[str] = []
        self.tell: Callable[[], object] = lambda: None
        self._ids: dict[str, CorruptStoreError] = {}
        self._names: dict[Name, CorruptStoreError] = {}
        self._gone: dict[str, CorruptStoreError] = {}

    def __bool__(self) -> bool:
        return self.error is not None

    def add(self, error: CorruptStoreError, names: Iterable[Name] = ()) -> None:
        """Note damage, and the kinds and names of the documents that cannot be read for it."""
        self._ids |= dict.fromkeys(error.ids, error)
        self._names |= {(kind, name_key(name)): error for kind, name in names}
        if str(error) not in self._messages:
            self._messages.append(str(error))
            self.error = CorruptStoreError(self._shown(), ids=list(self._ids))
            self.tell()

    def _shown(self) -> str:
        shown = self._messages[:_MOST_SHOWN]
        left_out = len(self._messages) - len(shown)
        # Once, at the end of all of them.
        step = _STEP if any(message.endswith(_STEP) for message in self._messages) else ""
        more = [f"And {left_out} more."] if left_out else []
        return " ".join([*(message.removesuffix(_STEP) for message in shown), *more]) + step

    def add_gone(self, error: CorruptStoreError, kind: str, name: str) -> None:
        """Note a document that is lost, so that asking for it says so; its name can be used again."""
        self._gone |= dict.fromkeys([*error.ids, f"{kind} {name_key(name)}"], error)

    def clear(self) -> None:
        """Forget what was met; what is lost stays so."""
        self.error = None
        self._messages.clear()
        self._ids.clear()
        self._names.clear()

    def check_name(self, kind: str, name: str) -> None:
        """Refuse to go on with a document that is there and cannot be read.

        Raises
        ------
        CorruptStoreError
            If that is so.
        """
        error = self._names.get((kind, name_key(name))) or self._ids.get(name)
        if error:
            raise _again(error)

    def check_kind(self, kind: str, is_seen: Callable[[str, str], bool]) -> None:
        """Refuse to take what is seen of a kind for all that there is.

        Raises
        ------
        CorruptStoreError
            If there is one that cannot be read, and is not seen from before.
        """
        for (other, name), error in self._names.items():
            if other == kind and not is_seen(kind, name):
                raise _again(error)

    def check_gone(self, kind: str, name_or_id: str) -> None:
        """Tell a document that was lost from one that never was.

        Raises
        ------
        CorruptStoreError
            If it was lost.
        """
        error = self._gone.get(f"{kind} {name_key(name_or_id)}") or self._gone.get(name_or_id)
        if error:
            raise _again(error)


def _again(error: CorruptStoreError) -> CorruptStoreError:
    # One that was raised before has the frames of that time.
    return type(error)(str(error), ids=error.ids)
