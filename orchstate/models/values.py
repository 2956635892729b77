"""Values inside documents: frozen, and convertible to plain JSON and back."""

from __future__ import annotations

import dataclasses
import numbers
import operator
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NoReturn, SupportsInt, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Strict

from orchstate.models.canonical import canonical
from orchstate.models.secret import SecretRef

_SCALARS = (str, int, float, bool, type(None))
# A value stands in every revision, form and setup: for a prompt of a whole book, and no more.
MAX_CHARACTERS: Final = 1_000_000


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


def tuple_of(value: Any) -> Any:
    """Return a list or a set as a tuple, in one order everywhere; anything else as it is."""
    if isinstance(value, set | frozenset):
        # A set has another order in every process; what is stored should not.
        return tuple(sorted(value, key=str))
    return tuple(value) if isinstance(value, list) else value


def check_length(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Return a text that is short enough to be a value.

    Raises
    ------
    ValueError
        If it is longer.

    Examples
    --------
    >>> check_length("x" * 11, 10)
    Traceback (most recent call last):
    ...
    ValueError: it has 11 characters, and 10 is the limit.
    """
    if len(text) > limit:
        raise ValueError(f"it has {len(text):,} characters, and {limit:,} is the limit.")
    return text


def _check_text(text: str) -> str:
    check_length(text)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise ValueError(f"it has half a character in it, {half!a}, which cannot be stored.") from None
    return text


def _plain_map(value: dict[str, Any]) -> FrozenMap:
    if not value:
        return FrozenMap()
    try:
        text = canonical(value)
        text.encode()
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it holds something that JSON has no form for: {error}.") from None
    check_length(text)
    return FrozenMap(_frozen(value))


def _limited_map(value: dict[str, str]) -> FrozenMap:
    check_length("".join(value) + "".join(value.values()))
    return FrozenMap(value)


def _limited_tuple(value: tuple[str, ...]) -> tuple[str, ...]:
    check_length("".join(value))
    return value


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return FrozenMap({key: _frozen(item) for key, item in value.items()})
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def to_whole(value: Any) -> Any:
    """Return a whole number of any kind, such as numpy's or ``5.0``, as a plain int; others as they are.

    Examples
    --------
    >>> to_whole(5.0), to_whole(5.5), to_whole(True)
    (5, 5.5, True)
    """
    # The usual ones first; bool is a kind of int to Python, and not to anybody who sets a limit.
    if value is None or type(value) is int or isinstance(value, bool):
        return value
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        return int(cast("SupportsInt", value)) if value % 1 == 0 else value
    try:
        return operator.index(value)
    except TypeError:
        return value


def to_number(value: Any) -> Any:
    """Return a number of any kind, such as numpy's, as a plain float; others as they are.

    Examples
    --------
    >>> to_number(0.5), to_number("5"), to_number(True)
    (0.5, '5', True)
    """
    if value is None or type(value) is float or isinstance(value, int):
        # What is an int is a number to pydantic already, unless it is a bool.
        return value
    if isinstance(value, numbers.Real):
        return float(value)
    # numpy's truth values pass for numbers with pydantic; as plain ones they do not.
    return value.item() if getattr(value, "shape", None) == () else value


Whole = Annotated[int, BeforeValidator(to_whole)]
"""A whole number, stored as a plain int whatever kind it was given as."""
Text = Annotated[str, AfterValidator(_check_text)]
"""Text that can be stored: not too long, and no half of a surrogate pair."""
Strings = Annotated[tuple[Text, ...], BeforeValidator(tuple_of), AfterValidator(_limited_tuple)]
StringMap = Annotated[dict[Text, Annotated[Text, Strict()]], AfterValidator(_limited_map)]
PlainMap = Annotated[dict[str, Any], AfterValidator(_plain_map)]
"""Any JSON object, frozen all the way down."""


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
    """Whether two values are equal and of one type, inside too: ``1``, ``True`` and ``1.0`` are three.

    Examples
    --------
    >>> is_same(1, True), is_same([1], [1.0]), is_same("a", "a")
    (False, False, True)
    """
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)
