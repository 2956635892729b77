"""Where the keys of a config go, and what in it is a reference to a key.

A key belongs to a provider and an address. Whoever changes the address, as an imported
file can, must not take the key along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchstate.models.secret import is_reference
from orchstate.models.variables import variable_problem
from orchstate.providers.urls import origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchstate.providers.definition import ProviderDefinition


def addresses(definition: ProviderDefinition, values: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """Return every place that a config with these values may send its keys to, as (field, origin).

    Parameters
    ----------
    definition
        The provider.
    values
        The config's plain values by field.

    Examples
    --------
    >>> from orchstate.providers.registry import Registry
    >>> openai = Registry(folders=[]).get("openai")
    >>> sorted(addresses(openai, {"data_residency": "eu"}))
    [('base_url', 'https://eu.api.openai.com')]
    """
    found = {("base_url", _origin(definition.address(values)))}
    return frozenset(
        found
        | {
            (spec.name, _origin(values[spec.name]))
            for spec in definition.fields
            if spec.type == "url" and spec.name != "base_url" and values.get(spec.name)
        }
    )


def own_origins(definition: ProviderDefinition) -> frozenset[str]:
    """Return the origins that a definition itself names."""
    regions = [url for spec in definition.fields for url in spec.base_urls.values()]
    return frozenset(map(_origin, filter(None, [definition.base_url, *regions])))


def is_variable(value: Any) -> bool:
    """Whether a plain value refers to an environment variable, by what can be its name.

    Examples
    --------
    >>> is_variable({"source": "env", "name": "OPENAI_API_KEY"}), is_variable({"X-Team": "lab"})
    (True, False)
    """
    return is_reference(value) and value["source"] == "env" and not variable_problem(value["name"])


def without_references(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values without those that refer to secrets."""
    return {path: value for path, value in values.items() if not is_reference(value)}


def _origin(url: Any) -> str:
    try:
        return origin(str(url or ""))
    except ValueError:
        # A faulty address from before its rule: it is only compared.
        return str(url)
