"""Environments in which nothing of the person who runs the tests is left.

A key, a proxy or a configuration folder of theirs must neither change an outcome nor
be changed by a test, so programs of the test bed start from `clean`, and the tests
themselves run inside `shelter`.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from pathlib import Path

_KEPT: Final = ("PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL", "TERM")
_KEPT_PREFIXES: Final = ("LC_", "COVERAGE_")
_SESSION: Final = ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "GNOME_KEYRING_CONTROL", "SSH_AUTH_SOCK")
# Where keys, and what goes with them, are looked for: by providers' own names, and by usual ones.
_PROVIDER_PREFIXES: Final = (
    *("ANTHROPIC_", "AWS_", "AZURE_", "GEMINI_", "GOOGLE_", "HF_", "OLLAMA_", "OPENAI_", "OPENROUTER_"),
    "ORCHSTATE_STORE",
)
_CREDENTIAL_ENDINGS: Final = ("_API_KEY", "_API_BASE", "_BASE_URL", "_TOKEN")


def clean(home: Path, **own: str) -> dict[str, str]:
    """Return a whole environment for a program: where programs are, a throw-away `home`, and `own`.

    Variables with keys, proxies, D-Bus addresses and the like are left out, not emptied.
    """
    kept = {
        name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }
    home.mkdir(parents=True, exist_ok=True)
    return {**kept, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", **own}


def shelter(environ: MutableMapping[str, str], folder: Path) -> None:
    """Change `environ` so that nothing in this process finds the user's store, keyring or keys.

    ``HOME`` stays, because package installers find their own configuration there.
    """
    for name in list(environ):
        if name in _SESSION or name.startswith(_PROVIDER_PREFIXES) or name.endswith(_CREDENTIAL_ENDINGS):
            del environ[name]
    environ["ORCHSTATE_STORE"] = str(folder / "store.db")
    environ["XDG_DATA_HOME"] = str(folder / "data")
    environ["XDG_STATE_HOME"] = str(folder / "state")
    environ["IPYTHONDIR"] = str(folder / "ipython")
    if sys.platform == "darwin":
        # There the keychain needs no bus to be found, so it has to be ruled out by name.
        environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
