"""Carrying a plan out: one transaction, one undo step."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchstate.exchange.configs import PlannedConfig, plan_config
from orchstate.exchange.definitions import write_definition
from orchstate.exchange.items import Conflict, ImportResult, Missing
from orchstate.exchange.survey import document_called
from orchstate.models.names import MAX_NAME_LENGTH, name_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchstate.exchange.holder import Holder
    from orchstate.exchange.items import PlanItem
    from orchstate.exchange.survey import Survey
    from orchstate.providers.definition import ProviderDefinition


@dataclass(slots=True)
class _Log:
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)


def apply(found: Survey, holder: Holder, on_conflict: Conflict, *, allow_definitions: bool) -> ImportResult:
    """Do what was found, inside the caller's transaction."""
    log = _Log()
    called: dict[str, str] = {}
    with _written(found.definitions.new if allow_definitions else {}, holder):
        for item in found.others:
            if item.kind == "definition":
                _note_definition(item, log, allowed=allow_definitions)
        for planned in found.configs:
            if not allow_definitions and _id(planned) in found.definitions.new:
                log.skipped.append(planned.raw.name)
            else:
                called[name_key(planned.raw.name)] = _import_config(planned, found, holder, on_conflict, log)
        for item in found.others:
            if item.kind == "setting":
                _import_setting(item, holder, on_conflict, log)
            elif item.kind == "active":
                _import_active(item, holder, on_conflict, called, log)
    log.missing += [need for need in found.needs if _is_needed(need, log, allowed=allow_definitions)]
    return ImportResult(tuple(log.added), tuple(log.changed), tuple(log.skipped), tuple(log.missing))


def is_active_already(item: PlanItem, found: Survey, holder: Holder, on_conflict: Conflict) -> bool:
    """Whether the config that a setup has in use is so here, be it under the name that renaming gave it."""
    return holder.active is not None and name_key(holder.active.name) == name_key(
        _name_given(item.name, found, holder, on_conflict)
    )


def _name_given(name: str, found: Survey, holder: Holder, on_conflict: Conflict) -> str:
    for planned in found.configs:
        if name_key(planned.raw.name) == name_key(name) and _is_to_rename(planned, on_conflict):
            return _renamed(planned, found, holder).raw.name
    return name


def _is_to_rename(planned: PlannedConfig, on_conflict: Conflict) -> bool:
    return planned.item.action == "change" and on_conflict == "rename"


def _is_needed(need: Missing, log: _Log, *, allowed: bool) -> bool:
    if need.kind == "provider":
        return not allowed
    return not need.config or need.config not in log.skipped


@contextlib.contextmanager
def _written(definitions: Mapping[str, ProviderDefinition], holder: Holder) -> Iterator[None]:
    """Have definitions in the user's folder, unless the block fails."""
    files = []
    try:
        for definition in definitions.values():
            files.append(write_definition(definition))
        if files:
            holder.providers.reload()
        yield
    except BaseException:
        for file in files:
            file.unlink(missing_ok=True)
        if files:
            holder.providers.reload()
        raise


def _note_definition(item: PlanItem, log: _Log, *, allowed: bool) -> None:
    if item.action == "add" and allowed:
        log.added.append(item.name)
    elif item.action != "same":
        log.skipped.append(item.name)


def _import_config(
    planned: PlannedConfig, found: Survey, holder: Holder, on_conflict: Conflict, log: _Log
) -> str:
    """Import one config; returns the name under which it is here then, if it is."""
    if _is_to_rename(planned, on_conflict):
        planned = _renamed(planned, found, holder)
    name, action = planned.raw.name, planned.item.action
    if action == "change" and on_conflict == "ours":
        log.skipped.append(name)
        return name
    if action == "add":
        _create(planned, holder)
        log.added.append(name)
    elif action == "change":
        _change(planned, holder)
        log.changed.append(name)
    elif action == "blocked":
        log.skipped.append(name)
    log.missing += planned.missing
    return name


def _renamed(planned: PlannedConfig, found: Survey, holder: Holder) -> PlannedConfig:
    """Return the plan for the first numbered name that is free, or that has exactly this config already."""
    count = 2
    while True:
        name = f"{planned.raw.name[: MAX_NAME_LENGTH - 5]} {count}"
        raw = planned.raw.model_copy(update={"name": name})
        renamed = plan_config(raw, planned.path, document_called(holder, name), found.definitions)
        if renamed.item.action != "change":
            return renamed
        count += 1


def _create(planned: PlannedConfig, holder: Holder) -> None:
    config = holder.configs.create(planned.raw.provider, name=planned.raw.name, **planned.values)
    config.put_away(planned.stash)


def _change(planned: PlannedConfig, holder: Holder) -> None:
    config = holder.configs[planned.raw.name]
    # With all values, since what is put away for this provider would come back otherwise.
    config.update(provider=planned.raw.provider, **planned.values)
    config.update(name=planned.raw.name)
    config.put_away(planned.stash)


def _import_setting(item: PlanItem, holder: Holder, on_conflict: Conflict, log: _Log) -> None:
    if item.action == "add" or (item.action == "change" and on_conflict == "theirs"):
        holder.settings.update(**{path: there for path, (_, there) in item.changes.items()})
        (log.added if item.action == "add" else log.changed).append(item.name)
    elif item.action != "same":
        log.skipped.append(item.name)


def _import_active(
    item: PlanItem, holder: Holder, on_conflict: Conflict, called: Mapping[str, str], log: _Log
) -> None:
    name = called.get(name_key(item.name), item.name)
    if holder.active is not None and name_key(holder.active.name) == name_key(name):
        return
    is_wanted = item.action == "add" or (item.action == "change" and on_conflict == "theirs")
    if is_wanted and document_called(holder, name) is not None:
        holder.active = name
        (log.added if item.action == "add" else log.changed).append("active")
    elif item.action != "same":
        log.skipped.append("active")


def _id(planned: PlannedConfig) -> str:
    return planned.definition.id if planned.definition else ""
