"""What a setup is taken from and put into: the part of a store that this package needs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from orchstate.errors import NotFoundError
from orchstate.models.config import ConfigDocument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from orchstate.models.document import Document
    from orchstate.providers.registry import Registry


class Editable(Protocol):
    """A record: a document that can be read and changed."""

    def document(self) -> Document:
        """Return the present document."""

    def update(self, **changes: Any) -> object:
        """Change values by path."""


class EditableConfig(Editable, Protocol):
    """What is needed of a config."""

    def put_away(self, values: Mapping[str, Mapping[str, Any]]) -> object:
        """Keep values for other providers."""


class Configs(Protocol):
    """The configs of a store, by name or id."""

    def __getitem__(self, name: str) -> EditableConfig: ...

    def __contains__(self, name: object) -> bool: ...

    def values(self) -> Iterable[EditableConfig]:
        """Return all configs."""

    def create(self, provider: str, *, name: str | None = None, **values: Any) -> EditableConfig:
        """Create a config."""


class Holder(Protocol):
    """A store."""

    active: Any

    @property
    def path(self) -> Path | None:
        """The store's file, None for one in memory."""

    @property
    def configs(self) -> Configs:
        """Its configs."""

    @property
    def settings(self) -> Editable:
        """Its settings."""

    @property
    def providers(self) -> Registry:
        """The provider definitions of this machine."""

    def transaction(self, label: str = "") -> contextlib.AbstractContextManager[None]:
        """Make the edits of a block all or nothing."""


def config_documents(holder: Holder) -> list[ConfigDocument]:
    """Return the documents of all configs; one that another process deletes meanwhile is left out."""
    found = []
    for config in holder.configs.values():
        with contextlib.suppress(NotFoundError):
            found.append(config.document())
    return [document for document in found if isinstance(document, ConfigDocument)]
