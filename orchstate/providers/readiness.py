"""What a config still needs before it can be used: a key, a base URL, whatever is required."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from orchstate.errors import Issue
from orchstate.providers.documents import is_set

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchstate.models.config import ConfigDocument
    from orchstate.providers.definition import AuthMode, FieldSpec, ProviderDefinition


def auth_mode(definition: ProviderDefinition, document: ConfigDocument) -> AuthMode | None:
    """Return the way in which a config authenticates, None when its provider has none.

    It is the one that `document.auth` names; when that is empty, the first of which a
    field is set, and otherwise the provider's usual one.
    """
    for mode in definition.auth:
        if mode.id == document.auth:
            return mode
    for mode in definition.auth:
        if any(is_set(getattr(document, name, None)) for name in mode.fields):
            return mode
    return definition.auth[0] if definition.auth else None


def needs(
    definition: ProviderDefinition,
    document: ConfigDocument,
    *,
    environment: Mapping[str, str] = os.environ,
) -> tuple[Issue, ...]:
    """Return what keeps a config from being used, one error per field; empty when it is ready.

    Whether a key that is set can also be read is not looked at: that takes the keyring.

    Parameters
    ----------
    definition, document
        The provider and the config.
    environment
        Environment variables, of which a usual one that is set is offered in the
        message. They are never used unasked.
    """
    mode = auth_mode(definition, document)
    wanted = [spec.name for spec in definition.fields if spec.required]
    if mode is not None and mode.requirement == "required":
        wanted += mode.fields
    specs = [spec for spec in definition.fields if spec.name in wanted]
    missing = [spec for spec in specs if not is_set(getattr(document, spec.name, None))]
    return (*document.issues(), *(_issue(definition, spec, document.name, environment) for spec in missing))


def spelled(name: str) -> str:
    """Return how a config called `name` is most likely written in a cell.

    Examples
    --------
    >>> spelled("gpt"), spelled("gpt (fast)")
    ('gpt', "store.configs['gpt (fast)']")
    """
    return name if name.isidentifier() else f"store.configs[{name!r}]"


def _issue(
    definition: ProviderDefinition, spec: FieldSpec, name: str, environment: Mapping[str, str]
) -> Issue:
    target = f"{spelled(name)}.{spec.name}"
    found = next((variable for variable in spec.env if environment.get(variable)), None)
    if found and spec.type == "secret":
        step = f"{found} is set in the environment; use it with {target} = orch.env({found!r})."
    elif found:
        step = f"{found} is set in the environment; use it with {target} = os.environ[{found!r}]."
    elif spec.type == "secret":
        keys = f" Keys are made at {definition.links.keys}." if definition.links.keys else ""
        step = f"Type it in the form, or assign {target}.{keys}"
    else:
        step = f"Assign {target}{f', such as {spec.placeholder!r}' if spec.placeholder else ''}."
    return Issue(spec.name, "error", f"{spec.label} is not set. {step}")
