"""Which models a config can use: the provider's own list, fetched now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchstate.clients.calls import Reply, acall, call
from orchstate.display import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchstate.clients.connection import Connection
    from orchstate.clients.failure import Failure


@dataclass(frozen=True, slots=True, repr=False)
class Model:
    """A model that a provider offers.

    Parameters
    ----------
    id
        What a config's ``model`` is set to.
    name
        What people call it; the id where the provider gives no name.
    created
        When it was made, in UTC; None where the provider does not say.
    owned_by
        Whose it is, ``""`` where the provider does not say.
    """

    id: str
    name: str = ""
    created: datetime | None = None
    owned_by: str = ""

    def __repr__(self) -> str:
        also = f" ({self.name})" if self.name not in ("", self.id) else ""
        return printable(f"<Model {self.id}{also}>")


def list_models(connection: Connection) -> list[Model]:
    """Return the models that the config can use, those named in the config itself first.

    Raises
    ------
    ProviderError
        If the provider refuses, cannot be reached, or does not answer in time.
    SecretError
        If a key is needed and not set, or cannot be read.
    MissingExtraError
        If the SDK is not installed.
    ValidationError
        If anything else that the call needs is missing or wrong.
    """
    return _listed(connection, call(connection, lambda client: fetch(connection, client)))


async def alist_models(connection: Connection) -> list[Model]:
    """Return what :func:`list_models` returns; the event loop goes on meanwhile."""
    return _listed(connection, await acall(connection, lambda client: fetch(connection, client)))


def fetch(connection: Connection, client: Any) -> list[Model]:
    """Return the models that the provider lists through an SDK client."""
    return {"openai": _openai, "anthropic": _anthropic, "ollama": _ollama}[connection.definition.sdk](client)


def with_named(connection: Connection, listed: Iterable[Model]) -> list[Model]:
    """Return the models that the config itself names, then the `listed` ones."""
    named = [name.strip() for name in (connection.value("model_list") or "").split(",")]
    models = [Model(name, name) for name in dict.fromkeys(named) if name]
    return models + [model for model in listed if model.id not in named]


def _listed(connection: Connection, outcome: Reply[list[Model]] | Failure) -> list[Model]:
    if isinstance(outcome, Reply):
        return with_named(connection, outcome.value)
    named = with_named(connection, ())
    if outcome.reason == "not-found" and named:
        return named
    raise outcome.to_error()


def _openai(client: Any) -> list[Model]:
    return [
        Model(str(item.id), str(item.id), _time(getattr(item, "created", None)), _text(item, "owned_by"))
        for item in _items(client.models.list(), "data")
    ]


def _anthropic(client: Any) -> list[Model]:
    # One page: 1,000 is the most that the provider allows, and far more than there are.
    return [
        Model(
            str(item.id),
            _text(item, "display_name") or str(item.id),
            _time(getattr(item, "created_at", None)),
            "anthropic",
        )
        for item in _items(client.models.list(limit=1000), "data")
    ]


def _ollama(client: Any) -> list[Model]:
    return [
        Model(str(item.model), str(item.model), _time(item.modified_at))
        for item in _items(client.list(), "models")
    ]


def _items(page: Any, name: str) -> list[Any]:
    items = getattr(page, name, None)
    # SDKs hand on whatever the server sent, down to the text of a web page.
    if not isinstance(items, list | tuple):
        raise TypeError("the answer is not a list of models")
    return list(items)


def _text(item: Any, name: str) -> str:
    value = getattr(item, name, None)
    return value if isinstance(value, str) else ""


def _time(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    # Seconds since 1970; some servers send 0 for unknown.
    if isinstance(value, int) and 0 < value < 1 << 36:
        return datetime.fromtimestamp(value, UTC)
    return None
