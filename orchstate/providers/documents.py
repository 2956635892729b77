"""Document classes made from definitions: one pydantic field per field of the provider.

Every field may be unset, which is None (for secrets: a reference that is not set; for
maps: an empty one). What is not set is left out of calls, so the provider's own default
applies.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field, create_model, field_validator, model_validator

from orchstate.errors import quoted
from orchstate.models.config import ConfigDocument
from orchstate.models.key_shapes import REFUSAL, holds_key, shown
from orchstate.models.secret import SecretRef, is_reference
from orchstate.models.values import FrozenMap, StringMap, check_length, to_number, to_whole
from orchstate.providers.key_names import is_key_name
from orchstate.providers.urls import check_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchstate.providers.definition import FieldSpec, ProviderDefinition


# No field of a provider is for a book; texts of one's own, such as prompts, may be longer.
MAX_CHARACTERS: Final = 10_000


class UnknownProviderDocument(ConfigDocument):
    """A config whose provider is not defined on this machine; its values are kept as they are."""


@cache
def document_class(definition: ProviderDefinition) -> type[ConfigDocument]:
    """Return the class of the documents that hold a provider's configs.

    Equal definitions give the same class.

    Examples
    --------
    >>> from orchstate.providers.definition import FieldSpec, ProviderDefinition
    >>> top_p = FieldSpec(name="top_p", type="number", label="Top p")
    >>> lab = ProviderDefinition(
    ...     id="lab", label="Lab", sdk="openai", base_url="http://127.0.0.1:8000/v1", fields=(top_p,)
    ... )
    >>> document_class(lab).model_fields["top_p"].title
    'Top p'
    """
    fields: Any = {spec.name: _field(spec) for spec in definition.fields}
    rules: Any = {
        "check_auth": field_validator("auth")(_auth_check(definition)),
        "check_exclusions": model_validator(mode="after")(_exclusion_check(definition)),
    }
    return cast(
        "type[ConfigDocument]",
        create_model(
            f"{definition.id.title().replace('_', '')}Document",
            __base__=ConfigDocument,
            __module__=__name__,
            __doc__=f"A config of the provider {definition.label}.",
            __validators__=rules,
            **fields,
        ),
    )


def is_set(value: Any) -> bool:
    """Whether a field's value counts as set.

    Examples
    --------
    >>> is_set(0.0), is_set(None), is_set(SecretRef()), is_set({})
    (True, False, False, False)
    """
    if isinstance(value, SecretRef):
        return value.is_set
    return value is not None and value != {} and value != ""


def _field(spec: FieldSpec) -> tuple[Any, Any]:
    options: dict[str, Any] = {"title": spec.label, "description": spec.help or None}
    if spec.type == "map":
        options["default_factory"] = FrozenMap
    else:
        options["default"] = SecretRef() if spec.type == "secret" else None
    if spec.is_numeric:
        options |= {"ge": spec.minimum, "le": spec.maximum}
    return _annotation(spec), Field(**options)


def _annotation(spec: FieldSpec) -> Any:
    if spec.verbatim:
        return _Verbatim
    if spec.type == "map" and spec.name == "headers":
        return _Headers
    if spec.type == "choice":
        return Annotated[Literal[spec.choices] | None, BeforeValidator(_unset_if_blank)]
    return _ANNOTATIONS[spec.type]


def _unset_if_blank(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


def _has_control(text: str) -> bool:
    # What is printable has no such character, and most texts are: only others are looked at one by one.
    return not text.isprintable() and any(
        unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs") for char in text
    )


def _check_no_key(text: str) -> str:
    if holds_key(text):
        raise ValueError(REFUSAL)
    return text


def _check_text(text: str) -> str:
    _check_no_key(check_length(text, MAX_CHARACTERS))
    if _has_control(text):
        raise ValueError(f"{shown(text)} has a line break or control character in it. Remove it.")
    return text


def _text_or_unset(text: str | None) -> str | None:
    return _check_text(text.strip()) if text is not None and text.strip() else None


def _verbatim_or_unset(text: str | None) -> str | None:
    return _check_no_key(check_length(text, MAX_CHARACTERS)) if text else None


def _url_or_unset(url: str | None) -> str | None:
    return check_url(check_length(url, MAX_CHARACTERS)) if url is not None and url.strip() else None


def _check_map(values: dict[str, str]) -> dict[str, str]:
    if is_reference(values):
        # Wherever documents are plain JSON, nobody could tell the two apart.
        raise ValueError(
            "together, 'source' and 'name' stand for a reference to a key. Leave one of them out."
        )
    for name, value in values.items():
        _check_no_key(name)
        if not name or name != name.strip():
            raise ValueError(f"{shown(name)} is not a name: it is empty, or has a space at an end.")
        if is_key_name(name):
            raise ValueError(
                f"{quoted(name)} carries a key, and this mapping is stored in plain text. "
                "Put the key into the key field instead."
            )
        _check_text(name)
        check_length(value, MAX_CHARACTERS)
        # The value may be a key all the same, and stays out of the message.
        if holds_key(value):
            raise ValueError(f"the value of {quoted(name)}: {REFUSAL}")
        if _has_control(value):
            raise ValueError(
                f"the value of {quoted(name)} has a line break or control character in it. Remove it."
            )
    return values


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in _check_map(headers).items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(
                f"{shown(name)} cannot be the name of a header: letters, digits and hyphens are allowed, "
                "as in 'X-Team'."
            )
        # The value may be a key, and stays out of the message.
        if not value or value != value.strip():
            raise ValueError(
                f"the value of {quoted(name)} is empty, or has a space at an end. "
                "Leave the header out, or type it again."
            )
        if not value.isascii():
            raise ValueError(
                f"the value of {quoted(name)} has letters beyond ASCII, which a header cannot carry."
            )
    return headers


def _reference(value: Any) -> Any:
    return SecretRef() if value is None else value


# RFC 9110, 5.6.2: a token.
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_Headers = Annotated[StringMap, AfterValidator(_check_headers)]
_Text = Annotated[str | None, AfterValidator(_text_or_unset)]
_Verbatim = Annotated[str | None, AfterValidator(_verbatim_or_unset)]
_ANNOTATIONS: Final[dict[str, Any]] = {
    "text": _Text,
    "model": _Text,
    "url": Annotated[str | None, AfterValidator(_url_or_unset)],
    "number": Annotated[float | None, BeforeValidator(to_number)],
    "integer": Annotated[int | None, BeforeValidator(to_whole)],
    "boolean": bool | None,
    "map": Annotated[StringMap, AfterValidator(_check_map)],
    "secret": Annotated[SecretRef, BeforeValidator(_reference)],
}


def _auth_check(definition: ProviderDefinition) -> Callable[[Any, str], str]:
    known = [mode.id for mode in definition.auth]

    def check_auth(cls: Any, auth: str) -> str:
        if auth and auth not in known:
            allowed = ", ".join(map(repr, known)) or "none, since it takes no key"
            raise ValueError(
                f"{shown(auth)} is not a way to authenticate with {definition.label}. Ways: {allowed}."
            )
        return auth

    return check_auth


def _exclusion_check(definition: ProviderDefinition) -> Callable[[ConfigDocument], ConfigDocument]:
    pairs = [(spec.name, other) for spec in definition.fields for other in spec.excludes]

    def check_exclusions(document: ConfigDocument) -> ConfigDocument:
        for one, other in pairs:
            if is_set(getattr(document, one)) and is_set(getattr(document, other)):
                raise ValueError(f"{one} and {other} cannot both be set. Set one of them to None.")
        return document

    return check_exclusions
