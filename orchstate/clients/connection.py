"""Everything that a call needs to know of a config, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from orchstate.errors import SecretUnavailableError, ValidationError
from orchstate.models.values import to_plain
from orchstate.providers.documents import is_set
from orchstate.providers.readiness import auth_mode, needs, spelled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchstate.models.config import ConfigDocument
    from orchstate.models.secret import SecretRef
    from orchstate.providers.definition import AuthMode, FieldSpec, ProviderDefinition

# An SDK that is given no key looks for one in the environment and would send that instead.
NO_KEY: Final = "not-needed"


@dataclass(frozen=True, slots=True, repr=False)
class Connection:
    """A config as a call sees it.

    Parameters
    ----------
    definition
        The provider.
    document
        The config's values.
    read_secret
        Gives the value of a secret, at the moment of use; raises SecretError.
    timeout_ms
        Time limit of one call in milliseconds, with everything that belongs to it.
    retries
        How often the SDK tries a failed call again within that time.
    stamp
        Pins results to the exact revision of the config.
    """

    definition: ProviderDefinition
    document: ConfigDocument
    read_secret: Callable[[SecretRef], str]
    timeout_ms: int = 60_000
    retries: int = 2
    stamp: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The config's name."""
        return self.document.name

    @property
    def spelled(self) -> str:
        """How the config is most likely written in a cell, for messages."""
        return spelled(self.document.name)

    @property
    def timeout_s(self) -> float:
        """The time limit in seconds, as SDKs want it."""
        return self.timeout_ms / 1000

    @property
    def mode(self) -> AuthMode | None:
        """The way to authenticate that is in use."""
        return auth_mode(self.definition, self.document)

    @property
    def base_url(self) -> str:
        """Where calls go, as :meth:`ProviderDefinition.address` says.

        It is always given to the SDK, so that a variable such as OPENAI_BASE_URL cannot
        send a key elsewhere without anyone noticing.

        Raises
        ------
        ValidationError
            If neither has one.
        """
        url = self.definition.address(self.document.__dict__)
        if not url:
            raise ValidationError(
                f"{self.name!r} has no base URL. Assign {self.spelled}.base_url, "
                "such as 'http://127.0.0.1:8000/v1'."
            )
        return url

    def value(self, name: str) -> Any:
        """Return the value of a field, None when it is not set or the provider has no such field."""
        value = getattr(self.document, name, None) if self.definition.field(name) else None
        return value if is_set(value) else None

    def parameters(self) -> dict[str, Any]:
        """Return the request parameters that are set, by the provider's names.

        A name with dots becomes nested: ``options.seed`` is ``{"options": {"seed": ...}}``.
        """
        found: dict[str, Any] = {}
        for spec in self.definition.fields:
            value = self.value(spec.name)
            if spec.parameter is not None and value is not None:
                *outer, last = spec.parameter.split(".")
                target = found
                for part in outer:
                    target = target.setdefault(part, {})
                target[last] = to_plain(value)
        return found

    def secrets(self) -> dict[str, str]:
        """Return the secrets that are set and belong to the way of authenticating in use, by field.

        Raises
        ------
        SecretError
            If the place where one lives does not give it.
        """
        mode = self.mode
        used = set(mode.fields) if mode else set()
        others = {name for one in self.definition.auth for name in one.fields} - used
        return {
            spec.name: self.read_secret(getattr(self.document, spec.name))
            for spec in self.definition.fields
            if spec.type == "secret" and spec.name not in others and self.value(spec.name) is not None
        }

    def key_field(self) -> FieldSpec | None:
        """Return the field whose secret is the provider's key, None when it takes none."""
        specs = [self.definition.field(name) for name in (self.mode.fields if self.mode else ())]
        return next((spec for spec in specs if spec is not None and spec.type == "secret"), None)

    def require_ready(self) -> None:
        """Raise what keeps the config from being used.

        Raises
        ------
        SecretUnavailableError
            If a key is needed and not set. When a usual environment variable holds one,
            the message offers it; it is never taken unasked.
        ValidationError
            If anything else is missing or wrong.
        """
        issues = needs(self.definition, self.document)
        if not issues:
            return
        spec = self.definition.field(issues[0].field)
        if spec is not None and spec.type == "secret":
            raise SecretUnavailableError(f"{self.name!r} cannot be used: {issues[0].message}")
        raise ValidationError.of(issues, subject=f"{self.name!r} cannot be used")

    def __repr__(self) -> str:
        model = self.value("model")
        return f"<Connection {self.name}: {self.definition.id}{f', {model}' if model else ''}>"
