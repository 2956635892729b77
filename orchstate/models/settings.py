"""The settings document: one per store, every leaf with a default, a range and an effect."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from orchstate.models.conflict import Policy
from orchstate.models.document import Document, datetime_of
from orchstate.models.values import Section, Whole


class AgentSettings(Section):
    """How calls to providers behave."""

    timeout: Whole = Field(60_000, ge=1_000, le=300_000, title="Timeout (ms)")
    """Time limit of one call to a provider in milliseconds, 1,000 to 300,000."""

    retry_attempts: Whole = Field(2, ge=0, le=10, title="Retries")
    """How often a failed call is tried again, 0 to 10."""


class SyncSettings(Section):
    """What happens where several notebooks edit one store."""

    conflict_resolution: Policy = Field("last-write-wins", title="When two change the same field")
    """``"last-write-wins"``: the last commit counts; ``"merge"``: a function that was given to
    ``store.conflicts.merge_with()`` decides; ``"prompt"``: a person does, in ``store.conflicts``."""


class SettingsDocument(Document):
    """Settings that belong to the store, shared by all who use it."""

    kind: ClassVar[str] = "settings"

    agents: AgentSettings = Field(default_factory=AgentSettings)
    sync: SyncSettings = Field(default_factory=SyncSettings)

    @classmethod
    def initial(cls, id: str) -> SettingsDocument:
        """Return the settings of a store in which none was ever changed."""
        born = datetime_of(0)
        return cls.created({"id": id, "created_at": born, "updated_at": born}, {"name": "settings"})
