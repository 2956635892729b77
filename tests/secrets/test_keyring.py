"""The keyring store against keyring backends that work, and against each way in which they do not."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from keyring import errors
from keyring.backends import SecretService, fail, null

from orchstate.errors import SecretUnavailableError
from orchstate.secrets import KeyringStore
from tests.contract.secret_store import SecretStoreContract, assert_keeps_quiet
from tests.secrets import backends as made

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyring.backend import KeyringBackend

    UseBackend = Callable[[KeyringBackend], None]

pytestmark = pytest.mark.usefixtures("within_limit")

NEXT = r"Open the store with secrets='vault'"


class TestKeyringStore(SecretStoreContract):
    @pytest.fixture
    def store(self, use_backend: UseBackend) -> KeyringStore:
        use_backend(made.DictBackend())
        return KeyringStore()


class TestKeyringStoreWithAChain(SecretStoreContract):
    @pytest.fixture
    def store(self, use_backend: UseBackend) -> KeyringStore:
        use_backend(made.chain(made.ReadOnlyBackend(), made.DictBackend(), made.DictBackend()))
        return KeyringStore()


def test_nothing_is_asked_before_the_first_use(use_backend: UseBackend) -> None:
    backend = made.DictBackend()
    use_backend(backend)
    assert repr(KeyringStore()) == "<KeyringStore (not used yet)>"
    assert backend.calls == []


def test_the_probe_runs_once_and_writes_nothing(use_backend: UseBackend) -> None:
    backend = made.DictBackend()
    use_backend(backend)
    store = KeyringStore()
    assert [store.problem() for _ in range(3)] == [None] * 3
    assert backend.calls == ["get", "delete"]


def test_entries_are_kept_under_the_service_orchstate(use_backend: UseBackend) -> None:
    backend = made.DictBackend()
    use_backend(backend)
    KeyringStore().set("gpt", "sk-1")
    assert backend.passwords == {("orchstate", "gpt"): "sk-1"}


UNUSABLE = [
    (fail.Keyring(), "there is none on this machine"),
    (null.Keyring(), "it is switched off"),
    (made.RaisingBackend(errors.NoKeyringError("none")), "there is none on this machine"),
    (made.RaisingBackend(RuntimeError("no session bus")), "it failed with RuntimeError: no session bus"),
    (made.RaisingBackend(errors.InitError("no collection")), "it could not be opened"),
    (made.RaisingBackend(errors.KeyringLocked("dismissed")), "it is locked"),
    (made.RaisingBackend(SystemExit(1)), "it failed with SystemExit"),
    (made.ReadOnlyBackend(), "its backend cannot store keys"),
    (made.PlaintextKeyring(), "its backend PlaintextKeyring keeps keys in plain text"),
    (made.chain(), "there is none on this machine"),
    (made.chain(null.Keyring(), fail.Keyring()), "it is switched off .* and there is none"),
]


@pytest.mark.parametrize(("backend", "reason"), UNUSABLE)
def test_an_unusable_backend_is_found_out_and_says_what_to_do(
    use_backend: UseBackend, backend: KeyringBackend, reason: str
) -> None:
    use_backend(backend)
    store = KeyringStore()
    for use in (store.get, store.has, store.delete):
        with pytest.raises(SecretUnavailableError, match=rf"cannot be used: {reason}.*{NEXT}"):
            use("gpt")


@pytest.mark.parametrize(("backend", "reason"), UNUSABLE)
def test_an_unusable_backend_gets_no_key_and_gives_none_away(
    use_backend: UseBackend, backend: KeyringBackend, reason: str
) -> None:
    use_backend(backend)
    with pytest.raises(SecretUnavailableError, match=rf"cannot be used: {reason}") as caught:
        KeyringStore().set("gpt", "sk-hidden")
    assert_keeps_quiet(caught.value, "sk-hidden")
    assert not getattr(backend, "passwords", {})


def test_the_error_of_the_probe_has_its_cause(use_backend: UseBackend) -> None:
    cause = errors.InitError("no collection")
    use_backend(made.RaisingBackend(cause))
    with pytest.raises(SecretUnavailableError, match="it could not be opened; unlock it") as caught:
        KeyringStore().get("gpt")
    assert caught.value.__cause__ is cause


def test_a_broken_choice_of_backend_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    import keyring.core

    monkeypatch.setattr(keyring.core, "_keyring_backend", None)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "no_such_package.Keyring")
    assert KeyringStore().problem() == "it failed with ModuleNotFoundError: No module named 'no_such_package'"


@pytest.mark.parametrize("calls_made_before", [0, 1])
def test_a_backend_that_hangs_is_given_up_after_the_limit(
    use_backend: UseBackend, calls_made_before: int
) -> None:
    backend = made.HangingBackend(hangs=calls_made_before == 0)
    use_backend(backend)
    store = KeyringStore()
    for _ in range(calls_made_before):
        store.delete("gpt")
    backend.hangs = True
    with pytest.raises(SecretUnavailableError, match=rf"did not answer within 2 s.*{NEXT}") as caught:
        store.set("gpt", "sk-hidden")
    assert_keeps_quiet(caught.value, "sk-hidden")


def test_an_interrupted_save_holds_no_key_and_counts_as_hanging(use_backend: UseBackend) -> None:
    backend = made.HangingBackend(hangs=False)
    use_backend(backend)
    store = KeyringStore()
    store.problem()
    backend.hangs = True
    threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt) as caught:
        store.set("gpt", "sk-hidden")
    assert_keeps_quiet(caught.value, "sk-hidden")
    with pytest.raises(SecretUnavailableError, match="did not answer"):
        store.get("gpt")


def test_while_a_call_hangs_the_next_ones_fail_at_once_and_start_nothing(use_backend: UseBackend) -> None:
    backend = made.HangingBackend(hangs=False)
    use_backend(backend)
    store = KeyringStore(limit_s=0.1)
    store.problem()
    backend.hangs = True
    for _ in range(5):
        with pytest.raises(SecretUnavailableError, match="did not answer"):
            store.get("gpt")
    assert backend.calls.count("wait") == 1


def test_a_call_that_has_answered_is_not_taken_for_one_that_hangs(
    use_backend: UseBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchstate.secrets.call.threading.Thread", SlowlyEndingThread)
    use_backend(made.DictBackend())
    store = KeyringStore()
    store.set("gpt", "sk-1")
    assert [store.get("gpt") for _ in range(5)] == ["sk-1"] * 5


class SlowlyEndingThread(threading.Thread):
    """Stays alive for a while after its work is done, as every thread does for a moment."""

    def run(self) -> None:
        super().run()
        time.sleep(0.05)


def test_a_keyring_that_was_unlocked_in_the_meantime_is_used_again(use_backend: UseBackend) -> None:
    backend = made.HangingBackend()
    use_backend(backend)
    store = KeyringStore(limit_s=0.05)
    assert "did not answer within 0.05 s; if a window asks to unlock it" in str(store.problem())
    assert repr(store) == "<KeyringStore (not answering)>"
    backend.released.set()
    _wait_until(lambda: store.problem() is None)
    store.set("gpt", "sk-1")
    assert (store.get("gpt"), repr(store)) == ("sk-1", "<KeyringStore (ready)>")


@pytest.mark.parametrize("error", [errors.KeyringLocked("dismissed"), errors.InitError("no collection")])
@pytest.mark.parametrize("in_chain", [False, True])
def test_a_keyring_that_was_locked_is_looked_at_again_at_the_next_use(
    use_backend: UseBackend, error: Exception, in_chain: bool
) -> None:
    backend = made.RaisingBackend(error)
    use_backend(made.chain(fail.Keyring(), backend) if in_chain else backend)
    store = KeyringStore(again_s=0.0)
    assert "unlock it" in str(store.problem())
    backend.error = None
    store.set("gpt", "sk-1")
    assert (store.get("gpt"), store.problem(), repr(store)) == ("sk-1", None, "<KeyringStore (ready)>")


def test_a_locked_keyring_is_not_looked_at_all_the_time(use_backend: UseBackend) -> None:
    backend = made.RaisingBackend(errors.KeyringLocked("dismissed"))
    use_backend(backend)
    store = KeyringStore(again_s=0.3)
    before = time.monotonic()
    assert "it is locked; unlock it and try again" in str(store.problem())
    backend.error = None
    _wait_until(lambda: store.problem() is None)
    assert time.monotonic() - before >= 0.3


def test_a_keyring_that_cannot_keep_keys_is_not_looked_at_again(use_backend: UseBackend) -> None:
    backend = made.ReadOnlyBackend()
    use_backend(backend)
    store = KeyringStore(again_s=0.0)
    assert {store.problem() for _ in range(3)} == {"its backend cannot store keys"}
    assert backend.calls == ["get"]


def test_a_late_write_does_not_overtake_a_later_one(use_backend: UseBackend) -> None:
    backend = made.HangingBackend(hangs=False)
    use_backend(backend)
    store = KeyringStore(limit_s=0.1)
    store.problem()
    backend.hangs = True
    for value in ("sk-1", "sk-2"):
        with pytest.raises(SecretUnavailableError, match="was not saved"):
            store.set("gpt", value)
    backend.hangs = False
    backend.released.set()
    _wait_until(lambda: "set" in backend.calls)
    store.set("gpt", "sk-3")
    assert (store.get("gpt"), backend.calls.count("set")) == ("sk-3", 2)


@pytest.mark.parametrize("backend", [made.ForgetfulBackend(), made.ChangingBackend()])
def test_a_write_that_reads_back_differently_is_an_error(
    use_backend: UseBackend, backend: KeyringBackend
) -> None:
    use_backend(backend)
    with pytest.raises(
        SecretUnavailableError, match=rf"gave back another key 'gpt' than was saved.*{NEXT}"
    ) as caught:
        KeyringStore().set("gpt", "sk-HIDDEN")
    assert_keeps_quiet(caught.value, "sk-HIDDEN")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(errors.PasswordSetError, "it refused to store the key"), (ValueError, "it failed with ValueError")],
)
def test_a_backend_that_puts_the_key_into_its_errors_is_quoted_by_type_alone(
    use_backend: UseBackend, kind: type[Exception], reason: str
) -> None:
    use_backend(made.LeakyBackend(kind))
    with pytest.raises(SecretUnavailableError, match=rf"'gpt' was not saved: {reason}\. Open") as caught:
        KeyringStore().set("gpt", "sk-hidden")
    assert_keeps_quiet(caught.value, "sk-hidden")


def test_an_undecodable_entry_is_quoted_by_type_alone(use_backend: UseBackend) -> None:
    use_backend(made.LeakyBackend())
    with pytest.raises(
        SecretUnavailableError, match="'leak' was not read: it failed with UnicodeDecodeError"
    ) as caught:
        KeyringStore().get("leak")
    assert_keeps_quiet(caught.value, "sk-hidden")


def test_a_deletion_that_is_refused_is_an_error(use_backend: UseBackend) -> None:
    use_backend(made.KeepingBackend())
    store = KeyringStore()
    store.set("gpt", "sk-1")
    with pytest.raises(SecretUnavailableError, match="'gpt' was not deleted: the keyring keeps it"):
        store.delete("gpt")


def test_no_copy_of_a_key_is_kept(use_backend: UseBackend) -> None:
    use_backend(made.DictBackend())
    store = KeyringStore()
    store.set("gpt", "sk-hidden")
    store.get("gpt")
    assert "sk-hidden" not in repr(vars(store)) + repr(vars(store._probe))


def test_a_chain_with_one_working_backend_is_usable_though_another_hangs(use_backend: UseBackend) -> None:
    hanging, working = made.HangingBackend(), made.DictBackend()
    use_backend(made.chain(hanging, fail.Keyring(), working))
    store = KeyringStore(limit_s=0.5)
    store.set("gpt", "sk-1")
    assert (store.get("gpt"), working.passwords) == ("sk-1", {("orchstate", "gpt"): "sk-1"})
    hanging.released.set()


def test_deleting_from_a_chain_leaves_no_older_copy_behind(use_backend: UseBackend) -> None:
    first, second = made.DictBackend(), made.DictBackend()
    second.passwords["orchstate", "gpt"] = "sk-old"
    use_backend(made.chain(first, second))
    store = KeyringStore()
    store.set("gpt", "sk-new")
    store.delete("gpt")
    assert not store.has("gpt")


def test_a_secret_service_without_a_bus_is_unusable(
    use_backend: UseBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus")
    use_backend(SecretService.Keyring())
    with pytest.raises(SecretUnavailableError, match=rf"cannot be used: it failed with \w+.*{NEXT}"):
        KeyringStore().get("gpt")


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 2
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
