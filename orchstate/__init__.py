"""Live, versioned LLM provider configurations for notebooks.

Open a store, edit it in a form or in code, look at its history, share it as one file:

    import orchstate as orch
    store = orch.open()
    store.form()

Names are imported when they are first used, so importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchstate.config import Config
    from orchstate.conflicts import Conflict
    from orchstate.errors import (
        BackupError,
        ClosedError,
        ConflictError,
        CorruptStoreError,
        DuplicateNameError,
        FlushError,
        ForkedStoreError,
        LimitExceededError,
        LiveObjectError,
        MissingExtraError,
        NewerSchemaError,
        NotFoundError,
        OrchstateError,
        OrchstateWarning,
        ProviderError,
        ReadOnlyError,
        SecretError,
        SecretUnavailableError,
        SetupError,
        StoreError,
        StoreLockedError,
        StoreMovedError,
        StoreWriteError,
        UnknownFieldError,
        ValidationError,
        VaultCorruptError,
        WrongPassphraseError,
    )
    from orchstate.models.secret import SecretRef, env
    from orchstate.opening import aopen, open
    from orchstate.state.events import (
        ActiveChanged,
        ConflictOpened,
        ConflictResolved,
        Created,
        Deleted,
        Event,
        SettingChanged,
        Updated,
    )
    from orchstate.store import Store

__version__ = "0.1.0"

_HOMES = {
    "orchstate.config": ("Config",),
    "orchstate.conflicts": ("Conflict",),
    "orchstate.errors": (
        "BackupError",
        "ClosedError",
        "ConflictError",
        "CorruptStoreError",
        "DuplicateNameError",
        "FlushError",
        "ForkedStoreError",
        "LimitExceededError",
        "LiveObjectError",
        "MissingExtraError",
        "NewerSchemaError",
        "NotFoundError",
        "OrchstateError",
        "OrchstateWarning",
        "ProviderError",
        "ReadOnlyError",
        "SecretError",
        "SecretUnavailableError",
        "SetupError",
        "StoreError",
        "StoreLockedError",
        "StoreMovedError",
        "StoreWriteError",
        "UnknownFieldError",
        "ValidationError",
        "VaultCorruptError",
        "WrongPassphraseError",
    ),
    "orchstate.models.secret": ("SecretRef", "env"),
    "orchstate.opening": ("aopen", "open"),
    "orchstate.state.events": (
        "ActiveChanged",
        "ConflictOpened",
        "ConflictResolved",
        "Created",
        "Deleted",
        "Event",
        "SettingChanged",
        "Updated",
    ),
    "orchstate.store": ("Store",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ActiveChanged",
    "BackupError",
    "ClosedError",
    "Config",
    "Conflict",
    "ConflictError",
    "ConflictOpened",
    "ConflictResolved",
    "CorruptStoreError",
    "Created",
    "Deleted",
    "DuplicateNameError",
    "Event",
    "FlushError",
    "ForkedStoreError",
    "LimitExceededError",
    "LiveObjectError",
    "MissingExtraError",
    "NewerSchemaError",
    "NotFoundError",
    "OrchstateError",
    "OrchstateWarning",
    "ProviderError",
    "ReadOnlyError",
    "SecretError",
    "SecretRef",
    "SecretUnavailableError",
    "SettingChanged",
    "SetupError",
    "Store",
    "StoreError",
    "StoreLockedError",
    "StoreMovedError",
    "StoreWriteError",
    "UnknownFieldError",
    "Updated",
    "ValidationError",
    "VaultCorruptError",
    "WrongPassphraseError",
    "aopen",
    "env",
    "open",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return list(__all__)
