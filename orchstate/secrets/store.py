"""What every place for secrets can do: the seam between `Secrets` and the stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from orchstate.models.secret import SecretSource


@runtime_checkable
class SecretStore(Protocol):
    """A place where secrets live under names.

    Every method may be called from any thread, answers within seconds, and raises
    `SecretUnavailableError` when the place is locked, missing or silent. No error,
    nor the frames of its traceback, holds a secret.
    """

    @property
    def source(self) -> SecretSource:
        """What a `SecretRef` to one of these secrets has as its source."""

    def get(self, name: str) -> str:
        """Return the secret called `name`; a missing one is a `SecretUnavailableError`."""

    def has(self, name: str) -> bool:
        """Return whether there is a secret called `name`."""

    def set(self, name: str, value: str) -> None:
        """Keep `value` under `name`, in place of an older one."""

    def delete(self, name: str) -> None:
        """Forget the secret called `name`; a missing one is fine."""
