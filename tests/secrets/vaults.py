"""What the tests of the vault share, with the programs they run beside them."""

from __future__ import annotations

from orchstate.secrets.kdf import Scrypt

PASSPHRASE = "correct horse battery staple"


def quick_kdf() -> Scrypt:
    """Return parameters that protect nothing and take no time."""
    return Scrypt(n=2, r=1)
