"""Two stores in memory, and a folder of definitions that nobody else has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchstate.testing import memory_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchstate.store import Store


@pytest.fixture(autouse=True)
def definitions(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's own provider definitions; empty."""
    folder = tmp_path_factory.mktemp("definitions")
    monkeypatch.setenv("ORCHSTATE_PROVIDERS", str(folder))
    return folder


@pytest.fixture
def store() -> Iterator[Store]:
    with memory_store() as store:
        yield store


@pytest.fixture
def other() -> Iterator[Store]:
    with memory_store(actor="colleague") as store:
        yield store
