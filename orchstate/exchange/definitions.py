"""Provider definitions inside a setup: read, compared with what is here, put into the user's folder.

A definition says where keys go. So one from a file never takes the place of one that is
here, never comes alive under configs that are here, and is used only when that is allowed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchstate.errors import NotFoundError, SetupError
from orchstate.exchange.holder import config_documents
from orchstate.exchange.items import BlockedError, PlanItem
from orchstate.exchange.writing import replace_file, setup_text
from orchstate.models.canonical import canonical
from orchstate.providers.folders import named_folders, usual_folder
from orchstate.providers.reading import read_definition
from orchstate.providers.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from orchstate.exchange.holder import Holder
    from orchstate.providers.definition import ProviderDefinition


class Definitions:
    """The definitions that configs of a setup may use: those of this machine, then new ones of the file.

    Parameters
    ----------
    registry
        The definitions of this machine.
    new
        Those that only the file has, by id.
    """

    def __init__(self, registry: Registry, new: Mapping[str, ProviderDefinition]) -> None:
        self._registry = registry
        self.new = new

    def find(self, provider: str, path: str) -> ProviderDefinition | None:
        """Return the definition of a provider, None if there is none.

        Raises
        ------
        BlockedError
            If the user's own file of it is broken.
        """
        try:
            return self._registry.get(provider)
        except NotFoundError:
            return self.new.get(provider)
        except SetupError as error:
            raise BlockedError(
                f"the definition of {provider!r} cannot be used: {error}", path=path
            ) from error

    def try_find(self, provider: str) -> ProviderDefinition | None:
        """Return the definition of a provider, None if there is none that can be used."""
        try:
            return self.find(provider, "")
        except BlockedError:
            return None


def folder() -> Path:
    """Return the folder into which allowed definitions are put."""
    return named_folders()[-1] if named_folders() else usual_folder()


def plain_definition(definition: ProviderDefinition) -> dict[str, Any]:
    """Return a definition as plain JSON without what is usual, so that equal ones look equal.

    Examples
    --------
    >>> plain_definition(Registry(folders=[]).get("ollama"))["id"]
    'ollama'
    """
    plain = definition.model_dump(mode="json", exclude_defaults=True)
    for spec in plain.get("fields", ()):
        if spec["type"] == "secret":
            # It follows from the type.
            del spec["classification"]
    kept: dict[str, Any] = _without_empty(plain)
    return {"format": definition.format, "version": definition.version, **kept}


def is_packaged(definition: ProviderDefinition) -> bool:
    """Whether exactly this definition comes with orchstate."""
    packaged = Registry(folders=[])
    return definition.id in packaged and packaged.get(definition.id) == definition


def plan_definitions(
    raw: Sequence[Mapping[str, Any]], holder: Holder
) -> tuple[list[PlanItem], dict[str, ProviderDefinition]]:
    """Return what would become of the definitions in a setup, and those that are new here, by id."""
    items: list[PlanItem] = []
    new: dict[str, ProviderDefinition] = {}
    in_use = _providers_in_use(holder)
    for index, plain in enumerate(raw):
        path = f"definitions[{index}]"
        try:
            definition = _read(plain, path)
            if definition.id in new:
                raise BlockedError(f"{definition.id!r} is defined twice.", path=path)
            item = _compared(definition, holder.providers, in_use, path)
        except BlockedError as error:
            items.append(PlanItem("definition", _name(plain, path), "blocked", note=str(error)))
            continue
        items.append(item)
        if item.action == "add":
            new[definition.id] = definition
    return items, new


def write_definition(definition: ProviderDefinition) -> Path:
    """Put a definition into the user's folder; returns the file.

    Raises
    ------
    SetupError
        If there is a file of its name, or it cannot be written.
    """
    path = folder() / f"{definition.id}.json"
    if path.exists():
        raise SetupError("this file is there already, and it stays. Rename it first.", source=str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"the folder cannot be made ({error.strerror}).", source=str(path.parent)) from error
    replace_file(path, setup_text(plain_definition(definition)).encode())
    return path


def _read(plain: Mapping[str, Any], path: str) -> ProviderDefinition:
    try:
        return read_definition(canonical(plain), "")
    except SetupError as error:
        raise BlockedError(str(error), path=path) from error


def _compared(
    definition: ProviderDefinition, registry: Registry, in_use: Mapping[str, str], path: str
) -> PlanItem:
    id = definition.id
    try:
        here = registry.get(id)
    except NotFoundError:
        pass
    except SetupError as error:
        raise BlockedError(f"the file of {id!r} that is here is broken: {error}", path=path) from error
    else:
        if here == definition:
            return PlanItem("definition", id, "same")
        note = "Another definition of it is here, and it stays. Configs are checked against that one."
        return PlanItem("definition", id, "conflict", _difference(here, definition), note)
    if id in in_use:
        raise BlockedError(
            f"{in_use[id]!r} was made here with another definition of {id!r}, which is gone. Put the file "
            f"you trust into {str(folder())!r} yourself.",
            path=path,
        )
    note = "It says where keys go, so it is used only with allow_definitions=True."
    return PlanItem("definition", id, "add", _difference(None, definition), note)


def _difference(here: ProviderDefinition | None, there: ProviderDefinition) -> dict[str, tuple[Any, Any]]:
    ours, theirs = plain_definition(here) if here else {}, plain_definition(there)
    keys = ("label", "sdk", "base_url") if here is None else dict.fromkeys([*ours, *theirs])
    return {key: (ours.get(key), theirs.get(key)) for key in keys if ours.get(key) != theirs.get(key)}


def _providers_in_use(holder: Holder) -> dict[str, str]:
    """Return by provider a config that has it, or had it."""
    found: dict[str, str] = {}
    for document in config_documents(holder):
        for provider in (document.provider, *document.stash):
            found.setdefault(provider, document.name)
    return found


def _name(plain: Mapping[str, Any], path: str) -> str:
    id = plain.get("id")
    return id if isinstance(id, str) else path


def _without_empty(plain: Any) -> Any:
    if isinstance(plain, dict):
        kept = {key: _without_empty(value) for key, value in plain.items()}
        return {key: value for key, value in kept.items() if value not in (None, {}, [])}
    return [_without_empty(item) for item in plain] if isinstance(plain, list) else plain
