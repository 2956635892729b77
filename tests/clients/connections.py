"""Connections as a store would make them, with keys that are easy to find again."""

from __future__ import annotations

import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

from orchstate.clients.connection import Connection
from orchstate.models.secret import SecretRef
from orchstate.providers.registry import Registry
from tests.providers.definitions import document

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchstate.models.config import ConfigDocument
    from orchstate.providers.definition import ProviderDefinition

KEY = "sk-own-0123456789/abc+def"
REF = SecretRef(source="memory", name="a key")
SDKS = ("openai", "anthropic", "ollama")
REGISTRY = Registry([])


def connection(
    provider: str | ProviderDefinition,
    *,
    key: str | None = KEY,
    name: str = "gpt",
    timeout_ms: int = 5_000,
    **values: Any,
) -> Connection:
    """Return a connection to a packaged or given provider, with a key unless it is None."""
    definition = REGISTRY.get(provider) if isinstance(provider, str) else provider
    if key is not None and definition.field("api_key"):
        values = {"api_key": REF, **values}
    config: ConfigDocument = document(definition, name=name, **values)
    stamp = {"store": "s", "config": "1", "revision": 3, "fingerprint": "f"}
    return Connection(definition, config, lambda ref: key or "", timeout_ms, retries=0, stamp=stamp)


def spoken(error: BaseException) -> str:
    """Return everything that an error shows, and all that its traceback below the test could show."""
    below = error.__traceback__.tb_next if error.__traceback__ else None
    shown = traceback.TracebackException(type(error), error, below, capture_locals=True)
    return "".join(shown.format()) + repr(error) + repr(vars(error))


def wait_until(is_true: Any, *, seconds: float = 3.0) -> bool:
    """Return whether something becomes true within some seconds."""
    end = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def no_calls_left() -> bool:
    """Return whether no call runs any more."""
    return not [thread for thread in threading.enumerate() if thread.name == "orchstate-call"]


def own_headers(requests: Iterable[Any]) -> list[dict[str, str]]:
    """Return the headers of requests, without those that every HTTP client sends."""
    usual = set("host accept accept-encoding connection user-agent content-type content-length".split())
    return [
        {
            name: value
            for name, value in request.headers.items()
            if name not in usual and not name.startswith("x-stainless")
        }
        for request in requests
    ]
