"""What a setup file holds; ``docs/setup-file.md`` is the reference of the format."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from orchstate.models.canonical import fingerprint
from orchstate.models.values import MAX_CHARACTERS, FrozenMap, PlainMap, Strings, Text
from orchstate.models.variables import variable_problem

FORMAT: Final = "orchstate.setup"
VERSION: Final = 1
# The first orchstate that reads this version of the format.
NEEDED: Final = ">=0.1"
# A setup of 10,000 configs has 4 MB.
MAX_BYTES: Final = 100_000_000


class _Part(BaseModel):
    """A piece of a setup: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )


class EnvironmentSecret(_Part):
    """A secret that everybody has in an environment variable of the same name."""

    source: Literal["env"]
    name: str
    """Name of the environment variable."""

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        problem = variable_problem(name)
        if problem:
            raise ValueError(problem)
        return name


class AskedSecret(_Part):
    """A secret that everybody types in for themselves."""

    source: Literal["asked"]


Secret = Annotated[EnvironmentSecret | AskedSecret, Field(discriminator="source")]


class SetupConfig(_Part):
    """One config: everything but its secrets, id and times."""

    name: str
    """Unique among the configs, in any case."""

    provider: str
    """Id of its provider, such as ``"openai"``."""

    auth: str = ""
    """The way to authenticate, ``""`` to leave that to the fields that are set."""

    tags: Strings = ()
    """Words to find it by."""

    system_prompt: Text | None = Field(None, json_schema_extra={"maxLength": MAX_CHARACTERS})
    """What the model is told before every question."""

    values: PlainMap = Field(default_factory=FrozenMap)
    """The provider's fields that are set, by name."""

    secrets: dict[str, Secret] = Field(default_factory=dict)
    """Where the provider's secrets come from, by name of the field."""

    stash: dict[str, PlainMap] = Field(default_factory=dict)
    """Values of providers that it had before, by provider id; they come back with the provider."""


class Setup(_Part):
    """A whole setup.

    Examples
    --------
    >>> Setup(configs=[{"name": "gpt", "provider": "openai"}]).configs[0].provider
    'openai'
    """

    format: Literal["orchstate.setup"] = FORMAT
    """Tells a setup from other files."""

    version: Literal[1] = VERSION
    """The version of the format."""

    digest: str | None = Field(None, pattern="^sha256:[0-9a-f]{64}$")
    """SHA-256 over the canonical JSON of everything else; tells whether the file was edited by hand."""

    packages: dict[str, Annotated[str, Field(pattern=r"^(>=\d+(\.\d+)*)?$")]] = Field(default_factory=dict)
    """The packages it is used with, each with its oldest version or ``""``."""

    active: str | None = None
    """Name of the config that is in use."""

    configs: tuple[SetupConfig, ...] = ()
    settings: PlainMap = Field(default_factory=FrozenMap)
    """The settings that differ from their defaults, by path."""

    definitions: tuple[PlainMap, ...] = ()
    """Definitions of providers that do not come with orchstate."""

    @field_validator("configs", "definitions", mode="before")
    @classmethod
    def _to_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


def digest_of(raw: dict[str, Any]) -> str:
    """Return the digest of a setup as plain JSON, whatever its own ``digest`` says.

    Raises
    ------
    ValueError
        If a value has no canonical form.

    Examples
    --------
    >>> digest_of({"version": 1}) == digest_of({"version": 1, "digest": "sha256:..."})
    True
    """
    return f"sha256:{fingerprint({key: value for key, value in raw.items() if key != 'digest'})}"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of setup files, which ``docs/setup.schema.json`` publishes."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Setup.model_json_schema(),
        "title": f"orchstate setup, version {VERSION}",
        "description": "The configurations of an orchstate store, without secrets.",
        "required": ["format", "version"],
    }
