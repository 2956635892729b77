"""Secrets in the operating system's keyring.

What the ``keyring`` package finds is looked at once, at the first use, and again only
where somebody may have unlocked it since. Every call into it runs with a time limit,
because backends wait for daemons and for people. What they raise is translated here.
Where a key is in scope, an error names only the type of what was raised: the message,
and the frames behind it, may hold the key.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from orchstate.errors import SecretUnavailableError
from orchstate.secrets.call import BoundedCall, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyring.backend import KeyringBackend

    from orchstate.models.secret import SecretSource

    Backends = tuple[KeyringBackend, ...]

Result = TypeVar("Result")

SERVICE: Final = "orchstate"
LIMIT_S: Final = 2.0
# How soon a keyring that was locked is looked at again.
AGAIN_S: Final = 2.0
# Nobody keeps a secret under this name: reading it tells whether the keyring answers, and writes nothing.
PROBE_NAME: Final = "orchstate-probe"
# Of several backends, one that hangs leaves the others this share of the time limit.
_SHARE: Final = 0.75
_NEXT: Final = (
    "Open the store with secrets='vault' to keep keys in an encrypted file, or use orch.env('NAME')."
)


class KeyringStore:
    """Secrets in the keyring, under the service name ``orchstate``.

    Nothing is touched before the first use. Backends that lose keys, keep them in plain
    text or cannot store them at all count as no keyring. Of several chained backends,
    those that work are used: the first one stores, all of them are read.

    Parameters
    ----------
    limit_s
        Seconds that a call into the keyring may take. One that takes longer goes on
        behind the scenes; until it ends, further calls fail at once.
    again_s
        Seconds after which a keyring that was locked is looked at again, at the next use.
    """

    source: Final[SecretSource] = "keyring"

    def __init__(self, *, limit_s: float = LIMIT_S, again_s: float = AGAIN_S) -> None:
        self._limit_s = limit_s
        self._again_s = again_s
        self._probed_s = 0.0
        self._lock = threading.Lock()
        self._probe: BoundedCall[Backends] | None = None
        self._late: threading.Thread | None = None

    def problem(self) -> str | None:
        """Return why the keyring cannot be used, None if it can; looks for it as described above."""
        fault = self._probed().fault
        return None if fault is None else _reason(fault, self._limit_s)

    def get(self, name: str) -> str:
        """Return the secret called `name`.

        Raises
        ------
        SecretUnavailableError
            If there is none, or the keyring does not give it.
        """
        value = self._ask("read", name, _find)
        if value is None:
            raise SecretUnavailableError(
                f"The keyring of this machine has no key {name!r}; it may have been saved on another one. "
                "Type the key again."
            )
        return value

    def has(self, name: str) -> bool:
        """Return whether there is a secret called `name`.

        Raises
        ------
        SecretUnavailableError
            If the keyring does not answer.
        """
        return self._ask("read", name, _find) is not None

    def set(self, name: str, value: str) -> None:
        """Keep `value` under `name`, in place of an older one, and read it back.

        Raises
        ------
        SecretUnavailableError
            If the keyring does not take it, or gives back something else. After a time
            limit it is unknown whether the keyring took it.
        """
        try:
            kept = self._ask("saved", name, _store, value)
        finally:
            del value
        if not kept:
            raise SecretUnavailableError(
                f"The keyring gave back another key {name!r} than was saved: it loses or changes keys, "
                f"or another program saved the same one. Try again. {_NEXT}"
            )

    def delete(self, name: str) -> None:
        """Forget the secret called `name`; a missing one is fine.

        Raises
        ------
        SecretUnavailableError
            If the keyring does not answer, or keeps it.
        """
        if not self._ask("deleted", name, _forget):
            raise SecretUnavailableError(
                f"The key {name!r} was not deleted: the keyring keeps it. "
                f"Delete the entry {name!r} of {SERVICE!r} with the program that manages the keyring."
            )

    def _ask(self, done: str, name: str, function: Callable[..., Result], *value: str) -> Result:
        try:
            outcome = self._bounded(function, self._usable(), name, *value)
        finally:
            del value
        if outcome.fault is None:
            return cast("Result", outcome.value)
        # Only its type: what it says, what it carries and its frames may hold the key.
        reason = _reason(outcome.fault, self._limit_s, bare=True)
        del outcome
        raise SecretUnavailableError(f"The key {name!r} was not {done}: {reason}. {_NEXT}")

    def _bounded(self, function: Callable[..., Result], *arguments: Any) -> Outcome[Result]:
        # One call at a time: a write that is late must not overtake a later one.
        with self._lock:
            if self._late is not None and self._late.is_alive():
                return Outcome(fault=TimeoutError())
            call = BoundedCall(function, *arguments, limit_s=self._limit_s)
            del arguments
            try:
                return call.wait()
            finally:
                # The thread, not the call: the call's outcome is a key that nobody should hold on to.
                self._late = None if call.has_ended else call.thread

    def _usable(self) -> Backends:
        outcome = self._probed()
        if outcome.fault is None:
            return cast("Backends", outcome.value)
        reason = _reason(outcome.fault, self._limit_s)
        raise SecretUnavailableError(f"The keyring cannot be used: {reason}. {_NEXT}") from outcome.fault

    def _probed(self) -> Outcome[Backends]:
        with self._lock:
            if self._probe is None or self._may_be_mended(self._probe):
                self._probed_s = time.monotonic()
                self._probe = BoundedCall(_usable_backends, self._limit_s, limit_s=self._limit_s)
            probe = self._probe
        # An answer that comes after the limit still counts, from the next use on.
        return probe.wait()

    def _may_be_mended(self, probe: BoundedCall[Backends]) -> bool:
        is_due = probe.has_ended and time.monotonic() - self._probed_s >= self._again_s
        return is_due and _is_passing(probe.wait().fault)

    def __repr__(self) -> str:
        if self._probe is None:
            return "<KeyringStore (not used yet)>"
        if not self._probe.has_ended:
            return "<KeyringStore (not answering)>"
        return f"<KeyringStore ({'ready' if self._probe.wait().fault is None else 'cannot be used'})>"


class UnusableBackendError(Exception):
    """A keyring backend that would not keep a key safe; the message says why."""

    def __init__(self, reason: str, *, is_passing: bool = False) -> None:
        super().__init__(reason)
        self.is_passing = is_passing


def _usable_backends(limit_s: float) -> Backends:
    import keyring
    from keyring.backends.chainer import ChainerBackend

    found = keyring.get_keyring()
    if not isinstance(found, ChainerBackend):
        _check(found)
        return (found,)
    calls = [(backend, BoundedCall(_check, backend, limit_s=_SHARE * limit_s)) for backend in found.backends]
    outcomes = [(backend, call.wait().fault) for backend, call in calls]
    usable = tuple(backend for backend, fault in outcomes if fault is None)
    if not usable:
        faults = [fault for _, fault in outcomes if fault is not None]
        reasons = dict.fromkeys(_reason(fault, limit_s) for fault in faults)
        text = " and ".join(reasons) or "there is none on this machine"
        raise UnusableBackendError(text, is_passing=any(map(_is_passing, faults)))
    return usable


def _check(backend: KeyringBackend) -> None:
    """Raise what is wrong with a backend, if anything; writes nothing."""
    from keyring.backends import fail, null
    from keyring.errors import NoKeyringError, PasswordDeleteError

    if isinstance(backend, null.Keyring):
        raise UnusableBackendError("it is switched off (the null backend would lose every key)")
    if isinstance(backend, fail.Keyring):
        raise NoKeyringError("No recommended backend was available.")
    if "plaintext" in type(backend).__name__.lower():
        raise UnusableBackendError(f"its backend {type(backend).__name__} keeps keys in plain text")
    if _would_prompt(backend):
        return
    backend.get_password(SERVICE, PROBE_NAME)
    try:
        # Backends of package indexes read but do not store; they say so when asked to delete.
        backend.delete_password(SERVICE, PROBE_NAME)
    except PasswordDeleteError:
        return


def _would_prompt(backend: KeyringBackend) -> bool:
    """Return whether reading would open a window that asks a person to unlock the keyring.

    Where there is no screen to open it on, a locked keyring is an unusable one.
    """
    from keyring.backends import SecretService
    from keyring.errors import KeyringLocked

    if not isinstance(backend, SecretService.Keyring) or not _is_locked(backend):
        return False
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise KeyringLocked("The collection is locked, or missing.")
    return True


def _is_locked(backend: KeyringBackend) -> bool:
    import secretstorage

    with secretstorage.dbus_init() as connection:
        # A path of the person's own choice: `keyring` takes it from KEYRING_PROPERTY_PREFERRED_COLLECTION.
        path = getattr(backend, "preferred_collection", None)
        try:
            collection = secretstorage.Collection(connection, *([path] if path else []))
            return collection.is_locked()
        except secretstorage.ItemNotFoundException:
            return True


def _find(backends: Backends, name: str) -> str | None:
    for backend in backends:
        value = backend.get_password(SERVICE, name)
        if value:
            return value
    return None


def _store(backends: Backends, name: str, value: str) -> bool:
    backends[0].set_password(SERVICE, name, value)
    return backends[0].get_password(SERVICE, name) == value


def _forget(backends: Backends, name: str) -> bool:
    from keyring.errors import PasswordDeleteError

    for backend in backends:
        try:
            backend.delete_password(SERVICE, name)
        except PasswordDeleteError:
            # Raised for a missing entry and for a failure alike, so look.
            continue
    return _find(backends, name) is None


def _is_passing(fault: BaseException | None) -> bool:
    """Whether a person can mend it while the process runs, by unlocking the keyring."""
    if isinstance(fault, UnusableBackendError):
        return fault.is_passing
    errors = sys.modules.get("keyring.errors")
    return errors is not None and isinstance(fault, errors.KeyringLocked | errors.InitError)


def _reason(fault: BaseException, limit_s: float, *, bare: bool = False) -> str:
    """Return what is wrong, for people; `bare` where the fault's own words may hold a key."""
    if isinstance(fault, UnusableBackendError):
        return str(fault)
    if isinstance(fault, TimeoutError):
        return f"it did not answer within {limit_s:g} s; if a window asks to unlock it, do so and try again"
    known = _known_reason(fault)
    if known:
        return known
    return f"it failed with {type(fault).__name__}" + ("" if bare or not str(fault) else f": {fault}")


def _known_reason(fault: BaseException) -> str:
    # Not imported here: the fault may be that the package cannot be.
    errors = sys.modules.get("keyring.errors")
    if errors is None:
        return ""
    reasons = {
        errors.NoKeyringError: "there is none on this machine",
        errors.KeyringLocked: "it is locked; unlock it and try again",
        errors.InitError: "it could not be opened; unlock it, or log in to a desktop session",
        errors.PasswordSetError: "it refused to store the key",
        NotImplementedError: "its backend cannot store keys",
    }
    return next((text for kind, text in reasons.items() if isinstance(fault, kind)), "")
