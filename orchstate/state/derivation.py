"""Record classes, derived from document classes: one trait per field, one section per nested model."""

from __future__ import annotations

import types
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from traitlets import All
from traitlets.traitlets import BaseDescriptor

from orchstate.errors import UnknownFieldError
from orchstate.models.document import ENVELOPE
from orchstate.models.secret import SecretRef
from orchstate.models.values import Section
from orchstate.state.live import Live, no_field
from orchstate.state.record import Record
from orchstate.state.traits import FieldTrait, SecretTrait

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from orchstate.models.document import Document
    from orchstate.state.receipt import Receipt

_R = TypeVar("_R", bound=Record)


class SectionRecord(Live):
    """The live view of a part of a document, such as ``settings.agents``."""

    def __init__(self, root: Record, path: str, values: Section) -> None:
        self._state = root._state
        self._root = root
        self._path = path
        self._sections: dict[str, SectionRecord] = {}
        self._trait_values = values.__dict__

    def show(self, values: Section) -> None:
        """Take over the present values."""
        self._trait_values = values.__dict__
        for name, section in self._sections.items():
            section.show(getattr(values, name))

    def update(self, **changes: Any) -> Receipt:
        """Change several fields of the section at once."""
        return self._assign({f"{self._path}.{name}": value for name, value in changes.items()})

    def observe(self, handler: Any, names: Any = All, type: Any = "change") -> None:
        """Have `handler` called with every change of the named fields.

        Raises
        ------
        UnknownFieldError
            If there is no such field.
        """
        self._check_observable(names)
        super().observe(handler, names, type)
        self._root._look_after()

    def unobserve(self, handler: Any, names: Any = All, type: Any = "change") -> None:
        """End what :meth:`observe` began."""
        super().unobserve(handler, names, type)
        self._root._look_after()

    def unobserve_all(self, name: Any = All) -> None:
        """End all observation, or that of one field."""
        super().unobserve_all(name)
        self._root._look_after()

    def _assign(self, changes: Mapping[str, Any]) -> Receipt:
        return self._root._assign(changes)

    def _catch_up(self) -> None:
        self._root._catch_up()

    def _read(self, name: str) -> Any:
        document = self._state.document(self._root._entry.id)
        values = document.at(self._path).__dict__ if document else self._trait_values
        if name not in values:
            raise UnknownFieldError(no_field(self, name))
        return values[name]

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self._trait_values.items())
        return f"<{self._path} {values}>"


class SectionTrait(BaseDescriptor):
    """Gives the view of a section, made once per record."""

    def __init__(self, path: str, section_class: type[Section]) -> None:
        self.path = path
        self.section_class = section_class

    def __get__(self, obj: Any, cls: Any = None) -> Any:
        if obj is None:
            return self
        name = self.path.rpartition(".")[2]
        section = obj._sections.get(name)
        if section is None:
            root = obj if isinstance(obj, Record) else obj._root
            values = obj._trait_values[name]
            section = obj._sections[name] = _section_class(self.section_class, self.path)(
                root, self.path, values
            )
        return section

    def __set__(self, obj: Any, value: Any) -> None:
        raise UnknownFieldError(f"{self.path!r} is a group of fields. Assign one of them, or use update().")


@cache
def derive(document_class: type[Document], base: type[_R]) -> type[_R]:
    """Return the record class of a document class, below `base`: one trait per field."""
    traits = _traits(document_class, "")
    name = base.__name__ if base is not Record else document_class.__name__.removesuffix("Document")
    return cast("type[_R]", _make_class(name, base, {**traits, "document_class": document_class}))


@cache
def _section_class(section_class: type[Section], path: str) -> type[SectionRecord]:
    return cast(
        "type[SectionRecord]",
        _make_class(section_class.__name__, SectionRecord, _traits(section_class, f"{path}.")),
    )


def _make_class(name: str, base: type, namespace: dict[str, Any]) -> type:
    namespace = {**namespace, "__module__": base.__module__}
    return types.new_class(name, (base,), exec_body=lambda body: body.update(namespace))


def _traits(model: type[BaseModel], prefix: str) -> dict[str, Any]:
    traits: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            traits[name] = SectionTrait(prefix + name, annotation)
        elif annotation is SecretRef:
            traits[name] = SecretTrait(prefix + name, info)
        else:
            traits[name] = FieldTrait(prefix + name, info, fixed=not prefix and name in (*ENVELOPE, "stash"))
    return traits
