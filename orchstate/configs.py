"""All configs of a store, by name, and the kind of documents that they are."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

from orchstate.config import Config
from orchstate.errors import DuplicateNameError, ValidationError, quoted
from orchstate.models.config import COMMON, ConfigDocument
from orchstate.models.document import ENVELOPE, Document, leaves
from orchstate.models.names import MAX_NAME_LENGTH, check_name
from orchstate.models.secret import SecretRef
from orchstate.models.values import FrozenMap
from orchstate.providers.documents import UnknownProviderDocument
from orchstate.state.collection import Collection
from orchstate.state.kinds import Kind
from orchstate.tracebacks import forget

if TYPE_CHECKING:
    import pandas as pd

    from orchstate.keyed import Services
    from orchstate.providers.registry import Registry


class Configs(Collection[Config]):
    """All configs of a store, by name.

    Examples
    --------
    >>> list(store.configs)
    ['gpt']
    >>> store.configs["GPT"] is gpt
    True
    """

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

        SecretError
            If a key cannot be stored; nothing is created.

        Examples
        --------
        >>> store.configs.create("anthropic", name="claude", max_tokens=500)
        <Config claude: anthropic, no model>
        """
        try:
            _check_values(values)
            return self._make(provider, name, values, upsert=False)
        except BaseException as error:
            # One of them may be a key.
            del provider, name, values
            forget(error)
            raise

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

        SecretError
            If a key cannot be stored; nothing changed.

        Examples
        --------
        >>> store.configs.upsert("gpt", temperature=0.7) is gpt
        True
        >>> gpt.temperature
        0.7
        """
        try:
            _check_values(values)
            return self._upsert(check_name(name), provider, values)
        except BaseException as error:
            # One of them may be a key.
            del name, provider, values
            forget(error)
            raise

    def _upsert(self, name: str, provider: str | None, values: dict[str, Any]) -> Config:
        if name not in self:
            if provider is None:
                shown = quoted(name, longest=2 * MAX_NAME_LENGTH)
                raise ValidationError(
                    f"There is no config {shown} yet, so it needs a provider: upsert({shown}, 'openai', ...)."
                )
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

        Examples
        --------
        >>> store.configs.to_frame()["model"].to_dict()
        {'gpt': 'gpt-5.4-mini'}
        """
        from orchstate.history.frames import configs_frame

        return configs_frame(list(self.values()))

    def _make(self, provider: str, name: str | None, values: Mapping[str, Any], *, upsert: bool) -> Config:
        definition = self._registry.get(provider)
        name = self.free_name(definition.id) if name is None else name
        plain, secret = _split(self._registry.document_class(definition.id), values)
        # Keys belong to a config that exists, so with them it is two edits that are one.
        with self._state.transaction() if secret else nullcontext():
            made, _ = self._state.create("config", name, {"provider": provider, **plain}, upsert=upsert)
            config = cast("Config", made)
            if secret:
                config._assign(secret)
        config._warn_of_keys({"name": name, **plain})
        return config

    @property
    def _registry(self) -> Registry:
        services: Services = self._state.services
        return services.registry


def config_kind(registry: Registry) -> Kind:
    """Return the kind of configs whose fields come from the definitions of `registry`."""

    def document_class(values: Mapping[str, Any]) -> type[Document]:
        provider = values.get("provider", "")
        if not isinstance(provider, str):
            # Unlike any other faulty value: nothing could be shown of such a config.
            raise ValidationError(f"The provider {provider!r} is not text.")
        return registry.document_class(provider)

    def prepare(document: Document, changes: dict[str, Any]) -> tuple[Document, dict[str, Any]]:
        provider = changes.get("provider")
        if not isinstance(document, ConfigDocument) or provider in (None, document.provider):
            return document, changes
        return _moved(document, registry.get(str(provider)).id, registry, changes)

    def paths() -> set[str]:
        return {path for definition in registry for path in leaves(registry.document_class(definition.id))}

    return Kind(
        "config",
        document_class,
        paths,
        prepare,
        is_known=lambda document: not isinstance(document, UnknownProviderDocument),
        plural="configs",
        is_restored=True,
    )


def _moved(
    document: ConfigDocument, provider: str, registry: Registry, changes: dict[str, Any]
) -> tuple[Document, dict[str, Any]]:
    """Return a move to another provider: the old values are put away, those of the new one come back.

    A key stays where it is, and its reference is put away with the rest.
    """
    put_away = {path: value for path, value in document.body().items() if path not in COMMON}
    stash = {**document.stash, document.provider: put_away} if put_away else {**document.stash}
    cls = registry.document_class(provider)
    known = leaves(cls)
    # What the definition does not have any more stays put away.
    old = stash.pop(provider, {})
    old = old if isinstance(old, Mapping) else {}
    back = {path: value for path, value in old.items() if path in known and path not in COMMON}
    if len(back) < len(old):
        stash[provider] = {path: value for path, value in old.items() if path not in known}
    kept = {path: value for path, value in document.body().items() if path in COMMON}
    # As from the store: an old value that breaks a rule by now comes back with its fault.
    target = cls.from_body({name: getattr(document, name) for name in ENVELOPE}, {**back, **kept})
    return target, {**changes, "provider": provider, "stash": FrozenMap(stash)}


def _check_values(values: Mapping[str, Any]) -> None:
    for name in (*ENVELOPE, "stash"):
        if name in values:
            raise ValidationError(f"{name!r} is set by the store and cannot be assigned.")


def _split(cls: type[Document], values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    known = leaves(cls)
    secret = {
        key: value for key, value in values.items() if key in known and known[key].annotation is SecretRef
    }
    return {key: value for key, value in values.items() if key not in secret}, secret


def _without_same_secrets(config: Config, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Leave a key out that is stored already, so that re-running a cell changes nothing."""
    return {
        field: value
        for field, value in changes.items()
        if not (isinstance(value, str) and config._has_key(field, value))
    }
