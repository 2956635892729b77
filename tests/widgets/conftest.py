"""A store in memory, and a page that writes down what it is sent."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import comm
import pytest
from comm.base_comm import BaseComm
from ipywidgets import Widget

from orchstate.testing import memory_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchstate.config import Config
    from orchstate.store import Store


@pytest.fixture
def store() -> Iterator[Store]:
    with memory_store() as store:
        yield store


@pytest.fixture
def gpt(store: Store) -> Config:
    gpt = store.configs.create("openai", name="gpt", model="gpt-5.4-mini", temperature=0.2)
    store.flush()
    return gpt


@pytest.fixture(autouse=True)
def no_widget_stays() -> Iterator[None]:
    yield
    Widget.close_all()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the kernel sends to the page from now on, one entry per message."""
    messages: list[dict[str, Any]] = []

    class Page(BaseComm):
        def publish_msg(self, msg_type: str, data: Any = None, **rest: Any) -> None:
            messages.append({"type": msg_type, "comm": self.comm_id, "data": copy.deepcopy(data)})

    monkeypatch.setattr(comm, "create_comm", Page)
    return messages
