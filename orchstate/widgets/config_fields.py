"""The fields of a config, as its provider defines them: what is needed first, the rest folded away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ipywidgets import VBox

from orchstate.display import html_note
from orchstate.models.config import ConfigDocument
from orchstate.models.key_shapes import shown
from orchstate.providers.documents import is_set
from orchstate.providers.readiness import auth_mode
from orchstate.widgets.badge import try_definition
from orchstate.widgets.fields import Field, ModelControl, TextControl
from orchstate.widgets.fold import Fold
from orchstate.widgets.rows import FieldRow
from orchstate.widgets.secret_row import SecretRow
from orchstate.widgets.style import make, show, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orchstate.config import Config
    from orchstate.errors import Issue
    from orchstate.providers.definition import AuthMode, FieldSpec, ProviderDefinition


SYSTEM_PROMPT: Final = Field(
    "system_prompt",
    "prose",
    str(ConfigDocument.model_fields["system_prompt"].title),
    help=str(ConfigDocument.model_fields["system_prompt"].description),
)


class ConfigFields:
    """The rows of all fields of one provider.

    Parameters
    ----------
    config
        Whose fields they are.
    origin
        Where the history says that edits come from.
    say
        Called with what has to be said of a field that is not there any more.
    told
        Called when a row has something that is not saved, or has it no more.

    Attributes
    ----------
    rows
        One row per field, by path; the folded ones are there when they were first unfolded.
    fold
        The part that is folded away, None when there is nothing to fold.
    box
        The widget.
    """

    def __init__(
        self,
        config: Config,
        origin: str,
        say: Callable[[str], object],
        told: Callable[[], object] = lambda: None,
    ) -> None:
        self._config = config
        self._origin = origin
        self._say = say
        self._told = told
        self.rows: dict[str, FieldRow | SecretRow] = {}
        self.fold: Fold | None = None
        self._ways: list[str] = []
        self._folded: dict[str, FieldSpec] = {}
        self._is_disabled = False
        self._definition = try_definition(config)
        children = self._build(self._definition) if self._definition else [_unknown(config)]
        self.box = make(VBox, "orch-fields", children=children)
        self._show_mode()
        self._count_folded()
        self._show_address()

    def update(self, path: str) -> None:
        """Show what the store has now for one field."""
        if path in self.rows:
            self.rows[path].update()
        if path == "auth" or path in self._ways:
            self._show_mode()
        if path in self._folded:
            self._count_folded()
        self._show_address()

    def judge(self, issues: Sequence[Issue]) -> None:
        """Show what is wrong with the present values, or missing."""
        for path, row in self.rows.items():
            row.judge([issue for issue in issues if issue.field.partition(".")[0] == path])

    def reconsider(self, changed: str) -> None:
        """See whether what was refused is so still, since another field has changed."""
        for path, row in self.rows.items():
            if isinstance(row, FieldRow) and path != changed:
                row.reconsider()

    def take_over(self, others: ConfigFields) -> str:
        """Go on with what is not entered in fields that these replace; returns what has no place here."""
        rows = {path: row for path, row in others.rows.items() if isinstance(row, FieldRow) and row.unentered}
        is_unfolded = bool(others.fold and others.fold.is_open)
        if self.fold and (is_unfolded or not self._folded.keys().isdisjoint(rows)):
            self.fold.turn(is_open=True)
        lost = []
        for path, row in rows.items():
            here = self.rows.get(path)
            if isinstance(here, FieldRow) and here.control.has_entry:
                here.take_over(row)
            else:
                lost.append(f"{shown(row.unentered)} in {row.field.label}")
        return f"Not saved, because the field is gone: {', '.join(lost)}." if lost else ""

    def suggest(self, models: Iterable[str]) -> None:
        """Offer these models, which the provider has listed."""
        for row in self.rows.values():
            if isinstance(row, FieldRow) and isinstance(row.control, ModelControl):
                row.control.suggest(models)

    def disable(self) -> None:
        """Let everything be looked at only."""
        self._is_disabled = True
        for row in self.rows.values():
            row.disable()

    # -- building -----------------------------------------------------------------------

    def _build(self, definition: ProviderDefinition) -> list[Any]:
        self._ways = list(dict.fromkeys(name for mode in definition.auth for name in mode.fields))
        first = [spec for spec in map(definition.field, self._ways) if spec]
        rest = [spec for spec in definition.fields if spec.name not in self._ways]
        plain = [spec for spec in rest if not spec.advanced]
        self._folded = {spec.name: spec for spec in rest if spec.advanced}
        children = [self._auth_row(definition)] if len(definition.auth) > 1 else []
        children += [self._row(definition, spec) for spec in (*first, *plain)]
        children.append(self._field_row(SYSTEM_PROMPT))
        if self._folded:
            self.fold = Fold("advanced", lambda: self._build_folded(definition))
            children.append(self.fold.box)
        return children

    def _build_folded(self, definition: ProviderDefinition) -> list[Any]:
        children = [self._row(definition, spec) for spec in self._folded.values()]
        self.judge(self._config.validation.issues)
        if self._is_disabled:
            self.disable()
        return children

    def _row(self, definition: ProviderDefinition, spec: FieldSpec) -> Any:
        if spec.type != "secret":
            models = definition.models.ids if definition.models else ()
            return self._field_row(Field.of(spec, suggestions=models))
        row = SecretRow(self._config, spec, self._origin, self._say, self._told)
        self.rows[spec.name] = row
        return row.box

    def _field_row(self, field: Field, present: Callable[[], Any] | None = None) -> Any:
        row = FieldRow(self._config, field, self._origin, present=present, told=self._told)
        self.rows[field.path] = row
        return row.box

    def _auth_row(self, definition: ProviderDefinition) -> Any:
        ways = tuple((mode.label, mode.id) for mode in definition.auth)
        field = Field("auth", "choice", "Sign in with", choices=ways, optional=False)
        return self._field_row(field, present=lambda: self._mode(definition).id)

    # -- ways to authenticate -----------------------------------------------------------

    def _mode(self, definition: ProviderDefinition) -> AuthMode:
        document = self._config.document()
        mode = auth_mode(definition, document) if isinstance(document, ConfigDocument) else None
        return mode or definition.auth[0]

    def _show_mode(self) -> None:
        """Show the fields of the chosen way to authenticate, and hide those of the others."""
        if self._definition is None or not self._definition.auth:
            return
        mode = self._mode(self._definition)
        for name in self._ways:
            show(self.rows[name].box, name in mode.fields)
        if "auth" in self.rows:
            self.rows["auth"].update()

    def _show_address(self) -> None:
        """Name the address that applies when none is given: the region's, or the provider's."""
        row = self.rows.get("base_url")
        if self._definition and isinstance(row, FieldRow) and isinstance(row.control, TextControl):
            values = {
                spec.name: self._config[spec.name] for spec in self._definition.fields if spec.base_urls
            }
            row.control.tell_default(self._definition.address(values))

    def _count_folded(self) -> None:
        if self.fold:
            count = sum(is_set(self._config[path]) for path in self._folded)
            self.fold.rename(f"advanced ({count} set)" if count else "advanced")


def _unknown(config: Config) -> Any:
    return text(
        html_note(
            f"The provider {config.provider!r} is not defined on this machine. All values are kept. "
            "Choose another one above, or add its definition.",
            "warning",
        ),
        "orch-note",
    )
