"""All provider definitions of this machine: the package's catalog, and files of the user's own.

A packaged definition is read when it is first asked for. A user's file that cannot be
used is reported and set aside: it never stops the others, and only asking for the
provider it stands for raises its error.
"""

from __future__ import annotations

import logging
from importlib import resources
from typing import TYPE_CHECKING

from orchstate.errors import NotFoundError, SetupError
from orchstate.providers.documents import UnknownProviderDocument, document_class
from orchstate.providers.folders import definitions_in, named_folders, usual_folder
from orchstate.providers.reading import read_definition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from importlib.resources.abc import Traversable
    from pathlib import Path

    from orchstate.models.config import ConfigDocument
    from orchstate.providers.definition import ProviderDefinition

logger = logging.getLogger(__name__)


class Registry:
    """The provider definitions that can be used, by id.

    Parameters
    ----------
    folders
        Folders with definition files (``*.json``) of the user's own; of two definitions
        with one id the later counts. None for those named in ``$ORCHSTATE_PROVIDERS``,
        or else for ``orchstate/providers`` in the user's configuration folder.

    Examples
    --------
    >>> registry = Registry(folders=[])
    >>> registry.get("openai").label
    'OpenAI'
    >>> [definition.id for definition in registry]
    ['anthropic', 'ollama', 'openai', 'openai_compatible']
    """

    def __init__(self, folders: Iterable[Path] | None = None) -> None:
        self._folders = None if folders is None else tuple(folders)
        self.reload()

    def reload(self) -> None:
        """Forget everything that was read; files are read again when they are needed."""
        self._files: dict[str, Traversable] | None = None
        self._own: dict[str, ProviderDefinition | SetupError] | None = None
        self._packaged: dict[str, ProviderDefinition] = {}
        self._classes: dict[str, type[ConfigDocument]] = {}
        self._problems: list[SetupError] = []
        self._key_patterns: frozenset[str] | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all providers that can be used, sorted."""
        own = self._load_own()
        known = {*self._list_packaged(), *own}
        return tuple(sorted(name for name in known if not isinstance(own.get(name), SetupError)))

    @property
    def problems(self) -> tuple[SetupError, ...]:
        """What is wrong with the user's own files; each names its file and the place in it."""
        self._load_own()
        return tuple(self._problems)

    def get(self, provider_id: str) -> ProviderDefinition:
        """Return the definition with this id.

        Raises
        ------
        NotFoundError
            If there is none; the message has the closest ids.
        SetupError
            If the user's own file for it is broken.
        """
        if not isinstance(provider_id, str):
            raise self._not_found(provider_id)
        own = self._load_own().get(provider_id)
        if isinstance(own, SetupError):
            raise own.with_traceback(None)
        found = own or self._packaged_one(provider_id)
        if found is None:
            error = self._not_found(provider_id)
            # It may be a key.
            del provider_id
            raise error
        return found

    def document_class(self, provider_id: str) -> type[ConfigDocument]:
        """Return the class for a provider's configs.

        For a provider that is not defined here, or whose file is broken, it is a class
        that keeps all values as they are: it never raises.
        """
        # Found by id: to find it by the definition, one of another registry would be compared in depth.
        found = self._classes.get(provider_id)
        if found is None:
            try:
                found = self._classes[provider_id] = document_class(self.get(provider_id))
            except (NotFoundError, SetupError):
                return UnknownProviderDocument
        return found

    @property
    def key_patterns(self) -> frozenset[str]:
        """What keys usually look like, as the definitions of all providers say."""
        if self._key_patterns is None:
            specs = (spec for definition in self for spec in definition.fields if spec.type == "secret")
            self._key_patterns = frozenset(spec.pattern for spec in specs if spec.pattern is not None)
        return self._key_patterns

    def __iter__(self) -> Iterator[ProviderDefinition]:
        return (self.get(provider_id) for provider_id in self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, provider_id: object) -> bool:
        own = self._load_own().get(provider_id) if isinstance(provider_id, str) else None
        return not isinstance(own, SetupError) and (own is not None or provider_id in self._list_packaged())

    def __repr__(self) -> str:
        # A repr reads no file, so it shows what has been looked at so far.
        if self._own is None or self._files is None:
            return "<Registry: not read yet>"
        broken = f"; {len(self._problems)} with problems" if self._problems else ""
        return f"<Registry: {', '.join(self.ids)}{broken}>"

    def _packaged_one(self, provider_id: str) -> ProviderDefinition | None:
        if provider_id not in self._packaged:
            file = self._list_packaged().get(provider_id)
            if file is None:
                return None
            self._packaged[provider_id] = read_definition(file.read_bytes(), file.name)
        return self._packaged[provider_id]

    def _not_found(self, provider_id: object) -> NotFoundError:
        return NotFoundError.among("provider", provider_id, self.ids)

    def _list_packaged(self) -> dict[str, Traversable]:
        if self._files is None:
            catalog = resources.files("orchstate.providers") / "catalog"
            files = [file for file in catalog.iterdir() if file.name.endswith(".json")]
            self._files = {file.name.removesuffix(".json"): file for file in files}
        return self._files

    def _load_own(self) -> dict[str, ProviderDefinition | SetupError]:
        if self._own is None:
            own: dict[str, ProviderDefinition | SetupError] = {}
            problems = []
            for folder in self._folders_to_read():
                for provider_id, found in definitions_in(folder):
                    if isinstance(found, SetupError):
                        problems.append(found)
                    elif provider_id in own or provider_id in self._list_packaged():
                        logger.info("The provider %r is now as defined in %s.", provider_id, folder)
                    if provider_id:
                        own[provider_id] = found
            self._own, self._problems = own, problems
        return self._own

    def _folders_to_read(self) -> tuple[Path, ...]:
        folders = named_folders() if self._folders is None else self._folders
        if self._folders is not None or folders:
            return folders
        usual = usual_folder()
        # Most people have none; one that was asked for and is missing is a problem.
        return (usual,) if usual.is_dir() else ()
