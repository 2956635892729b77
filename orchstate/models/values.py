"""Values inside documents: frozen, and convertible to plain JSON and back."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Strict

from orchstate.models.secret import SecretRef

_SCALARS = (str, int, float, bool, type(None))


class Section(BaseModel):
    """A named part of a document; its fields are leaves of their own, such as ``agents.timeout``."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)


class FrozenMap(dict[str, Any]):
    """A dict that refuses in-place edits, which no observer would see.

    Examples
    --------
    >>> FrozenMap(a=1)["a"]
    1
    """

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("This mapping is read-only: a change in place would go unseen. Assign a new dict.")

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = __ior__ = _refuse

    def __reduce__(self) -> tuple[type[FrozenMap], tuple[dict[str, Any]]]:
        return FrozenMap, (dict(self),)


def _tuple_of(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | set | frozenset) else value


Strings = Annotated[tuple[str, ...], BeforeValidator(_tuple_of)]
StringMap = Annotated[dict[str, Annotated[str, Strict()]], AfterValidator(FrozenMap)]
PlainMap = Annotated[dict[str, Any], AfterValidator(FrozenMap)]


def to_plain(value: Any) -> Any:
    """Return a document's value as plain JSON: str, int, float, bool, None, list, dict.

    Examples
    --------
    >>> to_plain((SecretRef(source="env", name="KEY"), 0.5))
    [{'source': 'env', 'name': 'KEY'}, 0.5]
    """
    if isinstance(value, _SCALARS):
        return value
    if isinstance(value, SecretRef):
        return value.model_dump() if value.is_set else None
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, BaseModel):
        return {name: to_plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise TypeError(f"{value!r} has no plain JSON form.")


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of one type: ``1``, ``True`` and ``1.0`` are three.

    Examples
    --------
    >>> is_same(1, True), is_same("a", "a")
    (False, True)
    """
    return one is other or (type(one) is type(other) and bool(one == other))
