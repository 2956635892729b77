"""What a config can be used for: a client, a check, the models there are, an answer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from orchstate.errors import OrchstateError
from orchstate.loops import in_thread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchstate.clients.ask import Answer
    from orchstate.clients.check import CheckResult
    from orchstate.clients.connection import Connection
    from orchstate.clients.models import Model
    from orchstate.state.state import State

logger = logging.getLogger(__name__)

# How long a result waits for edits of its config that are being committed, which takes milliseconds.
SETTLE_S: Final = 1.0


class Usable:
    """A config, as it is or as it was, that can be used."""

    if TYPE_CHECKING:
        # Each has them in its own way.
        name: str
        _state: State

        def _connection(self) -> Connection: ...

        def _settle(self, timeout_s: float) -> None: ...

    def client(self) -> Any:
        """Return the provider's official SDK client, ready for use.

        Raises
        ------
        MissingExtraError
            If the SDK is not installed.
        SecretError
            If the key is missing, or cannot be read now.

        ValidationError, ProviderError
            If the config's values cannot be used.
        NotFoundError, SetupError
            If it was deleted, or its provider is not defined here.
        ClosedError
            If the store is closed.

        Examples
        --------
        >>> gpt.api_key = "sk-example"
        >>> type(gpt.client()).__name__
        'OpenAI'
        """
        from orchstate.clients.sdk import client

        return client(self._connection())

    def aclient(self) -> Any:
        """Return the SDK's asynchronous client; raises as :meth:`client` does."""
        from orchstate.clients.sdk import async_client

        return async_client(self._connection())

    def check(self) -> CheckResult:
        """Try exactly this config against its server and say what came of it; never raises.

        It takes no longer than ``settings.agents.timeout``, and never more than 10 seconds.

        Examples
        --------
        >>> receipt = gpt.update(api_key="sk-example", base_url="http://127.0.0.1:9/v1")
        >>> result = gpt.check()
        >>> result.ok, result.reason
        (False, 'unreachable')
        """
        from orchstate.clients.check import check, refused

        try:
            connection = self._connection()
        except OrchstateError as error:
            return refused(self.name, error)
        return check(connection)

    async def acheck(self) -> CheckResult:
        """Do what :meth:`check` does without stopping the event loop."""
        from orchstate.clients.check import acheck, refused

        try:
            connection = self._connection()
        except OrchstateError as error:
            return refused(self.name, error)
        return await acheck(connection)

    def models(self) -> list[Model]:
        """Return the models that the provider offers to this config now.

        Raises
        ------
        ProviderError, SecretError, MissingExtraError
            If they cannot be listed.
        """
        from orchstate.clients.models import list_models

        return list_models(self._connection())

    async def amodels(self) -> list[Model]:
        """Do what :meth:`models` does without stopping the event loop."""
        from orchstate.clients.models import alist_models

        return await alist_models(self._connection())

    def ask(self, prompt: str, *, system: str | None = None) -> Answer:
        """Return the model's answer to a prompt, with latency, tokens and stamp.

        Parameters
        ----------
        prompt
            The question.
        system
            What the model is told before it: None for the config's ``system_prompt``, ``""`` for nothing.

        Raises
        ------
        ProviderError, SecretError, MissingExtraError, ValidationError
            If there is no answer; the message says what to do.

        NotFoundError, ClosedError
            If the config was deleted, or its store is closed.

        Examples
        --------
        >>> receipt = gpt.update(api_key="sk-example", base_url="http://127.0.0.1:9/v1")
        >>> store.settings.agents.retry_attempts = 0
        >>> gpt.ask("What is 6 * 7?")
        Traceback (most recent call last):
        ...
        orchstate.errors.ProviderError: Nothing answers at http://127.0.0.1:9. Is the server running, ...
        """
        from orchstate.clients.ask import ask

        self._settle(SETTLE_S)
        connection = self._connection()
        self._pin(connection.stamp)
        return ask(connection, prompt, system=system)

    async def aask(self, prompt: str, *, system: str | None = None) -> Answer:
        """Do what :meth:`ask` does without stopping the event loop."""
        from orchstate.clients.ask import aask

        await in_thread(self._settle, SETTLE_S)
        connection = self._connection()
        self._pin(connection.stamp)
        return await aask(connection, prompt, system=system)

    def _pin(self, stamp: Mapping[str, Any]) -> bool:
        """Have the revision of a stamp kept; returns whether that is news."""
        try:
            return stamp["revision"] is not None and self._state.pin(stamp["config"], stamp["revision"])
        except OrchstateError as error:
            # What cannot be written now, as on a full disk, must not be in the way of a result.
            logger.warning("The revision of a stamp is not protected from compaction: %s", error)
            return False
