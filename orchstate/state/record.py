"""Records: the live traitlets views of documents.

A record class is derived from its document class, one trait per field, so nothing is
declared twice. A record holds no truth: an assignment is validated, journalled and shown
by the state, or it raises and has changed nothing.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import types
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, cast

from traitlets import All, Bunch, HasTraits
from traitlets.traitlets import BaseDescriptor, EventHandler

from orchstate.errors import NotFoundError, UnknownFieldError
from orchstate.models.document import ENVELOPE, Document, leaves
from orchstate.models.secret import SecretRef
from orchstate.models.validation import Validation
from orchstate.models.values import Section, is_same, to_plain
from orchstate.state.traits import ComputedTrait, FieldTrait, SecretTrait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from pydantic import BaseModel

    from orchstate.state.events import Cause
    from orchstate.state.receipt import Receipt
    from orchstate.state.state import State
    from orchstate.state.view import Entry, Shift

logger = logging.getLogger(__name__)

SyncState = Literal["saved", "saving", "failed", "conflict"]
_COMPUTED = ("revision", "sync_state", "error", "validation")
_R = TypeVar("_R", bound="Record")


class Live(HasTraits):
    """What a record and its sections have in common: traits that are the store's."""

    _state: State

    def setup_instance(*args: Any, **kwargs: Any) -> None:
        """Prepare without building default values, which a view has no use for."""
        self = args[0]
        self._trait_values = {}
        self._trait_notifiers = {}
        self._trait_validators = {}
        self._cross_validation_lock = False
        for init in type(self)._instance_inits:
            init(self)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __setattr__(self, name: str, value: Any) -> None:
        if name[0] != "_" and not isinstance(getattr(type(self), name, None), BaseDescriptor | property):
            raise UnknownFieldError(_no_field(self, name))
        super().__setattr__(name, value)

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r} is a live view of a store and cannot be copied. Use to_dict().")

    @contextlib.contextmanager
    def hold_trait_notifications(self) -> Iterator[None]:
        """Make the assignments of the block one transaction: all of them, or none."""
        with self._state.transaction():
            yield

    def _assign(self, changes: Mapping[str, Any]) -> Receipt:
        raise NotImplementedError

    def _catch_up(self) -> None:
        raise NotImplementedError

    def _read(self, name: str) -> Any:
        raise NotImplementedError

    def _notify(self, name: str, old: Any, new: Any, cause: Cause) -> None:
        """Tell those who observe `name`; one that raises is logged and does not stop the others."""
        notifiers = self._trait_notifiers
        if name not in notifiers and All not in notifiers:
            return
        change = Bunch(name=name, old=old, new=new, owner=self, type="change", cause=cause)
        found: list[Any] = []
        for key in (name, All):
            for kind in ("change", All):
                found += notifiers.get(key, {}).get(kind, ())
        for callback in found:
            try:
                _callable(self, callback)(change)
            except Exception:
                logger.exception("An observer of %s.%s raised; the others go on", type(self).__name__, name)


class Record(Live):
    """The live view of one document.

    Every field of the document is a trait: reading gives the present value, assigning
    changes the store, ``observe`` tells of changes from anywhere.
    """

    document_class: ClassVar[type[Document]] = Document

    revision = ComputedTrait(
        lambda record: record._entry.row.revision if record._entry.row else 0,
        help="Number of the last committed revision; 0 before the first.",
    )
    sync_state = ComputedTrait(
        lambda record: record._sync_state(),
        help='"saved", "saving", "failed" or "conflict".',
    )
    error = ComputedTrait(
        lambda record: record._entry.error,
        help="Why the last edit was not committed, or None.",
    )
    validation = ComputedTrait(
        lambda record: record._validate_now(),
        help="Whether the record is ready for use, and what is wrong with it.",
    )

    if TYPE_CHECKING:
        id: str
        name: str
        created_at: datetime
        updated_at: datetime
        user_id: str
        tags: tuple[str, ...]

    def __init__(self, state: Any, entry: Entry, document: Document) -> None:
        self._state = state
        self._entry = entry
        self._sections: dict[str, SectionRecord] = {}
        self._trait_values = document.__dict__
        self._told = self._computed()

    # -- what people use --------------------------------------------------------------

    @property
    def kind(self) -> str:
        """The kind of its document."""
        return self.document_class.kind

    def __getitem__(self, path: str) -> Any:
        """Return the value at a path such as ``"temperature"`` or ``"agents.timeout"``."""
        if path in ENVELOPE:
            return getattr(self, path)
        if path not in leaves(self.document_class):
            raise UnknownFieldError(_no_field(self, path))
        value: Any = self
        for part in path.split("."):
            value = getattr(value, part)
        return value

    def update(self, **changes: Any) -> Receipt:
        """Change several fields at once: one validation, one revision, one undo step.

        Parameters
        ----------
        **changes
            New values by field; paths such as ``agents.timeout`` as ``**{"agents.timeout": 5000}``.

        Raises
        ------
        UnknownFieldError, ValidationError, DuplicateNameError
            If it cannot be; nothing changed.
        StoreWriteError, ReadOnlyError, ClosedError
            If it could not be accepted; nothing changed.
        """
        return self._assign(changes)

    def delete(self) -> Receipt:
        """Delete the document; its history stays, and undo brings it back."""
        return self._state.delete(self._entry.id)

    def document(self) -> Document:
        """Return the present document: a frozen value.

        Raises
        ------
        NotFoundError
            If it was deleted.
        """
        found = self._state.document(self._entry.id)
        if found is None:
            raise NotFoundError(f"{self.kind} {self._trait_values['name']!r} was deleted.")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the present values as plain JSON, secrets as the references that they are."""
        document = self.document()
        return {
            "kind": self.kind,
            "schema_version": document.schema_version,
            **cast("dict[str, Any]", to_plain(document)),
        }

    def observe(self, handler: Any, names: Any = All, type: Any = "change") -> None:
        """Have `handler` called with every change of the named fields, wherever it comes from."""
        super().observe(handler, names, type)
        self._state.hold(self)

    def unobserve(self, handler: Any, names: Any = All, type: Any = "change") -> None:
        """End what :meth:`observe` began."""
        super().unobserve(handler, names, type)
        if not any(kind for kinds in self._trait_notifiers.values() for kind in kinds.values()):
            self._state.let_go(self)

    def unobserve_all(self, name: Any = All) -> None:
        """End all observation, or that of one field."""
        super().unobserve_all(name)
        self._state.let_go(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._trait_values.get('name', '')}>"

    # -- what the state uses ------------------------------------------------------------

    def show(self, document: Document | None) -> None:
        """Take over the present document; called with the state's lock held."""
        if document is None:
            return
        if type(document) is not self.document_class:
            self.__class__ = self._state.record_class_of(type(document))
        self._trait_values = document.__dict__
        for name, section in self._sections.items():
            section.show(getattr(document, name))

    def tell(self, shift: Shift) -> None:
        """Tell observers what changed; called in the owner's thread, outside the lock."""
        if shift.before is not None and shift.after is not None and shift.before is not shift.after:
            _tell(self, self, shift.before, shift.after, "", shift.cause)
        self._tell_computed(shift.cause)

    def _tell_computed(self, cause: Cause) -> None:
        before, self._told = self._told, self._computed()
        for name, old, new in zip(_COMPUTED, before, self._told, strict=True):
            if old != new:
                self._notify(name, old, new, cause)

    def _computed(self) -> tuple[Any, ...]:
        entry = self._entry
        # Validation costs more than the rest: only for those who look at it.
        seen = self._validate_now() if "validation" in self._trait_notifiers else None
        return (entry.row.revision if entry.row else 0, self._sync_state(), entry.error, seen)

    def _sync_state(self) -> SyncState:
        if self._entry.error:
            return "conflict" if type(self._entry.error).__name__ == "ConflictError" else "failed"
        return "saving" if self._entry.pending else "saved"

    def _validate_now(self) -> Validation:
        document = self._state.seen(self._entry.id)
        return Validation.of(document.issues() if document else ())

    def _assign(self, changes: Mapping[str, Any]) -> Receipt:
        receipt = self._state.update(self._entry.id, changes)
        document = self._state.seen(self._entry.id)
        if document is not None and type(document) is not self.document_class:
            # Inside a transaction the new fields are there at once.
            self.show(document)
        return receipt

    def _catch_up(self) -> None:
        self._state.catch_up()

    def _read(self, name: str) -> Any:
        document = self._state.document(self._entry.id)
        return (document.__dict__ if document else self._trait_values)[name]

    def _readable(self, ref: SecretRef) -> SecretRef:
        return ref


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
        """Have `handler` called with every change of the named fields."""
        super().observe(handler, names, type)
        self._state.hold(self._root)

    def _assign(self, changes: Mapping[str, Any]) -> Receipt:
        return self._root._assign(changes)

    def _catch_up(self) -> None:
        self._root._catch_up()

    def _read(self, name: str) -> Any:
        document = self._state.document(self._root._entry.id)
        return document.at(f"{self._path}.{name}") if document else self._trait_values[name]

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
            traits[name] = FieldTrait(prefix + name, info, fixed=prefix == "" and name in ENVELOPE)
    return traits


def _tell(root: Record, owner: Any, before: Any, after: Any, prefix: str, cause: Cause) -> None:
    old_values = before.__dict__
    for name, new in after.__dict__.items():
        old = old_values.get(name)
        if old is new or is_same(old, new):
            continue
        if isinstance(new, Section):
            _tell(root, getattr(owner, name), old, new, f"{prefix}{name}.", cause)
            continue
        owner._notify(name, old, new, cause)
        if prefix:
            root._notify(prefix + name, old, new, cause)


def _callable(owner: Any, callback: Any) -> Callable[[Any], Any]:
    if isinstance(callback, EventHandler) and callback.name is not None:
        return cast("Callable[[Any], Any]", getattr(owner, callback.name))
    return cast("Callable[[Any], Any]", callback)


def _no_field(live: Live, name: str) -> str:
    known = list(type(live)._traits) if isinstance(live, HasTraits) else []
    close = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    hint = (
        f"Did you mean {' or '.join(map(repr, close))}?"
        if close
        else f"There are: {', '.join(sorted(known))}."
    )
    return f"{type(live).__name__} has no field {name!r}. {hint}"
