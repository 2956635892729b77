"""The vault as its user meets it: passphrases, modes, what is on disk, what is refused."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from typing import TYPE_CHECKING

import pytest
from testbed.disk import small_files

from orchstate.errors import SecretUnavailableError, ValidationError, WrongPassphraseError
from orchstate.locks import FileLock
from orchstate.secrets import VaultStore
from tests.contract.secret_store import SecretStoreContract, assert_keeps_quiet
from tests.secrets.vaults import PASSPHRASE, quick_kdf

if TYPE_CHECKING:
    from pathlib import Path


class TestVaultStore(SecretStoreContract):
    @pytest.fixture
    def store(self, vault: VaultStore) -> VaultStore:
        return vault


def again(vault: VaultStore) -> VaultStore:
    """Return the same vault as another process sees it: locked."""
    return VaultStore(vault.path, _new_kdf=quick_kdf)


def test_nothing_is_touched_before_the_first_use(tmp_path: Path) -> None:
    vault = VaultStore(tmp_path / "vault" / "vault.json")
    assert (vault.locked, vault.exists, vault.has("gpt")) == (True, False, False)
    vault.delete("gpt")
    assert list(tmp_path.iterdir()) == []


def test_the_default_derivation_opens_again_what_it_closed(tmp_path: Path, no_passphrase: None) -> None:
    vault = VaultStore(tmp_path / "vault.json")
    vault.unlock(PASSPHRASE)
    vault.set("gpt", "sk-1")
    other = VaultStore(tmp_path / "vault.json")
    other.unlock(PASSPHRASE)
    assert other.get("gpt") == "sk-1"


def test_a_wrong_passphrase_is_told_from_damage(vault: VaultStore) -> None:
    other = again(vault)
    with pytest.raises(WrongPassphraseError, match="does not open the vault") as caught:
        other.unlock("wrong horse hidden")
    assert other.locked
    assert_keeps_quiet(caught.value, "wrong horse hidden")


def test_a_wrong_passphrase_leaves_an_open_vault_open(vault: VaultStore) -> None:
    vault.set("gpt", "sk-1")
    with pytest.raises(WrongPassphraseError, match="does not open the vault"):
        vault.unlock("wrong horse")
    assert vault.get("gpt") == "sk-1"


@pytest.mark.parametrize("passphrase", ["short77", "7 chars"])
def test_a_short_passphrase_makes_no_vault(locked_vault: VaultStore, passphrase: str) -> None:
    with pytest.raises(ValidationError, match="has 7 characters; a new vault needs at least 8") as caught:
        locked_vault.unlock(passphrase)
    assert_keeps_quiet(caught.value, passphrase)
    assert not locked_vault.exists


@pytest.mark.parametrize("passphrase", ["", None, 12345678, b"correct horse"])
def test_a_missing_passphrase_is_refused(vault: VaultStore, passphrase: str) -> None:
    with pytest.raises(ValidationError, match="passphrase is missing"):
        again(vault).unlock(passphrase)


def test_a_locked_vault_says_how_to_unlock_it(vault: VaultStore) -> None:
    vault.lock()
    with pytest.raises(
        SecretUnavailableError, match=r"is locked\. Unlock it in the form or with store\.secrets\.unlock"
    ):
        vault.get("gpt")
    with pytest.raises(SecretUnavailableError, match="ORCHSTATE_VAULT_PASSPHRASE") as caught:
        vault.set("gpt", "sk-hidden")
    assert_keeps_quiet(caught.value, "sk-hidden")


def test_a_locked_vault_tells_what_it_has_and_deletes(vault: VaultStore) -> None:
    vault.set("gpt", "sk-1")
    vault.set("claude", "sk-2")
    vault.lock()
    assert (vault.has("gpt"), vault.has("other")) == (True, False)
    vault.delete("gpt")
    vault.unlock(PASSPHRASE)
    assert (vault.has("gpt"), vault.get("claude")) == (False, "sk-2")


def test_the_passphrase_of_the_environment_unlocks(
    vault: VaultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.set("gpt", "sk-1")
    monkeypatch.setenv("ORCHSTATE_VAULT_PASSPHRASE", PASSPHRASE + "\n")
    other = again(vault)
    assert (other.locked, other.needs_passphrase) == (True, False)
    assert other.get("gpt") == "sk-1"


def test_the_passphrase_of_the_environment_makes_the_first_vault(
    locked_vault: VaultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHSTATE_VAULT_PASSPHRASE", PASSPHRASE)
    locked_vault.set("gpt", "sk-1")
    assert locked_vault.get("gpt") == "sk-1"


def test_the_passphrase_may_come_from_a_file(
    vault: VaultStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")
    monkeypatch.setenv("ORCHSTATE_VAULT_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    vault.set("gpt", "sk-1")
    assert again(vault).get("gpt") == "sk-1"


def test_a_wrong_passphrase_in_the_environment_names_the_variable(
    vault: VaultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.set("gpt", "sk-1")
    monkeypatch.setenv("ORCHSTATE_VAULT_PASSPHRASE", "wrong horse hidden")
    with pytest.raises(
        WrongPassphraseError, match="that ORCHSTATE_VAULT_PASSPHRASE gives does not open"
    ) as caught:
        again(vault).get("gpt")
    assert_keeps_quiet(caught.value, "wrong horse hidden")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, r"cannot be read \(FileNotFoundError\)"),
        (b"\n", "is empty"),
        (b"hidden\xff", r"\(UnicodeDecodeError\)"),
    ],
)
def test_a_passphrase_file_that_is_no_use_is_named(
    vault: VaultStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, problem: str
) -> None:
    if content is not None:
        (tmp_path / "passphrase").write_bytes(content)
    monkeypatch.setenv("ORCHSTATE_VAULT_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    with pytest.raises(
        SecretUnavailableError, match=rf"ORCHSTATE_VAULT_PASSPHRASE_FILE names .*{problem}"
    ) as caught:
        again(vault).get("gpt")
    assert_keeps_quiet(caught.value, "hidden")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_the_file_is_0600_and_its_folder_0700_whatever_the_umask(
    locked_vault: VaultStore, umask: int
) -> None:
    before = os.umask(umask)
    try:
        locked_vault.unlock(PASSPHRASE)
        locked_vault.set("gpt", "sk-1")
    finally:
        os.umask(before)
    assert {path.name: oct(_mode(path)) for path in locked_vault.path.parent.iterdir()} == {
        "vault.json": "0o600",
        "vault.json.lock": "0o600",
    }
    assert oct(_mode(locked_vault.path.parent)) == "0o700"


def test_a_folder_that_exists_is_left_as_it_is(tmp_path: Path, no_passphrase: None) -> None:
    tmp_path.chmod(0o755)
    VaultStore(tmp_path / "vault.json", _new_kdf=quick_kdf).unlock(PASSPHRASE)
    assert oct(_mode(tmp_path)) == "0o755"


def test_a_file_that_was_opened_to_others_is_closed_by_the_next_write(vault: VaultStore) -> None:
    vault.path.chmod(0o644)
    vault.set("gpt", "sk-1")
    assert oct(_mode(vault.path)) == "0o600"


def test_names_can_be_read_in_the_file_and_values_cannot(vault: VaultStore) -> None:
    vault.set("gpt", "sk-hidden")
    text = vault.path.read_text()
    assert "gpt" in text
    for form in (b"sk-hidden", PASSPHRASE.encode()):
        assert form.decode() not in text
        assert form.hex() not in text


def test_the_file_names_its_format_version_and_derivation(vault: VaultStore) -> None:
    content = json.loads(vault.path.read_text())
    assert (content["format"], content["version"]) == ("orchstate.vault", 1)
    assert {"name": "scrypt", "n": 2, "r": 1, "p": 1}.items() <= content["kdf"].items()


def test_equal_values_look_different_every_time(vault: VaultStore) -> None:
    seen = set()
    for name in ("gpt", "claude", "gpt"):
        vault.set(name, "sk-1")
        seen.add(json.loads(vault.path.read_text())["entries"][name]["data"])
    assert len(seen) == 3


def test_a_link_to_the_vault_stays_a_link(tmp_path: Path, vault: VaultStore) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(vault.path)
    other = VaultStore(link)
    other.unlock(PASSPHRASE)
    other.set("gpt", "sk-1")
    assert link.is_symlink()
    assert vault.get("gpt") == "sk-1"


def test_a_failing_write_leaves_the_old_entry(vault: VaultStore) -> None:
    vault.set("gpt", "sk-1")
    before = vault.path.read_bytes()
    with (
        small_files(),
        pytest.raises(
            SecretUnavailableError, match=r"could not be written: File too large.*Nothing"
        ) as caught,
    ):
        vault.set("gpt", "sk-hidden" * 1000)
    assert_keeps_quiet(caught.value, "sk-hidden")
    assert (vault.path.read_bytes(), vault.get("gpt")) == (before, "sk-1")
    assert sorted(path.name for path in vault.path.parent.iterdir()) == ["vault.json", "vault.json.lock"]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_folder_or_pipe_in_its_place_is_named_and_not_waited_for(
    tmp_path: Path, make: type[os.PathLike[str]]
) -> None:
    make(tmp_path / "vault.json")
    with pytest.raises(SecretUnavailableError, match=r"vault\.json' cannot be read: it is not a file"):
        VaultStore(tmp_path / "vault.json").unlock(PASSPHRASE)


def test_a_file_where_its_folder_should_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SecretUnavailableError, match="Not a directory"):
        VaultStore(tmp_path / "file" / "vault.json", _new_kdf=quick_kdf).unlock(PASSPHRASE)


def test_a_lock_that_somebody_holds_is_given_up_in_time(
    vault: VaultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchstate.secrets.vault.LOCK_LIMIT_S", 0.05)
    vault.set("gpt", "sk-1")
    with FileLock(vault.path.with_name("vault.json.lock")):
        with pytest.raises(
            SecretUnavailableError, match=r"Another process has held the vault .* for 0\.05 s\. Try again"
        ):
            vault.set("gpt", "sk-2")
        assert vault.get("gpt") == "sk-1"


def test_a_vault_that_was_replaced_is_locked_again(vault: VaultStore) -> None:
    vault.set("gpt", "sk-1")
    vault.path.unlink()
    other = again(vault)
    other.unlock("another passphrase")
    with pytest.raises(SecretUnavailableError, match="is locked"):
        vault.set("gpt", "sk-2")
    assert vault.locked
    assert not other.has("gpt")


def test_a_vault_that_is_replaced_while_we_wait_to_write_gets_no_foreign_entry(vault: VaultStore) -> None:
    other = VaultStore(vault.path.with_name("other.json"), _new_kdf=quick_kdf)
    other.unlock(PASSPHRASE)
    caught: list[Exception] = []
    with FileLock(vault.path.with_name("vault.json.lock")):
        thread = threading.Thread(target=_set, args=(vault, caught))
        thread.start()
        time.sleep(0.1)
        os.replace(other.path, vault.path)
        before = vault.path.read_bytes()
    thread.join()
    assert [str(error) for error in caught] == [
        f"The vault {str(vault.path)!r} was replaced just now. Try again."
    ]
    assert vault.path.read_bytes() == before


def test_a_new_file_is_on_disk_before_it_takes_the_name_and_the_name_after(
    vault: VaultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_sync(fd: int) -> None:
        fsync(fd)
        done.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")

    def note_replace(source: Path, target: Path) -> None:
        replace(source, target)
        done.append("name")

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    vault.set("gpt", "sk-1")
    assert done == ["file", "name", "folder"]


def test_a_vault_that_was_deleted_is_not_made_anew_with_the_old_passphrase(vault: VaultStore) -> None:
    vault.path.unlink()
    with pytest.raises(SecretUnavailableError, match="is locked"):
        vault.set("gpt", "sk-1")
    assert not vault.exists


def test_threads_that_unlock_at_once_make_one_vault(tmp_path: Path, no_passphrase: None) -> None:
    vaults = [VaultStore(tmp_path / "vault.json", _new_kdf=quick_kdf) for _ in range(8)]
    threads = [threading.Thread(target=vault.unlock, args=(PASSPHRASE,)) for vault in vaults]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    vaults[0].set("gpt", "sk-1")
    assert [vault.get("gpt") for vault in vaults] == ["sk-1"] * 8


def test_the_repr_tells_whether_it_is_locked(vault: VaultStore) -> None:
    assert repr(vault) == "<VaultStore vault.json (unlocked)>"
    vault.lock()
    assert repr(vault) == "<VaultStore vault.json (locked)>"


def _set(vault: VaultStore, caught: list[Exception]) -> None:
    try:
        vault.set("gpt", "sk-1")
    except SecretUnavailableError as error:
        caught.append(error)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
