"""Keyring backends that work, hang, lose keys, refuse them or give them away."""

from __future__ import annotations

import threading

from keyring.backend import KeyringBackend
from keyring.backends.chainer import ChainerBackend
from keyring.errors import PasswordDeleteError, PasswordSetError


class DictBackend(KeyringBackend):
    """A keyring backend that works; the base of those that do not."""

    priority = 1.0
    # Never found by keyring's own search, which other tests in this process may start.
    viable = False

    def __init__(self) -> None:
        super().__init__()
        self.passwords: dict[tuple[str, str], str] = {}
        self.calls: list[str] = []

    def get_password(self, service: str, username: str) -> str | None:
        self.calls.append("get")
        return self.passwords.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.calls.append("set")
        self.passwords[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self.calls.append("delete")
        if self.passwords.pop((service, username), None) is None:
            raise PasswordDeleteError("not found")


class HangingBackend(DictBackend):
    """Does not answer until released, once `hangs` is set."""

    def __init__(self, *, hangs: bool = True) -> None:
        super().__init__()
        self.hangs = hangs
        self.released = threading.Event()

    def _wait(self) -> None:
        if self.hangs:
            self.calls.append("wait")
            self.released.wait(30)

    def get_password(self, service: str, username: str) -> str | None:
        self._wait()
        return super().get_password(service, username)

    def set_password(self, service: str, username: str, password: str) -> None:
        self._wait()
        super().set_password(service, username, password)


class RaisingBackend(DictBackend):
    """Raises one error at every read, and at every write, until it is taken away."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error: BaseException | None = error

    def get_password(self, service: str, username: str) -> str | None:
        if self.error:
            raise self.error
        return super().get_password(service, username)

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.error:
            raise self.error
        super().set_password(service, username, password)


class LeakyBackend(DictBackend):
    """Puts the key into its errors: in the message, and as bytes beside it."""

    def __init__(self, kind: type[Exception] = PasswordSetError) -> None:
        super().__init__()
        self.kind = kind

    def set_password(self, service: str, username: str, password: str) -> None:
        try:
            (b"\xff" + password.encode()).decode()
        except UnicodeDecodeError as error:
            raise self.kind(f"cannot store {password}") from error

    def get_password(self, service: str, username: str) -> str | None:
        if username == "leak":
            (b"\xff" + b"sk-hidden").decode()
        return super().get_password(service, username)


class ForgetfulBackend(DictBackend):
    """Takes keys and drops them, as the null backend does, under another name."""

    def set_password(self, service: str, username: str, password: str) -> None:
        return


class ChangingBackend(DictBackend):
    """Gives back another key than it was given."""

    def get_password(self, service: str, username: str) -> str | None:
        value = super().get_password(service, username)
        return value and value.lower()


class KeepingBackend(DictBackend):
    """Refuses to delete."""

    def delete_password(self, service: str, username: str) -> None:
        raise PasswordDeleteError("not allowed")


class ReadOnlyBackend(DictBackend):
    """Answers for a package index, as some companies' backends do, and stores nothing."""

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError

    def delete_password(self, service: str, username: str) -> None:
        raise NotImplementedError


class PlaintextKeyring(DictBackend):
    """Has the name of the backends of ``keyrings.alt`` that keep keys in plain text."""


def chain(*backends: KeyringBackend) -> ChainerBackend:
    """Return a chainer of these backends, as keyring builds it when several are installed."""

    class Chain(ChainerBackend):
        viable = False
        backends = property(lambda self: list(found))

    found = backends
    return Chain()
