"""The vault under several real processes, and under ``kill -9``."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.secrets.vaults import PASSPHRASE

if TYPE_CHECKING:
    from orchstate.secrets import VaultStore

PROGRAM = """
import itertools, sys
from orchstate.secrets import VaultStore
from orchstate.secrets.kdf import Scrypt
vault = VaultStore(sys.argv[1], _new_kdf=lambda: Scrypt(n=2, r=1))
vault.unlock(sys.argv[2])
{statement}
"""
MANY = """
for number in range(60):
    vault.set(f"{sys.argv[3]}-{number}", f"sk-{number}")
"""
FOR_EVER = """
for number in itertools.count(int(sys.argv[3])):
    vault.set("changing", f"sk-{number}")
    print(number, flush=True)
"""


def start(statement: str, vault: VaultStore, argument: str) -> subprocess.Popen[str]:
    """Start a process that opens the vault and runs `statement`."""
    command = [
        sys.executable,
        "-c",
        PROGRAM.replace("{statement}", statement),
        str(vault.path),
        PASSPHRASE,
        argument,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a process that must succeed."""
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 0, complaint


def test_processes_that_write_at_once_keep_each_others_keys(vault: VaultStore) -> None:
    processes = [start(MANY, vault, name) for name in ("a", "b", "c")]
    for process in processes:
        finish(process)
    assert [vault.get(f"{name}-{number}") for name in "abc" for number in range(60)] == [
        f"sk-{number}" for _ in "abc" for number in range(60)
    ]
    assert json.loads(vault.path.read_text())["revision"] == 180


def test_processes_that_make_the_vault_at_once_share_one(locked_vault: VaultStore) -> None:
    processes = [start(MANY, locked_vault, name) for name in ("a", "b", "c")]
    for process in processes:
        finish(process)
    locked_vault.unlock(PASSPHRASE)
    assert [locked_vault.get(f"{name}-59") for name in "abc"] == ["sk-59"] * 3


@pytest.mark.parametrize("rounds", [8, pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_a_writer_killed_at_any_moment_loses_nothing_it_has_saved(rounds: int, vault: VaultStore) -> None:
    chance, last = random.Random(2), 0
    vault.set("constant", "sk-constant")
    for _ in range(rounds):
        last = _kill_a_writer(vault, last + 1, after_s=chance.uniform(0, 0.02))
        vault.lock()
        vault.unlock(PASSPHRASE)
        assert vault.get("constant") == "sk-constant"
        assert vault.get("changing") in (f"sk-{last}", f"sk-{last + 1}")
    vault.set("changing", "sk-0")
    assert sorted(path.name for path in vault.path.parent.iterdir()) == ["vault.json", "vault.json.lock"]


def _kill_a_writer(vault: VaultStore, first: int, *, after_s: float) -> int:
    """Start a writer, kill it as it writes, and return the last number that it said was saved."""
    process = start(FOR_EVER, vault, str(first))
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = [process.stdout.readline()]
        assert said[0], process.stderr.read()
        time.sleep(after_s)
        process.kill()
        said += process.stdout.readlines()
    # The last line may have been cut off by the kill; a number counts once its line is whole.
    return [int(line) for line in said if line.endswith("\n")][-1]
