"""A real Secret Service: a GNOME keyring, unlocked, on a D-Bus of its own.

It has its own home, data and runtime folders, and the bus starts nothing by itself, so
neither the keyring nor the session of the person at this machine is ever touched.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from testbed.environment import clean
from testbed.process import Guarded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from jeepney.io.blocking import DBusConnection

PROGRAMS: Final = ("dbus-daemon", "gnome-keyring-daemon", "secret-tool")
_COLLECTION: Final = "/org/freedesktop/secrets/collection/login"
_PASSWORD: Final = "not a secret: it opens a throw-away keyring"
# No service folders: a name nobody owns stays unowned, instead of starting a desktop's program.
_BUS_CONFIGURATION: Final = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:dir={folder}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""


def missing_programs() -> list[str]:
    """Return what this machine lacks to run a Secret Service, an empty list when nothing."""
    return [program for program in PROGRAMS if not shutil.which(program)]


class SecretService:
    """A running Secret Service; a context manager.

    Attributes
    ----------
    environment
        The whole environment for a program, such as a kernel, that is to use this
        service: bus address, throw-away home, data and runtime folders, and of the
        rest only what programs cannot do without.
    """

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}

    def __enter__(self) -> SecretService:
        with contextlib.ExitStack() as stack:
            # The name is short because a socket's path may not exceed 108 bytes.
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bed-")))
            self.environment = self._own_environment()
            bus = self._start_bus()
            stack.callback(bus.end)
            self.environment["DBUS_SESSION_BUS_ADDRESS"] = bus.wait_for(
                lambda: _address_in(bus.log), timeout_seconds=10, what="its address"
            )
            keyring = self._start_keyring()
            stack.callback(keyring.end)
            keyring.wait_for(self._answer, timeout_seconds=20, what="an unlocked collection")
            self._running = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running.close()

    def lookup(self, **attributes: str) -> str | None:
        """Return the secret with these attributes as another program reads it, None when there is none."""
        pairs = [part for pair in attributes.items() for part in pair]
        done = self._tool("lookup", *pairs)
        return done.stdout if done.returncode == 0 else None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the collection for the length of a ``with`` block; nobody is there to answer a prompt."""
        self._lock()
        try:
            yield
        finally:
            self._unlock()

    def _own_environment(self) -> dict[str, str]:
        folders = {"XDG_DATA_HOME": "data", "XDG_CONFIG_HOME": "config", "XDG_RUNTIME_DIR": "run"}
        for name in folders.values():
            # The runtime folder must be 0700 or programs refuse it; it does no harm to the others.
            (self._folder / name).mkdir(mode=0o700)
        own = {variable: str(self._folder / name) for variable, name in folders.items()}
        return clean(self._folder / "home", **own)

    def _start_bus(self) -> Guarded:
        configuration = self._folder / "bus.conf"
        configuration.write_text(_BUS_CONFIGURATION.format(folder=self._folder / "run"))
        return Guarded(
            ["dbus-daemon", f"--config-file={configuration}", "--nofork", "--nosyslog", "--print-address"],
            environment=self.environment,
            log=self._folder / "bus.log",
        )

    def _start_keyring(self) -> Guarded:
        (self._folder / "password").write_text(_PASSWORD)
        # Where containers withhold CAP_IPC_LOCK, the installed program, which asks for it in its
        # file capabilities, may not even start. A copy has none and gets along without.
        program = shutil.copy(shutil.which("gnome-keyring-daemon") or "", self._folder / "gnome-keyring")
        # GNOME Keyring (42.1, and up to 50) aborts once in many thousand connections, when one is served
        # before the daemon has taken note of its client. Then it is started again, as systemd does.
        run = f"{shlex.quote(str(program))} --foreground --components=secrets --unlock < password"
        end = "trap 'kill $!; wait $!; exit' TERM"
        script = f"{end}; while :; do {run} & wait $!; [ $? = 134 ] || exit; echo 'It has aborted.'; done"
        return Guarded(
            ["sh", "-c", script],
            environment=self.environment,
            log=self._folder / "keyring.log",
            folder=self._folder,
        )

    def _lock(self) -> None:
        # Not secret-tool, whose own `lock` dies of a segmentation fault.
        with self._connection() as connection:
            _call(connection, "org.freedesktop.Secret.Service", "Lock", "ao", [_COLLECTION])

    def _unlock(self) -> None:
        # With the password, as the login does it; the official way is a prompt on a screen.
        with self._connection() as connection:
            _, session = _call(
                connection, "org.freedesktop.Secret.Service", "OpenSession", "sv", "plain", ("s", "")
            )
            _call(
                connection,
                "org.gnome.keyring.InternalUnsupportedGuiltRiddenInterface",
                "UnlockWithMasterPassword",
                "o(oayays)",
                _COLLECTION,
                (session, b"", _PASSWORD.encode(), "text/plain"),
            )

    def _connection(self) -> DBusConnection:
        from jeepney.io.blocking import open_dbus_connection

        return open_dbus_connection(self.environment["DBUS_SESSION_BUS_ADDRESS"])

    def _answer(self) -> bool | None:
        probe = self._tool("store", "--label=probe", "testbed", "probe", input="ready")
        return True if probe.returncode == 0 and self.lookup(testbed="probe") == "ready" else None

    def _tool(self, *arguments: str, input: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["secret-tool", *arguments],
            env=self.environment,
            input=input,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )


def _address_in(log: str) -> str | None:
    found = re.search(r"^(unix:\S+)$", log, re.MULTILINE)
    return found[1] if found else None


def _call(connection: DBusConnection, interface: str, method: str, signature: str, *body: Any) -> Any:
    from jeepney import DBusAddress, new_method_call
    from jeepney.wrappers import unwrap_msg

    service = DBusAddress("/org/freedesktop/secrets", "org.freedesktop.secrets", interface)
    call = new_method_call(service, method, signature, body)
    return unwrap_msg(connection.send_and_get_reply(call, timeout=20))


def is_supported() -> bool:
    """Whether this system can have a Secret Service at all."""
    return sys.platform.startswith("linux")
