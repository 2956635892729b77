"""A vault that derives its key quickly, and a keyring of the test's choice."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import keyring
import keyring.core
import pytest

from orchstate.secrets import VaultStore
from tests.secrets.backends import HangingBackend
from tests.secrets.vaults import PASSPHRASE, quick_kdf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from keyring.backend import KeyringBackend

pytest.register_assert_rewrite("tests.contract.secret_store")


@pytest.fixture
def use_backend() -> Iterator[Callable[[KeyringBackend], None]]:
    """A function that makes a backend the keyring of this process, until the end of the test."""
    before = keyring.core._keyring_backend
    used: list[KeyringBackend] = []

    def use(backend: KeyringBackend) -> None:
        used.append(backend)
        keyring.set_keyring(backend)

    yield use
    keyring.core._keyring_backend = before
    for backend in used:
        if isinstance(backend, HangingBackend):
            backend.released.set()


@pytest.fixture
def within_limit() -> Iterator[None]:
    """Fail the test if it waits for a keyring that hangs until that answers."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < 20


@pytest.fixture
def no_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    """No passphrase in the environment."""
    monkeypatch.delenv("ORCHSTATE_VAULT_PASSPHRASE", raising=False)
    monkeypatch.delenv("ORCHSTATE_VAULT_PASSPHRASE_FILE", raising=False)


@pytest.fixture
def locked_vault(tmp_path: Path, no_passphrase: None) -> VaultStore:
    """A vault that does not exist yet."""
    return VaultStore(tmp_path / "vault" / "vault.json", _new_kdf=quick_kdf)


@pytest.fixture
def vault(locked_vault: VaultStore) -> VaultStore:
    """A new vault, unlocked."""
    locked_vault.unlock(PASSPHRASE)
    return locked_vault
