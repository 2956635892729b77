"""One call to a provider: within its time limit, with errors translated, and without a trace of the key.

The call runs in a thread of its own and hands back a value in every case, so that no
traceback holds a frame in which the key was.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from orchstate.clients import sdk
from orchstate.clients.deadline import awithin, within
from orchstate.clients.failure import Failure, failure_of, timed_out
from orchstate.errors import OrchstateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchstate.clients.connection import Connection

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """What a call came back with, and how long it took in milliseconds."""

    value: T
    latency_ms: int


def call(connection: Connection, work: Callable[[Any], T]) -> Reply[T] | Failure:
    """Return what `work` makes of the config's SDK client, or why it could not.

    The time limit is the connection's and covers everything but the import of the SDK:
    reading the key, looking up the name, all retries, and the last byte of the answer.
    Never raises an Exception.
    """
    run = _Run(connection, work)
    try:
        failure = _prepare(connection)
        return within(connection.timeout_s, run) if failure is None else failure
    except TimeoutError:
        return timed_out(connection)
    finally:
        run.abandon()


async def acall(connection: Connection, work: Callable[[Any], T]) -> Reply[T] | Failure:
    """Return what :func:`call` returns; the event loop goes on meanwhile."""
    run = _Run(connection, work)
    try:
        failure = await asyncio.to_thread(_prepare, connection)
        return await awithin(connection.timeout_s, run) if failure is None else failure
    except TimeoutError:
        return timed_out(connection)
    finally:
        run.abandon()


def _prepare(connection: Connection) -> Failure | None:
    try:
        connection.require_ready()
        sdk.load(connection)
    except OrchstateError as error:
        return failure_of(error, connection)
    return None


class _Run(Generic[T]):
    """One call, which can be given up from another thread."""

    def __init__(self, connection: Connection, work: Callable[[Any], T]) -> None:
        self._connection = connection
        self._work = work
        self._client: Any = None
        self._is_over = False

    def __call__(self) -> Reply[T] | Failure:
        secrets: dict[str, str] = {}
        try:
            secrets = self._connection.secrets()
            self._client = sdk.built(self._connection, secrets)
            with contextlib.closing(self._client):
                # Reading the key may have taken longer than anyone waits.
                return timed_out(self._connection) if self._is_over else self._timed()
        except Exception as error:
            return failure_of(error, self._connection, secrets.values())

    def _timed(self) -> Reply[T]:
        started = time.perf_counter()
        value = self._work(self._client)
        return Reply(value, round((time.perf_counter() - started) * 1000))

    def abandon(self) -> None:
        """End the call when nobody waits for its answer any more; harmless when it is done."""
        self._is_over = True
        if self._client is not None:
            with contextlib.suppress(Exception):
                self._client.close()
