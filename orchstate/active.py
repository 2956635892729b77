"""The config in use: each user of a store has one, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from orchstate.config import Config
from orchstate.errors import ValidationError
from orchstate.models.names import MAX_NAME_LENGTH
from orchstate.models.profile import ProfileDocument
from orchstate.state.traits import ComputedTrait

if TYPE_CHECKING:
    from orchstate.configs import Configs
    from orchstate.state.state import State


class ActiveTrait(ComputedTrait):
    """The config in use: assign a config, a name, an id, or None."""

    def __set__(self, obj: Any, value: Any) -> None:
        obj._active.choose(value)


class Active:
    """What of a store's profiles is the user's own.

    Parameters
    ----------
    state
        Where profiles are.
    configs
        What can be in use.
    actor
        Whose choice it is.
    """

    def __init__(self, state: State, configs: Configs, actor: str) -> None:
        self._state = state
        self._configs = configs
        self._name = _profile_name(actor)
        self._last: Config | None = None

    def config(self) -> Config | None:
        """Return the config in use, None when there is none; of a closed store the last one."""
        if not self._state.closed:
            id = self._state.find("profile", self._name)
            profile = self._state.document(id) if id else None
            chosen = profile.active if isinstance(profile, ProfileDocument) else None
            is_there = chosen is not None and self._state.document(chosen) is not None
            self._last = cast("Config", self._state.record(str(chosen))) if is_there else None
        return self._last

    def choose(self, value: Config | str | None) -> None:
        """Have a config in use from now on.

        Raises
        ------
        NotFoundError
            If there is none of that name or id.
        ValidationError
            If it is no config of this store.
        ReadOnlyError, ClosedError
            If the store is not to be changed, or is closed.
        """
        self._state.check_writable()
        if isinstance(value, str):
            value = self._configs[value]
        if value is not None and not (isinstance(value, Config) and value._state is self._state):
            raise ValidationError(
                f"{value!r} cannot be active. Assign a config of this store, its name or id, or None."
            )
        active = value.document().id if value is not None else None
        id = self._state.find("profile", self._name)
        if id:
            self._state.update(id, {"active": active})
        elif active is not None:
            self._state.create("profile", self._name, {"active": active}, upsert=True)


def _profile_name(actor: str) -> str:
    # Users may have names that documents may not: those of a domain have a backslash.
    name = "".join(char if char.isprintable() and char not in "/\\" else "-" for char in actor)
    return name.strip()[:MAX_NAME_LENGTH].strip() or "-"
