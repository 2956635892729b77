"""What is live: traits that are the store's, and observers that cannot stop each other."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from traitlets import All, Bunch, HasTraits
from traitlets.traitlets import BaseDescriptor, EventHandler

from orchstate.errors import LiveObjectError, UnknownFieldError, quoted, suggestion
from orchstate.state.traits import FieldTrait
from orchstate.tracebacks import forget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from orchstate.state.block import Block
    from orchstate.state.events import Cause
    from orchstate.state.receipt import Receipt
    from orchstate.state.state import State

logger = logging.getLogger(__name__)


class Live(HasTraits):
    """What a record and its sections have in common: traits that are the store's."""

    _state: State

    if TYPE_CHECKING:
        # What records and their sections do each in their own way.
        def _assign(self, changes: Mapping[str, Any]) -> Receipt: ...

        def _catch_up(self) -> None: ...

        def _read(self, name: str) -> Any: ...

    def setup_instance(*args: Any, **kwargs: Any) -> None:
        """Prepare without building default values, which a view has no use for."""
        self = args[0]
        self._trait_values = {}
        self._trait_notifiers = {}
        self._trait_validators = {}
        self._cross_validation_lock = False
        for init in type(self)._instance_inits:
            init(self)

    def __getattr__(self, name: str) -> Any:
        # Reached for a misspelt name, and for a field that only the running transaction, or only those
        # outside of it, have: its class is that of one of them.
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        computed = getattr(type(self), name, None)
        if computed is not None and not isinstance(computed, FieldTrait):
            # It raised an AttributeError of its own; once more, so that this is the one to be seen.
            return computed.__get__(self, type(self))
        return self._read(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name[0] != "_" and not isinstance(getattr(type(self), name, None), BaseDescriptor):
            del value
            raise UnknownFieldError(no_field(self, name))
        try:
            super().__setattr__(name, value)
        except BaseException as error:
            # It may be a key.
            del value
            forget(error)
            raise

    def __delattr__(self, name: str) -> None:
        if name[0] == "_":
            super().__delattr__(name)
            return
        if not self._is_observable(name):
            raise UnknownFieldError(no_field(self, name))
        raise LiveObjectError(
            f"{name!r} of {self!r} cannot be deleted. Assign another value instead; None empties a field."
        )

    if not TYPE_CHECKING:
        # Type checkers know no such methods, and say so before anything runs.
        def __setitem__(self, path: str, value: object) -> None:
            # It may be a key.
            del value
            raise LiveObjectError(
                f"{path!r} of {self!r} cannot be assigned so. Assign the attribute, or call update()."
            )

        def __delitem__(self, path: str) -> None:
            self.__delattr__(str(path))

    def __reduce__(self) -> Any:
        raise LiveObjectError(
            f"{self!r} is a live view of a store and cannot be copied or pickled. Use to_dict()."
        )

    def hold_trait_notifications(self) -> Block:  # type: ignore[override]
        """Make the assignments of the block one transaction: all of them, or none."""
        return self._state.transaction()

    @property
    def _is_observed(self) -> bool:
        return any(kind for kinds in self._trait_notifiers.values() for kind in kinds.values())

    def _check_observable(self, names: Any) -> None:
        """Refuse to observe a field that is not there, which would never be told."""
        wanted = [names] if isinstance(names, str) else names if isinstance(names, list | tuple) else []
        for name in wanted:
            if name is not All and not self._is_observable(name):
                raise UnknownFieldError(no_field(self, name))

    def _is_observable(self, name: str) -> bool:
        return isinstance(getattr(type(self), name, None), BaseDescriptor)


def news(owner: HasTraits, name: str, old: Any, new: Any, cause: Cause) -> Iterator[Callable[[], object]]:
    """Yield a call for each who observes a trait; one that raises is logged and does not stop the others."""
    notifiers = owner._trait_notifiers
    if name not in notifiers and All not in notifiers:
        return
    change = Bunch(name=name, old=old, new=new, owner=owner, type="change", cause=cause)
    found: list[Any] = []
    for key in (name, All):
        for kind in ("change", All):
            found += notifiers.get(key, {}).get(kind, ())
    for callback in found:
        yield partial(_call, callback, change)


def _call(callback: Any, change: Bunch) -> None:
    owner = change.owner
    try:
        if isinstance(callback, EventHandler) and callback.name is not None:
            getattr(owner, callback.name)(change)
        else:
            callback(change)
    except Exception:
        logger.exception("An observer of %s.%s raised; the others go on", type(owner).__name__, change.name)


def no_field(live: HasTraits, name: str) -> str:
    """Return the message for a field that is not there, with the closest names."""
    if isinstance(name, str) and (hasattr(type(live), name) or name in type(live).__annotations__):
        return f"{name!r} of a {type(live).__name__} cannot be assigned or observed."
    closest = suggestion(str(name), sorted(type(live)._traits))
    return f"{type(live).__name__} has no field {quoted(name)}.{closest}"
