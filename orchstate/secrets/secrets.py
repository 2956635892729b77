"""What a store holds as ``store.secrets``: where keys are written, and how references are read."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final, Literal

from orchstate.errors import OrchstateError, SecretUnavailableError, ValidationError
from orchstate.models.secret import SecretRef
from orchstate.origin import warn
from orchstate.secrets.environment import environment, try_environment
from orchstate.secrets.keyring import KeyringStore
from orchstate.secrets.memory import MemoryStore
from orchstate.secrets.store import SecretStore
from orchstate.secrets.value import clean_secret
from orchstate.secrets.vault import VaultStore

if TYPE_CHECKING:
    import os

    from orchstate.models.secret import SecretSource

Mode = Literal["auto", "keyring", "vault", "memory"]
MODES: Final = ("auto", "keyring", "vault", "memory")
logger = logging.getLogger(__name__)


class Secrets:
    """The secrets of one store; safe to use from several threads.

    Nothing is touched at construction: keyring and vault are looked for when a secret
    is read or written for the first time. A store keeps no copy of a secret.

    Parameters
    ----------
    mode
        ``"auto"``: the keyring, or the vault where the keyring cannot be used.
        ``"keyring"``, ``"vault"``, ``"memory"``: this place and no other. Or a
        `SecretStore` of one's own.
    vault_path
        The vault's file, if it comes to that.

    Examples
    --------
    >>> secrets = Secrets("memory", vault_path="vault.json")
    >>> ref = secrets.write("gpt", "sk-1")
    >>> ref
    SecretRef(memory: ********)
    >>> secrets.read(ref)
    'sk-1'
    >>> secrets
    <Secrets memory>
    """

    notice: str | None
    """Why keys do not go to the keyring, for people; None unless ``"auto"`` had to fall back."""

    vault: VaultStore
    """The vault, in use or not."""

    def __init__(self, mode: Mode | SecretStore = "auto", *, vault_path: str | os.PathLike[str]) -> None:
        self.notice = None
        self._is_told = False
        self.vault = mode if isinstance(mode, VaultStore) else VaultStore(vault_path)
        self._keyring = mode if isinstance(mode, KeyringStore) else KeyringStore()
        self._is_auto = mode == "auto"
        self._lock = threading.Lock()
        self._backend = None if mode == "auto" else self._fixed(mode)

    @property
    def backend(self) -> SecretStore:
        """Where keys are written; in mode ``"auto"`` chosen at the first use, within about 2 s.

        A keyring that answers later than that is still taken, if the vault is not open by then.
        """
        with self._lock:
            if self._backend is None or self._may_return_to_keyring():
                self._backend = self._choose()
            return self._backend

    def prepare(self) -> None:
        """Choose where keys are written, for somebody who then shows :attr:`notice` to people."""
        self._is_told = True
        _ = self.backend

    @property
    def needs_unlock(self) -> bool:
        """Whether keys go to a vault that a person has to unlock first.

        Reads memory alone, so in mode ``"auto"`` it is False until `backend` is chosen.
        """
        return self._backend is self.vault and self.vault.needs_passphrase

    def unlock(self, passphrase: str) -> None:
        """Open the vault for this process; where keys go to the vault, the first time, create it.

        Raises
        ------
        WrongPassphraseError
            If the passphrase is not the vault's.
        VaultCorruptError
            If the vault is damaged.
        ValidationError
            If the passphrase is empty, or too short for a new vault.
        SecretUnavailableError
            If there is no vault because keys go elsewhere, or its file cannot be used.
        """
        try:
            if self.backend is not self.vault and not (self._is_auto and self.vault.exists):
                raise SecretUnavailableError(
                    f"There is no vault to unlock: the keys of this store are {_PLACES[self.backend.source]}."
                )
            self.vault.unlock(passphrase)
        finally:
            # A traceback keeps the locals of its frames.
            del passphrase

    def lock(self) -> None:
        """Forget the vault's key; harmless when it is locked, or not in use."""
        self.vault.lock()

    def read(self, ref: SecretRef) -> str:
        """Return the secret that `ref` refers to, fetched now.

        Raises
        ------
        SecretUnavailableError
            If there is none, or the place where it lives does not give it here.
        VaultCorruptError, WrongPassphraseError
            If the vault is damaged, or the passphrase in the environment is wrong.
        """
        if ref.source == "none":
            raise SecretUnavailableError("No key is set. Type it in the form, or assign orch.env('NAME').")
        if ref.source == "env":
            return environment(ref.name)
        try:
            return self._store_of(ref).get(ref.name)
        except OrchstateError as error:
            # The frames between here and there tell people nothing, and a notebook shows them all.
            error.__traceback__ = None
            raise

    def exists(self, ref: SecretRef) -> bool:
        """Return whether the secret that `ref` refers to is there; a locked vault can tell.

        Raises
        ------
        SecretUnavailableError
            If the place where it would live does not answer, so that nobody knows.
        VaultCorruptError
            If the vault is damaged and nobody knows.
        """
        if ref.source == "none":
            return False
        if ref.source == "env":
            return try_environment(ref.name) is not None
        return self._store_of(ref).has(ref.name)

    def write(self, name: str, value: str) -> SecretRef:
        """Keep `value` under `name` and return the reference to it.

        What copying leaves around the value, such as spaces and quotation marks, is taken off
        with a warning.

        Raises
        ------
        ValidationError
            If the value cannot be a key, or the name is empty.
        SecretUnavailableError
            If it could not be written; an older value stays.
        VaultCorruptError, WrongPassphraseError
            If the vault is damaged, or the passphrase in the environment is wrong.
        """
        try:
            if not name:
                raise ValidationError("A key needs a name to be kept under; '' is none.")
            value, warning = clean_secret(value)
            backend = self.backend
            backend.set(name, value)
        except OrchstateError as error:
            error.__traceback__ = None
            raise
        finally:
            del value
        if warning:
            warn(warning)
        return SecretRef(source=backend.source, name=name)

    def delete(self, ref: SecretRef) -> None:
        """Forget the secret that `ref` refers to; environment variables are left alone.

        Raises
        ------
        SecretUnavailableError
            If the place where it lives does not answer.
        VaultCorruptError
            If the vault is damaged.
        """
        if ref.source not in ("none", "env"):
            self._store_of(ref).delete(ref.name)

    def describe(self, ref: SecretRef) -> str:
        """Return for people where a secret is; asks neither the keyring nor the vault's file.

        Examples
        --------
        >>> secrets = Secrets(vault_path="vault.json")
        >>> secrets.describe(SecretRef(source="vault", name="gpt"))
        'in the vault (locked)'
        >>> secrets.describe(SecretRef(source="env", name="NO_SUCH_KEY"))
        'NO_SUCH_KEY is not set'
        >>> secrets.describe(SecretRef())
        'not set'
        """
        if ref.source == "none":
            return "not set"
        if ref.source == "env":
            return f"from {ref.name}" if try_environment(ref.name) else f"{ref.name} is not set"
        is_locked = ref.source == "vault" and self.vault.needs_passphrase
        return _PLACES[ref.source] + (" (locked)" if is_locked else "")

    def _fixed(self, mode: Mode | SecretStore) -> SecretStore:
        if isinstance(mode, SecretStore):
            return mode
        if mode not in MODES:
            choices = ", ".join(map(repr, MODES))
            raise ValidationError(f"secrets={mode!r} is not known. Use one of {choices}, or a SecretStore.")
        if mode == "memory":
            return MemoryStore()
        return self._keyring if mode == "keyring" else self.vault

    def _may_return_to_keyring(self) -> bool:
        # It may only have waited for its owner to unlock it. An open vault is in use, and stays so.
        return self.notice is not None and self.vault.locked and self._keyring.problem() is None

    def _choose(self) -> SecretStore:
        problem = self._keyring.problem()
        if problem is None:
            self.notice = None
            return self._keyring
        self.notice = (
            f"The keyring of this machine cannot be used: {problem}. "
            f"Keys go to the encrypted vault {str(self.vault.path)!r}."
        )
        logger.log(logging.DEBUG if self._is_told else logging.WARNING, self.notice)
        return self.vault

    def _store_of(self, ref: SecretRef) -> SecretStore:
        """Return the store that has the secrets of this reference's source."""
        if self._is_auto and ref.source in ("keyring", "vault"):
            return self._keyring if ref.source == "keyring" else self.vault
        if self.backend.source == ref.source:
            return self.backend
        raise SecretUnavailableError(
            f"The key {ref.name!r} was kept {_PLACES[ref.source]}, but the keys of this store are "
            f"{_PLACES[self.backend.source]}. Type it again{_OTHER_MODE.get(ref.source, '')}."
        )

    def __repr__(self) -> str:
        if self._backend is None:
            return "<Secrets auto (not used yet)>"
        place: str = self._backend.source
        if self._backend is self.vault:
            place += " (locked)" if self.vault.locked else " (unlocked)"
        return f"<Secrets {place}{' instead of keyring' if self.notice else ''}>"


_PLACES: Final[dict[SecretSource, str]] = {
    "none": "nowhere",
    "keyring": "in the keyring",
    "vault": "in the vault",
    "env": "in the environment",
    "memory": "in memory",
}
_OTHER_MODE: Final[dict[SecretSource, str]] = {
    "keyring": ", or open the store with secrets='auto'",
    "vault": ", or open the store with secrets='auto'",
}
