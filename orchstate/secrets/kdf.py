"""From a passphrase to a key: memory-hard, with its parameters written beside the vault.

Argon2id where this machine has it, scrypt everywhere else. Both are at or above what
OWASP asks for, so that an unlock, and every guess, takes about a tenth to half a second.
"""

from __future__ import annotations

import os
import unicodedata
from abc import ABC, abstractmethod
from typing import Annotated, Final, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from orchstate.errors import SecretUnavailableError

KEY_BYTES: Final = 32
SALT_BYTES: Final = 16
# A vault file is untrusted input: it may not ask for all the memory there is.
MAX_MEMORY_BYTES: Final = 1 << 30

Hex = Annotated[str, Field(pattern=r"^([0-9a-f]{2})+$")]
Salt = Annotated[Hex, Field(min_length=2 * SALT_BYTES, max_length=8 * SALT_BYTES)]


def new_salt() -> str:
    """Return a random salt in hexadecimal."""
    return os.urandom(SALT_BYTES).hex()


class _Function(Protocol):
    def derive(self, key_material: bytes, /) -> bytes: ...


class KeyDerivation(BaseModel, ABC):
    """Parameters that turn a passphrase into one certain key."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    salt: Salt = Field(default_factory=new_salt)

    def derive(self, passphrase: SecretStr) -> bytes:
        """Return the key for a passphrase; slow by design.

        Raises
        ------
        SecretUnavailableError
            If this machine lacks the function, or the memory it needs.
        """
        try:
            return self._function().derive(_encoded(passphrase))
        except MemoryError:
            needed_mib = self.memory_bytes >> 20
        raise SecretUnavailableError(
            f"Unlocking the vault needs {needed_mib} MiB of memory. Free some, and try again."
        )

    @property
    @abstractmethod
    def memory_bytes(self) -> int:
        """How much memory a derivation takes."""

    @abstractmethod
    def _function(self) -> _Function: ...


class Scrypt(KeyDerivation):
    """scrypt (RFC 7914) with its cost `n`, block size `r` and parallelism `p`."""

    name: Literal["scrypt"] = "scrypt"
    n: int = Field(default=1 << 17, ge=2, le=1 << 24)
    r: int = Field(default=8, ge=1, le=64)
    p: int = Field(default=1, ge=1, le=16)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.n & (self.n - 1):
            raise ValueError("n is not a power of two")
        if self.memory_bytes > MAX_MEMORY_BYTES:
            raise ValueError("more than 1 GiB of memory")
        return self

    @property
    def memory_bytes(self) -> int:
        """How much memory a derivation takes."""
        return 128 * self.n * self.r

    def _function(self) -> _Function:
        from cryptography.hazmat.primitives.kdf import scrypt

        return scrypt.Scrypt(salt=bytes.fromhex(self.salt), length=KEY_BYTES, n=self.n, r=self.r, p=self.p)


class Argon2id(KeyDerivation):
    """Argon2id; the defaults are what RFC 9106 recommends where memory is not plentiful."""

    name: Literal["argon2id"] = "argon2id"
    memory_kib: int = Field(default=64 << 10, ge=8, le=MAX_MEMORY_BYTES >> 10)
    iterations: int = Field(default=3, ge=1, le=16)
    lanes: int = Field(default=4, ge=1, le=16)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.memory_kib < 8 * self.lanes:
            raise ValueError("less than 8 KiB of memory for each lane")
        return self

    @property
    def memory_bytes(self) -> int:
        """How much memory a derivation takes."""
        return self.memory_kib << 10

    def _function(self) -> _Function:
        from cryptography.exceptions import UnsupportedAlgorithm

        try:
            from cryptography.hazmat.primitives.kdf import argon2

            return argon2.Argon2id(
                salt=bytes.fromhex(self.salt),
                length=KEY_BYTES,
                iterations=self.iterations,
                lanes=self.lanes,
                memory_cost=self.memory_kib,
            )
        except (ImportError, UnsupportedAlgorithm) as error:
            # cryptography has it since 44, its OpenSSL since 3.2.
            raise SecretUnavailableError(
                "The vault's key is derived with Argon2id, which this machine lacks. "
                'Install it: pip install "cryptography>=44"'
            ) from error


Kdf = Scrypt | Argon2id


def best_derivation() -> Kdf:
    """Return the strongest derivation that this machine has, with a new salt."""
    candidate = Argon2id()
    try:
        candidate._function()
    except SecretUnavailableError:
        return Scrypt()
    return candidate


def _encoded(passphrase: SecretStr) -> bytes:
    # Keyboards differ in how they compose a letter with its accent; a passphrase must not.
    return unicodedata.normalize("NFC", passphrase.get_secret_value()).encode("utf-8", "surrogatepass")
