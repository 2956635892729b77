"""Secrets in the vault: one encrypted file, for machines without a keyring.

A passphrase opens it for the length of the process. Unattended programs name it, or a
file that holds it, in the environment. Names of secrets are readable in the file, their
values are not.

Every change reads the file again, under a lock that all processes share, so that two of
them at work at once keep each other's entries. Reading needs no lock, because the file
is only ever replaced as a whole.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from pydantic import SecretStr

from orchstate.errors import SecretUnavailableError, ValidationError, WrongPassphraseError
from orchstate.locks import FileLock
from orchstate.secrets.environment import try_environment
from orchstate.secrets.kdf import Kdf, best_derivation
from orchstate.secrets.vault_file import VaultFile, make_private_folder, read_vault, write_vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from orchstate.models.secret import SecretSource

PASSPHRASE: Final = "ORCHSTATE_VAULT_PASSPHRASE"  # noqa: S105 - the name of a variable
PASSPHRASE_FILE: Final = "ORCHSTATE_VAULT_PASSPHRASE_FILE"  # noqa: S105 - the name of a variable
MIN_PASSPHRASE_LENGTH: Final = 8
# A change takes milliseconds; who holds the lock for longer is stopped, or hangs on a dead disk.
LOCK_LIMIT_S: Final = 5.0


class _Opened(NamedTuple):
    """The cipher, which shows its key to no repr and no traceback, and the vault it belongs to."""

    cipher: AESGCM
    header: tuple[str, Kdf]


class VaultStore:
    """Secrets in the encrypted file at `path`, which the first `unlock` creates.

    Nothing is touched before the first use. Reading and saving need the vault unlocked,
    deleting does not. Where ``ORCHSTATE_VAULT_PASSPHRASE`` has the passphrase, or
    ``ORCHSTATE_VAULT_PASSPHRASE_FILE`` the path of a file with it, the vault unlocks
    itself when it is used.

    Parameters
    ----------
    path
        The file. It gets mode 0600; its folder, if missing, is made with mode 0700.

    Examples
    --------
    >>> import tempfile
    >>> vault = VaultStore(Path(tempfile.mkdtemp()) / "vault.json")
    >>> vault.unlock("correct horse battery staple")
    >>> vault.set("gpt", "sk-1")
    >>> vault.get("gpt")
    'sk-1'
    >>> vault.lock()
    >>> vault
    <VaultStore vault.json (locked)>
    """

    source: Final[SecretSource] = "vault"

    def __init__(
        self, path: str | os.PathLike[str], *, _new_kdf: Callable[[], Kdf] = best_derivation
    ) -> None:
        self.path = Path(path).absolute()
        self._new_kdf = _new_kdf
        self._mutex = threading.RLock()
        self._opened: _Opened | None = None

    @property
    def locked(self) -> bool:
        """Whether the vault has not been unlocked in this process; reads memory alone."""
        return self._opened is None

    @property
    def needs_passphrase(self) -> bool:
        """Whether a person has to unlock the vault before a key can be read or saved."""
        return self.locked and not any(try_environment(name) for name in (PASSPHRASE, PASSPHRASE_FILE))

    @property
    def exists(self) -> bool:
        """Whether there is a vault yet; if not, `unlock` creates one."""
        return self._file.exists()

    def unlock(self, passphrase: str) -> None:
        """Open the vault for this process; the first time, create it.

        Takes about a tenth to half a second. If it fails, nothing changes: an open vault
        stays open.

        Parameters
        ----------
        passphrase
            At least 8 characters for a new vault. Whoever forgets it loses the keys.

        Raises
        ------
        WrongPassphraseError
            If it is not the vault's.
        VaultCorruptError
            If the file is damaged.
        ValidationError
            If it is not text, is empty, or is too short for a new vault.
        SecretUnavailableError
            If the file cannot be read or written.
        """
        masked = SecretStr(passphrase) if isinstance(passphrase, str) else None
        # A traceback keeps the locals of its frames.
        del passphrase
        if not masked:
            raise ValidationError("The passphrase is missing: it is a text of at least one character.")
        self._unlock(masked)

    def lock(self) -> None:
        """Forget the key; harmless when the vault is locked."""
        self._opened = None

    def get(self, name: str) -> str:
        """Return the secret called `name`.

        Raises
        ------
        SecretUnavailableError
            If there is none, or the vault is locked or cannot be read.
        VaultCorruptError
            If the file is damaged and the secret with it.
        WrongPassphraseError
            If the passphrase in the environment is not the vault's.
        """
        file, cipher = self._unlocked()
        value = file.read(name, cipher)
        if value is None:
            raise SecretUnavailableError(
                f"The vault {str(self.path)!r} has no key {name!r}; it may have been saved on another "
                "machine. Type the key again."
            )
        return value

    def has(self, name: str) -> bool:
        """Return whether there is a secret called `name`; needs no passphrase.

        Raises
        ------
        VaultCorruptError
            If the file is damaged and nobody can tell.
        SecretUnavailableError
            If the file cannot be read.
        """
        file = read_vault(self._file)
        return file is not None and file.has(name)

    def set(self, name: str, value: str) -> None:
        """Keep `value` under `name`, in place of an older one; it is on disk when this returns.

        Raises
        ------
        SecretUnavailableError
            If the vault is locked or cannot be written; the old value stays.
        VaultCorruptError
            If the file is damaged; it stays as it is.
        WrongPassphraseError
            If the passphrase in the environment is not the vault's.
        """
        try:
            seen, cipher = self._unlocked()
            with self._changing() as path:
                file = read_vault(path)
                if file is None or file.header != seen.header:
                    raise SecretUnavailableError(f"The vault {str(path)!r} was replaced just now. Try again.")
                write_vault(path, file.with_entry(name, value, cipher))
        finally:
            del value

    def delete(self, name: str) -> None:
        """Forget the secret called `name`; a missing one is fine. Needs no passphrase.

        Raises
        ------
        SecretUnavailableError
            If the file cannot be written; the secret stays.
        VaultCorruptError
            If the file is damaged; it stays as it is.
        """
        if not self.has(name):
            return
        with self._changing() as path:
            file = read_vault(path)
            if file is not None and name in file.entries:
                write_vault(path, file.without_entry(name))

    @property
    def _file(self) -> Path:
        # Replacing the file at the end of a link leaves the link.
        return Path(os.path.realpath(self.path))

    def _unlocked(self) -> tuple[VaultFile, AESGCM]:
        """Return the file as it is now, with the cipher for it."""
        with self._mutex:
            file = read_vault(self._file)
            if not self._is_open(file):
                self._opened = None
                self._unlock_unattended()
                file = read_vault(self._file)
            if file is None or self._opened is None or not self._is_open(file):
                raise SecretUnavailableError(
                    f"The vault {str(self.path)!r} was replaced just now. Try again."
                )
            return file, self._opened.cipher

    def _is_open(self, file: VaultFile | None) -> bool:
        return file is not None and self._opened is not None and self._opened.header == file.header

    def _unlock_unattended(self) -> None:
        found = _unattended_passphrase()
        if found is None:
            raise SecretUnavailableError(
                f"The vault {str(self.path)!r} is locked. Unlock it in the form or with "
                f"store.secrets.unlock(...); unattended programs set {PASSPHRASE}."
            )
        passphrase, variable = found
        try:
            self._unlock(passphrase)
        except WrongPassphraseError as error:
            raise WrongPassphraseError(
                f"The passphrase that {variable} gives does not open the vault {str(self.path)!r}. "
                "Correct it, or unlock the vault with store.secrets.unlock(...)."
            ) from error

    def _unlock(self, passphrase: SecretStr) -> None:
        with self._mutex:
            file = read_vault(self._file)
            if file is None:
                self._create(passphrase)
            else:
                self._open(file, passphrase)

    def _open(self, file: VaultFile, passphrase: SecretStr) -> None:
        cipher = _cipher(file.kdf, passphrase)
        file.verify(cipher)
        self._opened = _Opened(cipher, file.header)

    def _create(self, passphrase: SecretStr) -> None:
        if len(passphrase) < MIN_PASSPHRASE_LENGTH:
            raise ValidationError(
                f"The passphrase has {len(passphrase)} characters; a new vault needs at least "
                f"{MIN_PASSPHRASE_LENGTH}. Choose a longer one."
            )
        kdf = self._new_kdf()
        cipher = _cipher(kdf, passphrase)
        with self._changing() as path:
            file = read_vault(path)
            if file is None:
                new = VaultFile.new(kdf, cipher)
                write_vault(path, new)
                self._opened = _Opened(cipher, new.header)
                return
        # Another process was faster: the vault is its, and so is the passphrase.
        self._open(file, passphrase)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Path]:
        """Hold the lock that everybody takes who changes the file, and give the file's path."""
        path = self._file
        lock = FileLock(path.with_name(path.name + ".lock"))
        try:
            make_private_folder(path.parent)
            ours = lock.acquire(LOCK_LIMIT_S)
        except OSError as error:
            raise SecretUnavailableError(
                f"The vault {str(path)!r} cannot be written: {error.strerror}. Nothing was changed."
            ) from error
        if not ours:
            raise SecretUnavailableError(
                f"Another process has held the vault {str(path)!r} for {LOCK_LIMIT_S:g} s. Try again."
            )
        with lock:
            yield path

    def __repr__(self) -> str:
        return f"<VaultStore {self.path.name} ({'locked' if self.locked else 'unlocked'})>"


def _unattended_passphrase() -> tuple[SecretStr, str] | None:
    """Return the passphrase that the environment gives, and the variable; None if it gives none."""
    if passphrase := try_environment(PASSPHRASE):
        return SecretStr(passphrase), PASSPHRASE
    path = try_environment(PASSPHRASE_FILE)
    if path is None:
        return None
    try:
        text = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        problem = f"{PASSPHRASE_FILE} names the file {path!r}, which cannot be read ({type(error).__name__})"
    else:
        if text:
            return SecretStr(text), PASSPHRASE_FILE
        problem = f"{PASSPHRASE_FILE} names the file {path!r}, which is empty"
    raise SecretUnavailableError(
        f"{problem}. Correct it, or unlock the vault with store.secrets.unlock(...)."
    )


def _cipher(kdf: Kdf, passphrase: SecretStr) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(kdf.derive(passphrase))
