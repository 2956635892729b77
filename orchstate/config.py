"""Configs: the records of configured providers, and the collection of them."""

from __future__ import annotations

import secrets as tokens
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from orchstate.errors import DuplicateNameError, Issue, NotFoundError, SecretError, ValidationError
from orchstate.models.config import ConfigDocument, config_fingerprint
from orchstate.models.document import ENVELOPE, leaves
from orchstate.models.secret import SecretRef
from orchstate.models.validation import Validation
from orchstate.models.values import FrozenMap, to_plain
from orchstate.origin import cell_source, warn
from orchstate.secrets.environment import try_environment
from orchstate.state.collection import Collection
from orchstate.state.kinds import Kind
from orchstate.state.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pandas as pd

    from orchstate.clients.ask import Answer
    from orchstate.clients.check import CheckResult
    from orchstate.clients.connection import Connection
    from orchstate.clients.models import Model
    from orchstate.history.history import History
    from orchstate.models.document import Document
    from orchstate.providers.definition import ProviderDefinition
    from orchstate.providers.registry import Registry
    from orchstate.secrets.secrets import Secrets
    from orchstate.state.receipt import Receipt

# What a config keeps when its provider changes; everything else is put away and comes back with it.
_COMMON = frozenset({"name", "tags", "provider", "stash"})


@dataclass(frozen=True, slots=True)
class Services:
    """What records need from the store that they belong to."""

    registry: Registry
    secrets: Secrets
    history: History
    store_id: str
    settings: Record
    drop_unused: Callable[[str, SecretRef], object]


class Config(Record):
    """One configured provider instance.

    Its fields come from the provider's definition: each is a trait, so it can be read,
    assigned, observed and linked to a widget.
    """

    if TYPE_CHECKING:
        provider: str
        auth: str
        stash: Mapping[str, Any]

    @property
    def definition(self) -> ProviderDefinition:
        """The definition of its provider.

        Raises
        ------
        NotFoundError
            If the provider is not defined on this machine.
        """
        return self._services.registry.get(self.provider)

    @property
    def _services(self) -> Services:
        services: Services = self._state.services
        return services

    def client(self) -> Any:
        """Return the provider's official SDK client, ready for use.

        Raises
        ------
        MissingExtraError
            If the SDK is not installed.
        SecretError
            If the key is missing, or cannot be read now.
        """
        from orchstate.clients.sdk import client

        return client(self._connection())

    def aclient(self) -> Any:
        """Return the SDK's asynchronous client; raises as :meth:`client` does."""
        from orchstate.clients.sdk import async_client

        return async_client(self._connection())

    def check(self) -> CheckResult:
        """Try exactly this config against its server and say what came of it; never raises.

        It takes no longer than ``settings.agents.timeout``.
        """
        from orchstate.clients.check import check

        return check(self._connection())

    async def acheck(self) -> CheckResult:
        """Do what :meth:`check` does without stopping the event loop."""
        from orchstate.clients.check import acheck

        return await acheck(self._connection())

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

        Raises
        ------
        ProviderError, SecretError, MissingExtraError, ValidationError
            If there is no answer; the message says what to do.
        """
        from orchstate.clients.ask import ask

        return ask(self._connection(), prompt, system=system)

    async def aask(self, prompt: str, *, system: str | None = None) -> Answer:
        """Do what :meth:`ask` does without stopping the event loop."""
        from orchstate.clients.ask import aask

        return await aask(self._connection(), prompt, system=system)

    def form(self) -> Any:
        """Return the form: a widget that edits this config and shows every change of it."""
        from orchstate.widgets.config_form import ConfigForm

        return ConfigForm(self)

    def history(self) -> pd.DataFrame:
        """Return all revisions of this config, one row each; see ``store.history.revisions``."""
        return self._services.history.revisions(self.id)

    def stamp(self) -> dict[str, Any]:
        """Return what pins a result to this config as it is now.

        ``revision`` is the last committed one; call ``store.flush()`` first to include
        edits that are still on their way.
        """
        return {
            "store": self._services.store_id,
            "config": self.id,
            "revision": self.revision,
            "fingerprint": self.fingerprint,
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 over provider, model and every non-secret value: equal settings, equal fingerprint."""
        document = self.document()
        return config_fingerprint(document) if isinstance(document, ConfigDocument) else ""

    def explain(self) -> pd.DataFrame:
        """Return where each value comes from.

        Returns
        -------
        DataFrame
            ``field`` (string), ``value`` (object, plain JSON; secrets masked) and
            ``source`` (string): ``"config"``, ``"provider default"``, ``"not set"``, or
            the place of a secret.
        """
        import pandas as pd

        rows = [(spec.name, *self._explain(spec)) for spec in self.definition.fields]
        frame = pd.DataFrame(rows, columns=["field", "value", "source"])
        return frame.astype({"field": "string", "value": "object", "source": "string"})

    def set_secret(self, field: str, value: str | None) -> Receipt:
        """Store a secret where this machine keeps them, and refer to it; what forms call.

        Parameters
        ----------
        field
            Name of a secret field, such as ``"api_key"``.
        value
            The secret, or None to remove it.

        Raises
        ------
        SecretError
            If the place for secrets does not take it; nothing changed.
        ValidationError
            If it cannot be a secret.
        """
        return self._assign({field: value}, from_cell=False)

    def _explain(self, spec: Any) -> tuple[Any, str]:
        value = getattr(self, spec.name)
        if spec.type == "secret":
            return repr(value), self._services.secrets.describe(value)
        if value not in (None, {}, ()):
            return to_plain(value), "config"
        default = self.definition.base_url if spec.name == "base_url" else spec.default
        return (default, "provider default") if default is not None else (None, "not set")

    def _connection(self) -> Connection:
        from orchstate.clients.connection import Connection

        document = self.document()
        if not isinstance(document, ConfigDocument):
            raise NotFoundError(f"{self.name!r} is no config any more.")
        agents = self._services.settings.agents
        return Connection(
            definition=self.definition,
            document=document,
            read_secret=self._services.secrets.read,
            timeout_ms=agents.timeout,
            retries=agents.retry_attempts,
            stamp=self.stamp(),
        )

    def _assign(self, changes: Mapping[str, Any], *, from_cell: bool = True) -> Receipt:
        prepared, written = self._with_references(changes, from_cell=from_cell)
        try:
            return super()._assign(prepared)
        finally:
            for ref in written:
                drop_unused = partial(self._services.drop_unused, self._entry.id, ref)
                # In a transaction it is known at the end of the block whether the document keeps it.
                if not self._state.afterwards(drop_unused):
                    drop_unused()

    def _with_references(
        self, changes: Mapping[str, Any], *, from_cell: bool
    ) -> tuple[dict[str, Any], list[SecretRef]]:
        """Return the changes with secrets written to their place and replaced by references."""
        known = leaves(type(self.document()))
        prepared = dict(changes)
        written: list[SecretRef] = []
        for field, value in changes.items():
            if field not in known or known[field].annotation is not SecretRef:
                continue
            if value is None:
                prepared[field] = SecretRef()
            elif isinstance(value, str):
                if from_cell and value and value in cell_source():
                    _warn_of_literal(self.name, field)
                ref = self._services.secrets.write(_secret_name(self.id, field), value)
                written.append(ref)
                prepared[field] = ref
        return prepared, written

    def _readable(self, ref: SecretRef) -> SecretRef:
        return ref.reading_with(self._services.secrets.read) if ref.is_set else ref

    def _validate_now(self) -> Validation:
        from orchstate.providers.readiness import needs

        document = self._state.seen(self._entry.id)
        if not isinstance(document, ConfigDocument):
            return Validation.of([Issue("", "error", "It was deleted.")])
        registry = self._services.registry
        if document.provider not in registry:
            unknown = NotFoundError.among("provider", document.provider, registry.ids)
            return Validation.of([Issue("provider", "error", str(unknown))])
        issues = needs(registry.get(document.provider), document)
        return Validation.of([*issues, *_missing_variables(document)])

    def __repr__(self) -> str:
        values = self._trait_values
        shown = [values.get("provider", ""), values.get("model") or "no model"]
        if values.get("temperature") is not None:
            shown.append(f"temperature {values['temperature']}")
        # References to secrets are never shown here, not even masked: they say nothing.
        return f"<Config {values.get('name', '')}: {', '.join(shown)}>"


class Configs(Collection[Config]):
    """All configs of a store, by name."""

    def create(self, provider: str, *, name: str | None = None, **values: Any) -> Config:
        """Create a config.

        Parameters
        ----------
        provider
            Id of a provider, such as ``"openai"``; ``store.providers`` has them all.
        name
            Its name, unique in any case; None for the provider's id, with a number if taken.
        **values
            Values of the provider's fields.

        Raises
        ------
        NotFoundError
            If there is no such provider.
        DuplicateNameError
            If the name is taken.
        UnknownFieldError, ValidationError
            If the provider has no such field, or a value breaks a rule.
        """
        return self._make(provider, self.free_name(provider) if name is None else name, values, upsert=False)

    def upsert(self, name: str, provider: str | None = None, **values: Any) -> Config:
        """Change the config of this name, or create it; without a difference nothing happens.

        Parameters
        ----------
        name
            The config's name.
        provider
            Needed to create; for an existing config, None keeps its provider.
        **values
            Values of the provider's fields.

        Raises
        ------
        ValidationError
            If a value breaks a rule, or a new config has no provider.
        UnknownFieldError, NotFoundError
            If there is no such field or provider.
        """
        if name not in self:
            if provider is None:
                example = f"upsert({name!r}, 'openai', ...)"
                raise ValidationError(f"There is no config {name!r} yet, so it needs a provider: {example}.")
            try:
                return self._make(provider, name, values, upsert=True)
            except DuplicateNameError:
                # Another process has made it just now.
                if name not in self:
                    raise
        config = self[name]
        changes = values if provider in (None, config.provider) else {"provider": provider, **values}
        if provider is not None:
            self._registry.get(provider)
        config._assign(_without_same_secrets(config, changes))
        return config

    def to_frame(self) -> pd.DataFrame:
        """Return all configs as a DataFrame, one row each, indexed by ``name`` (string).

        Returns
        -------
        DataFrame
            ``provider`` (category), ``model`` (string), ``ready`` (bool), ``tags`` (object),
            ``revision`` (Int64), ``created_at`` and ``updated_at`` (datetime64, UTC), then
            one object column per further field that some config has set; secrets are left out.
        """
        from orchstate.history.frames import configs_frame

        return configs_frame(list(self.values()))

    def _make(self, provider: str, name: str, values: Mapping[str, Any], *, upsert: bool) -> Config:
        definition = self._registry.get(provider)
        plain, secret = _split(self._registry.document_class(definition.id), values)
        with self._state.transaction():
            id, _ = self._state.create("config", name, {"provider": provider, **plain}, upsert=upsert)
            config = self[id]
            if secret:
                config._assign(secret)
        return config

    @property
    def _registry(self) -> Registry:
        services: Services = self._state.services
        return services.registry


def _missing_variables(document: ConfigDocument) -> Iterator[Issue]:
    for field, info in leaves(type(document)).items():
        ref = document.at(field)
        if info.annotation is SecretRef and ref.source == "env" and try_environment(ref.name) is None:
            yield Issue(
                field,
                "error",
                f"The environment variable {ref.name} is not set. Set it before the kernel starts, "
                f"or with os.environ[{ref.name!r}] = ...",
            )


def config_kind(registry: Registry) -> Kind:
    """Return the kind of configs whose fields come from the definitions of `registry`."""

    def document_class(values: Mapping[str, Any]) -> type[Document]:
        return registry.document_class(str(values.get("provider", "")))

    def prepare(document: Document, changes: dict[str, Any]) -> tuple[Document, dict[str, Any]]:
        provider = changes.get("provider")
        if not isinstance(document, ConfigDocument) or provider in (None, document.provider):
            return document, changes
        return _moved(document, registry.get(str(provider)).id, registry, changes)

    return Kind("config", document_class, prepare)


def _moved(
    document: ConfigDocument, provider: str, registry: Registry, changes: dict[str, Any]
) -> tuple[Document, dict[str, Any]]:
    """Return a move to another provider: the old values are put away, those of the new one come back.

    A key stays where it is, and its reference is put away with the rest.
    """
    put_away = {path: value for path, value in document.body().items() if path not in _COMMON}
    stash = {**document.stash, document.provider: put_away} if put_away else {**document.stash}
    cls = registry.document_class(provider)
    known = leaves(cls)
    # What the definition does not have any more stays put away.
    old = stash.pop(provider, {})
    back = {path: value for path, value in old.items() if path in known}
    if len(back) < len(old):
        stash[provider] = {path: value for path, value in old.items() if path not in known}
    kept = {name: value for name, value in document if name in (*_COMMON, *ENVELOPE)}
    blank = cls.model_construct(None, **kept)
    return blank, {**back, **changes, "provider": provider, "stash": FrozenMap(stash)}


def _split(cls: type[Document], values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    known = leaves(cls)
    secret = {
        key: value for key, value in values.items() if key in known and known[key].annotation is SecretRef
    }
    return {key: value for key, value in values.items() if key not in secret}, secret


def _without_same_secrets(config: Config, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Leave a key out that is stored already, so that re-running a cell changes nothing."""
    kept = {}
    for field, value in changes.items():
        present = getattr(config, field, None)
        if isinstance(value, str) and isinstance(present, SecretRef) and present.is_set:
            try:
                if present.get_secret_value() == value.strip():
                    continue
            except SecretError:
                pass
        kept[field] = value
    return kept


def _secret_name(id: str, field: str) -> str:
    # A new name for every value: a crash before the document refers to it leaves the old one in force.
    return f"{id}/{field}/{tokens.token_hex(4)}"


def _warn_of_literal(name: str, field: str) -> None:
    warn(
        f"The {field} of {name!r} stands in this cell in clear, so it is saved with the notebook. "
        "It was stored safely; now delete it from the cell. Next time type it in the form."
    )
