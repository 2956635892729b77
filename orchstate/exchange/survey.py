"""A whole setup beside a whole store: what importing it would do. Nothing is changed by looking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchstate.errors import NotFoundError, UnknownFieldError, ValidationError
from orchstate.exchange.configs import PlannedConfig, plan_config
from orchstate.exchange.definitions import Definitions, plan_definitions
from orchstate.exchange.items import Missing, PlanItem
from orchstate.exchange.packages import missing_packages
from orchstate.models.config import ConfigDocument
from orchstate.models.document import leaves, plain_defaults
from orchstate.models.names import name_key
from orchstate.models.values import is_same, to_plain
from orchstate.state.steps import check_paths

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchstate.exchange.format import Setup
    from orchstate.exchange.holder import Holder
    from orchstate.providers.definition import ProviderDefinition

# A setting's document has fields that are no settings.
_NO_SETTINGS = ("name", "tags")


@dataclass(frozen=True, slots=True)
class Survey:
    """What importing a setup would do.

    Parameters
    ----------
    configs
        Every config of the setup.
    others
        Definitions, settings and the choice of the active config.
    definitions
        The providers that its configs may have.
    needs
        What is needed afterwards beside what the configs themselves say.
    """

    configs: tuple[PlannedConfig, ...]
    others: tuple[PlanItem, ...]
    definitions: Definitions
    needs: tuple[Missing, ...]

    @property
    def missing(self) -> tuple[Missing, ...]:
        """Everything that is needed afterwards."""
        return (*(missing for planned in self.configs for missing in planned.missing), *self.needs)

    @property
    def items(self) -> tuple[PlanItem, ...]:
        """Everything that is planned: definitions, configs, settings, the active config."""
        first = [item for item in self.others if item.kind == "definition"]
        last = [item for item in self.others if item.kind != "definition"]
        return (*first, *(planned.item for planned in self.configs), *last)


def survey(holder: Holder, setup: Setup) -> Survey:
    """Return what importing a setup would do to a store now."""
    definition_items, new = plan_definitions(setup.definitions, holder)
    definitions = Definitions(holder.providers, new)
    configs = tuple(_configs(holder, setup, definitions))
    others = [*definition_items, *_settings(holder, setup.settings), *_active(holder, setup, configs)]
    return Survey(configs, tuple(others), definitions, tuple(_needs(setup, configs, new)))


def document_called(holder: Holder, name: str) -> ConfigDocument | None:
    """Return the config of exactly this name, in any case, None if there is none; ids do not count."""
    try:
        document = holder.configs[name].document()
    except NotFoundError:
        return None
    if isinstance(document, ConfigDocument) and name_key(document.name) == name_key(name):
        return document
    return None


def _configs(holder: Holder, setup: Setup, definitions: Definitions) -> Iterator[PlannedConfig]:
    seen: dict[str, str] = {}
    for index, raw in enumerate(setup.configs):
        path = f"configs[{index}]"
        here = document_called(holder, raw.name)
        twin = seen.setdefault(name_key(raw.name), path)
        if twin != path:
            reason = f"{raw.name!r} is there twice, also at {twin} (names are compared in any case)."
        elif here is None and raw.name in holder.configs:
            reason = f"{raw.name!r} is the id of a config here, so nothing else can have it as its name."
        else:
            yield plan_config(raw, path, here, definitions)
            continue
        item = PlanItem("config", raw.name, "blocked", note=f"{path}.name: {reason}")
        yield PlannedConfig(raw, path, item)


def _settings(holder: Holder, settings: Mapping[str, Any]) -> Iterator[PlanItem]:
    document = holder.settings.document()
    usual = plain_defaults(type(document))
    for path, value in settings.items():
        place = f"settings.{path}"
        if path in _NO_SETTINGS:
            yield PlanItem("setting", path, "blocked", note=f"{place}: this is no setting.")
            continue
        try:
            check_paths(type(document), [path])
            there = to_plain(document.replaced({path: value}).at(path))
        except UnknownFieldError as error:
            yield PlanItem("setting", path, "blocked", note=f"{place}: {error}")
        except ValidationError as error:
            yield PlanItem("setting", path, "blocked", note=f"{place}: {error.issues[0].message}")
        else:
            here = to_plain(document.at(path))
            action = "add" if is_same(here, usual[path]) else "change"
            is_equal = is_same(here, there)
            changes = {} if is_equal else {path: (here, there)}
            yield PlanItem("setting", path, "same" if is_equal else action, changes)  # type: ignore[arg-type]


def settings_of(holder: Holder) -> dict[str, Any]:
    """Return the settings that differ from their defaults, by path."""
    document = holder.settings.document()
    known = leaves(type(document)).keys() - set(_NO_SETTINGS)
    return {path: value for path, value in sorted(document.body().items()) if path in known}


def _active(holder: Holder, setup: Setup, configs: tuple[PlannedConfig, ...]) -> Iterator[PlanItem]:
    if setup.active is None:
        return
    wanted = name_key(setup.active)
    usable = any(
        name_key(planned.raw.name) == wanted and planned.item.action != "blocked" for planned in configs
    )
    here = holder.active.name if holder.active is not None else None
    if not usable and document_called(holder, setup.active) is None:
        reason = "no config of this name is here, and none can be imported."
        note = f"active: {setup.active!r} cannot be made active: {reason}"
        yield PlanItem("active", setup.active, "blocked", note=note)
    elif here is not None and name_key(here) == wanted:
        yield PlanItem("active", setup.active, "same")
    else:
        action = "add" if here is None else "change"
        yield PlanItem("active", setup.active, action, {"active": (here, setup.active)})  # type: ignore[arg-type]


def _needs(
    setup: Setup, configs: tuple[PlannedConfig, ...], new: Mapping[str, ProviderDefinition]
) -> Iterator[Missing]:
    users: dict[str, str] = {}
    for planned in configs:
        if planned.definition is None:
            continue
        users.setdefault(planned.definition.sdk, planned.raw.name)
        if planned.definition.id in new:
            step = "The file defines it: apply(allow_definitions=True), if you trust where calls go then."
            yield Missing("provider", planned.definition.id, planned.raw.name, step)
    yield from missing_packages(users, setup.packages)
