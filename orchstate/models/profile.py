"""Documents that people seldom see: what belongs to one user, and names for moments."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator

from orchstate.models.document import Document
from orchstate.models.key_shapes import REFUSAL, holds_key
from orchstate.models.values import Text


class ProfileDocument(Document):
    """What belongs to one user of a store; its name is the user's."""

    kind: ClassVar[str] = "profile"
    is_undisputed: ClassVar[bool] = True

    active: str | None = None
    """Id of the config that is in use, None when none is chosen."""


class SnapshotDocument(Document):
    """A name for a moment of the store's history."""

    kind: ClassVar[str] = "snapshot"
    is_undisputed: ClassVar[bool] = True

    seq: int = Field(ge=0)
    """The last revision that belongs to the moment."""

    note: Text = ""
    """What people want to remember of it."""

    @field_validator("note")
    @classmethod
    def _check_note(cls, note: str) -> str:
        if holds_key(note):
            raise ValueError(REFUSAL)
        return note
