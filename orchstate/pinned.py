"""The exact config behind a result: what a stamp pins, read from the history and verified."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, SupportsIndex, cast

from orchstate.clients.connection import Connection
from orchstate.errors import (
    LiveObjectError,
    NotFoundError,
    UnknownFieldError,
    ValidationError,
    quoted,
    suggestion,
)
from orchstate.models.config import ConfigDocument, body_fingerprint, config_fingerprint
from orchstate.models.document import ENVELOPE, leaves, secret_fields
from orchstate.models.values import to_plain
from orchstate.state.decide import decode
from orchstate.usable import Usable

if TYPE_CHECKING:
    from orchstate.keyed import Services
    from orchstate.providers.definition import ProviderDefinition
    from orchstate.state.state import State
    from orchstate.storage.engine import Row

_PARTS: Final = ("store", "config", "revision", "fingerprint")


class Stamp(NamedTuple):
    """What pins a result to a revision of a config; see ``Config.stamp``."""

    store: str
    config: str
    revision: int
    fingerprint: str


class PinnedConfig(Usable):
    """A config exactly as it was when a stamp was made: it can be read and used, and not changed.

    Its fields are read as those of a config. Keys are not part of the past: calls are made with the
    key that the config has now, as long as that is for the same provider and address, and else with
    the one of then, if it is still there.

    Examples
    --------
    >>> stamp = gpt.stamp()
    >>> gpt.temperature = 0.9
    >>> then = store.resolve(stamp)
    >>> then
    <PinnedConfig gpt at revision 1: openai, gpt-5.4-mini, temperature 0.2>
    >>> then.temperature, then["model"]
    (0.2, 'gpt-5.4-mini')
    """

    def __init__(self, document: ConfigDocument, stamp: Stamp, state: State) -> None:
        self._document = document
        self._stamp = stamp
        self._state = state

    @property
    def revision(self) -> int:
        """Number of the config's revision that it is."""
        return self._stamp.revision

    @property
    def fingerprint(self) -> str:
        """SHA-256 over provider, model and every non-secret value, as in the stamp."""
        return self._stamp.fingerprint

    @property
    def definition(self) -> ProviderDefinition:
        """The definition of its provider, as it is now.

        Raises
        ------
        NotFoundError
            If the provider is not defined on this machine.
        """
        return self._services.registry.get(self._document.provider)

    def stamp(self) -> dict[str, Any]:
        """Return the stamp that it was found by."""
        return self._stamp._asdict()

    def document(self) -> ConfigDocument:
        """Return the document of then: a frozen value."""
        return self._document

    def to_dict(self) -> dict[str, Any]:
        """Return the values of then as plain JSON, secrets as the references that they are."""
        plain = cast("dict[str, Any]", to_plain(self._document))
        return {"kind": self._document.kind, "schema_version": self._document.schema_version, **plain}

    def __getitem__(self, path: str) -> Any:
        """Return the value at a path such as ``"temperature"``."""
        return self._read(path)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self._read(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            # Which refuses it, with its reasons.
            setattr(self._document, name, None)

    def __delattr__(self, name: str) -> None:
        delattr(self._document, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._names})

    def __reduce__(self) -> NoReturn:
        raise LiveObjectError(f"{self!r} cannot be copied or pickled. Keep its stamp(), or use to_dict().")

    # -- inside -----------------------------------------------------------------------

    @property
    def _services(self) -> Services:
        services: Services = self._state.services
        return services

    @property
    def _names(self) -> list[str]:
        return [*ENVELOPE, *leaves(type(self._document)), *(self._document.__pydantic_extra__ or {})]

    def _read(self, name: str) -> Any:
        if name not in self._names:
            closest = suggestion(str(name), self._names)
            message = f"This config has no field {quoted(name)}.{closest}"
            # It may be a key.
            del name
            raise UnknownFieldError(message)
        value = self._document.at(name)
        reads = name in secret_fields(type(self._document)) and value.is_set
        return value.reading_with(self._services.secrets.read) if reads else value

    def _settle(self, timeout_s: float) -> None:
        """Nothing of it is on its way."""

    def _connection(self) -> Connection:
        self._state.check_usable()
        agents = self._services.settings().agents
        return Connection(
            definition=self.definition,
            document=self._with_keys_of_now(),
            read_secret=self._services.secrets.read,
            timeout_ms=agents.timeout,
            retries=agents.retry_attempts,
            stamp=self.stamp(),
        )

    def _with_keys_of_now(self) -> ConfigDocument:
        then, now = self._document, self._state.seen(self._document.id)
        if not isinstance(now, ConfigDocument) or type(now) is not type(then):
            return then
        address = self.definition.address
        if address(now.__dict__) != address(then.__dict__):
            return then
        keys = {path: now.at(path) for path in secret_fields(type(now)) if now.at(path).is_set}
        return then.model_copy(update=keys)

    def __repr__(self) -> str:
        document = self._document
        model, temperature = (getattr(document, name, None) for name in ("model", "temperature"))
        shown = [document.provider, model or "no model"]
        shown += [] if temperature is None else [f"temperature {temperature}"]
        return f"<PinnedConfig {document.name} at revision {self.revision}: {', '.join(map(str, shown))}>"


def resolve(given: Any, state: State) -> PinnedConfig:
    """Return the config that a stamp pins; see ``store.resolve``."""
    stamp = _stamp(given)
    own = state.engine.store_id
    if stamp.store != own:
        raise ValidationError(
            f"The stamp is of the store {quoted(stamp.store)}, and this is the store {own!r}. "
            "Open the one that it was made with."
        )
    row = _row(stamp, state)
    document = cast("ConfigDocument", decode(state.kinds, row))
    # As stored, since a definition that has changed may read it differently; or as read, where what was
    # stored has a fault.
    found = body_fingerprint(json.loads(row.body))
    if stamp.fingerprint not in (found, config_fingerprint(document)):
        raise ValidationError(
            f"Revision {row.revision} of {row.name!r} has the fingerprint {found!r}, and the stamp says "
            f"{quoted(stamp.fingerprint, longest=100)}. The stamp was changed, or made with another copy of "
            "this store."
        )
    return PinnedConfig(document, stamp, state)


def _stamp(given: Any) -> Stamp:
    found = given if isinstance(given, Mapping) else getattr(given, "stamp", None)
    found = found() if callable(found) else found
    if not isinstance(found, Mapping):
        raise ValidationError(
            f"{quoted(given)} is no stamp. Give what stamp() of a config has returned, or an answer."
        )
    missing = [part for part in _PARTS if part not in found]
    if missing:
        raise ValidationError(f"The stamp has no {missing[0]!r}. A stamp has: {', '.join(_PARTS)}.")
    revision = found["revision"]
    # A DataFrame makes NaN of None.
    if revision is None or revision != revision:
        raise ValidationError(
            "The stamp names no revision: when it was made, an edit of the config was not committed yet. "
            "Find the settings by the fingerprint, or make stamps after store.flush()."
        )
    if isinstance(revision, float) and revision.is_integer():
        revision = int(revision)
    if isinstance(revision, bool) or not isinstance(revision, SupportsIndex):
        raise ValidationError(f"The stamp's revision {quoted(revision)} is no number of a revision.")
    if operator.index(revision) >= 1 << 63:
        raise NotFoundError(f"There is no revision {quoted(revision)} of anything.")
    store, config, fingerprint = (str(found[part]) for part in ("store", "config", "fingerprint"))
    return Stamp(store, config, operator.index(revision), fingerprint)


def _row(stamp: Stamp, state: State) -> Row:
    found = state.engine.revision(stamp.config, stamp.revision)
    if found and not found.row.deleted and found.row.kind == ConfigDocument.kind:
        return found.row
    last = state.engine.snapshot().get(stamp.config)
    if last is None or last.kind != ConfigDocument.kind:
        raise NotFoundError(f"There is no config {quoted(stamp.config)}, and never was one in this store.")
    if found:
        raise NotFoundError(f"Revision {stamp.revision} of {last.name!r} is its deletion.")
    if 0 < stamp.revision <= last.revision:
        raise NotFoundError(
            f"Revision {stamp.revision} of {last.name!r} is not in the history any more: it was compacted."
        )
    raise NotFoundError(
        f"{last.name!r} has no revision {stamp.revision}; its last is {last.revision}. "
        "Perhaps the stamp was made with another copy of this store."
    )
