"""The vault's file: what it says, how its entries are sealed, how it is replaced.

A JSON text. Each entry is sealed with AES-256-GCM and bound to the vault, its own name
and its version, so that no entry can stand in for another. `checksum` tells damage from
a wrong passphrase; it needs no key, and protects against accidents alone.

The file is only ever replaced as a whole: whoever is killed leaves the old one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import uuid
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic import ValidationError as SchemaError

from orchstate.durable import durable
from orchstate.errors import SecretUnavailableError, VaultCorruptError, WrongPassphraseError
from orchstate.models.canonical import canonical, parse
from orchstate.secrets.kdf import Hex, Kdf

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FORMAT: Final = "orchstate.vault"
VERSION: Final = 1
NONCE_BYTES: Final = 12
# A thousand times what a person keeps; a larger file is not ours, and is not read into memory.
MAX_BYTES: Final = 16 << 20
_WAY_OUT: Final = (
    "Keys that can still be read stay readable; restore the file from a backup, "
    "or move it away and type the keys again."
)


class Sealed(BaseModel):
    """One encrypted text and the version it is bound to."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: int = Field(ge=0)
    nonce: Annotated[Hex, Field(min_length=2 * NONCE_BYTES, max_length=2 * NONCE_BYTES)]
    data: Hex


class VaultFile(BaseModel):
    """What a vault's file says.

    Parameters
    ----------
    id
        Of the vault; part of what every entry is bound to.
    kdf
        How the key is derived from the passphrase.
    verifier
        A known text under the key: only the right passphrase opens it.
    revision
        Counts the changes; an entry's version is the revision that wrote it.
    entries
        The sealed entries by name. Each is checked when it is read, so that one
        damaged entry does not take the others with it.
    intact
        Whether the checksum was right; not part of the file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["orchstate.vault"] = FORMAT
    version: Literal[1] = VERSION
    id: Hex
    kdf: Annotated[Kdf, Field(discriminator="name")]
    verifier: Sealed
    revision: int = Field(default=0, ge=0)
    entries: dict[str, Any] = Field(default_factory=dict)
    intact: bool = Field(default=True, exclude=True)

    @classmethod
    def new(cls, kdf: Kdf, cipher: AESGCM) -> VaultFile:
        """Return an empty vault for the cipher whose key `kdf` derived."""
        vault_id = uuid.uuid4().hex
        binding = _binding(vault_id, "verifier", "", 0)
        return cls(id=vault_id, kdf=kdf, verifier=_seal(FORMAT, cipher, binding, 0))

    @property
    def header(self) -> tuple[str, Kdf]:
        """What a key belongs to: as long as it is the same, so is the key."""
        return self.id, self.kdf

    def verify(self, cipher: AESGCM) -> None:
        """Return if the cipher has the vault's key.

        Raises
        ------
        WrongPassphraseError
            If it has another one.
        VaultCorruptError
            If the file is damaged, so that nobody can tell.
        """
        binding = _binding(self.id, "verifier", "", self.verifier.version)
        if _try_open(self.verifier, cipher, binding) == FORMAT:
            return
        if self.intact:
            raise WrongPassphraseError("The passphrase does not open the vault. Type it again.")
        raise VaultCorruptError(
            f"The vault file is damaged where it keeps what belongs to the passphrase. {_WAY_OUT}"
        )

    def has(self, name: str) -> bool:
        """Return whether there is a secret called `name`.

        Raises
        ------
        VaultCorruptError
            If it is missing in a damaged file, where it may have been.
        """
        if name in self.entries or self.intact:
            return name in self.entries
        raise VaultCorruptError(f"The vault file is damaged, and the key {name!r} is not in it. {_WAY_OUT}")

    def read(self, name: str, cipher: AESGCM) -> str | None:
        """Return the secret called `name`, None if there is none.

        Raises
        ------
        VaultCorruptError
            If its entry is damaged, or if it is missing in a damaged file.
        """
        if not self.has(name):
            return None
        value = self._try_read(name, cipher)
        if value is None:
            raise VaultCorruptError(f"The key {name!r} is damaged in the vault file. {_WAY_OUT}")
        return value

    def _try_read(self, name: str, cipher: AESGCM) -> str | None:
        try:
            sealed = Sealed.model_validate(self.entries[name])
        except SchemaError:
            return None
        return _try_open(sealed, cipher, _binding(self.id, "entry", name, sealed.version))

    def with_entry(self, name: str, value: str, cipher: AESGCM) -> VaultFile:
        """Return the next revision, in which `name` has this value."""
        try:
            revision = self.revision + 1
            sealed = _seal(value, cipher, _binding(self.id, "entry", name, revision), revision)
            return self._next({**self.entries, name: sealed.model_dump()})
        finally:
            del value

    def without_entry(self, name: str) -> VaultFile:
        """Return the next revision, in which `name` is missing."""
        return self._next({other: entry for other, entry in self.entries.items() if other != name})

    def _next(self, entries: dict[str, Any]) -> VaultFile:
        return self.model_copy(update={"revision": self.revision + 1, "entries": entries})

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        body = self.model_dump()
        return (canonical({**body, "checksum": _checksum(body)}) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> VaultFile:
        """Return what a file says.

        Raises
        ------
        VaultCorruptError
            If the content is not a vault's.
        SecretUnavailableError
            If it was written by a newer orchstate.
        """
        try:
            body = parse(content)
            if not isinstance(body, dict):
                raise ValueError("is not a JSON object")
            intact = body.pop("checksum", "") == _checksum(body)
            _refuse_newer(body, intact=intact)
            return cls.model_validate({**body, "intact": intact})
        except SchemaError as error:
            place = ".".join(map(str, error.errors()[0]["loc"]))
            raise VaultCorruptError(f"The vault file is damaged at {place!r}. {_WAY_OUT}") from error
        except ValueError as error:
            raise VaultCorruptError(f"The vault file is damaged: it {error}. {_WAY_OUT}") from error


def read_vault(path: Path) -> VaultFile | None:
    """Return what the vault file at `path` says, None if there is no such file.

    Raises
    ------
    VaultCorruptError
        If it is damaged.
    SecretUnavailableError
        If it cannot be read.
    """
    try:
        content = _read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SecretUnavailableError(f"The vault {str(path)!r} cannot be read: {error.strerror}.") from error
    return VaultFile.from_bytes(content)


def write_vault(path: Path, file: VaultFile) -> None:
    """Replace the vault at `path`; whatever happens, it is the old one or the new one, whole.

    Must be called under the vault's lock: it uses one temporary file for all.

    Raises
    ------
    VaultCorruptError
        If `file` comes from a damaged one, whose remains must stay as they are.
    SecretUnavailableError
        If it cannot be written; the old one is untouched.
    """
    if not file.intact:
        raise VaultCorruptError(
            f"The vault file {str(path)!r} is damaged, so nothing is written to it. {_WAY_OUT}"
        )
    try:
        _replace(path, file.to_bytes())
    except OSError as error:
        raise SecretUnavailableError(
            f"The vault {str(path)!r} could not be written: {error.strerror}. Nothing was changed."
        ) from error


def make_private_folder(path: Path) -> None:
    """Make the folder with mode 0700, whatever the umask; one that exists is left as it is."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
    except FileExistsError:
        return
    path.chmod(0o700)


def _read(path: Path) -> bytes:
    # Not blocking, or a pipe of that name would be waited for.
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(0, "it is not a file")
        with open(fd, "rb", closefd=False) as file:
            content = file.read(MAX_BYTES + 1)
    finally:
        os.close(fd)
    if len(content) > MAX_BYTES:
        raise OSError(0, f"it is larger than {MAX_BYTES >> 20} MiB")
    return content


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(path.name + ".new")
    # Left behind by a writer that was killed.
    new.unlink(missing_ok=True)
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(fd, "wb") as file:
            # The umask can only take rights away, but it may take the owner's.
            new.chmod(0o600)
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.replace(new, path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise
    durable(path.parent)


def _refuse_newer(body: dict[str, Any], *, intact: bool) -> None:
    version = body.get("version")
    if intact and body.get("format") == FORMAT and isinstance(version, int) and version > VERSION:
        raise SecretUnavailableError(
            f"The vault was written by a newer orchstate (version {version}, this one reads {VERSION}). "
            "Update it: pip install -U orchstate"
        )


def _checksum(body: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(body).encode()).hexdigest()


def _binding(vault_id: str, role: Literal["verifier", "entry"], name: str, version: int) -> bytes:
    return canonical([FORMAT, VERSION, vault_id, role, name, version]).encode()


def _seal(text: str, cipher: AESGCM, binding: bytes, version: int) -> Sealed:
    nonce = os.urandom(NONCE_BYTES)
    try:
        data = cipher.encrypt(nonce, text.encode(), binding)
    finally:
        del text
    return Sealed(version=version, nonce=nonce.hex(), data=data.hex())


def _try_open(sealed: Sealed, cipher: AESGCM, binding: bytes) -> str | None:
    from cryptography.exceptions import InvalidTag

    try:
        return cipher.decrypt(bytes.fromhex(sealed.nonce), bytes.fromhex(sealed.data), binding).decode()
    except InvalidTag:
        return None
