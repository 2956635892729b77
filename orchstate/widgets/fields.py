"""The field table: from the type of a field to the control that edits it.

A field that may be *not set* is None, and its control is then empty and names what applies
instead. What all controls have in common is in :mod:`orchstate.widgets.control`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from orchstate.widgets.control import Control
from orchstate.widgets.draft import DraftCombobox, DraftText
from orchstate.widgets.entries import map_in, number_in, verbatim_in, verbatim_out
from orchstate.widgets.style import make, mark
from orchstate.widgets.turns import Checkbox, Dropdown, FloatSlider, IntSlider, Textarea

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from orchstate.providers.definition import FieldSpec, FieldType

# To ipywidgets, None is the choice of nothing at all, with an empty list to show for it.
_NONE: Final = object()
LONGEST_PROSE: Final = 10_000
"""Characters of a text that can be edited in a form."""
_BEGINNING: Final = 500


@dataclass(frozen=True, slots=True)
class Field:
    """What a control has to know of a field, whatever the field belongs to.

    Parameters
    ----------
    path
        Where the value is in its record, such as ``"temperature"`` or ``"agents.timeout"``.
    type
        What it holds, in the words of provider definitions; ``"prose"`` is text of many lines.
    label
        The name that people read.
    help
        One sentence for people.
    minimum, maximum
        The limits of a number, None where there is none.
    step
        By how much a slider moves, None to let it decide.
    unit
        What the number counts.
    choices
        ``(label, value)`` of each allowed value of a choice.
    suggestions
        Texts that are offered; any other is as good.
    default
        What applies when it is not set, None when nobody knows.
    placeholder
        An example of a value.
    optional
        Whether it can be not set.
    verbatim
        Whether line breaks and spaces of a text count; they are then spelled out.
    """

    path: str
    type: FieldType | Literal["prose"]
    label: str
    help: str = ""
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    unit: str = ""
    choices: tuple[tuple[str, Any], ...] = ()
    suggestions: tuple[str, ...] = ()
    default: Any = None
    placeholder: str = ""
    optional: bool = True
    verbatim: bool = False

    @classmethod
    def of(cls, spec: FieldSpec, *, suggestions: Iterable[str] = ()) -> Field:
        """Return the field that a provider definition describes.

        Parameters
        ----------
        spec
            The description.
        suggestions
            What a field of the type ``"model"`` offers.
        """
        return cls(
            path=spec.name,
            type=spec.type,
            label=spec.label,
            help=f"{spec.help} A line break is written \\n." if spec.verbatim else spec.help,
            minimum=spec.minimum,
            maximum=spec.maximum,
            step=spec.step,
            unit=spec.unit,
            choices=tuple((choice, choice) for choice in spec.choices),
            suggestions=tuple(suggestions) if spec.type == "model" else (),
            default=spec.default,
            placeholder=spec.placeholder,
            verbatim=spec.verbatim,
        )

    @property
    def hint(self) -> str:
        """What an empty control shows.

        Examples
        --------
        >>> Field("n", "integer", "Tokens", default=1024, unit="tokens").hint
        'default: 1024 tokens'
        >>> Field("model", "model", "Model", placeholder="gpt-5.4-mini").hint
        'not set, such as gpt-5.4-mini'
        """
        if self.default is not None:
            return f"default: {shown(self.default)}{f' {self.unit}' if self.unit else ''}"
        if not self.optional:
            return self.placeholder
        return f"not set, such as {self.placeholder}" if self.placeholder else "not set"


class TextControl(Control):
    """One line of text; an empty one is a field that is not set."""

    def __init__(self, field: Field, widget_class: type[Any] = DraftText, **traits: Any) -> None:
        self.field = field
        super().__init__(_entry(field, widget_class, description=field.label, **traits))

    def read(self) -> str | None:
        """Return the text, None for none."""
        written: str = self.widgets[0].value
        if self.field.verbatim:
            return verbatim_in(written) or None
        return None if self.field.optional and not written.strip() else written

    def tell_default(self, default: Any) -> None:
        """Name what applies when the field is not set, where that depends on others."""
        self.widgets[0].placeholder = dataclasses.replace(self.field, default=default).hint

    def _show(self, value: Any) -> None:
        text = "" if value is None else str(value)
        _fill(self.widgets[0], verbatim_out(text) if self.field.verbatim else text)


class ModelControl(TextControl):
    """One line of text with suggestions; any text is accepted."""

    def __init__(self, field: Field) -> None:
        super().__init__(field, DraftCombobox, options=field.suggestions, ensure_option=False)

    def suggest(self, texts: Iterable[str]) -> None:
        """Offer these texts, after those of the field itself."""
        self.widgets[0].options = tuple(dict.fromkeys((*self.field.suggestions, *texts)))


class NumberControl(Control):
    """A number as one writes it: empty when it is not set, and kept as it is while it is no number."""

    def __init__(self, field: Field, *before: Any) -> None:
        self.field = field
        self._entry = _entry(field, DraftText, "orch-number", description=field.label)
        super().__init__(*before, self._entry)

    def read(self) -> Any:
        """Return the number, None for none, or the text that is no number."""
        return number_in(self._entry.value, is_whole=self.field.type == "integer")

    def _show(self, value: Any) -> None:
        _fill(self._entry, "" if value is None else shown(value))


class SliderControl(NumberControl):
    """A slider for a number between two limits, and the number itself beside it."""

    def __init__(self, field: Field) -> None:
        self._slider = _slider(field)
        self._moved = False
        super().__init__(field, self._slider)

    def read(self) -> Any:
        """Return the number that was given last, by the slider or in writing."""
        if not self._moved:
            return super().read()
        # The page counts in floating point: three steps of 0.1 are 0.30000000000000004 there.
        return self._slider.value if self.field.type == "integer" else round(self._slider.value, 10)

    def _hear(self, change: Any) -> None:
        self._moved = change.owner is self._slider and not self._showing
        if self._moved:
            # Whoever moves the slider has done with writing.
            self.settle()
        super()._hear(change)

    def _show(self, value: Any) -> None:
        super()._show(value)
        at = value if isinstance(value, int | float) else self.field.default
        self._slider.value = self._slider.min if at is None else at
        mark(self._slider, "orch-unset", value is None)


class ChoiceControl(Control):
    """One of several values; for a field that may be not set, also none of them."""

    def __init__(self, field: Field) -> None:
        none = ((_capitalised(field.hint) if field.default is not None else "Provider's default", _NONE),)
        self._options = (*(none if field.optional else ()), *field.choices)
        super().__init__(
            make(Dropdown, description=field.label, options=self._options, tooltip=field.help or field.label)
        )

    def read(self) -> Any:
        """Return the chosen value, None for none."""
        chosen = self.widgets[0].value
        return None if chosen is _NONE else chosen

    def _show(self, value: Any) -> None:
        value = _NONE if value is None else value
        dropdown, known = self.widgets[0], [choice for _, choice in self._options]
        extra = () if value in known else ((f"{value} (not known here)", value),)
        if dropdown.options != (*self._options, *extra):
            dropdown.options = (*self._options, *extra)
        dropdown.value = value


class CheckControl(Control):
    """Yes or no, for a field that is always set."""

    def __init__(self, field: Field) -> None:
        super().__init__(make(Checkbox, description=field.label, tooltip=field.help, indent=False))

    def read(self) -> Any:
        """Return whether it is checked."""
        return self.widgets[0].value

    def _show(self, value: Any) -> None:
        self.widgets[0].value = bool(value)


class MapControl(Control):
    """Texts by name: one ``Name: value`` per line."""

    def __init__(self, field: Field) -> None:
        self.field = field
        super().__init__(
            _entry(
                field,
                Textarea,
                description=field.label,
                rows=2,
                placeholder="Name: value, one in each line",
                continuous_update=False,
            )
        )

    def read(self) -> dict[str, str]:
        """Return the texts by name.

        Raises
        ------
        ValidationError
            If a line has no colon, or two have one name.
        """
        return map_in(self.widgets[0].value, self.field.path)

    def _show(self, value: Any) -> None:
        self.widgets[0].value = "\n".join(f"{name}: {text}" for name, text in (value or {}).items())


class ProseControl(Control):
    """A text of many lines; an empty one is a field that is not set.

    Of a text of many pages only the beginning is shown, and cells edit it: what a page shows
    is sent to it whole, and may be saved with the notebook.
    """

    def __init__(self, field: Field) -> None:
        self.field = field
        self._is_closed = False
        super().__init__(_entry(field, Textarea, description=field.label, rows=4, continuous_update=False))

    def read(self) -> str | None:
        """Return the text, None for none."""
        return self.widgets[0].value or None

    def disable(self) -> None:
        """Let the value be looked at only."""
        self._is_closed = True
        super().disable()

    def _show(self, value: Any) -> None:
        text = "" if value is None else str(value)
        is_long = len(text) > LONGEST_PROSE
        if is_long:
            rest = f"{len(text):,} characters are too many for a form: edit {self.field.path} in a cell."
            text = f"{text[:_BEGINNING]} ...\n\n({rest})"
        self.widgets[0].value = text
        self.widgets[0].disabled = is_long or self._is_closed


def _number(field: Field) -> Control:
    is_bounded = field.minimum is not None and field.maximum is not None
    return SliderControl(field) if is_bounded else NumberControl(field)


def _boolean(field: Field) -> Control:
    if not field.optional:
        return CheckControl(field)
    answers = (("On", True), ("Off", False))
    return ChoiceControl(dataclasses.replace(field, choices=answers))


def _slider(field: Field) -> Any:
    is_whole = field.type == "integer"
    low, high = field.minimum or 0, field.maximum or 0
    step = field.step or (1 if is_whole else (high - low) / 100)
    return make(
        IntSlider if is_whole else FloatSlider,
        "orch-slider",
        description=field.label,
        tooltip=field.help or field.label,
        min=low,
        max=high,
        step=step,
        # One movement is one change, however long it takes.
        continuous_update=False,
        readout_format="d" if is_whole else f".{len(repr(float(step)).partition('.')[2])}f",
    )


def _entry(field: Field, widget_class: type[Any], *css_classes: str, **traits: Any) -> Any:
    traits = {"placeholder": field.hint, "tooltip": field.help or field.label} | traits
    return make(widget_class, *css_classes, **traits)


def _fill(entry: DraftText, text: str) -> None:
    """Show a text, unless somebody types one."""
    if not entry.is_draft:
        entry.value = text


def shown(value: Any) -> str:
    """Return a value as people read it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


CONTROLS: Final[Mapping[str, Callable[[Field], Control]]] = {
    "text": TextControl,
    "url": TextControl,
    "model": ModelControl,
    "number": _number,
    "integer": _number,
    "boolean": _boolean,
    "choice": ChoiceControl,
    "map": MapControl,
    "prose": ProseControl,
}
"""Every type but ``"secret"``, whose value is never shown: see :mod:`orchstate.widgets.secret_row`."""
