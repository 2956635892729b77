"""How a config is doing, in a few words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchstate.errors import NotFoundError, SetupError
from orchstate.providers.documents import is_set

if TYPE_CHECKING:
    from orchstate.config import Config
    from orchstate.display import Level
    from orchstate.providers.definition import ProviderDefinition


def badge(config: Config) -> tuple[str, Level]:
    """Return whether a config is ready, or what it lacks, and how bad that is.

    Examples
    --------
    >>> from orchstate.testing import memory_store
    >>> with memory_store() as store:
    ...     badge(store.configs.create("openai", name="gpt"))
    ('Needs API key', 'warning')
    """
    if config._state.seen(config.id) is None:
        return "Deleted", "warning"
    validation = config.validation
    if validation.ready:
        return "Ready", "ok"
    fields = dict.fromkeys(issue.field for issue in validation.issues if issue.level == "error")
    definition = try_definition(config)
    if definition is None:
        return "Provider not known here", "error"
    labels = ", ".join(_label(definition, field) for field in fields)
    is_missing = all(not is_set(getattr(config, field, None)) for field in fields)
    return (f"Needs {labels}", "warning") if is_missing else (f"Not valid: {labels}", "error")


def try_definition(config: Config) -> ProviderDefinition | None:
    """Return the definition of a config's provider, None if it cannot be used on this machine."""
    try:
        return config.definition
    except (NotFoundError, SetupError):
        return None


def _label(definition: ProviderDefinition, path: str) -> str:
    spec = definition.field(path.partition(".")[0])
    return spec.label if spec else path or "settings"
