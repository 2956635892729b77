"""What a provider is, as data: its fields, ways to authenticate, links and models.

A definition is the only place where a provider's field is declared. The pydantic
class, the traits, the form, the JSON Schema and the history's columns are derived
from it; ``docs/providers.md`` is the reference of the format.
"""

from __future__ import annotations

import math
import re
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from orchstate.errors import quoted
from orchstate.models.values import FrozenMap, StringMap, Strings
from orchstate.providers.names import name_problem
from orchstate.providers.urls import check_url

if TYPE_CHECKING:
    from collections.abc import Mapping

FieldType = Literal["text", "secret", "url", "model", "number", "integer", "boolean", "choice", "map"]
Classification = Literal["public", "internal", "confidential", "secret"]
Requirement = Literal["required", "optional", "none"]
Sdk = Literal["openai", "anthropic", "ollama"]

FORMAT: Final = "orchstate.provider"
VERSION: Final = 1

_Text = Annotated[str, Field(min_length=1)]
_Url = Annotated[str, AfterValidator(check_url)]


class _Part(BaseModel):
    """A piece of a definition: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=()
    )


class FieldSpec(_Part):
    """One field of a provider's configs.

    Examples
    --------
    >>> FieldSpec(name="top_p", type="number", label="Top p", minimum=0, maximum=1)
    <FieldSpec top_p: number from 0 to 1>
    """

    name: str
    """The attribute of a config: a Python name."""

    type: FieldType
    """What it holds; ``"model"`` is text with suggestions, ``"map"`` holds texts by name."""

    label: _Text
    """The name that people read."""

    help: str = ""
    """One sentence: the effect, the unit, what not setting it means."""

    required: bool = False
    """Whether a config needs it before it can be used; it can be stored without."""

    minimum: int | float | None = None
    """The smallest allowed number, None for no limit."""

    maximum: int | float | None = None
    """The largest allowed number, None for no limit."""

    step: int | float | None = None
    """By how much a control moves the number, None to let the control decide."""

    unit: str = ""
    """What the number counts, such as ``"tokens"``."""

    choices: Strings = ()
    """The allowed values of a ``"choice"``, in the order in which they are shown."""

    base_urls: StringMap = Field(default_factory=FrozenMap)
    """Where calls go for each of the choices, for a field that chooses a region."""

    default: str | int | float | bool | None = None
    """What the provider uses when the field is not set; sent only where its API insists on a value."""

    placeholder: str = ""
    """What an empty control shows."""

    env: Strings = ()
    """Environment variables that commonly hold the value, the most usual one first."""

    pattern: str | None = None
    """Regular expression that values usually match; others get a warning, never an error."""

    parameter: _Text | None = None
    """Name of the request parameter, dots for nesting (``options.num_ctx``); None when it is none."""

    header: _Text | None = None
    """Name of the HTTP header that the value is sent in, None when it is not sent in one."""

    excludes: Strings = ()
    """Fields that cannot be set together with this one."""

    advanced: bool = False
    """Whether forms fold it away."""

    verbatim: bool = False
    """Whether spaces and line breaks of a text count, as they do in a stop sequence."""

    classification: Classification = "public"
    """Decides what is exported, logged and masked; ``"secret"`` for secret fields, always."""

    @model_validator(mode="before")
    @classmethod
    def _classify(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and raw.get("type") == "secret":
            return {"classification": "secret", **raw}
        return raw

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        problem = name_problem(name)
        if problem:
            raise ValueError(f"{name!r} cannot be the name of a field: {problem}.")
        return name

    @field_validator("pattern")
    @classmethod
    def _check_pattern(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}.") from error
        return pattern

    @model_validator(mode="after")
    def _check(self) -> FieldSpec:
        if not self.is_numeric and (self.minimum, self.maximum, self.step) != (None, None, None):
            _refuse("type", "minimum, maximum and step belong to the types 'number' and 'integer'.")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            _refuse("minimum", f"the minimum {self.minimum} is above the maximum {self.maximum}.")
        if (self.type == "choice") != bool(self.choices):
            _refuse("choices", "a field of the type 'choice' needs choices, and only such a field has them.")
        if self.verbatim and self.type != "text":
            _refuse("verbatim", "only a field of the type 'text' can be verbatim.")
        if not self.base_urls.keys() <= set(self.choices):
            _refuse("base_urls", "base URLs belong to choices of this field.")
        for choice, url in self.base_urls.items():
            _check_base_url(f"base_urls.{choice}", url)
        if (self.type == "secret") != (self.classification == "secret"):
            _refuse("classification", "'secret' is for fields of the type 'secret', and those have no other.")
        if self.type == "secret" and self.parameter:
            _refuse("parameter", "a secret is sent as the provider's key or in a header, not as a parameter.")
        if self.default is not None and not self._is_possible(self.default):
            _refuse("default", f"{quoted(self.default)} is not a value that this field can have.")
        return self

    def _is_possible(self, value: str | int | float | bool) -> bool:
        if self.is_numeric:
            allowed = (int,) if self.type == "integer" else (int, float)
            low = -math.inf if self.minimum is None else self.minimum
            high = math.inf if self.maximum is None else self.maximum
            # bool is a kind of int to Python.
            return type(value) in allowed and low <= value <= high  # type: ignore[operator]
        if self.type == "boolean":
            return isinstance(value, bool)
        if self.type == "choice":
            return value in self.choices
        return isinstance(value, str) and self.type not in ("secret", "map")

    @property
    def is_numeric(self) -> bool:
        """Whether the field holds a number."""
        return self.type in ("number", "integer")

    def doubt(self, value: str) -> str:
        """Return a warning if `value` does not look as values of this field do, else ``""``.

        The value itself is not in the text. Shapes of keys change, so this never refuses.

        Examples
        --------
        >>> FieldSpec(name="key", type="secret", label="API key", pattern="sk-.+").doubt("pk-123")
        'This does not look like the usual API key. It is kept as it is.'
        """
        if self.pattern is None or re.fullmatch(self.pattern, value):
            return ""
        usual = f" ({self.placeholder})" if self.placeholder else ""
        return f"This does not look like the usual {self.label}{usual}. It is kept as it is."

    def __repr__(self) -> str:
        low = "" if self.minimum is None else f" from {self.minimum}"
        high = "" if self.maximum is None else f" to {self.maximum}"
        return f"<FieldSpec {self.name}: {self.type}{low}{high}>"

    __str__ = __repr__


class AuthMode(_Part):
    """One way to authenticate, with its own fields."""

    id: _Text
    label: _Text
    fields: Strings = ()
    """Names of the fields that this way uses; the first secret one is the key."""

    requirement: Requirement = "required"
    """Whether those fields have to be set: ``"none"`` for a server that takes no key."""


class Links(_Part):
    """Pages about the provider, None where there is none."""

    website: _Url | None = None
    keys: _Url | None = None
    docs: _Url | None = None
    models: _Url | None = None


class ModelSuggestions(_Part):
    """Model ids that existed on a day; any other text is as good."""

    date: str
    ids: Strings = ()

    @field_validator("date")
    @classmethod
    def _check_date(cls, text: str) -> str:
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError:
            raise ValueError(f"{text!r} is not a day, such as '2026-07-02'.") from None


class ProviderDefinition(_Part):
    """Everything that is known about one provider.

    Examples
    --------
    >>> ProviderDefinition(
    ...     id="lab",
    ...     label="Our lab's server",
    ...     sdk="openai",
    ...     base_url="http://127.0.0.1:8000/v1",
    ...     fields=(FieldSpec(name="model", type="model", label="Model"),),
    ... )
    <ProviderDefinition lab: Our lab's server, 1 field>
    """

    format: Literal["orchstate.provider"] = FORMAT
    version: Literal[1] = VERSION
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")
    """What configs refer to: 1 to 64 lower-case letters, digits and ``_ . -``."""

    label: _Text
    """The name that people read."""

    help: str = ""
    sdk: Sdk
    """The client library that speaks the provider's protocol."""

    base_url: _Url | None = None
    """Where calls go when a config sets no ``base_url``, None when each config has to."""

    auth: tuple[AuthMode, ...] = ()
    """Ways to authenticate, the usual one first; empty when none is needed."""

    fields: tuple[FieldSpec, ...] = ()
    """The fields of a config, in the order of the form."""

    links: Links = Field(default_factory=Links)
    models: ModelSuggestions | None = None
    targets: StringMap = Field(default_factory=FrozenMap)
    """The provider's id in other libraries, such as ``{"litellm": "openai"}``."""

    @field_validator("auth", "fields", mode="before")
    @classmethod
    def _to_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _check(self) -> ProviderDefinition:
        _check_unique("fields", [spec.name for spec in self.fields])
        _check_unique("auth", [mode.id for mode in self.auth])
        address = self.field("base_url")
        if self.base_url is None and not (address and address.required):
            _refuse("base_url", "give an address here, or a required field 'base_url'.")
        names = self._by_name
        for index, mode in enumerate(self.auth):
            _check_known(f"auth[{index}].fields", mode.fields, names)
        for index, spec in enumerate(self.fields):
            _check_known(f"fields[{index}].excludes", spec.excludes, names)
        return self

    @cached_property
    def _by_name(self) -> dict[str, FieldSpec]:
        return {spec.name: spec for spec in self.fields}

    def field(self, name: str) -> FieldSpec | None:
        """Return the spec of the field `name`, None if there is no such field."""
        return self._by_name.get(name)

    def address(self, values: Mapping[str, Any]) -> str | None:
        """Return where calls of a config with these values go, None when nobody says.

        It is the config's own address, else that of a region it chooses, else the provider's.
        """
        regions = [spec.base_urls.get(str(values.get(spec.name))) for spec in self.fields if spec.base_urls]
        own = values.get("base_url") if self.field("base_url") else None
        return own or next(filter(None, regions), self.base_url)

    def __hash__(self) -> int:
        # Mappings have no hash, and this is quick; equality still compares everything.
        return hash((self.id, self.label))

    def __repr__(self) -> str:
        count = len(self.fields)
        return f"<ProviderDefinition {self.id}: {self.label}, {count} field{'' if count == 1 else 's'}>"

    __str__ = __repr__


def _refuse(path: str, message: str) -> NoReturn:
    """Raise a fault whose place in the JSON is known better here than by pydantic."""
    raise PydanticCustomError("definition", "{message}", {"message": message, "path": path})


def _check_base_url(path: str, url: str) -> None:
    try:
        check_url(url)
    except ValueError as error:
        _refuse(path, str(error))


def _check_unique(path: str, names: list[str]) -> None:
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if first.setdefault(name.casefold(), index) != index:
            twin = names[first[name.casefold()]]
            also = "is there twice" if name == twin else f"differs from {twin!r} only in case"
            _refuse(f"{path}[{index}]", f"{name!r} {also}.")


def _check_known(path: str, names: tuple[str, ...], fields: dict[str, FieldSpec]) -> None:
    for index, name in enumerate(names):
        if name not in fields:
            _refuse(f"{path}[{index}]", f"{name!r} is not one of this provider's fields.")
