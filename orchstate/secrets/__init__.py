"""Where keys live: the keyring, the encrypted vault, the environment, or memory.

Documents hold references (`orchstate.models.secret.SecretRef`); `Secrets` reads and
writes what they refer to.
"""

from orchstate.secrets.keyring import KeyringStore
from orchstate.secrets.memory import MemoryStore
from orchstate.secrets.secrets import Secrets
from orchstate.secrets.store import SecretStore
from orchstate.secrets.value import clean_secret
from orchstate.secrets.vault import VaultStore

__all__ = ["KeyringStore", "MemoryStore", "SecretStore", "Secrets", "VaultStore", "clean_secret"]
