"""Traits whose *get* reads the store's present values and whose *set* is a command to the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from traitlets import TraitType

from orchstate.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic.fields import FieldInfo


class FieldTrait(TraitType[Any, Any]):
    """The trait of one field of a document.

    Parameters
    ----------
    path
        The field's path in the document, such as ``"agents.timeout"``.
    info
        pydantic's description of the field.
    fixed
        Whether the store sets the value, and nobody else.
    """

    allow_none = True

    def __init__(self, path: str, info: FieldInfo, *, fixed: bool = False) -> None:
        super().__init__(default_value=None, help=info.description or info.title or "")
        self.path = path
        self.field = info
        self.fixed = fixed

    def __get__(self, obj: Any, cls: Any = None) -> Any:
        if obj is None:
            return self
        if obj._state.attention:
            return obj._read(self.name)
        try:
            return obj._trait_values[self.name]
        except KeyError:
            # Another thread has just moved a config to another provider.
            return obj._read(self.name)

    def get(self, obj: Any, cls: Any = None) -> Any:
        """Return the present value."""
        return self.__get__(obj, cls)

    def __set__(self, obj: Any, value: Any) -> None:
        self.check_assignable()
        obj._assign({self.path: value})

    def set(self, obj: Any, value: Any) -> None:
        """Have the store change the value."""
        self.__set__(obj, value)

    def check_assignable(self) -> None:
        """Refuse what only the store sets."""
        if self.fixed:
            raise ValidationError(f"{self.path!r} is set by the store and cannot be assigned.")

    def info(self) -> str:
        """Return what kind of value this is, for people."""
        annotation = self.field.annotation
        return getattr(annotation, "__name__", str(annotation))


class SecretTrait(FieldTrait):
    """The trait of a secret: reading gives a masked reference, never the value."""

    def __get__(self, obj: Any, cls: Any = None) -> Any:
        value = super().__get__(obj, cls)
        return value if obj is None else obj._readable(value)


class ComputedTrait(TraitType[Any, Any]):
    """A read-only trait that follows from the state of a record, such as its revision."""

    allow_none = True

    def __init__(self, compute: Callable[[Any], Any], *, help: str) -> None:
        super().__init__(default_value=None, help=help)
        self._compute = compute

    def __get__(self, obj: Any, cls: Any = None) -> Any:
        if obj is None:
            return self
        obj._catch_up()
        return self._compute(obj)

    def get(self, obj: Any, cls: Any = None) -> Any:
        """Return the present value."""
        return self.__get__(obj, cls)

    def __set__(self, obj: Any, value: Any) -> None:
        self.check_assignable()

    def check_assignable(self) -> None:
        """Refuse: it follows from the record's state."""
        raise ValidationError(f"{self.name!r} follows from the record's state and cannot be assigned.")

    def set(self, obj: Any, value: Any) -> None:
        """Refuse: it follows from the record's state."""
        self.__set__(obj, value)
