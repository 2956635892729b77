"""Large stores, quickly: revisions go to the engine in large commits, without an outbox or a view."""

from __future__ import annotations

import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from orchstate.models.canonical import canonical
from orchstate.models.intent import Intent, Operation, Origin
from orchstate.models.names import name_key
from orchstate.storage.engine import Decision, Write
from orchstate.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchstate.storage.engine import Snapshot

BODY: Final = {
    "max_tokens": 1000,
    "model": "gpt-5.4-mini",
    "provider": "openai",
    "tags": ["chat", "test"],
    "temperature": 0.5,
}
_ORIGIN: Final = Origin("bench", "filling.ipynb", "In [1]")
_FIRST_US: Final = 1_790_000_000_000_000
_BATCH: Final = 2_000


def fill(path: Path, configs: int, revisions: int = 0) -> None:
    """Make a store with so many configs, which are then changed in turn until it has so many revisions."""
    with closing(SqliteEngine(path)) as engine:
        intents = [*_creations(engine.store_id, configs), *_changes(engine.store_id, configs, revisions)]
        for start in range(0, len(intents), _BATCH):
            engine.commit("filling", intents[start : start + _BATCH], _decide)


def _creations(store_id: str, configs: int) -> Iterator[Intent]:
    for number in range(configs):
        name = f"config {number}"
        body = BODY | {"max_tokens": 1000 + number, "name": name}
        yield _intent(number + 1, Operation("create", "config", _id(store_id, name), name, body))


def _changes(store_id: str, configs: int, revisions: int) -> Iterator[Intent]:
    for n in range(configs + 1, revisions + 1):
        name = f"config {n % configs}"
        seen = {"temperature": temperature(n - configs) if n > 2 * configs else 0.5}
        change = {"temperature": temperature(n)}
        yield _intent(n, Operation("update", "config", _id(store_id, name), name, change, seen=seen))


def _intent(n: int, operation: Operation) -> Intent:
    return Intent(n, f"filling-{n}", _FIRST_US + n * 1_000_000, _ORIGIN, (operation,), "")


def temperature(number: int) -> float:
    """Return a value that differs from the one before, with three digits as people type them."""
    return 0.001 + number % 1999 / 1000


def _id(store_id: str, name: str) -> str:
    # As the store derives it, so that it finds a document that has the name.
    return str(uuid.uuid5(uuid.UUID(store_id), f"config:{name_key(name)}:0"))


def _decide(snapshot: Snapshot, intent: Intent, writer: str) -> Decision:
    (operation,) = intent.operations
    number = int(operation.name.removeprefix("config "))
    body = BODY | {"max_tokens": 1000 + number, "name": operation.name} | operation.set
    seen: dict[str, Any] = operation.seen
    diff = {path: [seen.get(path), value] for path, value in operation.set.items()}
    created_us = _FIRST_US + (number + 1) * 1_000_000
    written = (operation.verb, operation.id, "config", operation.name, 1, canonical(body), canonical(diff))
    return Decision("committed", (Write(*written, created_us, intent.at_us, "bench"),))
