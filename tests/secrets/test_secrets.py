"""`Secrets`: where keys are written, how references are read, and what it says about both."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from keyring.backends import fail, null
from keyring.errors import KeyringLocked

from orchstate.errors import OrchstateWarning, SecretUnavailableError, ValidationError, WrongPassphraseError
from orchstate.models.secret import SecretRef
from orchstate.secrets import KeyringStore, MemoryStore, Secrets, VaultStore
from tests.contract.secret_store import assert_keeps_quiet
from tests.secrets import backends as made
from tests.secrets.vaults import PASSPHRASE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keyring.backend import KeyringBackend

    UseBackend = Callable[[KeyringBackend], None]

IN_KEYRING = SecretRef(source="keyring", name="gpt")
IN_VAULT = SecretRef(source="vault", name="gpt")
IN_MEMORY = SecretRef(source="memory", name="gpt")
IN_ENVIRONMENT = SecretRef(source="env", name="EXAMPLE_KEY")


@pytest.fixture
def path(tmp_path: Path, no_passphrase: None) -> Path:
    """Where the vault would be."""
    return tmp_path / "vault.json"


@pytest.fixture
def with_keyring(use_backend: UseBackend, path: Path) -> Secrets:
    """Secrets on a machine with a working keyring."""
    use_backend(made.DictBackend())
    return Secrets(vault_path=path)


@pytest.fixture
def without_keyring(use_backend: UseBackend, path: Path) -> Secrets:
    """Secrets on a machine that has no keyring."""
    use_backend(fail.Keyring())
    return Secrets(vault_path=path)


def test_construction_touches_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; from orchstate.models.secret import SecretRef; from orchstate.secrets import Secrets; "
        "s = Secrets(vault_path=sys.argv[1]); ref = SecretRef(source='keyring', name='gpt'); "
        "print(repr(s), s.describe(ref), s.notice, s.needs_unlock, s.vault.locked); "
        "print(sorted({'keyring', 'cryptography', 'secretstorage'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "vault" / "vault.json")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert printed == "<Secrets auto (not used yet)> in the keyring None False True\n[]\n"
    assert list(tmp_path.iterdir()) == []


def test_keys_go_to_the_keyring_where_there_is_one(with_keyring: Secrets) -> None:
    ref = with_keyring.write("gpt", "sk-1")
    assert ref == IN_KEYRING
    assert with_keyring.read(ref) == "sk-1"
    assert (with_keyring.notice, with_keyring.needs_unlock) == (None, False)
    assert repr(with_keyring) == "<Secrets keyring>"


def test_keys_go_to_the_vault_where_there_is_no_keyring(without_keyring: Secrets) -> None:
    assert without_keyring.backend is without_keyring.vault
    assert without_keyring.needs_unlock
    without_keyring.unlock(PASSPHRASE)
    assert without_keyring.write("gpt", "sk-1") == IN_VAULT
    assert without_keyring.read(IN_VAULT) == "sk-1"


def test_the_fallback_is_announced_once(
    without_keyring: Secrets, caplog: pytest.LogCaptureFixture, path: Path
) -> None:
    notice = (
        "The keyring of this machine cannot be used: there is none on this machine. "
        f"Keys go to the encrypted vault {str(path)!r}."
    )
    for _ in range(3):
        assert without_keyring.backend.source == "vault"
    assert without_keyring.notice == notice
    assert caplog.record_tuples == [("orchstate.secrets.secrets", logging.WARNING, notice)]


def test_who_shows_the_notice_hears_no_log_of_it(
    without_keyring: Secrets, caplog: pytest.LogCaptureFixture
) -> None:
    without_keyring.prepare()
    assert without_keyring.notice and without_keyring.backend.source == "vault"
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []


def test_threads_that_choose_at_once_announce_once(
    use_backend: UseBackend, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    use_backend(null.Keyring())
    secrets = Secrets(vault_path=path)
    threads = [threading.Thread(target=lambda: secrets.backend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(caplog.records) == 1


def test_a_keyring_that_hangs_is_replaced_by_the_vault_within_the_limit(
    use_backend: UseBackend, path: Path, within_limit: None
) -> None:
    use_backend(made.HangingBackend())
    secrets = Secrets(vault_path=path)
    assert secrets.backend.source == "vault"
    assert "did not answer within 2 s" in str(secrets.notice)


def test_a_keyring_that_answers_late_is_taken_while_the_vault_is_not_open(
    use_backend: UseBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KeyringStore.__init__, "__kwdefaults__", {"limit_s": 0.05, "again_s": 2.0})
    backend = made.HangingBackend()
    use_backend(backend)
    secrets = Secrets(vault_path=path)
    assert secrets.backend.source == "vault"
    backend.released.set()
    deadline = time.monotonic() + 2
    while secrets.backend.source == "vault" and time.monotonic() < deadline:
        time.sleep(0.005)
    assert (secrets.backend.source, secrets.notice) == ("keyring", None)


def test_an_open_vault_stays_in_use_when_the_keyring_answers_late(
    use_backend: UseBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KeyringStore.__init__, "__kwdefaults__", {"limit_s": 0.05, "again_s": 2.0})
    backend = made.HangingBackend()
    use_backend(backend)
    secrets = Secrets(vault_path=path)
    secrets.unlock(PASSPHRASE)
    backend.released.set()
    deadline = time.monotonic() + 2
    while "delete" not in backend.calls and time.monotonic() < deadline:
        time.sleep(0.005)
    assert secrets.write("gpt", "sk-1") == IN_VAULT


@pytest.mark.parametrize(
    ("mode", "ref"), [("keyring", IN_KEYRING), ("vault", IN_VAULT), ("memory", IN_MEMORY)]
)
def test_a_place_that_was_asked_for_is_the_only_one(
    use_backend: UseBackend, path: Path, mode: str, ref: SecretRef, caplog: pytest.LogCaptureFixture
) -> None:
    use_backend(made.DictBackend())
    secrets = Secrets(mode, vault_path=path)  # type: ignore[arg-type]
    secrets.vault.unlock(PASSPHRASE)
    assert secrets.write("gpt", "sk-1") == ref
    for other in {IN_KEYRING, IN_VAULT, IN_MEMORY} - {ref}:
        for use in (secrets.read, secrets.exists, secrets.delete):
            with pytest.raises(SecretUnavailableError, match=rf"'gpt' was kept in .*{mode}\. Type it again"):
                use(other)
    assert caplog.records == []


def test_a_keyring_that_was_asked_for_is_not_replaced(use_backend: UseBackend, path: Path) -> None:
    use_backend(fail.Keyring())
    secrets = Secrets("keyring", vault_path=path)
    with pytest.raises(SecretUnavailableError, match=r"cannot be used: there is none.*secrets='vault'"):
        secrets.write("gpt", "sk-1")
    assert (secrets.notice, secrets.needs_unlock) == (None, False)


@pytest.mark.parametrize("make", [MemoryStore, KeyringStore])
def test_a_store_of_ones_own_is_used(use_backend: UseBackend, path: Path, make: type[MemoryStore]) -> None:
    use_backend(made.DictBackend())
    store = make()
    ref = Secrets(store, vault_path=path).write("gpt", "sk-1")
    assert (ref.source, store.get("gpt")) == (store.source, "sk-1")


def test_a_vault_of_ones_own_is_the_one_that_is_unlocked(path: Path, locked_vault: VaultStore) -> None:
    secrets = Secrets(locked_vault, vault_path=path)
    assert (secrets.needs_unlock, secrets.vault) == (True, locked_vault)
    secrets.unlock(PASSPHRASE)
    assert not locked_vault.locked


@pytest.mark.parametrize("mode", ["keychain", "", None, 7])
def test_an_unknown_place_is_refused_with_the_known_ones(path: Path, mode: str) -> None:
    with pytest.raises(
        ValidationError, match=r"is not known\. Use one of 'auto', 'keyring', 'vault', 'memory', or"
    ):
        Secrets(mode, vault_path=path)  # type: ignore[arg-type]


def test_an_environment_variable_is_read_in_every_mode(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLE_KEY", "sk-1")
    secrets = Secrets("memory", vault_path=path)
    assert (secrets.read(IN_ENVIRONMENT), secrets.exists(IN_ENVIRONMENT)) == ("sk-1", True)
    secrets.delete(IN_ENVIRONMENT)
    assert secrets.read(IN_ENVIRONMENT) == "sk-1"
    monkeypatch.delenv("EXAMPLE_KEY")
    assert not secrets.exists(IN_ENVIRONMENT)


def test_no_reference_no_secret(path: Path) -> None:
    secrets = Secrets("memory", vault_path=path)
    secrets.delete(SecretRef())
    assert not secrets.exists(SecretRef())
    with pytest.raises(SecretUnavailableError, match=r"No key is set\. Type it in the form"):
        secrets.read(SecretRef())


@pytest.mark.parametrize("fixture", ["with_keyring", "without_keyring"])
def test_a_deleted_key_is_gone(request: pytest.FixtureRequest, fixture: str) -> None:
    secrets: Secrets = request.getfixturevalue(fixture)
    if secrets.backend is secrets.vault:
        secrets.unlock(PASSPHRASE)
    ref = secrets.write("gpt", "sk-1")
    assert secrets.exists(ref)
    secrets.delete(ref)
    assert not secrets.exists(ref)


def test_a_key_of_another_machines_keyring_says_so(with_keyring: Secrets) -> None:
    with pytest.raises(
        SecretUnavailableError, match=r"keyring of this machine has no key 'gpt'.*Type the key again"
    ):
        with_keyring.read(IN_KEYRING)


def test_a_key_of_the_keyring_cannot_be_read_without_one(without_keyring: Secrets) -> None:
    for use in (without_keyring.read, without_keyring.exists, without_keyring.delete):
        with pytest.raises(
            SecretUnavailableError, match=r"keyring cannot be used: there is none.*orch\.env\('NAME'\)"
        ):
            use(IN_KEYRING)


def test_a_key_of_the_vault_is_still_read_once_there_is_a_keyring(with_keyring: Secrets) -> None:
    with_keyring.vault.unlock(PASSPHRASE)
    with_keyring.vault.set("gpt", "sk-old")
    with_keyring.lock()
    with pytest.raises(SecretUnavailableError, match="is locked"):
        with_keyring.read(IN_VAULT)
    with_keyring.unlock(PASSPHRASE)
    assert (with_keyring.read(IN_VAULT), with_keyring.backend.source) == ("sk-old", "keyring")


def test_unlocking_makes_no_vault_that_nobody_needs(with_keyring: Secrets, path: Path) -> None:
    with pytest.raises(
        SecretUnavailableError, match="no vault to unlock: the keys of this store are in the keyring"
    ):
        with_keyring.unlock(PASSPHRASE)
    assert not path.exists()


def test_locking_forgets_the_key_and_can_be_repeated(without_keyring: Secrets) -> None:
    without_keyring.unlock(PASSPHRASE)
    assert not without_keyring.needs_unlock
    without_keyring.lock()
    without_keyring.lock()
    assert without_keyring.needs_unlock


def test_a_passphrase_in_the_environment_needs_no_unlocking(
    without_keyring: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHSTATE_VAULT_PASSPHRASE", PASSPHRASE)
    ref = without_keyring.write("gpt", "sk-1")
    assert (ref, without_keyring.needs_unlock, without_keyring.read(ref)) == (IN_VAULT, False, "sk-1")


def test_white_space_around_a_key_is_taken_off_with_a_warning_at_the_line_that_has_it(path: Path) -> None:
    secrets = Secrets("memory", vault_path=path)
    with pytest.warns(OrchstateWarning, match="Spaces or line breaks around the key were taken off") as given:
        assert secrets.read(secrets.write("gpt", " sk-1\n")) == "sk-1"
    assert given[0].filename == __file__


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("gpt", "", "The key is empty"),
        ("gpt", "sk-hidden\nsk", "has a line break or control character at position 10 of 12"),
        ("", "sk-hidden", "A key needs a name to be kept under"),
        ("gpt", None, "A key is text, not NoneType"),
    ],
)
def test_what_cannot_be_a_key_changes_nothing(path: Path, name: str, value: str, rule: str) -> None:
    secrets = Secrets("memory", vault_path=path)
    secrets.write("gpt", "sk-1")
    with pytest.raises(ValidationError, match=rule) as caught:
        secrets.write(name, value)
    assert_keeps_quiet(caught.value, "sk-hidden")
    assert secrets.read(IN_MEMORY) == "sk-1"


@pytest.mark.parametrize(
    "backend",
    [fail.Keyring(), made.LeakyBackend(), made.ForgetfulBackend(), made.RaisingBackend(KeyringLocked("x"))],
)
def test_a_key_that_could_not_be_written_is_in_no_error(
    use_backend: UseBackend, path: Path, backend: KeyringBackend
) -> None:
    use_backend(backend)
    with pytest.raises(
        SecretUnavailableError, match=r"is locked|was not saved|gave back another key"
    ) as caught:
        Secrets(vault_path=path).write("gpt", "sk-hidden")
    assert_keeps_quiet(caught.value, "sk-hidden")


def test_a_wrong_passphrase_is_in_no_error(without_keyring: Secrets) -> None:
    without_keyring.unlock(PASSPHRASE)
    with pytest.raises(WrongPassphraseError, match="does not open the vault") as caught:
        without_keyring.unlock("wrong horse hidden")
    assert_keeps_quiet(caught.value, "wrong horse hidden")


def test_keys_do_not_come_into_the_repr_or_the_log(
    without_keyring: Secrets, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    without_keyring.unlock(PASSPHRASE)
    with pytest.warns(OrchstateWarning) as given:
        without_keyring.write("gpt", "sk-hidden ")
    shown = f"{without_keyring!r} {without_keyring.backend!r} {caplog.text} {given[0].message}"
    assert "sk-hidden" not in shown
    assert PASSPHRASE not in shown
    assert repr(without_keyring) == "<Secrets vault (unlocked) instead of keyring>"


def test_people_are_told_where_a_key_is(without_keyring: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLE_KEY", "sk-1")
    described = [
        without_keyring.describe(ref)
        for ref in (IN_ENVIRONMENT, IN_KEYRING, IN_MEMORY, IN_VAULT, SecretRef())
    ]
    assert described == [
        "from EXAMPLE_KEY",
        "in the keyring",
        "in memory",
        "in the vault (locked)",
        "not set",
    ]
    monkeypatch.delenv("EXAMPLE_KEY")
    without_keyring.unlock(PASSPHRASE)
    described = [without_keyring.describe(ref) for ref in (IN_ENVIRONMENT, IN_VAULT)]
    assert described == ["EXAMPLE_KEY is not set", "in the vault"]


def test_a_locked_vault_is_told_in_a_short_traceback(without_keyring: Secrets) -> None:
    without_keyring.unlock(PASSPHRASE)
    ref = without_keyring.write("gpt", "sk-1")
    without_keyring.lock()
    for call in (lambda: without_keyring.read(ref), lambda: without_keyring.write("gpt", "sk-hidden")):
        with pytest.raises(SecretUnavailableError, match=r"is locked\. Unlock it in the form") as caught:
            call()
        assert not {"vault.py", "keyring.py"} & {entry.path.name for entry in caught.traceback}
        assert_keeps_quiet(caught.value, "sk-hidden")
