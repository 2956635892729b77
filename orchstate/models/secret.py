"""What a document knows of a secret: where it lives and its name there, never its value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, PrivateAttr

from orchstate.errors import SecretUnavailableError, ValidationError
from orchstate.models.variables import variable_problem

SecretSource = Literal["none", "keyring", "vault", "env", "memory"]
MASK = "********"
_SOURCES = frozenset(get_args(SecretSource))
# References that no edit makes invalid: to nothing, and to a variable of the environment.
_LASTING = ("none", "env")


class SecretRef(BaseModel):
    """A reference to a secret.

    Parameters
    ----------
    source
        Where the value lives; ``"none"`` when there is no secret.
    name
        The secret's name there: an entry of the keyring or vault, or the name of an
        environment variable.

    Examples
    --------
    >>> SecretRef(source="env", name="OPENAI_API_KEY")
    SecretRef(env: OPENAI_API_KEY)
    >>> SecretRef().is_set
    False
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    source: SecretSource = "none"
    name: str = ""

    _read: Callable[[SecretRef], str] | None = PrivateAttr(default=None)

    @property
    def is_set(self) -> bool:
        """Whether the document refers to a secret; says nothing about its presence on this machine."""
        return self.source != "none"

    def reading_with(self, read: Callable[[SecretRef], str]) -> SecretRef:
        """Return the same reference, able to fetch its value through `read`."""
        bound = SecretRef(**self.model_dump())
        bound._read = read
        return bound

    def get_secret_value(self) -> str:
        """Return the secret itself, fetched now.

        Raises
        ------
        SecretUnavailableError
            If there is none, or the place where it lives does not give it.
        """
        if not self.is_set:
            raise SecretUnavailableError("No key is set. Type it in the form, or assign orch.env('NAME').")
        if self._read is None:
            raise SecretUnavailableError(
                f"{self!r} is not connected to a store, so its value cannot be read."
            )
        return self._read(self)

    def __repr__(self) -> str:
        if not self.is_set:
            return "SecretRef(not set)"
        return f"SecretRef({masked(self.source, self.name)})"

    __str__ = __repr__

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, SecretRef) and (self.source, self.name) == (other.source, other.name)

    def __hash__(self) -> int:
        return hash((self.source, self.name))


def env(name: str) -> SecretRef:
    """Return a reference to the environment variable `name`, read at the moment of use.

    Raises
    ------
    ValidationError
        If `name` cannot be meant as one, since it looks like a key or is no identifier,
        and no variable of this name is set. The message does not show it.

    Examples
    --------
    >>> env("OPENAI_API_KEY")
    SecretRef(env: OPENAI_API_KEY)
    """
    problem = variable_problem(name)
    if problem:
        # A traceback keeps the locals of its frames, and this may be a key.
        del name
        raise ValidationError(f"What was given to orch.env() cannot be used: {problem}")
    return SecretRef(source="env", name=name)


def masked(source: str, name: str) -> str:
    """Return what people may see of a reference to a secret.

    Examples
    --------
    >>> masked("env", "OPENAI_API_KEY"), masked("keyring", "a/api_key/1")
    ('env: OPENAI_API_KEY', 'keyring: ********')
    """
    # The name of an environment variable helps; an entry's name in the keyring tells nobody anything.
    return f"{source}: {name if source == 'env' else MASK}"


def is_reference(plain: Any) -> bool:
    """Whether a plain JSON value is that of a reference to a secret.

    Examples
    --------
    >>> is_reference({"source": "env", "name": "KEY"}), is_reference({"name": "KEY"})
    (True, False)
    """
    return isinstance(plain, dict) and plain.keys() >= {"source", "name"} and plain["source"] in _SOURCES


def references(plain: Any) -> Iterator[SecretRef]:
    """Yield every reference to a secret in a plain JSON value, however deep.

    Examples
    --------
    >>> list(references({"openai": {"api_key": {"source": "env", "name": "KEY"}}}))
    [SecretRef(env: KEY)]
    """
    if is_reference(plain):
        yield SecretRef(source=plain["source"], name=str(plain["name"]))
        return
    items = plain.values() if isinstance(plain, dict) else plain if isinstance(plain, list | tuple) else ()
    for item in items:
        yield from references(item)


def keys_in(plain: Any) -> set[SecretRef]:
    """Return the keys that a plain JSON value refers to and that are gone once nothing does.

    A variable of the environment is none of these: no edit removes it.

    Examples
    --------
    >>> keys_in({"api_key": {"source": "env", "name": "KEY"}})
    set()
    """
    return {ref for ref in references(plain) if ref.source not in _LASTING}
