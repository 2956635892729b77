"""A store with a past."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import orchstate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchstate.store import Store


@pytest.fixture
def store() -> Iterator[Store]:
    """A store in memory: seq 1 makes gpt, 2 and 3 change it, 4 makes o, 5 deletes it, 6 is a setting."""
    with orchstate.open(":memory:", actor="me") as store:
        gpt = store.configs.create("openai", name="gpt", temperature=0.2)
        gpt.temperature = 0.5
        with store.transaction("tuning"):
            gpt.temperature = 0.9
            gpt.tags = ["a"]
        store.configs.create("ollama", name="o", num_ctx=5)
        store.configs["o"].delete()
        store.settings.agents.timeout = 5_000
        store.flush()
        yield store
