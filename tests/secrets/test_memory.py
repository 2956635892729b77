from __future__ import annotations

import pytest

from orchstate.secrets import MemoryStore
from tests.contract.secret_store import SecretStoreContract


class TestMemoryStore(SecretStoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


def test_two_stores_share_nothing() -> None:
    one, other = MemoryStore(), MemoryStore()
    one.set("gpt", "sk-1")
    assert not other.has("gpt")
