"""Records: the live traitlets views of documents.

A record class is derived from its document class, one trait per field, so nothing is
declared twice. A record holds no truth: an assignment is validated, journalled and shown
by the state, or it raises and has changed nothing.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from traitlets import All

from orchstate.errors import UnknownFieldError
from orchstate.models.document import ENVELOPE, Document, leaves
from orchstate.models.validation import Validation
from orchstate.models.values import Section, is_same, to_plain
from orchstate.state.live import Live, news, no_field
from orchstate.state.reads import progress
from orchstate.state.traits import ComputedTrait, FieldTrait
from orchstate.tracebacks import Forgetting, forget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from orchstate.errors import OrchstateError
    from orchstate.models.secret import SecretRef
    from orchstate.state.derivation import SectionRecord
    from orchstate.state.entry import Entry
    from orchstate.state.events import Cause
    from orchstate.state.receipt import Receipt
    from orchstate.state.view import Shift

SyncState = Literal["saved", "saving", "failed", "conflict"]
_COMPUTED = ("revision", "sync_state", "error", "validation")


class Record(Live):
    """The live view of one document.

    Every field of the document is a trait: reading gives the present value, assigning
    changes the store, ``observe`` tells of changes from anywhere.
    """

    document_class: ClassVar[type[Document]] = Document

    revision = ComputedTrait(
        lambda record: record._progress().row.revision if record._progress().row else 0,
        help="Number of the last committed revision; 0 before the first.",
    )
    sync_state = ComputedTrait(
        lambda record: record._sync_state(),
        help='"saved", "saving", "failed" or "conflict".',
    )
    error = ComputedTrait(
        lambda record: record._error(),
        help="Why an edit of it waits or was refused, or None.",
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
        self._told_document = document
        # What computed traits were when somebody was told last; seen to as soon as somebody observes.
        self._told: tuple[Any, ...] = ()
        self._is_followed = self._is_computed_followed = False

    # -- what people use --------------------------------------------------------------

    @property
    def kind(self) -> str:
        """The kind of its document."""
        return self.document_class.kind

    def __getitem__(self, path: str) -> Any:
        """Return the value at a path such as ``"temperature"`` or ``"agents.timeout"``."""
        if path in (*ENVELOPE, *_COMPUTED):
            return getattr(self, path)
        if path not in leaves(self.document_class):
            problem = no_field(self, path)
            # It may be a key.
            del path
            raise UnknownFieldError(problem)
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

        Examples
        --------
        >>> receipt = gpt.update(temperature=0.7, top_p=0.9)
        >>> receipt.wait()
        <Receipt committed as revision 2>
        """
        with Forgetting(changes):
            for path in changes:
                trait = type(self)._traits.get(path)
                if isinstance(trait, FieldTrait | ComputedTrait):
                    trait.check_assignable()
            return self._assign(changes)

    def delete(self) -> Receipt:
        """Delete the document; its history stays, and undo brings it back.

        Raises
        ------
        NotFoundError
            If it was deleted already.
        StoreWriteError, ReadOnlyError, ClosedError
            If it could not be accepted.

        Examples
        --------
        >>> receipt = gpt.delete()
        >>> store.undo()
        <Undone gpt>
        """
        return self._state.delete(self._entry.id)

    def retry(self) -> Receipt:
        """Make the last edit again that was not committed, on top of what is there now.

        What a conflict was about is then as that edit wanted it; a key that came with a refused
        edit was not kept and has to be entered again.

        Raises
        ------
        StoreError
            If there is no such edit, or it still cannot be; then nothing changed.

        Examples
        --------
        >>> gpt.retry()
        Traceback (most recent call last):
        ...
        orchstate.errors.StoreError: 'gpt' has no edit that was not committed, so ... nothing to decide.
        """
        return self._state.retry(self._entry.id)

    def discard(self) -> None:
        """Give the last edit up that was not committed; its conflict, if it has one, ends.

        Raises
        ------
        StoreError
            If there is no such edit.

        Examples
        --------
        >>> gpt.discard()
        Traceback (most recent call last):
        ...
        orchstate.errors.StoreError: 'gpt' has no edit that was not committed, so ... nothing to decide.
        """
        self._state.discard(self._entry.id)

    def document(self) -> Document:
        """Return the present document: a frozen value.

        Raises
        ------
        NotFoundError
            If it was deleted.

        Examples
        --------
        >>> gpt.document().temperature
        0.2
        """
        found = self._state.document(self._entry.id)
        if found is None:
            raise self._state.gone(self._entry.id)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the present values as plain JSON, secrets as the references that they are.

        Examples
        --------
        >>> gpt.to_dict()["model"]
        'gpt-5.4-mini'
        """
        document = self.document()
        return {
            "kind": self.kind,
            "schema_version": document.schema_version,
            **cast("dict[str, Any]", to_plain(document)),
        }

    def observe(self, handler: Any, names: Any = All, type: Any = "change") -> None:
        """Have `handler` called with every change of the named fields, wherever it comes from.

        Raises
        ------
        UnknownFieldError
            If there is no such field.

        Examples
        --------
        >>> gpt.observe(lambda change: print(change.old, change.new, change.cause), "temperature")
        >>> gpt.temperature = 0.9
        0.2 0.9 edit
        """
        try:
            self._check_observable(names)
        except UnknownFieldError as error:
            # It may be a key.
            del names
            forget(error)
            raise
        super().observe(handler, names, type)
        self._look_after()

    def unobserve(self, handler: Any, names: Any = All, type: Any = "change") -> None:
        """End what :meth:`observe` began."""
        super().unobserve(handler, names, type)
        self._look_after()

    def unobserve_all(self, name: Any = All) -> None:
        """End all observation, or that of one field."""
        super().unobserve_all(name)
        self._look_after()

    @property
    def _absence(self) -> str:
        """Why it is not there, ``""`` while it is: "deleted", or "not saved" since its creation was not."""
        if self._state.is_there(self._entry.id):
            return ""
        return "deleted" if self._entry.row or self._entry.pending else "not saved"

    def __repr__(self) -> str:
        absence = f" ({self._absence})" if self._absence else ""
        return f"<{type(self).__name__} {self._trait_values.get('name', '')}{absence}>"

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

    def _move_to(self, entry: Entry) -> None:
        """Be the view of another entry for the same document; called with the state's lock held."""
        self._entry = entry

    def tell(self, shift: Shift) -> None:
        """Tell observers what changed; called in the owner's thread, outside the lock."""
        self._state.delivery.in_turn(self._news(shift))

    def _news(self, shift: Shift) -> Iterator[Callable[[], object]]:
        if shift.after is not None:
            # Compared with what was told last, which for a document that comes back is not shift.before.
            before, self._told_document = self._told_document, shift.after
            if before is not shift.after:
                yield from _news(self, self, before, shift.after, "", shift.cause)
        if self._is_computed_followed:
            told, self._told = self._told, self._computed()
            for name, old, new in zip(_COMPUTED, told, self._told, strict=True):
                if old != new:
                    yield from news(self, name, old, new, shift.cause)

    def _computed(self) -> tuple[Any, ...]:
        entry = self._entry
        # Validation costs more than the rest: only for those who look at it.
        is_looked_at = "validation" in self._trait_notifiers or All in self._trait_notifiers
        seen = self._validate_now() if is_looked_at else None
        return (entry.row.revision if entry.row else 0, self._sync_state(), self._error(), seen)

    def _sync_state(self) -> SyncState:
        entry = self._progress()
        if entry.pending:
            return "saving"
        refused = self._state.view.refusals.last(entry.id)
        if refused is None:
            return "saved"
        return "conflict" if refused.conflict else "failed"

    def _error(self) -> OrchstateError | None:
        refused = self._state.view.refusals.last(self._progress().id)
        return refused.error if refused else None

    def _progress(self) -> Entry:
        reads = self._state.reads
        if reads.noting:
            reads.note(progress(self._entry.id))
        return self._entry

    def _look_after(self) -> None:
        """Stay alive for as long as somebody observes, who is told of everything from here on."""
        was_followed, self._is_followed = self._is_followed, self._is_observed_anywhere()
        if not self._is_followed:
            # From now on it is not told of changes.
            self._state.let_go(self._entry.id)
            return
        self._state.hold(self._entry.id, self)
        if not was_followed:
            self._told_document = self._state.view.document(self._entry) or self._told_document
        self._look_after_computed(is_new=not was_followed)

    def _look_after_computed(self, *, is_new: bool) -> None:
        is_new |= not self._is_computed_followed
        self._is_computed_followed = not self._trait_notifiers.keys().isdisjoint((*_COMPUTED, All))
        if not self._is_computed_followed:
            return
        now = self._computed()
        if is_new:
            self._told = now
        elif self._told[-1] is None:
            # Only now somebody looks at the validation; the rest may still wait to be told.
            self._told = (*self._told[:-1], now[-1])

    def _is_observed_anywhere(self) -> bool:
        return self._is_observed or any(section._is_observed for section in self._sections.values())

    def _validate_now(self) -> Validation:
        document = self._state.seen(self._entry.id)
        return Validation.of(document.issues() if document else ())

    def _assign(
        self, changes: Mapping[str, Any], *, check: Callable[[Any], object] = lambda document: None
    ) -> Receipt:
        receipt = self._state.update(self._entry.id, changes, check=check)
        if "provider" in changes:
            # Inside a transaction the new fields are there at once.
            self.show(self._state.seen(self._entry.id))
        return receipt

    def _catch_up(self) -> None:
        self._state.catch_up()

    def _read(self, name: str) -> Any:
        document = self._state.document(self._entry.id)
        values = document.__dict__ if document else self._trait_values
        if name not in values:
            raise UnknownFieldError(no_field(self, name))
        return values[name]

    def _is_observable(self, name: str) -> bool:
        return super()._is_observable(name) or name in leaves(self.document_class)

    def _readable(self, ref: SecretRef) -> SecretRef:
        return ref


def _news(
    root: Record, owner: Any, before: Any, after: Any, prefix: str, cause: Cause
) -> Iterator[Callable[[], object]]:
    old_values, new_values, notifiers = before.__dict__, after.__dict__, owner._trait_notifiers
    is_told_of_all = All in notifiers or prefix or _has_sections(root.document_class)
    for name in new_values if is_told_of_all else [name for name in new_values if name in notifiers]:
        old, new = old_values.get(name), new_values[name]
        if old is new or is_same(old, new):
            continue
        if isinstance(new, Section):
            yield from _news(root, getattr(owner, name), old, new, f"{prefix}{name}.", cause)
            continue
        yield from news(owner, name, old, new, cause)
        if prefix:
            yield from news(root, prefix + name, old, new, cause)
    # A field that the new provider does not have is as good as not set.
    for name in old_values.keys() - new_values.keys():
        if to_plain(old_values[name]) not in (None, [], {}):
            yield from news(owner, name, old_values[name], None, cause)


@cache
def _has_sections(document_class: type[Document]) -> bool:
    return any("." in path for path in leaves(document_class))
