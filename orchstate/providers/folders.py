"""Definition files of the user's own: where they are, and what is in them."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchstate.errors import SetupError
from orchstate.models.canonical import parse
from orchstate.providers.reading import read_definition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchstate.providers.definition import ProviderDefinition

logger = logging.getLogger(__name__)

FOLDERS_VARIABLE: Final = "ORCHSTATE_PROVIDERS"
# A hundred times the largest definition; keeps a wrong file from being read into memory.
MAX_BYTES: Final = 1_000_000


def named_folders() -> tuple[Path, ...]:
    """Return the folders in ``$ORCHSTATE_PROVIDERS``, which has the form of ``$PATH``."""
    parts = os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep)
    return tuple(Path(part).expanduser() for part in parts if part)


def usual_folder() -> Path:
    """Return ``orchstate/providers`` in the user's configuration folder, which need not exist."""
    import platformdirs

    return platformdirs.user_config_path("orchstate") / "providers"


def definitions_in(folder: Path) -> Iterator[tuple[str, ProviderDefinition | SetupError]]:
    """Yield provider id and definition for every ``*.json`` of a folder, in order of the names.

    For a file that cannot be used it yields the error, with the id that the file stands
    for: the one in it as far as it can be read, else its name.
    """
    try:
        files = sorted(file for file in folder.iterdir() if _is_definition(file))
    except OSError as error:
        problem = f"the folder of provider definitions cannot be read ({error.strerror})."
        yield "", SetupError(problem, source=str(folder))
        return
    for file in files:
        yield _read(file)


def _is_definition(file: Path) -> bool:
    # Editors keep their own copies under names with a leading dot.
    return file.suffix == ".json" and not file.name.startswith(".")


def _read(file: Path) -> tuple[str, ProviderDefinition | SetupError]:
    content = b""
    try:
        content = _content(file)
        definition = read_definition(content, str(file))
    except SetupError as error:
        logger.warning("A provider definition is left out: %s", error)
        return _intended_id(file, content), error
    return definition.id, definition


def _content(file: Path) -> bytes:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise SetupError(f"the file is larger than {MAX_BYTES:,} bytes.", source=str(file))
        return file.read_bytes()
    except OSError as error:
        raise SetupError(f"the file cannot be read ({error.strerror}).", source=str(file)) from error


def _intended_id(file: Path, content: bytes) -> str:
    try:
        raw = parse(content)
    except ValueError:
        return file.stem
    named = raw.get("id") if isinstance(raw, dict) else None
    return named if isinstance(named, str) else file.stem
