"""The keyring store against a real Secret Service, and on a machine that has none."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import secretstorage
from keyring.backends import SecretService
from testbed.environment import clean

from orchstate.secrets import KeyringStore
from tests.contract.secret_store import SecretStoreContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from keyring.backend import KeyringBackend
    from testbed.secret_service import SecretService as RunningService

PROGRAM = """
import sys, time
from orchstate.errors import SecretUnavailableError
from orchstate.models.secret import SecretRef
from orchstate.secrets import Secrets
secrets = Secrets(vault_path=sys.argv[1])
start = time.monotonic()
{statement}
"""
WRITE = "print(secrets.write('gpt/api_key', sys.stdin.read()).source, secrets.notice)"
READ = "print(secrets.read(SecretRef(source='keyring', name='gpt/api_key')), secrets.notice)"
REFUSED = """
try:
    secrets.read(SecretRef(source="keyring", name="gpt"))
except SecretUnavailableError as error:
    print(time.monotonic() - start < 2.5, error)
"""
CHOOSE = "print(secrets.backend.source, time.monotonic() - start < 2.5, secrets.notice)"


def run(statement: str, environment: Mapping[str, str], folder: Path, *, typed: str = "") -> tuple[str, str]:
    """Run one statement in a new process and return what it printed and what it logged."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(statement=statement), str(folder / "vault.json")],
        env=dict(environment),
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


def _delete_all() -> None:
    """Empty our part of the keyring over one connection; each may be the one at which the daemon ends."""
    with secretstorage.dbus_init() as connection:
        for item in list(secretstorage.search_items(connection, {"service": "orchstate"})):
            item.delete()


@pytest.mark.keyring
class TestRealKeyring(SecretStoreContract):
    @pytest.fixture
    def store(
        self,
        secret_service: RunningService,
        use_backend: Callable[[KeyringBackend], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> Iterator[KeyringStore]:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", secret_service.environment["DBUS_SESSION_BUS_ADDRESS"])
        use_backend(SecretService.Keyring())
        # The limit has tests of its own; here a busy machine may take its time.
        yield KeyringStore(limit_s=20.0)
        _delete_all()


@pytest.mark.keyring
def test_a_key_goes_to_the_keyring_where_other_programs_and_processes_find_it(
    secret_service: RunningService, tmp_path: Path
) -> None:
    environment = secret_service.environment
    assert run(WRITE, environment, tmp_path, typed="sk-real") == ("keyring None", "")
    assert secret_service.lookup(service="orchstate", username="gpt/api_key") == "sk-real"
    assert run(READ, environment, tmp_path) == ("sk-real None", "")
    run("secrets.delete(SecretRef(source='keyring', name='gpt/api_key'))", environment, tmp_path)
    assert secret_service.lookup(service="orchstate", username="gpt/api_key") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.keyring
def test_the_probe_leaves_nothing_in_the_keyring(secret_service: RunningService, tmp_path: Path) -> None:
    assert run(CHOOSE, secret_service.environment, tmp_path)[0] == "keyring True None"
    assert secret_service.lookup(service="orchstate", username="orchstate-probe") is None


@pytest.mark.keyring
def test_a_locked_keyring_without_a_screen_to_unlock_it_on_falls_back_at_once(
    secret_service: RunningService, tmp_path: Path
) -> None:
    with secret_service.locked():
        printed, logged = run(CHOOSE, secret_service.environment, tmp_path)
    assert printed.startswith("vault True The keyring of this machine cannot be used: it is locked")
    assert logged == printed.removeprefix("vault True ")


UNLOCKED_LATER = """
import logging
logging.disable()
print(secrets.backend.source, secrets.notice, flush=True)
sys.stdin.readline()
time.sleep(2.0)
print(secrets.write("gpt/api_key", "sk-real").source, secrets.notice)
"""


@pytest.mark.keyring
def test_a_keyring_that_is_unlocked_later_is_taken_by_the_same_process(
    secret_service: RunningService, tmp_path: Path
) -> None:
    program = PROGRAM.format(statement=UNLOCKED_LATER)
    with secret_service.locked():
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "vault.json")],
            env=dict(secret_service.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline().startswith("vault The keyring of this machine cannot be used")
    printed, _ = process.communicate("it is unlocked now\n", timeout=30)
    assert printed.strip() == "keyring None"
    assert secret_service.lookup(service="orchstate", username="gpt/api_key") == "sk-real"
    run(
        "secrets.delete(SecretRef(source='keyring', name='gpt/api_key'))",
        secret_service.environment,
        tmp_path,
    )


@pytest.mark.keyring
def test_a_locked_keyring_with_a_screen_is_taken_without_opening_a_window(
    secret_service: RunningService, tmp_path: Path
) -> None:
    with secret_service.locked():
        environment = {**secret_service.environment, "DISPLAY": ":99"}
        assert run(CHOOSE, environment, tmp_path)[0] == "keyring True None"


@pytest.mark.keyring
def test_a_locked_keyring_that_nobody_unlocks_gives_a_typed_error_in_time(
    secret_service: RunningService, tmp_path: Path
) -> None:
    with secret_service.locked():
        environment = {**secret_service.environment, "DISPLAY": ":99"}
        printed, _ = run(REFUSED, environment, tmp_path)
    assert re.match(
        r"True The .*(was not read|cannot be used): it (is locked|did not answer).*'vault'", printed
    )


def test_a_machine_without_any_keyring_falls_back_to_the_vault_and_says_so(tmp_path: Path) -> None:
    environment = clean(tmp_path / "home")
    printed, logged = run(CHOOSE, environment, tmp_path / "store")
    # Whether there is none takes longer to find out on a busy machine than a keyring is waited for.
    reasons = "there is none on this machine|it did not answer within 2 s"
    assert re.match(f"vault True The keyring of this machine cannot be used: ({reasons})", printed)
    assert printed.endswith(f"Keys go to the encrypted vault {str(tmp_path / 'store' / 'vault.json')!r}.")
    assert logged == printed.removeprefix("vault True ")
    assert not (tmp_path / "store").exists()
