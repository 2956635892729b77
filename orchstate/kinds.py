"""Which kinds of documents a store has, and the records that show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchstate.config import Config
from orchstate.configs import config_kind
from orchstate.conflicts import Conflict
from orchstate.models.config import ConfigDocument
from orchstate.models.conflict import ConflictDocument
from orchstate.models.document import defaults, leaves
from orchstate.models.profile import ProfileDocument, SnapshotDocument
from orchstate.models.settings import SettingsDocument
from orchstate.models.values import is_same
from orchstate.state.derivation import derive
from orchstate.state.kinds import Kinds, plain_kind
from orchstate.state.record import Record

if TYPE_CHECKING:
    from orchstate.models.document import Document
    from orchstate.providers.registry import Registry


class Settings(Record):
    """The settings of a store: every leaf a trait, such as ``settings.agents.timeout``."""

    def __repr__(self) -> str:
        document = self._state.seen(self._entry.id) or self._told_document
        usual = defaults(self.document_class)
        paths = [path for path in leaves(self.document_class) if path != "name"]
        values = {path: document.at(path) for path in paths}
        changed = [f"{path}={value!r}" for path, value in values.items() if not is_same(value, usual[path])]
        return f"<Settings {', '.join(changed)}>" if changed else "<Settings: all as usual>"


def kinds_of(registry: Registry) -> Kinds:
    """Return the kinds of documents in a store, with configs as `registry` defines them."""
    kinds = [
        config_kind(registry),
        plain_kind(SettingsDocument, is_restored=True),
        plain_kind(ProfileDocument),
        plain_kind(SnapshotDocument),
        plain_kind(ConflictDocument),
    ]
    return {kind.name: kind for kind in kinds}


def record_class(document_class: type[Document]) -> type[Record]:
    """Return the record class that shows documents of a class."""
    bases = ((ConfigDocument, Config), (SettingsDocument, Settings), (ConflictDocument, Conflict))
    for known, base in bases:
        if issubclass(document_class, known):
            return derive(document_class, base)
    return derive(document_class, Record)
