"""A store's set-up as one file, without secrets, ids and times: equal set-ups give equal bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchstate.errors import NotFoundError, SetupError
from orchstate.exchange.addresses import is_variable, without_references
from orchstate.exchange.definitions import is_packaged, plain_definition
from orchstate.exchange.format import FORMAT, MAX_BYTES, VERSION, digest_of
from orchstate.exchange.holder import config_documents
from orchstate.exchange.keys import asked_fields, auth_of
from orchstate.exchange.packages import packages_for
from orchstate.exchange.survey import settings_of
from orchstate.exchange.writing import check_replaceable, replace_file, setup_text
from orchstate.models.config import COMMON, ConfigDocument
from orchstate.models.document import leaves
from orchstate.models.key_shapes import looks_like_key
from orchstate.models.names import name_key
from orchstate.models.secret import is_reference
from orchstate.models.values import to_plain
from orchstate.origin import warn
from orchstate.providers.doubts import suspects

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchstate.exchange.holder import Holder
    from orchstate.providers.definition import ProviderDefinition

# Fields of a config document that have a place of their own in a setup.
_BESIDE = frozenset(ConfigDocument.model_fields)


def export(holder: Holder, path: Path) -> Path:
    """Write a store's set-up to a file, whole or not at all; returns its path.

    Warns if a field looks like a key that was put into the wrong place.

    Raises
    ------
    SetupError
        If the file cannot be written, or there is something else than a setup; it is as it was.
    """
    check_replaceable(path, holder.path)
    content = setup_text(setup_of(holder)).encode()
    if len(content) > MAX_BYTES:
        raise SetupError(
            f"the setup would have {len(content) // 1_000_000} MB, and a setup that is larger than "
            f"{MAX_BYTES // 1_000_000} MB is not read. Shorten the longest values.",
            source=str(path),
        )
    written = replace_file(path, content)
    found = suspicious_fields(holder)
    if found:
        looks = "looks like a key" if len(found) == 1 else "look like keys"
        warn(
            f"{', '.join(found)} of this setup {looks}, and the file has it in clear. "
            "Look before you share it; if it is a key, put it into the key field and export again."
        )
    return written


def suspicious_fields(holder: Holder) -> tuple[str, ...]:
    """Return what of a store's set-up looks like a key, though it is not kept as one: ``gpt.model``."""
    patterns = holder.providers.key_patterns
    found = {
        # A name that may be a key itself is not shown.
        f"{document.id if looks_like_key(document.name) else document.name}.{path}"
        for document in config_documents(holder)
        for path, _ in suspects(document.body(), patterns)
    }
    return tuple(sorted(found))


def setup_of(holder: Holder) -> dict[str, Any]:
    """Return a store's set-up as plain JSON."""
    documents = sorted(
        config_documents(holder), key=lambda document: (name_key(document.name), document.name)
    )
    definitions = _definitions(documents, holder)
    body = {
        "packages": packages_for(definition.sdk for definition in definitions.values()),
        "active": holder.active.name if holder.active is not None else None,
        "configs": [_config(document, definitions.get(document.provider)) for document in documents],
        "settings": settings_of(holder),
        "definitions": [plain_definition(one) for one in definitions.values() if not is_packaged(one)],
    }
    raw = {"format": FORMAT, "version": VERSION, **_without_empty(body)}
    # In front, where a person who edits the file sees it; it does not count itself.
    return {"format": FORMAT, "version": VERSION, "digest": digest_of(raw), **raw}


def _definitions(documents: list[ConfigDocument], holder: Holder) -> dict[str, ProviderDefinition]:
    """Return the definitions of the providers that configs have, or had, as far as there are any."""
    found = {}
    for provider in sorted({id for document in documents for id in (document.provider, *document.stash)}):
        try:
            found[provider] = holder.providers.get(provider)
        except (NotFoundError, SetupError):
            # Its configs are exported as they are; whoever imports them needs the definition.
            continue
    return found


def _config(document: ConfigDocument, definition: ProviderDefinition | None) -> dict[str, Any]:
    body = document.body()
    # A value whose field the definition no longer has is of no use to anybody.
    known = leaves(type(document)) if definition else body
    own = {path: value for path, value in sorted(body.items()) if path in known and path not in _BESIDE}
    return {
        "name": document.name,
        "provider": document.provider,
        **_without_empty(
            {
                "auth": auth_of(definition, document),
                "tags": list(document.tags),
                "system_prompt": prompt if isinstance(prompt := document.system_prompt, str) else None,
                "values": without_references(own),
                "secrets": _secrets(own, definition, document),
                "stash": _put_away(document),
            }
        ),
    }


def _secrets(
    own: Mapping[str, Any], definition: ProviderDefinition | None, document: ConfigDocument
) -> dict[str, Any]:
    """Return where keys come from: a variable, or everybody's own typing, whether or not one is here.

    Where a key lives here means nothing elsewhere, so it makes no difference in the file.
    """
    here = {path: value for path, value in own.items() if is_reference(value)}
    asked = asked_fields(definition, document) if definition else set(here)
    variables = {path: value["name"] for path, value in here.items() if is_variable(value)}
    return {
        path: {"source": "env", "name": variables[path]} if path in variables else {"source": "asked"}
        for path in sorted(asked | variables.keys())
    }


def _put_away(document: ConfigDocument) -> dict[str, Any]:
    # For its own provider there can be values of fields that the definition has no more.
    return {
        provider: {
            path: value for path, value in sorted(without_references(values).items()) if path not in COMMON
        }
        for provider, values in sorted(to_plain(document.stash).items())
        if provider != document.provider and isinstance(values, dict)
    }


def _without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, "", [], {})}
