"""Configs: the records of configured providers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchstate.errors import Issue, NotFoundError
from orchstate.keyed import Keyed
from orchstate.loops import in_thread
from orchstate.models.config import ConfigDocument, config_fingerprint
from orchstate.models.document import secret_fields
from orchstate.models.secret import masked
from orchstate.models.validation import Validation
from orchstate.models.values import to_plain
from orchstate.origin import cell_source, warn
from orchstate.secrets.environment import try_environment
from orchstate.usable import SETTLE_S, Usable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from orchstate.clients.connection import Connection
    from orchstate.providers.definition import ProviderDefinition
    from orchstate.state.receipt import Receipt


class Config(Usable, Keyed):
    """One configured provider instance.

    Its fields come from the provider's definition: each is a trait, so it can be read,
    assigned, observed and linked to a widget.

    Examples
    --------
    >>> gpt.temperature = 0.7
    >>> gpt
    <Config gpt: openai, gpt-5.4-mini, temperature 0.7>
    >>> gpt.observe(lambda change: print(change.name, change.old, change.new), "temperature")
    >>> gpt.temperature = 0.9
    temperature 0.7 0.9
    """

    if TYPE_CHECKING:
        provider: str
        auth: str
        system_prompt: str | None
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

    def form(self) -> Any:
        """Return the form: a widget that edits this config and shows every change of it.

        Examples
        --------
        >>> form = gpt.form()
        >>> form
        <ConfigForm gpt: openai, gpt-5.4-mini, temperature 0.2>
        >>> form.close()
        """
        from orchstate.widgets.config_form import ConfigForm

        return ConfigForm(self)

    def history(self) -> pd.DataFrame:
        """Return all revisions of this config, one row each; see ``store.history.revisions``.

        Examples
        --------
        >>> gpt.temperature = 0.9
        >>> gpt.history()["temperature"].tolist()
        [0.2, 0.9]
        """
        return self._services.history.revisions(self.id)

    def stamp(self) -> dict[str, Any]:
        """Return what pins a result to this config as it is now.

        Edits that are on their way are given up to a second to be committed. The revision is kept by
        every compaction of the history, unless that is told otherwise; not if this store is only
        read, since nobody else hears of the stamp then.

        Returns
        -------
        dict
            ``store`` and ``config`` (ids), ``revision`` (of the config; None if what is seen now
            is no committed revision), ``fingerprint``.

        Raises
        ------
        NotFoundError
            If the config was deleted.

        Examples
        --------
        >>> gpt.temperature = 0.9
        >>> gpt.stamp()["revision"]
        2
        """
        self._settle(SETTLE_S)
        stamp = self._stamp(*self._pinned())
        if self._pin(stamp):
            # Another process may be about to compact the history.
            self._settle(SETTLE_S)
        return stamp

    async def astamp(self) -> dict[str, Any]:
        """Do what :meth:`stamp` does without stopping the event loop."""
        await in_thread(self._settle, SETTLE_S)
        return self._stamp(*self._pinned())

    @property
    def fingerprint(self) -> str:
        """SHA-256 over provider, model and every non-secret value: equal settings, equal fingerprint."""
        return config_fingerprint(self._pinned()[0])

    def explain(self) -> pd.DataFrame:
        """Return where each value comes from.

        Returns
        -------
        DataFrame
            ``field`` (string), ``value`` (object, plain JSON; secrets masked) and
            ``source`` (string): ``"config"``, ``"provider default"``, ``"not set"``, or
            the place of a secret.

        Examples
        --------
        >>> gpt.explain().set_index("field").loc["base_url"].tolist()
        ['https://api.openai.com/v1', 'provider default']
        """
        import pandas as pd

        rows = [(spec.name, *self._explain(spec)) for spec in self.definition.fields]
        rows += [("system_prompt", self.system_prompt, "config" if self.system_prompt else "not set")]
        frame = pd.DataFrame(rows, columns=["field", "value", "source"])
        return frame.astype({"field": "string", "value": "object", "source": "string"})

    def put_away(self, values: Mapping[str, Mapping[str, Any]]) -> Receipt:
        """Keep values for other providers, which come back with them; what importing calls.

        Parameters
        ----------
        values
            Plain values by provider id; those of other providers stay as they are.
        """
        stash = self._pinned()[0].stash
        return self._assign({"stash": {**stash, **{name: dict(values[name]) for name in values}}})

    def _explain(self, spec: Any) -> tuple[Any, str]:
        value = getattr(self, spec.name)
        if spec.type == "secret":
            shown = masked(value.source, value.name) if value.is_set else None
            return shown, self._services.secrets.describe(value)
        if value not in (None, {}, ()):
            return to_plain(value), "config"
        if spec.name == "base_url":
            address = self.definition.address(self.document().__dict__)
            return address, "provider default" if address == self.definition.base_url else "region"
        return (spec.default, "provider default") if spec.default is not None else (None, "not set")

    def _connection(self) -> Connection:
        from orchstate.clients.connection import Connection

        self._state.check_usable()
        document, revision = self._pinned()
        agents = self._services.settings().agents
        return Connection(
            # All of it from one document: it may be changed at any moment.
            definition=self._services.registry.get(document.provider),
            document=document,
            read_secret=self._services.secrets.read,
            timeout_ms=agents.timeout,
            retries=agents.retry_attempts,
            stamp=self._stamp(document, revision),
        )

    def _settle(self, timeout_s: float) -> None:
        self._state.settle(timeout_s)

    def _pinned(self) -> tuple[ConfigDocument, int | None]:
        document, revision = self._state.pinned(self._entry.id)
        if not isinstance(document, ConfigDocument):
            raise self._state.gone(self._entry.id)
        return document, revision

    def _stamp(self, document: ConfigDocument, revision: int | None) -> dict[str, Any]:
        return {
            "store": self._services.store_id,
            "config": document.id,
            "revision": revision,
            "fingerprint": config_fingerprint(document),
        }

    def _validate_now(self) -> Validation:
        from orchstate.providers.doubts import doubts
        from orchstate.providers.readiness import needs

        document = self._state.seen(self._entry.id)
        if not isinstance(document, ConfigDocument):
            return Validation.of([Issue("", "error", f"It was {self._absence}.")])
        registry = self._services.registry
        if document.provider not in registry:
            unknown = NotFoundError.among("provider", document.provider, registry.ids)
            return Validation.of([Issue("provider", "error", str(unknown))])
        definition = registry.get(document.provider)
        return Validation.of(
            [
                *needs(definition, document),
                *_missing_variables(document),
                *doubts(document, registry.key_patterns),
            ]
        )

    def _assign(self, changes: Mapping[str, Any], **how: Any) -> Receipt:
        receipt = super()._assign(changes, **how)
        self._warn_of_keys(changes)
        return receipt

    def _warn_of_keys(self, changes: Mapping[str, Any]) -> None:
        """Warn if one of the values just stored looks like a key, and stands in the running cell."""
        cell = cell_source()
        if not cell:
            return
        from orchstate.providers.doubts import suspects

        secret = secret_fields(self.document_class)
        values = {path: value for path, value in changes.items() if path not in secret}
        found = suspects(values, self._services.registry.key_patterns)
        for path in dict.fromkeys(path for path, text in found if text in cell):
            warn(
                f"The {path} of {self.name!r} looks like a key. It is stored in plain text, in the history "
                "and in this notebook. Put it into the key field of the form, and make a new key."
            )

    def __repr__(self) -> str:
        self._state.catch_up_quietly()
        values = self._trait_values
        shown = [values.get("provider", ""), values.get("model") or "no model"]
        if values.get("temperature") is not None:
            shown.append(f"temperature {values['temperature']}")
        # References to secrets are never shown here, not even masked: they say nothing.
        shown += filter(None, [self._absence])
        return f"<Config {values.get('name', '')}: {', '.join(shown)}>"


def _missing_variables(document: ConfigDocument) -> Iterator[Issue]:
    for field in secret_fields(type(document)):
        ref = document.at(field)
        if ref.source == "env" and try_environment(ref.name) is None:
            yield Issue(
                field,
                "error",
                f"The environment variable {ref.name} is not set. Set it before the kernel starts, "
                f"or with os.environ[{ref.name!r}] = ...",
            )
