"""Where a vault is opened, or made: a passphrase, and a second time where it is a new one.

Nobody sees what they type here, and the keys are lost with a passphrase that nobody knows, so
that of a new vault is typed twice and compared before anything is made.
"""

from __future__ import annotations

import hmac
import os
from typing import TYPE_CHECKING, Any

from orchstate.secrets.vault import MIN_PASSPHRASE_LENGTH
from orchstate.widgets.key_entry import KeyEntry
from orchstate.widgets.style import make, show
from orchstate.widgets.turns import Button

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import SecretStr

    from orchstate.secrets.vault import VaultStore

_TYPED = "typed; now repeat it below"


class VaultEntry:
    """The entries for a passphrase, and their button.

    Parameters
    ----------
    vault
        What is opened, or made.
    given
        Called with the passphrase.
    complain
        Called with what is wrong with it, ``""`` for nothing.

    Attributes
    ----------
    passphrase, repeat, button
        Where it is typed, and typed again for a new vault; both do what the button does with Enter.
    """

    def __init__(
        self, vault: VaultStore, given: Callable[[SecretStr], object], complain: Callable[[str], object]
    ) -> None:
        self._vault = vault
        self._given = given
        self._complain = complain
        self._first: SecretStr | None = None
        self._is_new = self._is_submitted = False
        self.passphrase = _entry("Passphrase")
        self.repeat = _entry("Repeat it")
        self.button = make(Button, "orch-unlock")
        self.passphrase.on_msg(self._hear)
        self.passphrase.on_typed(self._typed)
        self.repeat.on_typed(self._repeated)

    @property
    def widgets(self) -> tuple[Any, ...]:
        """All of them, in the order in which they are read."""
        return self.passphrase, self.repeat, self.button

    @property
    def lacking(self) -> str:
        """What a person has to do before the button can do anything."""
        return "Repeat the passphrase first." if self._first else "Type the passphrase first."

    @property
    def next(self) -> Any:
        """The entry in which the next thing is typed."""
        return self.repeat if self._first else self.passphrase

    def how_to_open(self, notice: str | None) -> str:
        """Return what to do, and which vault it is; `notice` says why it is a vault, if there is a reason."""
        step = (
            "Type its passphrase to unlock it."
            if self._vault.exists
            else "Choose a passphrase for it, of at least 8 characters, and repeat it. "
            "Whoever forgets it loses the keys."
        )
        place = notice or f"Keys are in the encrypted vault {str(self._vault.path)!r}."
        return f"{from_home(place)} {step}"

    def show(self, is_open: bool) -> None:
        """Show what there is to be typed, or nothing."""
        self._is_new = is_open and not self._vault.exists
        if not self._is_new:
            self._keep(None)
        for widget in self.widgets:
            show(widget, is_open)
        show(self.repeat, self._is_new)
        self.button.description = "Create vault" if self._is_new else "Unlock"

    def _hear(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        if content.get("event") == "submit":
            self._is_submitted = True

    def _typed(self, passphrase: SecretStr) -> None:
        is_submitted, self._is_submitted = self._is_submitted, False
        if not self._is_new:
            self._given(passphrase)
            return
        length = len(passphrase.get_secret_value())
        if length < MIN_PASSPHRASE_LENGTH:
            self._keep(None)
            self._complain(
                f"The passphrase has {length} characters; a new vault needs at least "
                f"{MIN_PASSPHRASE_LENGTH}. Choose a longer one."
            )
            return
        self._keep(passphrase)
        self._complain("")
        if is_submitted:
            self.repeat.focus()

    def _repeated(self, passphrase: SecretStr) -> None:
        first = self._first
        self._keep(None)
        if first is None:
            self._complain("Type the passphrase first, then repeat it.")
        elif not _is_same(first, passphrase):
            self._complain("The two passphrases are not the same, so no vault was made. Type both again.")
        else:
            self._given(passphrase)

    def _keep(self, passphrase: SecretStr | None) -> None:
        self._first = passphrase
        self.passphrase.hint(_TYPED if passphrase else "of the vault")


def from_home(sentence: str) -> str:
    """Return a sentence with the quoted paths in it as short as they are in a shell."""
    home = repr(os.path.join(os.path.expanduser("~"), ""))[:-1]
    return sentence.replace(home, f"'~{repr(os.sep)[1:-1]}")


def _entry(label: str) -> KeyEntry:
    entry: KeyEntry = make(
        KeyEntry, "orch-key", "orch-passphrase", description=label, placeholder="of the vault"
    )
    return entry


def _is_same(one: SecretStr, other: SecretStr) -> bool:
    return hmac.compare_digest(one.get_secret_value().encode(), other.get_secret_value().encode())
