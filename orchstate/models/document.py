"""Documents: the frozen values that are stored, and their flat form.

A document class is written once, as a pydantic model. Everything else is derived from
it: the record's traits, the form, the JSON Schema, the columns of the history. Outside
memory a document is *flat*: a mapping of paths such as ``temperature`` or
``agents.timeout`` to plain JSON values, which makes patch, merge, undo and diff one thing.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, Self, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict

from orchstate.errors import Issue, ValidationError
from orchstate.models.issues import to_issues
from orchstate.models.key_shapes import REFUSAL, holds_key
from orchstate.models.names import check_name, check_new_name
from orchstate.models.secret import SecretRef
from orchstate.models.values import Section, Strings, is_same, to_plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

_M = TypeVar("_M", bound=BaseModel)
_D = TypeVar("_D", bound="Document")
_FIELD_CONFIG: Final = ConfigDict(strict=True, allow_inf_nan=False, protected_namespaces=())

# Among the fields set of a document that was not validated as a whole; no field has such a name.
_FAULTY: Final = "(faulty)"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# Known from the row a document is stored in, so not part of its body.
ENVELOPE: Final = ("id", "created_at", "updated_at", "user_id")


class Document(BaseModel):
    """A stored value; subclasses add the fields of their kind.

    Fields that this version does not know are kept, so that a document written by a
    newer version survives a round trip.
    """

    model_config = ConfigDict(
        # Frozen by its own methods: pydantic's frozen models cannot validate one value alone either.
        extra="allow",
        strict=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    kind: ClassVar[str] = ""
    schema_version: ClassVar[int] = 1
    groups: ClassVar[tuple[frozenset[str], ...]] = ()
    """Paths that belong together: in a conflict they win or lose as one."""
    is_undisputed: ClassVar[bool] = False
    """Whether nobody would want to be asked: the last commit counts, and a name that is taken is refused."""

    id: str
    name: str
    created_at: datetime
    updated_at: datetime
    user_id: str = ""
    tags: Strings = ()

    def __setattr__(self, name: str, value: Any) -> None:
        del value
        self._refuse(name, "assigned")

    def __delattr__(self, name: str) -> None:
        self._refuse(name, "deleted")

    def _refuse(self, name: str, what: str) -> NoReturn:
        raise ValidationError(
            f"{self.kind} {self.name!r} is a value of one moment, so its {name} cannot be {what}. "
            "Change the live one, such as store.configs['gpt']."
        )

    @pydantic.field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        return check_name(name)

    @pydantic.field_validator("tags")
    @classmethod
    def _check_tags(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        if any(map(holds_key, tags)):
            raise ValueError(REFUSAL)
        return tags

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
        if raw["name"] != self.name and isinstance(raw["name"], str):
            check_new_name(raw["name"])
        alone = _only(changes)
        if alone and _FAULTY not in self.__pydantic_fields_set__:
            # One value of a sound document, as most edits change; what it breaks is told below.
            with contextlib.suppress(pydantic.ValidationError):
                return _with_one(self, changes, alone)
        try:
            return type(self).model_validate(raw)
        except pydantic.ValidationError as error:
            faults = _all_faults(type(self), raw, error)
        caused = _caused(faults, changes, self.issues())
        if caused:
            raise ValidationError.of(caused, subject=f"{self.kind} {self.name!r} is unchanged")
        return _keeping_faulty(type(self), raw)

    def issues(self) -> tuple[Issue, ...]:
        """Return what breaks a rule now, such as a value kept from before the rule."""
        if _FAULTY not in self.model_fields_set:
            return ()
        raw = _unpacked(self)
        try:
            type(self).model_validate(raw)
        except pydantic.ValidationError as error:
            return tuple(_all_faults(type(self), raw, error))
        return ()

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
            if not is_same(value, default):
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
        if isinstance(raw.get("name"), str):
            check_new_name(raw["name"])
        try:
            return cls.model_validate(raw)
        except pydantic.ValidationError as error:
            faults = to_issues(error, cls)
        raise ValidationError.of(faults, subject=f"The {cls.kind} was not created")

    @classmethod
    def from_body(cls, envelope: Mapping[str, Any], body: Mapping[str, Any]) -> Self:
        """Return the document of a stored body.

        Values that break a rule, alone or together with others, are kept as they are and
        show up in :meth:`issues`.

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
        if any(fault.field in ("name", *ENVELOPE) for fault in faults):
            raise ValidationError.of(faults, subject=f"{cls.kind} {raw.get('id')!r} cannot be read")
        return _keeping_faulty(cls, raw)


@cache
def leaves(document_class: type[Document]) -> dict[str, FieldInfo]:
    """Return the leaf fields of a document class by path, without the envelope."""
    return {path: info for path, info in _walk(document_class, "") if path not in ENVELOPE}


@cache
def secret_fields(document_class: type[Document]) -> frozenset[str]:
    """Return the paths of the fields that refer to secrets."""
    return frozenset(path for path, info in leaves(document_class).items() if info.annotation is SecretRef)


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
    return _EPOCH + timedelta(0, 0, microseconds)


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


def _raw(document: Document) -> dict[str, Any]:
    # What dict(document) gives, without a generator in between: every edit comes by here.
    return {**document.__dict__, **(document.__pydantic_extra__ or {})}


def _unpacked(model: BaseModel) -> dict[str, Any]:
    # Sections as plain dicts: pydantic does not look again into what is a model already.
    return {name: _unpacked(value) if isinstance(value, Section) else value for name, value in model}


def _only(changes: Mapping[str, Any]) -> str:
    """Return the one path at which something changes apart from the time, ``""`` if there are more."""
    paths = [path for path in changes if path != "updated_at"]
    return paths[0] if len(paths) == 1 and "." not in paths[0] else ""


def _with_one(document: _D, changes: Mapping[str, Any], name: str) -> _D:
    """Return a copy in which one value is validated, by its own rules and by those across fields."""
    copy = document.model_copy(update=dict(changes))
    copy.__pydantic_validator__.validate_assignment(copy, name, changes[name])
    return copy


def _with(document: Document, changes: Mapping[str, Any]) -> dict[str, Any]:
    raw = _raw(document)
    for path, value in changes.items():
        _put(raw, path, value)
    return raw


def _all_faults(cls: type[Document], raw: Mapping[str, Any], error: pydantic.ValidationError) -> list[Issue]:
    """Return the faults of `error`, and those that stand behind them.

    pydantic looks at rules across fields only when every field by itself is sound.
    """
    faults = to_issues(error, cls)
    tops = {fault.field.partition(".")[0] for fault in faults} - {""}
    if tops:
        try:
            cls.model_validate({name: value for name, value in raw.items() if name not in tops})
        except pydantic.ValidationError as second:
            faults += [fault for fault in to_issues(second, cls) if not fault.field]
    return faults


def _caused(faults: list[Issue], changes: Mapping[str, Any], before: tuple[Issue, ...]) -> list[Issue]:
    def touched(field: str) -> bool:
        return any(field == path or field.startswith(path + ".") for path in changes)

    known = {(issue.field, issue.message) for issue in before}
    return [issue for issue in faults if touched(issue.field) or (issue.field, issue.message) not in known]


def _keeping_faulty(cls: type[_M], raw: Mapping[str, Any]) -> _M:
    """Return a model in which faulty fields keep their raw value and all others are validated."""
    values = {name: _sound_or_raw(cls, name, value) for name, value in raw.items()}
    missing = {name: None for name, info in cls.model_fields.items() if info.is_required()}
    return cls.model_construct({_FAULTY, *values}, **(missing | values))


def _sound_or_raw(cls: type[BaseModel], name: str, value: Any) -> Any:
    info = cls.model_fields.get(name)
    if info is None:
        return value
    annotation = info.annotation
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return _keeping_faulty(annotation, dict(value)) if isinstance(value, dict | Section) else annotation()
    try:
        return getattr(_alone(cls, name).model_validate({name: value}), name)
    except pydantic.ValidationError:
        # What stands in place of a reference may be a key, and is not to be seen.
        return SecretRef() if annotation is SecretRef else value


@cache
def _alone(cls: type[BaseModel], name: str) -> type[BaseModel]:
    """Return a model of one field, so that it is validated whatever the others are."""
    info = cls.model_fields[name]
    field: Any = (info.annotation, info)
    return pydantic.create_model(name, __config__=_FIELD_CONFIG, **{name: field})
