"""From a file, text, bytes or dict to a checked setup, or to an error that names the place.

Setup files come from other people: they are read as untrusted input, with limits on size
and depth, and what may be a key in the wrong place is never quoted in a message.
"""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pydantic

from orchstate.errors import NewerSchemaError, SetupError, quoted, suggestion
from orchstate.exchange.disguise import without_keys
from orchstate.exchange.format import FORMAT, MAX_BYTES, VERSION, Setup, SetupConfig, digest_of
from orchstate.models.canonical import canonical, parse
from orchstate.models.issues import to_issues
from orchstate.providers.reading import json_path

if TYPE_CHECKING:
    from pydantic import BaseModel

_KEY_RULE: Final = (
    'expected {"source": "env", "name": "OPENAI_API_KEY"} or {"source": "asked"}. '
    "A key itself never belongs into this file."
)
_EDITED: Final = (
    "It was edited since it was exported: its digest does not fit. That is fine if it was you, or "
    "somebody you trust; look at the plan more closely if not."
)

_EXPECTED: Final = (
    "Give the path of a setup, or its content as JSON text, bytes or a dict; store.export() writes setups."
)
_ADDRESS: Final = re.compile(r"[A-Za-z][\w+.-]*://")
_LONGEST_PATH: Final = 200
_PATH_END: Final = 60


@dataclass(frozen=True, slots=True)
class Reading:
    """A setup as it was read.

    Parameters
    ----------
    setup
        What it holds.
    source
        The file, or what stands for it.
    file
        The file, ``""`` if it is none.
    notes
        What is odd about it and no error, one sentence each.
    """

    setup: Setup
    source: str
    file: str
    notes: tuple[str, ...] = ()


def read_setup(source: Any) -> Reading:
    """Return the setup in a source.

    Parameters
    ----------
    source
        Path of a file, or its content as text, bytes or dict. Text that begins with
        ``{`` or has several lines is content.

    Raises
    ------
    SetupError
        If it cannot be read, is too large, is no JSON, no setup, or breaks a rule of the
        format. It names the source and the JSON path.
    NewerSchemaError
        If a newer orchstate wrote it.

    Examples
    --------
    >>> read_setup('{"format": "orchstate.setup", "version": 1, "config": []}')
    Traceback (most recent call last):
        ...
    orchstate.errors.SetupError: the text at config: there is no such key. Did you mean 'configs'?
    """
    name, file, content = _content(source)
    raw = _parsed(content, name)
    _check_header(raw, name)
    try:
        setup = Setup.model_validate(raw)
    except pydantic.ValidationError as error:
        path, message = _first_fault(error)
    else:
        notes = (_EDITED,) if setup.digest not in (None, digest_of(raw)) else ()
        return Reading(setup, name, file, notes)
    # Out here the error has no cause: pydantic's own would quote the input, which may be a key.
    raise SetupError(without_keys(message), source=name, path=without_keys(path))


def _content(source: Any) -> tuple[str, str, str | bytes]:
    """Return what messages call a source, its file if it is one, and what is in it."""
    if isinstance(source, dict):
        return "the dict", "", _encoded(source)
    if isinstance(source, bytes | bytearray):
        return "the bytes", "", bytes(source)
    if isinstance(source, str) and _is_content(source):
        return "the text", "", source.removeprefix("\ufeff")
    if isinstance(source, str) and _ADDRESS.match(source):
        raise SetupError(f"this is an address, and nothing is fetched. {_EXPECTED}", source=_shown(source))
    if isinstance(source, str | os.PathLike):
        return _shown(source), str(source), _read_file(Path(source))
    raise SetupError(f"expected a path, text, bytes or a dict, not {type(source).__name__}.")


def _shown(path: str | os.PathLike[str]) -> str:
    """Return a path for messages: text that was meant as something else can be long, or a key."""
    text = without_keys(str(path))
    return text if len(text) <= _LONGEST_PATH else f"{text[:_PATH_END]}...{text[-_PATH_END:]}"


def _is_content(text: str) -> bool:
    return not text or "\n" in text or text.lstrip("\ufeff \t").startswith("{")


def _encoded(source: dict[Any, Any]) -> str:
    try:
        return canonical(source)
    except (ValueError, RecursionError) as error:
        reason = without_keys(str(error))
    # Out here an error has no cause: it might quote a key, as might those below.
    raise SetupError(f"it has no JSON form: {reason}.", source="the dict")


def _read_file(path: Path) -> bytes:
    try:
        path = path.expanduser()
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            with path.open("rb") as file:
                return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        problem = f"there is no such file. {_EXPECTED}"
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or without_keys(str(error))
        problem = f"the file cannot be read ({reason}). {_EXPECTED}"
    else:
        # A pipe or a device could be waited for without end.
        is_folder = stat.S_ISDIR(mode)
        what = "a folder. Name a file in it" if is_folder else "no ordinary file. Name a setup file"
        problem = f"this is {what}."
    raise SetupError(problem, source=_shown(path))


def _parsed(content: str | bytes, source: str) -> Any:
    if len(content) > MAX_BYTES:
        raise SetupError(f"it is larger than {MAX_BYTES // 1_000_000} MB, so it is no setup.", source=source)
    if not content.strip():
        raise SetupError("it is empty. Export the setup again.", source=source)
    try:
        return parse(content)
    except ValueError as error:
        step = " Is it complete?" if _ends_early(error.__cause__) else ""
        problem = f"it {without_keys(str(error))}.{step}"
    raise SetupError(problem, source=source)


def _ends_early(fault: BaseException | None) -> bool:
    """Whether a text is no JSON because its end is missing."""
    if not isinstance(fault, json.JSONDecodeError):
        return False
    rest = fault.doc[fault.pos :].strip()
    return fault.msg.startswith("Unterminated string") or any(
        word.startswith(rest) for word in ("true", "false", "null")
    )


def _check_header(raw: Any, source: str) -> None:
    if not isinstance(raw, dict):
        raise SetupError(
            "expected one JSON object, a setup. Is it the right file? store.export() writes setups.",
            source=source,
        )
    if raw.get("format") == "orchstate.provider":
        raise SetupError(
            "this is the definition of a provider. Put the file into the folder of your definitions.",
            source=source,
        )
    if raw.get("format") != FORMAT:
        raise SetupError(
            f'expected "format": "{FORMAT}". Is it the right file? store.export() writes setups.',
            source=source,
            path="format",
        )
    version = raw.get("version")
    if type(version) is not int or version < 1:
        raise SetupError(f'expected "version": {VERSION}.', source=source, path="version")
    if version > VERSION:
        raise NewerSchemaError(
            f"{source} at version: it has setup format {version}, and this orchstate reads {VERSION}. "
            f'Nothing was changed. Upgrade: pip install --upgrade "orchstate{_needed(raw)}"'
        )


def _needed(raw: dict[str, Any]) -> str:
    packages = raw.get("packages")
    named = packages.get("orchstate") if isinstance(packages, dict) else None
    return named if isinstance(named, str) and re.fullmatch(r">=\d+(\.\d+)*", named) else ""


def _first_fault(error: pydantic.ValidationError) -> tuple[str, str]:
    fault = error.errors(include_url=False)[0]
    loc = fault["loc"]
    if "secrets" in loc[2:3]:
        # Of configs[0].secrets.api_key.env.name, "env" is only the way that was taken.
        path = json_path(part for index, part in enumerate(loc) if index != 4)
        return path, str(fault["ctx"]["error"]) if fault["type"] == "value_error" else _KEY_RULE
    path = json_path(loc)
    if fault["type"] == "extra_forbidden":
        return path, _misspelt(loc)
    if fault["type"] in ("model_type", "dict_type"):
        return path, f"expected an object in braces, not {_kind_of(fault['input'])}."
    if fault["type"] == "tuple_type":
        return path, f"expected a list in brackets, not {_kind_of(fault['input'])}."
    if fault["type"] == "string_pattern_mismatch":
        expected = "sha256: and 64 hexadecimal digits" if loc[0] == "digest" else "a version such as >=1.60"
        return path, f"{quoted(fault['input'])} is not {expected}."
    return path, to_issues(error, Setup)[0].message


def _misspelt(loc: tuple[int | str, ...]) -> str:
    part: type[BaseModel] = SetupConfig if loc[0] == "configs" and len(loc) > 1 else Setup
    known = list(part.model_fields)
    return f"there is no such key.{suggestion(str(loc[-1]), known)}"


def _kind_of(value: Any) -> str:
    # Never the value itself: what stands in the wrong place may be a key.
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")
