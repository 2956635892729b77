"""One config of a setup beside the one that is here: what would change, and what stands in the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from orchstate.errors import UnknownFieldError, ValidationError
from orchstate.exchange.addresses import addresses, without_references
from orchstate.exchange.definitions import folder
from orchstate.exchange.items import BlockedError, Missing, PlanItem
from orchstate.exchange.keys import AGAIN, auth_of, plan_keys
from orchstate.models.config import COMMON, ConfigDocument
from orchstate.models.document import datetime_of, leaves
from orchstate.models.key_shapes import REFUSAL, holds_key
from orchstate.models.secret import is_reference
from orchstate.models.values import is_same, to_plain
from orchstate.providers.documents import UnknownProviderDocument, document_class
from orchstate.providers.doubts import suspects
from orchstate.state.steps import check_paths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchstate.exchange.definitions import Definitions
    from orchstate.exchange.format import SetupConfig
    from orchstate.models.secret import SecretRef
    from orchstate.providers.definition import ProviderDefinition

# What a setup gives a place of its own, beside the values of the provider.
_BESIDE: Final = frozenset(ConfigDocument.model_fields)
# Stands in for what a store gives a document; a plan makes documents only to have them checked.
_ENVELOPE: Final = {"id": "", "created_at": datetime_of(0), "updated_at": datetime_of(0)}


@dataclass(frozen=True, slots=True)
class PlannedConfig:
    """What an import would do to one config.

    Parameters
    ----------
    raw
        The config in the setup.
    path
        Its place there.
    item
        What is shown of it.
    values
        Every field as it will be, with references to keys.
    stash
        What is put away for other providers, by provider id, with references to keys.
    definition
        Its provider; None when it is blocked.
    missing
        What it needs.
    """

    raw: SetupConfig
    path: str
    item: PlanItem
    values: Mapping[str, Any] = field(default_factory=dict)
    stash: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    definition: ProviderDefinition | None = None
    missing: tuple[Missing, ...] = ()


def plan_config(
    raw: SetupConfig, path: str, here: ConfigDocument | None, definitions: Definitions
) -> PlannedConfig:
    """Return what importing one config would do.

    Parameters
    ----------
    raw, path
        The config in the setup, and its place there.
    here
        The config of this name, None if there is none.
    definitions
        The providers that it may have.
    """
    try:
        return _planned(raw, path, here, definitions)
    except BlockedError as error:
        item = PlanItem("config", raw.name, "blocked", note=str(error))
        return PlannedConfig(raw, path, item, missing=error.missing)


def _planned(
    raw: SetupConfig, path: str, here: ConfigDocument | None, definitions: Definitions
) -> PlannedConfig:
    definition = _definition(raw, path, definitions)
    wanted = _document(definition, raw, path)
    stash, stash_changes, stash_notes = _planned_stash(raw, path, here, definitions)
    held = _held(here, definition.id)
    has_key = here is not None and any(map(is_reference, here.body().values()))
    moved = here is not None and has_key and _is_elsewhere(definition, here, wanted)
    is_new = definition.id in definitions.new
    keys = plan_keys(raw, definition, wanted, held, moved=moved, trusted=not is_new)
    changes = {**_differences(here, wanted, definitions, keys.refs), **keys.changes, **stash_changes}
    notes = [*keys.notes, *stash_notes]
    notes += [AGAIN] if moved and AGAIN not in notes else []
    clear = dict.fromkeys(path for path, _ in suspects(wanted.body()))
    notes += [f"What looks like a key would be stored in plain text: {', '.join(clear)}."] if clear else []
    notes += [f"It needs the definition of {definition.id!r} from the file."] if is_new else []
    action = "add" if here is None else "change" if changes else "same"
    item = PlanItem("config", raw.name, action, changes, " ".join(dict.fromkeys(notes)))  # type: ignore[arg-type]
    fields = leaves(type(wanted)).keys() - {"name", "provider", "stash"}
    values = {name: wanted.at(name) for name in sorted(fields)} | keys.refs
    if here is not None and here.provider == definition.id and "auth" not in changes:
        values["auth"] = here.auth
    return PlannedConfig(raw, path, item, values, stash, definition, tuple(keys.missing))


def _definition(raw: SetupConfig, path: str, definitions: Definitions) -> ProviderDefinition:
    definition = definitions.find(raw.provider, f"{path}.provider")
    if definition is None:
        step = f"Put its definition into {str(folder())!r}, or upgrade orchstate."
        raise BlockedError(
            f"the provider {raw.provider!r} is not defined here. {step}",
            path=f"{path}.provider",
            missing=[Missing("provider", raw.provider, raw.name, step)],
        )
    return definition


def _document(definition: ProviderDefinition, raw: SetupConfig, path: str) -> ConfigDocument:
    """Return the document that a config of a setup means, once its rules are checked."""
    secret = {spec.name for spec in definition.fields if spec.type == "secret"}
    for name in raw.secrets:
        if name not in secret:
            known = f"Its secrets: {', '.join(sorted(secret))}." if secret else "It has none."
            message = f"{definition.label} has no secret of this name. {known}"
            raise BlockedError(message, path=f"{path}.secrets.{name}")
    beside = {"name": raw.name, "auth": raw.auth, "tags": raw.tags, "system_prompt": raw.system_prompt}
    return _checked(definition, raw.values, beside, path, f"{path}.values")


def _checked(
    definition: ProviderDefinition,
    values: Mapping[str, Any],
    beside: Mapping[str, Any],
    path: str,
    values_path: str,
) -> ConfigDocument:
    cls = document_class(definition)
    for name in values:
        _check_field(definition, cls, name, f"{values_path}.{name}")
    found = {name: value for name, value in values.items() if value is not None}
    try:
        return cls.created(_ENVELOPE, {**found, **beside, "provider": definition.id})
    except ValidationError as error:
        issue = error.issues[0]
    top = issue.field.partition(".")[0]
    where = f"{path}.{issue.field}" if top in beside else f"{values_path}.{issue.field}" if top else path
    # The rule for names says itself which field it is about.
    raise BlockedError(issue.message.removeprefix(f"{issue.field}: "), path=where)


def _check_field(definition: ProviderDefinition, cls: type[ConfigDocument], name: str, path: str) -> None:
    spec = definition.field(name)
    if spec is not None and spec.type == "secret":
        # The value stays out of the message.
        raise BlockedError(
            f"this is a secret, and no secret belongs into a setup. Remove it, and put {name!r} under "
            '"secrets" with {"source": "asked"}.',
            path=path,
        )
    if name in _BESIDE:
        raise BlockedError("this has its own place beside the values.", path=path)
    try:
        check_paths(cls, [name])
    except UnknownFieldError as error:
        raise BlockedError(str(error), path=path) from error


def _held(here: ConfigDocument | None, provider: str) -> Mapping[str, Any]:
    """Return the plain values that a config has here for a provider, in use or put away."""
    if here is None:
        return {}
    if here.provider == provider:
        return here.body()
    put_away = to_plain(here.stash.get(provider))
    return put_away if isinstance(put_away, dict) else {}


def _is_elsewhere(definition: ProviderDefinition, here: ConfigDocument, wanted: ConfigDocument) -> bool:
    if here.provider != wanted.provider:
        return True
    return addresses(definition, here.body()) != addresses(definition, wanted.body())


def _differences(
    here: ConfigDocument | None,
    wanted: ConfigDocument,
    definitions: Definitions,
    refs: Mapping[str, SecretRef],
) -> dict[str, tuple[Any, Any]]:
    ours = _visible(here, definitions) if here else {}
    # With the keys that stay, since they may decide how it authenticates.
    theirs = _visible(wanted.model_copy(update=refs), definitions)
    if here is None:
        del theirs["name"]
    return {
        name: (ours.get(name), theirs.get(name))
        for name in dict.fromkeys([*theirs, *ours])
        if not is_same(ours.get(name), theirs.get(name))
    }


def _visible(document: ConfigDocument, definitions: Definitions) -> dict[str, Any]:
    """Return the values that are set, without references and what is put away."""
    definition = definitions.try_find(document.provider)
    auth = auth_of(definition, document)
    head = {"name": document.name, "provider": document.provider, **({"auth": auth} if auth else {})}
    body = without_references(document.body())
    known = body if isinstance(document, UnknownProviderDocument) else leaves(type(document))
    hidden = {*head, "auth", "stash"}
    return head | {path: value for path, value in body.items() if path in known and path not in hidden}


def _planned_stash(
    raw: SetupConfig, path: str, here: ConfigDocument | None, definitions: Definitions
) -> tuple[dict[str, Any], dict[str, tuple[Any, Any]], list[str]]:
    """Return what is put away after the import, what of it changes, and notes."""
    stash: dict[str, Any] = {}
    changes: dict[str, tuple[Any, Any]] = {}
    notes: list[str] = []
    for provider, values in raw.stash.items():
        place = f"{path}.stash.{provider}"
        if provider == raw.provider:
            message = "this is the config's own provider: its values belong into 'values'."
            raise BlockedError(message, path=place)
        if holds_key(provider):
            raise BlockedError(REFUSAL, path=place)
        definition = definitions.find(provider, place)
        there = _checked_stash(definition, values, place)
        held = _held(here, provider)
        ours = {name: value for name, value in without_references(held).items() if name not in COMMON}
        refs = {name: value for name, value in held.items() if is_reference(value)}
        if refs and not _goes_to_the_same(definition, ours, there):
            refs = {}
            notes.append(f"Its key for {provider} has to be typed again, since the address changes.")
        stash[provider] = {**there, **refs}
        if not is_same(ours, there):
            changes[f"stash.{provider}"] = (ours or None, there or None)
    return stash, changes, notes


def _checked_stash(
    definition: ProviderDefinition | None, values: Mapping[str, Any], path: str
) -> dict[str, Any]:
    for name, value in values.items():
        if is_reference(value) or (name in _BESIDE and name != "auth"):
            raise BlockedError("this cannot be put away in a setup. Remove it.", path=f"{path}.{name}")
    if definition is None:
        return {name: to_plain(value) for name, value in values.items()}
    auth = values.get("auth", "")
    own = {name: value for name, value in values.items() if name != "auth"}
    document = _checked(definition, own, {"name": "stash", "auth": auth}, path, path)
    return {name: value for name, value in document.body().items() if name not in COMMON}


def _goes_to_the_same(
    definition: ProviderDefinition | None, ours: Mapping[str, Any], theirs: Mapping[str, Any]
) -> bool:
    if definition is None:
        # Nobody knows which of the values say where its keys go.
        return is_same(dict(ours), dict(theirs))
    return addresses(definition, ours) == addresses(definition, theirs)
