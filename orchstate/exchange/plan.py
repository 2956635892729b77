"""A plan: what importing a setup would do here, to be looked at before it is done."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, get_args

from orchstate.display import Table, html_page, text_page
from orchstate.errors import SetupError, ValidationError, quoted
from orchstate.exchange.applying import apply, is_active_already
from orchstate.exchange.disguise import (
    disguised_items,
    disguised_needs,
    disguised_result,
    without_keys,
)
from orchstate.exchange.items import Action, Conflict, ImportResult, Missing, PlanItem
from orchstate.exchange.reading import Reading, read_setup
from orchstate.exchange.survey import Survey, survey
from orchstate.models.canonical import canonical

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from orchstate.exchange.holder import Holder

_VERBS: Final[dict[Action, str]] = {
    "add": "to add",
    "change": "to change",
    "same": "the same",
    "conflict": "in conflict",
    "blocked": "blocked",
}
_COLUMNS: Final = {
    "kind": "category",
    "name": "string",
    "action": "category",
    "field": "string",
    "here": "object",
    "there": "object",
    "note": "string",
}
# What asks for a decision is shown first.
_ORDER: Final[tuple[Action, ...]] = ("blocked", "conflict", "change", "add", "same")
# Long values and long plans are cut in text and HTML, so that a saved notebook stays small.
_MAX_SHOWN: Final = 60
_MAX_ROWS: Final = 30
_MAX_REASONS: Final = 3


def plan_import(holder: Holder, source: Any) -> ImportPlan:
    """Return what importing a setup would do to a store; nothing is changed by it.

    Parameters
    ----------
    holder
        The store.
    source
        Path of a setup file, or its content as text, bytes or dict.

    Raises
    ------
    SetupError
        If it is no setup; says where and why.
    NewerSchemaError
        If a newer orchstate wrote it.
    """
    return ImportPlan(holder, read_setup(source))


class ImportPlan:
    """What importing a setup would do to a store, for every config, setting and definition in it.

    Made by ``store.plan_import(source)``; :meth:`apply` does it. Whatever looks like a key in the
    setup is covered in all that is shown of it.

    Parameters
    ----------
    holder
        The store.
    reading
        The setup.
    """

    def __init__(self, holder: Holder, reading: Reading) -> None:
        self._holder = holder
        self._reading = reading
        self._found = survey(holder, reading.setup)
        self._items = disguised_items(self._found.items)

    @property
    def items(self) -> tuple[PlanItem, ...]:
        """What would become of every definition, config and setting, and of the active config."""
        return self._items

    @property
    def missing(self) -> tuple[Missing, ...]:
        """What would be needed afterwards: keys, variables, packages, providers."""
        return disguised_needs(self._found.missing)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about the file and no error."""
        return self._reading.notes

    @property
    def source(self) -> str:
        """The file, or what stands for it."""
        return self._reading.source

    def apply(self, on_conflict: Conflict = "theirs", *, allow_definitions: bool = False) -> ImportResult:
        """Do it: all of it or nothing, as one step that ``store.undo()`` takes back.

        What is blocked is left out. A key that is here is kept, unless its config would
        send it elsewhere afterwards.

        Parameters
        ----------
        on_conflict
            What becomes of what is here with other values: ``"theirs"`` takes the
            setup's, ``"ours"`` keeps what is here, ``"rename"`` keeps it and adds the
            setup's config under a name with a number.
        allow_definitions
            Whether provider definitions in the setup may be put into your folder and be
            used. A definition says where keys are sent. An undo leaves its file there.

        Raises
        ------
        ValidationError
            If `on_conflict` is none of the three.
        SetupError
            If nothing of it can be imported, if the store has changed so that something else
            would happen than the plan shows, or a definition cannot be written; nothing was
            changed.
        StoreError
            If the store cannot be written; nothing was changed.
        """
        if on_conflict not in get_args(Conflict):
            known = ", ".join(map(repr, get_args(Conflict)))
            raise ValidationError(f"on_conflict={quoted(on_conflict)} is not known. Use one of {known}.")
        with self._holder.transaction(self._label):
            found = survey(self._holder, self._reading.setup)
            self._check_as_shown(found, on_conflict)
            self._check_not_in_vain(found)
            result = apply(found, self._holder, on_conflict, allow_definitions=allow_definitions)
        return disguised_result(result)

    async def aapply(
        self, on_conflict: Conflict = "theirs", *, allow_definitions: bool = False
    ) -> ImportResult:
        """Do what :meth:`apply` does without stopping the event loop."""
        return await asyncio.to_thread(self.apply, on_conflict, allow_definitions=allow_definitions)

    def to_frame(self) -> pd.DataFrame:
        """Return the plan as a DataFrame: one row per field that would change.

        Returns
        -------
        DataFrame
            ``kind`` and ``action`` (category), ``name``, ``field`` and ``note`` (string),
            ``here`` and ``there`` (object, plain JSON). An item without changes has one
            row, whose ``field`` is missing.
        """
        import pandas as pd

        rows = [
            (item.kind, item.name, item.action, path, here, there, item.note)
            for item in self.items
            for path, (here, there) in (item.changes.items() or [(None, (None, None))])
        ]
        columns = zip(*rows, strict=True) if rows else [()] * len(_COLUMNS)
        series = {
            name: pd.Series(list(values), dtype=dtype)
            for (name, dtype), values in zip(_COLUMNS.items(), columns, strict=True)
        }
        return pd.DataFrame(series)

    @property
    def _label(self) -> str:
        return f"import {without_keys(PurePath(self._reading.file).name)}".strip()

    def _check_as_shown(self, found: Survey, on_conflict: Conflict) -> None:
        """Refuse to do what the plan does not show; less than that is fine, so a cell can be run again."""
        shown = {(item.kind, item.name): item for item in self._found.items}
        for item in found.items:
            if item.kind == "active" and is_active_already(item, found, self._holder, on_conflict):
                continue
            if item.action in ("add", "change") and item != shown.get((item.kind, item.name)):
                raise SetupError(
                    f"the store has changed since this plan was made: {item.kind} {quoted(item.name)} would "
                    "now become something else than it shows. Nothing was changed. Make a new plan.",
                    source=self.source,
                )

    def _check_not_in_vain(self, found: Survey) -> None:
        """Refuse a plan of which nothing could be done."""
        if found.items and all(item.action == "blocked" for item in found.items):
            told = reasons(disguised_items(found.items))
            raise SetupError(f"nothing of it can be imported. {told}", source=self.source)

    def __repr__(self) -> str:
        return f"<ImportPlan {self._summary}>"

    def __str__(self) -> str:
        return text_page(self._title, self._tables(), self.notes)

    def _repr_html_(self) -> str:
        return html_page(self._title, self._tables(), self.notes)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self._repr_html_()}

    @property
    def _summary(self) -> str:
        counts = Counter(item.action for item in self.items)
        parts = [f"{counts[action]} {verb}" for action, verb in _VERBS.items() if counts[action]]
        parts += [f"{len(self.missing)} missing"] if self.missing else []
        return f"{PurePath(self.source).name}: {', '.join(parts) or 'empty'}"

    @property
    def _title(self) -> str:
        return f"Import of {self._summary}"

    def _tables(self) -> list[Table]:
        items = sorted(self.items, key=lambda item: _ORDER.index(item.action))
        needs = [(need.kind, need.name, need.config, need.next_step) for need in self.missing]
        notes = [(item.name, item.note) for item in items if item.note]
        return [
            _table(
                ("action", "what", "name", "field", "here", "there"),
                [row for item in items for row in _rows(item)],
            ),
            _table(("missing", "name", "for", "next step"), needs, "Missing on this machine"),
            _table(("name", "note"), notes, "Notes"),
        ]


def reasons(items: Sequence[PlanItem]) -> str:
    """Return in one line what of a plan is blocked, and why."""
    blocked = [item for item in items if item.action == "blocked"]
    told = [f"{item.name}: {item.note}" for item in blocked[:_MAX_REASONS]]
    more = len(blocked) - len(told)
    return " ".join(told) + (f" And {more} more; the plan has all." if more > 0 else "")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], heading: str = "") -> Table:
    more = len(rows) - _MAX_ROWS
    if more <= 0:
        return Table(columns, rows, heading)
    rest = ("...", f"{more} more; to_frame(), .missing and .items have all", *[""] * (len(columns) - 2))
    return Table(columns, [*rows[:_MAX_ROWS], rest], heading)


def _rows(item: PlanItem) -> list[tuple[str, ...]]:
    head = (item.action, item.kind, item.name)
    if not item.changes:
        return [(*head, "", "", "")]
    changes = [(path, _short(here), _short(there)) for path, (here, there) in item.changes.items()]
    return [(*(head if index == 0 else ("", "", "")), *change) for index, change in enumerate(changes)]


def _short(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else canonical(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."
