"""Records that refer to keys: where a key goes that is assigned, and whose it is."""

from __future__ import annotations

import secrets as tokens
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from orchstate.errors import ConflictError, Issue, SecretError, ValidationError
from orchstate.models.document import secret_fields
from orchstate.models.issues import WANTED
from orchstate.models.secret import SecretRef
from orchstate.models.variables import variable_problem
from orchstate.origin import cell_source, warn
from orchstate.secrets.value import clean_secret
from orchstate.state.record import Record
from orchstate.tracebacks import Forgetting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from orchstate.history.history import History
    from orchstate.models.config import ConfigDocument
    from orchstate.providers.registry import Registry
    from orchstate.secrets.secrets import Secrets
    from orchstate.state.receipt import Receipt


@dataclass(frozen=True, slots=True)
class Services:
    """What records need from the store that they belong to."""

    registry: Registry
    secrets: Secrets
    history: History
    store_id: str
    settings: Callable[[], Record]
    drop_unused: Callable[[str, SecretRef], object]
    place: str


class Keyed(Record):
    """A record with secret fields: what is assigned to one is stored where this machine keeps keys."""

    @property
    def _services(self) -> Services:
        services: Services = self._state.services
        return services

    def set_secret(
        self, field: str, value: str | None, *, meant_for: ConfigDocument | None = None
    ) -> Receipt:
        """Store a secret where this machine keeps them, and refer to it; what forms call.

        Parameters
        ----------
        field
            Name of a secret field, such as ``"api_key"``.
        value
            The secret, or None to remove it.
        meant_for
            The document that the person saw who typed it; a key for one provider or address
            is not kept for another. None for the present one.

        Raises
        ------
        SecretError
            If the place for secrets does not take it; nothing changed.
        ValidationError
            If it cannot be a secret, or the field is not for one.
        ConflictError
            If provider or address are not those of `meant_for` any more; nothing changed.

        Examples
        --------
        >>> receipt = gpt.set_secret("api_key", "sk-example")
        >>> gpt.api_key
        SecretRef(memory: ********)
        """
        changes = {field: value}
        del value
        with Forgetting(changes):
            if field not in secret_fields(type(self.document())):
                raise ValidationError(f"{field!r} is not a secret field of {self.name!r}.")
            return self._assign(changes, from_cell=False, check=partial(self._check_target, meant_for))

    def _assign(
        self,
        changes: Mapping[str, Any],
        *,
        check: Callable[[Any], object] = lambda document: None,
        from_cell: bool = True,
    ) -> Receipt:
        self._state.check_writable()
        # A provider that comes with the same edit may have other fields.
        provider = changes.get("provider")
        cls = self._services.registry.document_class(str(provider)) if provider else self.document_class
        secret = secret_fields(cls) & changes.keys()
        if not secret:
            return super()._assign(changes, check=check)
        prepared, keys = self._without_keys(changes, secret, from_cell=from_cell)
        written: list[SecretRef] = []
        try:
            for field, key in keys.items():
                name = _secret_name(self.id, field, self._services.place)
                written.append(self._services.secrets.write(name, key))
                prepared[field] = written[-1]
            return super()._assign(prepared, check=check)
        finally:
            for ref in written:
                drop_unused = partial(self._services.drop_unused, self._entry.id, ref)
                # In a transaction it is known at the end of the block whether the document keeps it.
                if not self._state.afterwards(drop_unused):
                    drop_unused()

    def _check_target(self, meant_for: ConfigDocument | None, document: ConfigDocument) -> None:
        """Refuse a key that was typed for another provider or address than those of now."""
        if meant_for and self._target(meant_for) != self._target(document):
            raise ConflictError(
                f"The provider or the address of {document.name!r} was changed while the key was on its way, "
                "so it was not kept. Type the key again."
            )

    def _target(self, document: ConfigDocument) -> tuple[str, str | None]:
        provider, registry = document.provider, self._services.registry
        return provider, registry.get(provider).address(document.__dict__) if provider in registry else None

    def _without_keys(
        self, changes: Mapping[str, Any], secret: Iterable[str], *, from_cell: bool
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the changes that can be stored as they are, and the keys that have to be written first."""
        prepared = dict(changes)
        keys: dict[str, str] = {}
        for field in secret:
            value = changes[field]
            if value is None:
                prepared[field] = SecretRef()
            elif isinstance(value, str):
                if from_cell and value and value in cell_source():
                    _warn_of_literal(self.name, field)
                keys[field] = value
            elif not isinstance(value, SecretRef) or (value.source == "env" and variable_problem(value.name)):
                issue = Issue(field, "error", WANTED)
                raise ValidationError.of([issue], subject=f"config {self.name!r} is unchanged")
            elif not self._may_hold(value):
                # Two configs with one key: whichever goes first would take it along.
                keys[field] = value.get_secret_value()
                if self._has_key(field, keys[field]):
                    del keys[field], prepared[field]
        return prepared, keys

    def _may_hold(self, ref: SecretRef) -> bool:
        return not ref.is_set or ref.source == "env" or is_own_key(self.id, ref)

    def _has_key(self, field: str, key: str) -> bool:
        """Whether a key is stored in a field already, so that running a cell again changes nothing."""
        present = getattr(self, field, None)
        if not isinstance(present, SecretRef) or not present.is_set:
            return False
        try:
            return bool(present.get_secret_value() == clean_secret(key)[0])
        except (SecretError, ValidationError):
            return False

    def _readable(self, ref: SecretRef) -> SecretRef:
        return ref.reading_with(self._services.secrets.read) if ref.is_set else ref


def owner_of(ref: SecretRef) -> str:
    """Return the id of the document that a key was written for."""
    return ref.name.partition("/")[0]


def is_own_key(id: str, ref: SecretRef) -> bool:
    """Whether a key was written for the document of an id, and for no other."""
    return ref.name.startswith(f"{id}/")


def was_written_at(places: Iterable[str], ref: SecretRef) -> bool:
    """Whether a key was written by the store of these places, and not by one that it is a copy of."""
    return ref.name.rpartition("/")[2].startswith(tuple(f"{place}-" for place in places))


def _secret_name(id: str, field: str, place: str) -> str:
    # A new name for every value: a crash before the document refers to it leaves the old one in force.
    return f"{id}/{field}/{place}-{tokens.token_hex(4)}"


def _warn_of_literal(name: str, field: str) -> None:
    warn(
        f"The {field} of {name!r} stands in this cell in clear, so it is saved with the notebook. "
        "It was stored safely; now delete it from the cell. Next time type it in the form."
    )
