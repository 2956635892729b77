"""Definition files: text in, a definition out, or an error that names the place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pydantic

from orchstate.errors import SetupError, quoted, suggestion
from orchstate.models.canonical import parse
from orchstate.models.issues import to_issues
from orchstate.providers.definition import (
    FORMAT,
    VERSION,
    AuthMode,
    FieldSpec,
    Links,
    ModelSuggestions,
    ProviderDefinition,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

_PARTS: dict[str, type[BaseModel]] = {
    "auth": AuthMode,
    "fields": FieldSpec,
    "links": Links,
    "models": ModelSuggestions,
}


def read_definition(text: str | bytes, source: str) -> ProviderDefinition:
    """Return the provider definition that a JSON text holds.

    Parameters
    ----------
    text
        The content of a definition file.
    source
        The file, or what stands for it; used in messages only.

    Raises
    ------
    SetupError
        If the text is not JSON, not a definition, written for a newer orchstate, or
        breaks a rule of the format. It names the source and the JSON path.

    Examples
    --------
    >>> read_definition('{"format": "orchstate.provider", "version": 2}', "mine.json")
    Traceback (most recent call last):
        ...
    orchstate.errors.SetupError: mine.json at version: this orchstate reads version 1, not 2. Upgrade it.
    """
    try:
        raw = parse(text)
    except ValueError as error:
        raise SetupError(f"the file {error}.", source=source) from error
    _check_header(raw, source)
    try:
        return ProviderDefinition.model_validate(raw)
    except pydantic.ValidationError as error:
        path, message = _first_fault(error)
        raise SetupError(message, source=source, path=path) from error


def _check_header(raw: Any, source: str) -> None:
    if not isinstance(raw, dict):
        raise SetupError("expected one JSON object, the definition of one provider.", source=source)
    if raw.get("format") != FORMAT:
        raise SetupError(f'expected "format": "{FORMAT}".', source=source, path="format")
    version = raw.get("version")
    if type(version) is not int or version < 1:
        raise SetupError(f'expected "version": {VERSION}.', source=source, path="version")
    if version > VERSION:
        raise SetupError(
            f"this orchstate reads version {VERSION}, not {version}. Upgrade it.",
            source=source,
            path="version",
        )


def _first_fault(error: pydantic.ValidationError) -> tuple[str, str]:
    fault = error.errors(include_url=False)[0]
    if fault["loc"][-1:] in (("int",), ("float",), ("str",), ("bool",)):
        # pydantic adds which of several allowed types it tried first.
        allowed = "text, a number, true or false" if "default" in fault["loc"] else "a number"
        return json_path(fault["loc"][:-1]), f"expected {allowed}, not {quoted(fault['input'])}."
    path = json_path(fault["loc"])
    if fault["type"] == "definition":
        return ".".join(part for part in (path, fault["ctx"]["path"]) if part), fault["ctx"]["message"]
    if fault["type"] == "extra_forbidden":
        return path, _misspelt(fault["loc"])
    if fault["type"] == "model_type":
        return path, f"expected an object in braces, not {quoted(fault['input'])}."
    if fault["type"] == "string_pattern_mismatch":
        shown = quoted(fault["input"])
        return path, f"{shown} is not an id: lower-case letters, digits and '_ . -' are allowed."
    return path, to_issues(error, ProviderDefinition)[0].message


def _misspelt(loc: tuple[int | str, ...]) -> str:
    known = list(_PARTS.get(str(loc[0]) if len(loc) > 1 else "", ProviderDefinition).model_fields)
    return f"there is no such key.{suggestion(str(loc[-1]), known)}"


def json_path(parts: Iterable[int | str]) -> str:
    """Return a place in a JSON text as people write it.

    Examples
    --------
    >>> json_path(["configs", 0, "values", "temperature"])
    'configs[0].values.temperature'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
