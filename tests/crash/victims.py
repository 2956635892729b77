"""What processes do until a failpoint kills them; played in a child of the nursery."""

from __future__ import annotations

import functools
import inspect
import itertools
import json
import os
import random
import re
import signal
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crash.failpoints import arm
from crash.journals import JOURNALS, ForgetfulEngine

from orchstate import opening
from orchstate.errors import SecretUnavailableError
from orchstate.state import acceptance, late, writer
from orchstate.storage import outbox
from orchstate.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchstate.config import Config
    from orchstate.store import Store

# Small, so that a process resets its outbox, and adopts in several batches, all the time.
RESET_BYTES = 2_000
BATCH = 5


class Keys:
    """A place for keys that outlives its process, as a keyring does: one file per key."""

    source = "memory"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def get(self, name: str) -> str:
        try:
            return self._file(name).read_text()
        except FileNotFoundError:
            raise SecretUnavailableError(f"no key {name!r}") from None

    def has(self, name: str) -> bool:
        return self._file(name).exists()

    def set(self, name: str, value: str) -> None:
        self._file(name).write_text(value)

    def delete(self, name: str) -> None:
        self._file(name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self._folder / name.encode().hex()


class Victim:
    """A process under attack: its log, its chance, and its values, which nobody else ever writes.

    Parameters
    ----------
    store
        Path of the store.
    log
        Path of the log.
    seed
        Number of this process among all that have this store.
    mode
        Journal mode.
    failpoint
        Where it is to be killed; "" for nowhere.
    at
        The hit that kills.
    journal, is_forgetful
        For negative controls: another journal, and an engine that applies everything again.
    """

    def __init__(
        self,
        store: str,
        log: str,
        *,
        seed: int,
        mode: str,
        failpoint: str = "",
        at: int = 0,
        journal: str = "outbox",
        is_forgetful: bool = False,
    ) -> None:
        self.path = Path(store)
        self.seed = seed
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.chance = random.Random(seed)
        self._failpoint, self._at = failpoint, at
        self._values = itertools.count(seed * 10_000 + 1)
        engine = ForgetfulEngine if is_forgetful else SqliteEngine
        opening.SqliteEngine = functools.partial(engine, mode=mode)  # type: ignore[assignment, misc]
        if journal != "outbox":
            opening.Outbox = JOURNALS[journal]
        outbox.RESET_BYTES = RESET_BYTES  # type: ignore[misc]
        for module in (writer, late):
            module.MAX_BATCH = BATCH  # type: ignore[attr-defined]
        for module in (acceptance, late):
            module.decider = _dooming(module.decider)  # type: ignore[attr-defined]
        warnings.simplefilter("ignore")

    def arm(self) -> None:
        """Be killed at the failpoint from now on."""
        arm(self._failpoint, self._at, self.log)

    def open(self, path: Path | None = None) -> Store:
        """Open the store with keys that outlive this process."""
        store = opening.open(path or self.path, secrets=Keys(self.path.with_name("keys")), actor="victim")
        self.say(mode=store._engine.journal_mode)
        return store

    def say(self, **entry: object) -> None:
        """Write a line to the log, with one write."""
        os.write(self.log, json.dumps(entry).encode() + b"\n")

    def value(self, *, doomed: bool = False) -> int:
        """Return a value that no edit has had."""
        return next(value for value in self._values if is_doomed(value) is doomed)

    def edit(self, config: Config) -> int:
        """Give a config a new seed, and return it."""
        value = self.value()
        self.say(about=[config.name, value])
        config.seed = value
        self.say(done=[config.name, value])
        return value

    def edit_in_vain(self, config: Config) -> None:
        """Have an edit accepted that the engine will refuse."""
        value = self.value(doomed=True)
        self.say(vain=value)
        config.seed = value
        self.say(vain_done=value)

    def edit_together(self, store: Store, configs: list[Config]) -> None:
        """Give several configs one new seed, all or none of them."""
        value = self.value()
        self.say(together=[value, *(config.name for config in configs)])
        for config in configs:
            self.say(about=[config.name, value])
        with store.transaction():
            for config in configs:
                config.seed = value
        for config in configs:
            self.say(done=[config.name, value])


def is_doomed(value: object) -> bool:
    """Whether the engine is to refuse a seed, for a reason of which it knows nothing."""
    return isinstance(value, int) and value % 10 == 3


def _dooming(decider: Any) -> Any:
    def doomed_decider(kinds: Any, **options: Any) -> Any:
        decide = decider(kinds, **options)

        def doomed(snapshot: Any, intent: Any, writer: str) -> Any:
            if any(is_doomed(operation.set.get("seed")) for operation in intent.operations):
                raise ValueError("doomed")
            return decide(snapshot, intent, writer)

        return doomed

    return doomed_decider


def _configs(store: Store) -> list[Config]:
    return [store.configs.upsert(name, "openai") for name in ("own", "other")]


def edit(victim: Victim) -> None:
    """Open, edit in every way, close, again and again."""
    victim.arm()
    while True:
        with victim.open() as store:
            own, other = _configs(store)
            for _ in range(victim.chance.randrange(5, 60)):
                kind = victim.chance.random()
                if kind < 0.1:
                    victim.edit_together(store, [own, other])
                elif kind < 0.2:
                    victim.edit_in_vain(other)
                else:
                    victim.edit(own)
                if victim.chance.random() < 0.15:
                    store.flush()


def birth(victim: Victim) -> None:
    """Make one new store after another, with an edit each."""
    victim.arm()
    for number in itertools.count():
        with victim.open(victim.path.with_name(f"new-{os.getpid()}-{number}.db")) as store:
            victim.edit(_configs(store)[0])


def adopt(victim: Victim) -> None:
    """Take over what a predecessor had accepted when it died."""
    _predecessor(victim)
    victim.arm()
    victim.open().close()


def damaged(victim: Victim) -> None:
    """Take over what a predecessor had accepted, of which one edit is damaged."""
    _predecessor(victim)
    for path in victim.path.with_name(f"{victim.path.name}.outbox").glob("*.outbox"):
        content = path.read_bytes()
        seeds = re.findall(rb'"seed":(\d+)', content)
        if len(seeds) > 9:
            # Not the last one, which would be a torn tail; and its own record alone: the next one saw it.
            harmed = seeds[-5]
            victim.say(damaged=["own", int(harmed)])
            path.write_bytes(content.replace(b'"seed":' + harmed, b'"sXed":' + harmed, 1))
    victim.arm()
    victim.open().close()


def salvage(victim: Victim) -> None:
    """Open a store whose file has lost its head, and take over what a predecessor had accepted."""
    _predecessor(victim)
    # The head stands in the log, too, until that is written back.
    with closing(sqlite3.connect(victim.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with victim.path.open("r+b") as file:
        file.write(b"\xaa" * 100)
    victim.arm()
    victim.open().close()


def _predecessor(victim: Victim) -> None:
    pid = os.fork()
    if pid == 0:
        store = victim.open()
        own, _ = _configs(store)
        store.flush()
        store._state._writer.stop()
        for _ in range(4 * BATCH):
            victim.edit(own)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    # It used these.
    victim._values = itertools.count(next(victim._values) + 1_000)


def keys(victim: Victim) -> None:
    """Give a config one key after another; what was there before is logged."""
    victim.arm()
    while True:
        with victim.open() as store:
            own, _ = _configs(store)
            if own.api_key.is_set:
                victim.say(key=own.api_key.get_secret_value())
            for _ in range(victim.chance.randrange(1, 5)):
                key = f"sk-{victim.value()}"
                victim.say(key_about=key)
                own.api_key = key
                victim.say(key_done=key)
                store.flush()


def copy(victim: Victim) -> None:
    """Make one copy after another of a store that goes on growing."""
    victim.arm()
    with victim.open() as store:
        own, _ = _configs(store)
        while True:
            name = f"copy-{victim.edit(own)}.db"
            victim.say(copy=[name, store.flush()])
            victim.edit(own)
            store._engine.backup(victim.path.with_name(name))
            victim.say(copied=name)


def heal(victim: Victim) -> None:
    """Open every store of the folder once more, in the regular way."""
    for path in victim.path.parent.glob("*.db"):
        if not path.name.startswith("copy-"):
            victim.open(path).close()
    victim.say(healed=True)


def played(play: Callable[..., None]) -> Callable[..., None]:
    """Return what the nursery calls: it makes the victim, and gives the play what is left of the command."""
    own = inspect.signature(Victim).parameters

    def run(store: str, log: str, **command: Any) -> None:
        options = {name: command.pop(name) for name in [*command] if name in own}
        play(Victim(store, log, **options), **command)

    return run


PLAYS: dict[str, Callable[..., None]] = {
    play.__name__: played(play) for play in (edit, birth, adopt, damaged, salvage, keys, copy, heal)
}
