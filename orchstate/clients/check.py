"""Does this config work? Asked of the provider, with exactly this config."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from orchstate.clients.calls import Reply, acall, call
from orchstate.clients.models import Model, fetch, with_named
from orchstate.display import printable
from orchstate.providers.urls import origin

if TYPE_CHECKING:
    from orchstate.clients.connection import Connection
    from orchstate.clients.failure import Failure, Reason
    from orchstate.errors import OrchstateError

# How long a check may take at most: it asks for a list, and somebody waits for it.
LIMIT_MS: Final = 10_000
# The provider knows the key and answers; what it says concerns the model list or the moment.
_PROVE_THE_KEY = ("not-found", "rate-limited")


@dataclass(frozen=True, slots=True, repr=False)
class CheckResult:
    """How a connection check went.

    Parameters
    ----------
    ok
        Whether the config works as far as can be told without paying for an answer.
    reason
        One word: ``"ok"``, or why not.
    status
        HTTP status, None for a success or when there was no answer.
    message
        For people: what was found, and what to do; also what a question would still need.
    latency_ms
        How long it took, in milliseconds.
    models
        Ids of the models that the config can use, as far as they are known.
    at
        When the check was made, in UTC.
    config
        Name of the config.
    """

    ok: bool
    reason: Reason
    status: int | None
    message: str
    latency_ms: int
    models: tuple[str, ...]
    at: datetime
    config: str

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        return printable(f"<CheckResult {self.config}: {self.reason}, {self.latency_ms} ms. {self.message}>")


def check(connection: Connection) -> CheckResult:
    """Return whether the config works: its model list is fetched with exactly its settings.

    No model is called and nothing is retried. Never raises; it takes no longer than the
    connection's time limit, and never more than 10 seconds.
    """
    at, started, once = datetime.now(UTC), time.perf_counter(), _for_once(connection)
    outcome = call(once, lambda client: fetch(once, client))
    return _result(connection, outcome, at, started)


async def acheck(connection: Connection) -> CheckResult:
    """Return what :func:`check` returns; the event loop goes on meanwhile."""
    at, started, once = datetime.now(UTC), time.perf_counter(), _for_once(connection)
    outcome = await acall(once, lambda client: fetch(once, client))
    return _result(connection, outcome, at, started)


def refused(config: str, error: OrchstateError) -> CheckResult:
    """Return the result for a config that could not be looked at."""
    return CheckResult(False, "unexpected", None, str(error), 0, (), datetime.now(UTC), config)


def _for_once(connection: Connection) -> Connection:
    return dataclasses.replace(connection, retries=0, timeout_ms=min(connection.timeout_ms, LIMIT_MS))


def _result(
    connection: Connection, outcome: Reply[list[Model]] | Failure, at: datetime, started: float
) -> CheckResult:
    if isinstance(outcome, Reply):
        models = tuple(model.id for model in with_named(connection, outcome.value))
        message = _praise(connection, models) + _need(connection)
        return CheckResult(True, "ok", None, message, outcome.latency_ms, models, at, connection.name)
    return CheckResult(
        ok=outcome.reason in _PROVE_THE_KEY,
        reason=outcome.reason,
        status=outcome.status,
        message=_complaint(connection, outcome),
        latency_ms=round((time.perf_counter() - started) * 1000),
        models=tuple(model.id for model in with_named(connection, ())),
        at=at,
        config=connection.name,
    )


def _complaint(connection: Connection, failure: Failure) -> str:
    if failure.reason == "not-found":
        return _no_list(connection, failure) + _need(connection)
    if failure.reason == "timeout" and failure.status is None and connection.timeout_ms > LIMIT_MS:
        return (
            f"No complete answer from {origin(connection.base_url)} within {LIMIT_MS // 1000} s, which is "
            "as long as a check waits. Is the server running, and can this machine reach it?"
        )
    return failure.message + (_need(connection) if failure.reason in _PROVE_THE_KEY else "")


def _need(connection: Connection) -> str:
    """Return what a question needs beside a key that works, ``""`` if nothing."""
    if connection.value("model") is not None:
        return ""
    return f" The model is not set, and questions need one: {connection.spelled}.model = '...'."


def _no_list(connection: Connection, failure: Failure) -> str:
    where = origin(connection.base_url)
    return (
        f"{where} does not refuse the key, but has no model list (status {failure.status}). "
        f"If questions fail too, {connection.spelled}.base_url is not right."
    )


def _praise(connection: Connection, models: tuple[str, ...]) -> str:
    count = f"{len(models)} model{'' if len(models) == 1 else 's'}"
    model = connection.value("model")
    # Ollama lists llama3.2 as llama3.2:latest.
    if model is None or not models or any(model in (known, known.partition(":")[0]) for known in models):
        return f"{connection.definition.label} answers and lists {count}."
    return (
        f"{connection.definition.label} answers. The model {model!r} is not among the {count} it lists; "
        "it may be known under that name all the same."
    )
