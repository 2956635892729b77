"""Documents: the frozen values that are stored, and their flat form.

A document class is written once, as a pydantic model. Everything else is derived from
it: the record's traits, the form, the JSON Schema, the columns of the history. Outside
memory a document is *flat*: a mapping of paths such as ``temperature`` or
``agents.timeout`` to plain JSON values, which makes patch, merge, undo and diff one thing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar, cast

import pydantic
from pydantic import BaseModel, ConfigDict

from orchstate.errors import Issue, ValidationError
from orchstate.models.issues import to_issues
from orchstate.models.names import check_name
from orchstate.models.values import Section, Strings, to_plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

_D = TypeVar("_D", bound="Document")

# Known from the row a document is stored in, so not part of its body.
ENVELOPE: Final = ("id", "created_at", "updated_at", "user_id")


class Document(BaseModel):
    """A stored value; subclasses add the fields of their kind.

    Fields that this version does not know are kept, so that a document written by a
    newer version survives a round trip.
    """

    model_config = ConfigDict(
        frozen=True, extra="allow", strict=True, allow_inf_nan=False, protected_namespaces=()
    )

    kind: ClassVar[str] = ""
    schema_version: ClassVar[int] = 1
    groups: ClassVar[tuple[frozenset[str], ...]] = ()
    """Paths that belong together: in a conflict they win or lose as one."""

    id: str
    name: str
    created_at: datetime
    updated_at: datetime
    user_id: str = ""
    tags: Strings = ()

    @pydantic.field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        return check_name(name)

    def replaced(self, changes: Mapping[str, Any]) -> Self:
        """Return a copy with validated values at the given paths.

        Only faults that the changes themselves cause are errors: a value that was
        already wrong elsewhere, perhaps since its rule was tightened, does not block.

        Raises
        ------
        ValidationError
            If a changed value breaks a rule, alone or together with others.
        """
        raw = _with(self, changes)
        try:
            return type(self).model_validate(raw)
        except pydantic.ValidationError as error:
            faults = to_issues(error, type(self))
        caused = _caused(faults, changes, _faults_of(self))
        if caused:
            raise ValidationError.of(caused, subject=f"{self.kind} {self.name!r} is unchanged")
        return _keeping_faulty(type(self), raw, faults)

    def issues(self) -> tuple[Issue, ...]:
        """Return what breaks a rule now, such as a value kept from before the rule."""
        return tuple(_faults_of(self))

    def at(self, path: str) -> Any:
        """Return the value at a path such as ``"agents.timeout"``."""
        value: Any = self
        for part in path.split("."):
            value = getattr(value, part)
        return value

    def body(self) -> dict[str, Any]:
        """Return the flat plain form of everything that differs from the defaults."""
        flat = {}
        for path, default in plain_defaults(type(self)).items():
            value = to_plain(self.at(path))
            if value != default or type(value) is not type(default):
                flat[path] = value
        return flat | {key: to_plain(value) for key, value in (self.__pydantic_extra__ or {}).items()}

    @classmethod
    def created(cls, envelope: Mapping[str, Any], values: Mapping[str, Any]) -> Self:
        """Return a new document with validated values at the given paths.

        Raises
        ------
        ValidationError
            If a value breaks a rule, or a needed one is missing.
        """
        raw = dict(envelope)
        for path, value in values.items():
            _put(raw, path, value)
        try:
            return cls.model_validate(raw)
        except pydantic.ValidationError as error:
            faults = to_issues(error, cls)
        raise ValidationError.of(faults, subject=f"The {cls.kind} was not created")

    @classmethod
    def from_body(cls, envelope: Mapping[str, Any], body: Mapping[str, Any]) -> Self:
        """Return the document of a stored body.

        Values that break a rule are kept as they are and show up in :meth:`issues`.

        Raises
        ------
        ValidationError
            If what every document needs (id, name, times) is missing or wrong.
        """
        raw = dict(envelope)
        for path, value in body.items():
            if path in plain_defaults(cls):
                _put(raw, path, value)
            else:
                raw[path] = value
        try:
            return cls.model_validate(raw)
        except pydantic.ValidationError as error:
            faults = to_issues(error, cls)
        if any(fault.field in ("", "name", *ENVELOPE) for fault in faults):
            raise ValidationError.of(faults, subject=f"{cls.kind} {raw.get('id')!r} cannot be read")
        return _keeping_faulty(cls, raw, faults)


@cache
def leaves(document_class: type[Document]) -> dict[str, FieldInfo]:
    """Return the leaf fields of a document class by path, without the envelope."""
    return {path: info for path, info in _walk(document_class, "") if path not in ENVELOPE}


@cache
def defaults(document_class: type[Document]) -> dict[str, Any]:
    """Return the default of every leaf by path; a field without one has None."""
    return {
        path: None if info.is_required() else info.get_default(call_default_factory=True)
        for path, info in leaves(document_class).items()
    }


@cache
def plain_defaults(document_class: type[Document]) -> dict[str, Any]:
    """Return :func:`defaults` as plain JSON values."""
    return {path: to_plain(value) for path, value in defaults(document_class).items()}


def datetime_of(microseconds: int) -> datetime:
    """Return the UTC time of a number of microseconds since 1970."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


def _walk(model: type[BaseModel], prefix: str) -> list[tuple[str, FieldInfo]]:
    found: list[tuple[str, FieldInfo]] = []
    for name, info in model.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            found += _walk(annotation, f"{prefix}{name}.")
        else:
            found.append((prefix + name, info))
    return found


def _put(raw: dict[str, Any], path: str, value: Any) -> None:
    *sections, leaf = path.split(".")
    for section in sections:
        # A copy, since the section may belong to a frozen document.
        raw[section] = raw = dict(raw.get(section, ()))
    raw[leaf] = value


def _with(document: Document, changes: Mapping[str, Any]) -> dict[str, Any]:
    raw = dict(document)
    for path, value in changes.items():
        _put(raw, path, value)
    return raw


def _faults_of(document: Document) -> list[Issue]:
    try:
        type(document).model_validate(dict(document))
    except pydantic.ValidationError as error:
        return to_issues(error, type(document))
    return []


def _caused(faults: list[Issue], changes: Mapping[str, Any], before: list[Issue]) -> list[Issue]:
    def touched(field: str) -> bool:
        return any(field == path or field.startswith(path + ".") for path in changes)

    known = {(issue.field, issue.message) for issue in before}
    return [issue for issue in faults if touched(issue.field) or (issue.field, issue.message) not in known]


def _keeping_faulty(cls: type[_D], raw: dict[str, Any], faults: list[Issue]) -> _D:
    """Return a document in which faulty fields keep their raw value and all others are validated."""
    tops = {fault.field.partition(".")[0] for fault in faults} - {""}
    sound = {key: value for key, value in raw.items() if key not in tops}
    try:
        document = cls.model_validate(sound)
    except pydantic.ValidationError:
        # Required fields among the faulty ones, or a cross-field rule broken since before.
        document = cast("_D", cls.model_construct(None, **sound))
    return document.model_copy(update={top: raw[top] for top in tops if top in raw})
