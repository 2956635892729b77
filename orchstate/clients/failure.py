"""What went wrong with a call, said once for all SDKs, and without the key.

The SDKs' errors hold the request and with it the key. So none of them leaves this
package: an error is turned into a `Failure`, and what is raised from that has no cause.
"""

from __future__ import annotations

import json
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from orchstate.clients.masking import mask
from orchstate.display import printable
from orchstate.errors import MissingExtraError, OrchstateError, ProviderError, SecretError
from orchstate.providers.urls import origin

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from orchstate.clients.connection import Connection

E = TypeVar("E", bound=BaseException)

Reason = Literal[
    "ok",
    "unauthorized",
    "forbidden",
    "unreachable",
    "timeout",
    "unknown-host",
    "tls",
    "not-found",
    "rate-limited",
    "server-error",
    "missing-key",
    "missing-package",
    "unexpected",
]

_BY_STATUS: Final[dict[int, Reason]] = {
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    408: "timeout",
    429: "rate-limited",
}
# Class names of httpx and its successors for a connection that broke off.
_BROKEN_OFF: Final = {"ConnectError", "ReadError", "WriteError", "RemoteProtocolError"}
# What reading an answer that is not what the SDK expects ends in.
_SHAPE_ERRORS: Final = (AttributeError, TypeError, LookupError)
# A provider's own words are shown up to here.
_MAX_QUOTE: Final = 300


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call failed.

    Parameters
    ----------
    reason
        One word for programs.
    message
        For people: what happened, and what to do.
    status
        HTTP status, None when there was no answer.
    own
        The error of ours that it comes from, None when it comes from an SDK.
    """

    reason: Reason
    message: str
    status: int | None = None
    own: OrchstateError | None = None

    def to_error(self) -> OrchstateError:
        """Return the error to raise: one of ours as it is, otherwise a ProviderError without a cause."""
        if self.own is not None:
            return self.own.with_traceback(None)
        return ProviderError(self.message, status=self.status)


def failure_of(error: BaseException, connection: Connection, secrets: Collection[str] = ()) -> Failure:
    """Return what an error means, with every one of the `secrets` masked."""
    if isinstance(error, OrchstateError):
        return Failure(_own_reason(error), str(error), own=error)
    status = _status(error)
    reason = _reason(error, status)
    sentence = _sentence(reason, status, connection)
    if status in range(300, 400):
        sentence = _redirect(error, connection, secrets)
    elif status is not None:
        sentence = f"{sentence} It says: {_quote(error, secrets)}"
    elif reason == "tls":
        sentence = f"{sentence} ({_deepest(error, secrets)})"
    elif reason == "unexpected":
        sentence = _unexpected(error, connection, secrets)
    return Failure(reason, sentence, status)


def timed_out(connection: Connection) -> Failure:
    """Return the failure of a call whose time is over."""
    return Failure("timeout", _sentence("timeout", None, connection))


def _own_reason(error: OrchstateError) -> Reason:
    if isinstance(error, SecretError):
        return "missing-key"
    return "missing-package" if isinstance(error, MissingExtraError) else "unexpected"


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) and 300 <= status <= 599 else None


def _reason(error: BaseException, status: int | None) -> Reason:
    if status is not None:
        return _BY_STATUS.get(status) or ("server-error" if status >= 500 else "unexpected")
    # Each SDK has its own HTTP library with its own classes; what the standard library raised lies below.
    chain = list(_chain(error))
    names = {type(link).__name__ for link in chain}
    if _find(chain, socket.gaierror):
        return "unknown-host"
    if _find(chain, ssl.SSLError):
        return "tls"
    if _find(chain, TimeoutError) or any("Timeout" in name for name in names):
        return "timeout"
    if _find(chain, ConnectionError) or names & _BROKEN_OFF:
        return "unreachable"
    return "unexpected"


def _find(chain: Iterable[BaseException], kind: type[E]) -> E | None:
    return next((link for link in chain if isinstance(link, kind)), None)


def _sentence(reason: Reason, status: int | None, connection: Connection) -> str:
    provider, config = connection.definition.label, connection.spelled
    where = origin(connection.base_url)
    return {
        "unauthorized": f"{_refusal(connection)} (status {status}). {_key_hint(connection)}",
        "forbidden": f"{provider} does not allow this with the key (status {status}). "
        "Ask whoever owns the account.",
        "unreachable": f"Nothing answers at {where}. Is the server running, and is {config}.base_url right?",
        "timeout": f"No complete answer from {where} within {connection.timeout_s:g} s. "
        "Try again, or raise store.settings.agents.timeout.",
        "unknown-host": f"The name in {where} cannot be looked up. Is {config}.base_url right, "
        "and is this machine online?",
        "tls": f"The identity of {where} cannot be verified. If it is your own server, "
        f"set {config}.ca_bundle_path to its certificate.",
        "not-found": f"{where} has no such model or address (status {status}).",
        "rate-limited": f"{provider} accepts the key, but its limit is reached (status {status}). "
        "Wait a little.",
        "server-error": f"{where} has a problem of its own (status {status}). Try again later.",
        "unexpected": f"{provider} refuses the call (status {status}).",
    }[reason]


def _refusal(connection: Connection) -> str:
    spec = connection.key_field()
    has_key = spec is not None and connection.value(spec.name) is not None
    return f"{connection.definition.label} {'does not accept the key' if has_key else 'wants a key'}"


def _key_hint(connection: Connection) -> str:
    keys = connection.definition.links.keys
    return f"Type it in the form{f'; keys are made at {keys}' if keys else ''}."


def _redirect(error: BaseException, connection: Connection, secrets: Collection[str]) -> str:
    responses = (getattr(link, "response", None) for link in _chain(error))
    location = next((response.headers.get("location") for response in responses if response is not None), "")
    target = _line(location or "", secrets)
    return (
        f"{origin(connection.base_url)} redirects to {target or 'another address'}. Redirects are not "
        "followed, since they would carry the key along. If that server is right, let "
        f"{connection.spelled}.base_url point to it."
    )


def _quote(error: BaseException, secrets: Collection[str]) -> str:
    # OpenAI and Anthropic keep the server's words in `body`, Ollama in `error`.
    said = getattr(error, "body", None) or getattr(error, "error", None) or str(error)
    for name in ("error", "message"):
        if isinstance(said, dict):
            said = said.get(name) or said
    return _line(str(said), secrets)


def _unexpected(error: BaseException, connection: Connection, secrets: Collection[str]) -> str:
    chain = list(_chain(error))
    where = origin(connection.base_url)
    unsendable = _find(chain, UnicodeEncodeError)
    if unsendable is not None:
        character = unsendable.object[unsendable.start]
        return (
            f"The key, a header or the prompt has the character {character!r} in it, which cannot be sent. "
            "Type it again."
        )
    if _find(chain, json.JSONDecodeError):
        found = "its answer is not JSON"
    elif isinstance(error, _SHAPE_ERRORS) or type(error).__name__ == "ValidationError":
        found = "its answer has another form"
    else:
        return f"The call to {where} went wrong ({_deepest(error, secrets)}). Check the config's values."
    return f"{where} does not answer as {connection.definition.label} does: {found}. " + (
        f"Is {connection.spelled}.base_url right?"
    )


def _deepest(error: BaseException, secrets: Collection[str]) -> str:
    cause = list(_chain(error))[-1]
    return _line(f"{type(cause).__name__}: {cause}", secrets)


def _line(text: str, secrets: Collection[str]) -> str:
    # Masked before it is cut: half a key is still a secret.
    line = printable(" ".join(mask(text, secrets).split()))
    return line if len(line) <= _MAX_QUOTE else f"{line[: _MAX_QUOTE - 3]}..."
