"""Secrets in a dict: for tests and for stores that live in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchstate.errors import SecretUnavailableError

if TYPE_CHECKING:
    from orchstate.models.secret import SecretSource


class MemoryStore:
    """Secrets that vanish with the process: nothing is written anywhere.

    Examples
    --------
    >>> store = MemoryStore()
    >>> store.set("gpt", "sk-1")
    >>> store.get("gpt")
    'sk-1'
    >>> store
    <MemoryStore (1 secret)>
    """

    source: Final[SecretSource] = "memory"

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def get(self, name: str) -> str:
        """Return the secret called `name`.

        Raises
        ------
        SecretUnavailableError
            If there is none.
        """
        value = self._values.get(name)
        if value is None:
            raise SecretUnavailableError(
                f"There is no key {name!r} in memory: keys there vanish with their process. Type it again."
            )
        return value

    def has(self, name: str) -> bool:
        """Return whether there is a secret called `name`."""
        return name in self._values

    def set(self, name: str, value: str) -> None:
        """Keep `value` under `name`, in place of an older one."""
        self._values[name] = value

    def delete(self, name: str) -> None:
        """Forget the secret called `name`; a missing one is fine."""
        self._values.pop(name, None)

    def __repr__(self) -> str:
        count = len(self._values)
        return f"<MemoryStore ({count} secret{'' if count == 1 else 's'})>"
