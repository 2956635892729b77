"""What a plan consists of, and what comes of it: plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from orchstate.models.secret import masked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ItemKind = Literal["definition", "config", "setting", "active"]
Action = Literal["add", "change", "same", "conflict", "blocked"]
Conflict = Literal["theirs", "ours", "rename"]


@dataclass(frozen=True, slots=True)
class PlanItem:
    """What an import would do to one thing.

    Parameters
    ----------
    kind
        ``"definition"`` of a provider, ``"config"``, ``"setting"``, or ``"active"``, the
        choice of the config in use.
    name
        Which one; a setting's path.
    action
        ``"add"``; ``"change"``: it is here with other values; ``"same"``;
        ``"conflict"``: it stays as it is here whatever is chosen; ``"blocked"``: it
        cannot be imported.
    changes
        ``{field: (here, there)}``; None for what is not set, secrets masked.
    note
        What to know about it, why it is blocked and where; ``""`` if nothing.
    """

    kind: ItemKind
    name: str
    action: Action
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    note: str = ""

    def __repr__(self) -> str:
        fields = f": {', '.join(self.changes)}" if self.changes else ""
        return f"<PlanItem {self.action} {self.kind} {self.name!r}{fields}>"


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that a setup needs and that is not on this machine.

    Parameters
    ----------
    kind
        ``"key"``, ``"environment"`` (a variable), ``"package"`` or ``"provider"``.
    name
        The key's field, or the name of the variable, package or provider.
    config
        A config that needs it, ``""`` for the whole setup.
    next_step
        What to do about it.
    """

    kind: Literal["key", "package", "provider", "environment"]
    name: str
    config: str
    next_step: str


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did.

    Parameters
    ----------
    added, changed, skipped
        Names of configs, paths of settings, ids of definitions, and ``"active"``; what
        was the same already is in none of them.
    missing
        What is needed now.
    """

    added: tuple[str, ...]
    changed: tuple[str, ...]
    skipped: tuple[str, ...]
    missing: tuple[Missing, ...]

    def __repr__(self) -> str:
        counts = [
            f"{len(self.added)} added{_listed(self.added)}",
            f"{len(self.changed)} changed{_listed(self.changed)}",
            f"{len(self.skipped)} skipped{_listed(self.skipped)}",
        ]
        return f"<ImportResult {', '.join(counts)}; {len(self.missing)} missing>"


class BlockedError(Exception):
    """An item cannot be imported; never leaves this package."""

    def __init__(self, message: str, *, path: str, missing: Iterable[Missing] = ()) -> None:
        super().__init__(f"{path}: {message}")
        self.missing = tuple(missing)


def shown(plain: Any) -> Any:
    """Return a plain reference to a secret as people may see it; None when there is none.

    Examples
    --------
    >>> shown({"source": "keyring", "name": "a/api_key/1"})
    'keyring: ********'
    """
    if not plain:
        return None
    return masked(plain["source"], plain["name"])


def _listed(names: tuple[str, ...]) -> str:
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
