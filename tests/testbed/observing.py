"""Watching what is told to observers, and waiting for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def changes_of(record: Any, *names: str) -> list[tuple[Any, ...]]:
    """Return a list that fills with ``(name, old, new, cause)`` of what is observed."""
    heard: list[tuple[Any, ...]] = []

    def hear(change: Any) -> None:
        heard.append((change.name, change.old, change.new, change.cause))

    if names:
        record.observe(hear, list(names))
    else:
        record.observe(hear)
    return heard


def wait_until(is_so: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait until something is so, as a script without an event loop does."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.001)
