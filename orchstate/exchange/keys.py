"""What becomes of a config's keys in an import.

A key that is here stays, unless the import changes where it would be sent: then it is let
go in the same edit and has to be typed again. No key comes with a file, at most the name
of an environment variable, and that is not taken either where a key would change its way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pydantic

from orchstate.exchange.addresses import addresses, own_origins
from orchstate.exchange.format import EnvironmentSecret
from orchstate.exchange.items import Missing, shown
from orchstate.models.secret import SecretRef, is_reference
from orchstate.models.values import to_plain
from orchstate.providers.readiness import auth_mode, spelled
from orchstate.secrets.environment import try_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchstate.exchange.format import SetupConfig
    from orchstate.models.config import ConfigDocument
    from orchstate.providers.definition import FieldSpec, ProviderDefinition

AGAIN = "Its key has to be typed again, since the address changes."


@dataclass(slots=True)
class Keys:
    """The keys of one config after an import.

    Parameters
    ----------
    refs
        Every secret field of the provider, with what it refers to then.
    changes
        ``{field: (here, there)}``, masked.
    notes
        What to know about them.
    missing
        What is needed then.
    """

    refs: dict[str, SecretRef] = field(default_factory=dict)
    changes: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)


def plan_keys(
    raw: SetupConfig,
    definition: ProviderDefinition,
    wanted: ConfigDocument,
    held: Mapping[str, Any],
    *,
    moved: bool,
    trusted: bool,
) -> Keys:
    """Return what becomes of a config's keys.

    Parameters
    ----------
    raw, definition, wanted
        The config in the setup, its provider, and the document that it becomes.
    held
        The plain values that are here for this provider, with references to keys.
    moved
        Whether the import changes provider or address of a config that has a key.
    trusted
        Whether the definition was here before.
    """
    keys = Keys()
    there = addresses(definition, wanted.body())
    stays = addresses(definition, held) == there
    optional = {name for mode in definition.auth if mode.requirement == "optional" for name in mode.fields}
    foreign = sorted({origin for _, origin in there} - (own_origins(definition) if trusted else set()))
    for spec in definition.fields:
        if spec.type == "secret":
            here = held.get(spec.name) if is_reference(held.get(spec.name)) else None
            _plan_key(
                keys,
                raw,
                spec,
                here,
                stays=stays,
                moved=moved,
                optional=spec.name in optional,
                foreign=foreign,
            )
    _add_required(keys, definition, wanted)
    return keys


def auth_of(definition: ProviderDefinition | None, document: ConfigDocument) -> str:
    """Return the way in which a config authenticates, ``""`` for the provider's usual one.

    A config that says nothing goes by the key that is set, and keys stay behind: the
    setup says it instead.
    """
    mode = auth_mode(definition, document) if definition and not document.auth else None
    return mode.id if definition and mode and mode.id != definition.auth[0].id else document.auth


def asked_fields(definition: ProviderDefinition, document: ConfigDocument) -> set[str]:
    """Return the secrets that belong to the way in which a config authenticates, or to every way."""
    mode = auth_mode(definition, document)
    used = set(mode.fields) if mode and mode.requirement != "none" else set()
    others = {name for one in definition.auth for name in one.fields} - used
    return {spec.name for spec in definition.fields if spec.type == "secret"} - others


def _plan_key(
    keys: Keys,
    raw: SetupConfig,
    spec: FieldSpec,
    here: Any,
    *,
    stays: bool,
    moved: bool,
    optional: bool,
    foreign: list[str],
) -> None:
    there = raw.secrets.get(spec.name)
    variable = there.name if isinstance(there, EnvironmentSecret) else ""
    ref = _reference(here) if stays else SecretRef()
    let_go = here is not None and not ref.is_set
    if variable and not moved and not let_go and ref.source in ("none", "env"):
        if foreign and ref.name != variable:
            keys.notes.append(f"The value of {variable} is sent to {', '.join(foreign)}.")
        ref = SecretRef(source="env", name=variable)
    elif variable and ref.source not in ("none", "env"):
        keys.notes.append(f"It keeps its own {spec.label}.")
    elif let_go:
        keys.notes.append(AGAIN)
    keys.refs[spec.name] = ref
    after = to_plain(ref)
    if shown(here) != shown(after):
        keys.changes[spec.name] = (shown(here), shown(after))
    if not ref.is_set and (there is not None or let_go):
        keys.missing.append(_missing_key(raw.name, spec, again=moved or let_go, optional=optional))
    elif ref.source == "env" and try_environment(ref.name) is None:
        keys.missing.append(_missing_variable(raw.name, spec, ref.name))


def _add_required(keys: Keys, definition: ProviderDefinition, wanted: ConfigDocument) -> None:
    """Add the keys that the provider cannot do without, named in the setup or not."""
    mode = auth_mode(definition, wanted.model_copy(update=keys.refs))
    needed = mode.fields if mode is not None and mode.requirement == "required" else ()
    known = {missing.name for missing in keys.missing}
    for spec in definition.fields:
        ref = keys.refs.get(spec.name)
        if ref is not None and not ref.is_set and spec.name in needed and spec.name not in known:
            keys.missing.append(_missing_key(wanted.name, spec, again=False))


def _missing_key(config: str, spec: FieldSpec, *, again: bool, optional: bool = False) -> Missing:
    target = f"{spelled(config)}.{spec.name}"
    offered = next(filter(try_environment, spec.env), None)
    if again:
        step = f"{AGAIN} Type it in the form, or assign {target}."
    elif offered:
        step = f"{offered} is set in the environment; use it with {target} = orch.env({offered!r})."
    else:
        step = f"Type it in the form, or assign {target}."
    step += " It may do without one." if optional else ""
    return Missing("key", spec.name, config, step)


def _missing_variable(config: str, spec: FieldSpec, variable: str) -> Missing:
    step = f"Set it before the kernel starts, or type the {spec.label} in the form."
    return Missing("environment", variable, config, step)


def _reference(plain: Any) -> SecretRef:
    try:
        return SecretRef.model_validate(plain) if plain else SecretRef()
    except pydantic.ValidationError:
        # What was put away is kept as it was, whatever it was.
        return SecretRef()
