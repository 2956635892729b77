"""Damage to the vault's file: found every time, never taken for a key, and never made worse."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from orchstate.errors import SecretError, SecretUnavailableError, VaultCorruptError, WrongPassphraseError
from orchstate.secrets.vault_file import _checksum
from tests.contract.secret_store import assert_keeps_quiet
from tests.secrets.vaults import PASSPHRASE, quick_kdf

if TYPE_CHECKING:
    from orchstate.secrets import VaultStore

KEYS = {"gpt": "sk-1", "claude": "sk-2"}


@pytest.fixture
def full_vault(vault: VaultStore) -> VaultStore:
    """A vault with two keys, locked."""
    for name, value in KEYS.items():
        vault.set(name, value)
    vault.lock()
    return vault


def outcomes(vault: VaultStore) -> list[str | type[Exception]]:
    """Return what each key reads as in a vault that is opened now: its value, or the type of the error."""
    vault.lock()
    try:
        vault.unlock(PASSPHRASE)
    except SecretError as error:
        return [type(error)] * len(KEYS)
    return [_outcome(vault, name) for name in KEYS]


def _outcome(vault: VaultStore, name: str) -> str | type[Exception]:
    try:
        return vault.get(name)
    except SecretError as error:
        return type(error)


def rewrite(vault: VaultStore, content: dict[str, Any]) -> None:
    """Write `content` with the right checksum, as only somebody with intentions would."""
    content.pop("checksum", None)
    vault.path.write_text(json.dumps({**content, "checksum": _checksum(content)}))


@pytest.mark.parametrize("flip", [0x01, 0x10, 0x20, 0x80])
def test_no_flipped_byte_gives_a_wrong_key(full_vault: VaultStore, flip: int) -> None:
    whole = full_vault.path.read_bytes()
    for place in range(len(whole)):
        full_vault.path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
        for value, outcome in zip(KEYS.values(), outcomes(full_vault), strict=True):
            assert outcome in (value, VaultCorruptError), f"byte {place}"


@pytest.mark.parametrize("flip", [0x01, 0x20])
def test_no_flipped_byte_is_overwritten(full_vault: VaultStore, flip: int) -> None:
    whole = full_vault.path.read_bytes()
    for place in range(0, len(whole) - 1, 7):
        damaged = whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :]
        full_vault.path.write_bytes(damaged)
        full_vault.lock()
        with pytest.raises(VaultCorruptError, match=r"The vault file .*is damaged"):
            full_vault.unlock(PASSPHRASE)
            full_vault.set("gpt", "sk-3")
        assert full_vault.path.read_bytes() == damaged


def test_a_truncated_file_is_damaged_at_every_length(full_vault: VaultStore) -> None:
    whole = full_vault.path.read_bytes()
    for length in range(len(whole) - 1):
        full_vault.path.write_bytes(whole[:length])
        assert outcomes(full_vault) == [VaultCorruptError] * 2, f"{length} bytes"
    full_vault.path.write_bytes(whole[:-1])
    assert outcomes(full_vault) == list(KEYS.values())


def test_one_damaged_entry_leaves_the_other_readable(full_vault: VaultStore) -> None:
    content = json.loads(full_vault.path.read_text())
    content["entries"]["gpt"]["data"] = "00" * 20
    full_vault.path.write_text(json.dumps(content))
    assert outcomes(full_vault) == [VaultCorruptError, "sk-2"]
    with pytest.raises(VaultCorruptError, match=r"key 'gpt' is damaged.*restore the file from a backup"):
        full_vault.get("gpt")


def test_what_is_missing_in_a_damaged_file_may_have_been_there(full_vault: VaultStore) -> None:
    content = json.loads(full_vault.path.read_text())
    del content["entries"]["gpt"]
    full_vault.path.write_text(json.dumps(content))
    with pytest.raises(VaultCorruptError, match="file is damaged, and the key 'gpt' is not in it"):
        full_vault.has("gpt")
    assert full_vault.has("claude")


def test_a_damaged_file_is_not_written_to(full_vault: VaultStore) -> None:
    damaged = full_vault.path.read_bytes().replace(b'"revision":2', b'"revision":3')
    full_vault.path.write_bytes(damaged)
    full_vault.unlock(PASSPHRASE)
    with pytest.raises(VaultCorruptError, match="is damaged, so nothing is written to it") as caught:
        full_vault.set("gpt", "sk-hidden")
    assert_keeps_quiet(caught.value, "sk-hidden")
    with pytest.raises(VaultCorruptError, match="is damaged, so nothing is written to it"):
        full_vault.delete("gpt")
    assert (full_vault.path.read_bytes(), full_vault.get("gpt")) == (damaged, "sk-1")


def test_swapped_entries_are_damaged(full_vault: VaultStore) -> None:
    content = json.loads(full_vault.path.read_text())
    entries = content["entries"]
    entries["gpt"], entries["claude"] = entries["claude"], entries["gpt"]
    rewrite(full_vault, content)
    assert outcomes(full_vault) == [VaultCorruptError] * 2


def test_an_entry_with_another_version_is_damaged(full_vault: VaultStore) -> None:
    content = json.loads(full_vault.path.read_text())
    content["entries"]["gpt"]["version"] += 1
    rewrite(full_vault, content)
    assert outcomes(full_vault) == [VaultCorruptError, "sk-2"]


def test_no_version_is_given_twice_even_to_a_key_that_was_deleted(full_vault: VaultStore) -> None:
    full_vault.unlock(PASSPHRASE)
    full_vault.delete("gpt")
    full_vault.set("gpt", "sk-3")
    assert json.loads(full_vault.path.read_text())["entries"]["gpt"]["version"] == 4


def test_an_entry_of_another_vault_is_damaged(full_vault: VaultStore) -> None:
    content = json.loads(full_vault.path.read_text())
    full_vault.path.unlink()
    full_vault.unlock(PASSPHRASE)
    other = json.loads(full_vault.path.read_text())
    rewrite(full_vault, {**other, "entries": content["entries"]})
    assert outcomes(full_vault) == [VaultCorruptError] * 2


def test_another_id_does_not_open(full_vault: VaultStore) -> None:
    content = json.loads(full_vault.path.read_text())
    rewrite(full_vault, {**content, "id": "00" * 16})
    assert outcomes(full_vault) == [WrongPassphraseError] * 2


def test_a_file_made_pretty_by_an_editor_is_the_same(full_vault: VaultStore) -> None:
    content = json.loads(full_vault.path.read_text())
    full_vault.path.write_text(json.dumps(content, indent=4, sort_keys=False) + "\n\n")
    assert outcomes(full_vault) == list(KEYS.values())


def test_a_newer_file_is_refused_and_left_as_it_is(full_vault: VaultStore) -> None:
    rewrite(full_vault, {**json.loads(full_vault.path.read_text()), "version": 2, "cipher": "future"})
    before = full_vault.path.read_bytes()
    with pytest.raises(
        SecretUnavailableError, match=r"newer orchstate \(version 2, this one reads 1\)\. Update it"
    ):
        full_vault.unlock(PASSPHRASE)
    with pytest.raises(SecretUnavailableError, match="newer orchstate"):
        full_vault.delete("gpt")
    assert full_vault.path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not JSON"),
        ("[]", "is not a JSON object"),
        ("{}", r"is damaged at '\w+'"),
        ('{"format": 1e999}', "is damaged"),
        ('{"format": "\\ud800"}', "is damaged"),
        ("[" * 100_000, "is nested deeper"),
        ('{"a": 1, "a": 1}', "has the key 'a' twice"),
        ("9" * 10_000, "is damaged"),
    ],
)
def test_other_files_are_damaged_vaults(full_vault: VaultStore, text: str, problem: str) -> None:
    full_vault.path.write_text(text)
    with pytest.raises(VaultCorruptError, match=problem):
        full_vault.unlock(PASSPHRASE)


def test_a_file_far_too_large_is_not_read(full_vault: VaultStore) -> None:
    with full_vault.path.open("r+b") as file:
        file.truncate(17 << 20)
    with pytest.raises(SecretUnavailableError, match="it is larger than 16 MiB"):
        full_vault.unlock(PASSPHRASE)


@pytest.mark.parametrize(
    "kdf", [{"n": 1 << 24}, {"name": "argon2id", "memory_kib": 1 << 30}, {"name": "md5"}]
)
def test_a_file_that_asks_for_all_the_memory_is_damaged(
    full_vault: VaultStore, kdf: dict[str, object]
) -> None:
    content = json.loads(full_vault.path.read_text())
    rewrite(full_vault, {**content, "kdf": {**quick_kdf().model_dump(), **kdf}})
    assert outcomes(full_vault) == [VaultCorruptError] * 2
