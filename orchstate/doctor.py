"""``orchstate doctor``: is everything here in order, and what to do if not. It changes nothing."""

from __future__ import annotations

import os
import platform
import sqlite3
import stat
from typing import TYPE_CHECKING, Final

from orchstate import __version__
from orchstate.adoption import edits_in
from orchstate.errors import OrchstateError, SecretError, StoreError
from orchstate.exchange.packages import core_packages, is_installed, missing_packages, try_version
from orchstate.findings import Finding, kept, lost, place
from orchstate.opening import open as open_store
from orchstate.opening import resolve, vault_path
from orchstate.providers.registry import Registry
from orchstate.secrets.secrets import Secrets
from orchstate.storage.outbox import SUFFIX, Scan, is_held, scan, store_of
from orchstate.storage.placement import has_wal_fix, journal_mode
from orchstate.storage.presence import outboxes
from orchstate.storage.sqlite import SqliteEngine
from orchstate.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from orchstate.config import Config
    from orchstate.models.secret import SecretRef

_SDKS: Final = ("openai", "anthropic", "ollama")
_SALVAGE: Final = "Save what is sound: orchstate salvage. It keeps the damaged file."


def examine(target: str | None) -> Iterator[Finding]:
    """Yield what is found about this installation and the store of a target, one thing after another.

    Parameters
    ----------
    target
        As for :func:`orchstate.open`.
    """
    yield from _installation()
    yield from _providers()
    secrets = Secrets("auto", vault_path=vault_path())
    yield from _keys(secrets)
    try:
        path = resolve(target)
    except StoreError as error:
        yield Finding("problem", "store", str(error))
        return
    if path is None:
        yield Finding("ok", "store", "It lives in memory, and vanishes with its process.")
    elif not path.exists():
        yield from _none(path)
    else:
        yield from _existing(path, secrets)


def _installation() -> Iterator[Finding]:
    yield Finding(
        "ok", "orchstate", f"{__version__}, Python {platform.python_version()}, {platform.system()}."
    )
    for name, oldest in core_packages().items():
        if is_installed(name, oldest):
            yield Finding("ok", "package", f"{name} {try_version(name)}")
        else:
            found = try_version(name) or "not installed"
            yield Finding("problem", "package", f"{name} {found}", f'pip install --upgrade "{name}{oldest}"')
    for name in _SDKS:
        yield Finding("ok", "package", f"{name} {try_version(name) or 'is not installed (optional)'}")


def _providers() -> Iterator[Finding]:
    registry = Registry()
    yield Finding("ok", "providers", ", ".join(registry.ids))
    for problem in registry.problems:
        yield Finding("problem", "providers", str(problem), "Mend the file, or remove it.")


def _keys(secrets: Secrets) -> Iterator[Finding]:
    place = secrets.backend.source
    if secrets.notice is None:
        yield Finding("ok", "keys", f"They go to the {place} of this machine.")
        return
    step = "Set up a keyring, or go on with the vault."
    if secrets.vault.needs_passphrase:
        step += " It is unlocked in the form, or by $ORCHSTATE_VAULT_PASSPHRASE."
    yield Finding("warning", "keys", secrets.notice, step)


def _existing(path: Path, secrets: Secrets) -> Iterator[Finding]:
    store_id, done, error = _store_id(path)
    if type(error) is StoreError:
        # A folder, or a file of somebody else: nothing is advised about it.
        yield from _outboxes(path, store_id, done)
        yield Finding("problem", "store", str(error))
        return
    yield from _file(path)
    yield from place(path)
    yield from kept(path)
    yield from _outboxes(path, store_id, done)
    yield from _store(path, secrets)


def _file(path: Path) -> Iterator[Finding]:
    found = path.stat()
    yield Finding("ok", "store", f"{str(path)!r}, {found.st_size / 1024:,.0f} kB")
    if hasattr(os, "getuid") and found.st_uid != os.getuid():
        yield Finding("warning", "store", f"It belongs to the user with the number {found.st_uid}.")
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        message = f"It has {found.st_nlink} names, and two programs that use two of them destroy it."
        yield Finding("warning", "store", message, "Open it by one name alone, and remove the others.")
    if stat.S_ISREG(found.st_mode) and found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        mode = stat.filemode(found.st_mode)
        yield Finding("warning", "store", f"Others may read it ({mode}).", f"chmod 600 {str(path)!r}")
    if stat.S_ISREG(found.st_mode) and not found.st_mode & stat.S_IWUSR:
        yield Finding("warning", "store", "It may not be written.", f"chmod u+w {str(path)!r}")


def _none(path: Path) -> Iterator[Finding]:
    """Tell a store that is yet to be made from one that was taken away."""
    found = list(_outboxes(path, None, {}))
    if not found:
        yield Finding("ok", "store", f"There is none at {str(path)!r} yet; it is made on first use.")
        return
    message = f"There is none at {str(path)!r} any more: it was removed or moved away."
    yield Finding("problem", "store", message, "Put the file back, before anything opens a new store there.")
    yield from found


def _store_id(path: Path) -> tuple[str, dict[str, int], OrchstateError | None]:
    """Return the id of the store in a file, and up to where each outbox is committed to it.

    If it cannot be read: ``""``, nothing, and the error.
    """
    try:
        engine = SqliteEngine(path, read_only=True)
        try:
            writers = [file.stem for file in outboxes(path).glob(f"*{SUFFIX}")]
            return engine.store_id, {writer: engine.applied(writer) for writer in writers}, None
        finally:
            engine.close()
    except OrchstateError as error:
        return "", {}, error


def _outboxes(path: Path, store_id: str | None, done: Mapping[str, int]) -> Iterator[Finding]:
    """Look for edits that are not committed by themselves.

    Parameters
    ----------
    path
        The store's file.
    store_id
        Of the store in it; None if there is no file, ``""`` if it cannot be read.
    done
        Number of the last edit that is committed to it, by writer.
    """
    folder = outboxes(path)
    if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
        step = f"chmod u+rwx {str(folder)!r}"
        yield Finding("problem", "outbox", f"{str(folder)!r} cannot be read, so nothing can be opened.", step)
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            found = scan(file.read_bytes())
            # What is not there any more was just taken over.
            is_alive = is_held(file) or not file.exists()
        except OSError as error:
            yield Finding("warning", "outbox", f"{file.name} cannot be read ({error.strerror}).")
            continue
        is_of_this = store_of(found) == store_id
        count = edits_in(found.records[1:], after=done.get(file.stem, 0) if is_of_this else 0)
        yield from _outbox(path, file, found, store_id, count, is_alive=is_alive)


def _outbox(
    path: Path, file: Path, found: Scan, store_id: str | None, count: int, *, is_alive: bool
) -> Iterator[Finding]:
    owner = store_of(found)
    if count > 0 and owner and store_id != "" and owner != store_id:
        yield _stranded(path, file, count, is_alive=is_alive)
    elif is_alive:
        return
    elif count > 0:
        verb = "is" if count == 1 else "are"
        message = (
            f"{file.name} has {counted(count, 'edit')} that {verb} not committed. "
            "Whoever made them no longer has the store open."
        )
        yield Finding(
            "warning", "outbox", message, "They are taken over when the store is opened for editing."
        )
    if found.damaged_bytes and not is_alive:
        message = f"{file.name} has {found.damaged_bytes} damaged bytes."
        yield Finding("problem", "outbox", message, "Its other edits are taken over. Keep the file.")


def _stranded(path: Path, file: Path, count: int, *, is_alive: bool) -> Finding:
    """Return what to do about edits whose store is not where it was."""
    whose = "a notebook that still has it open" if is_alive else "one that no longer has it open"
    edits = f"{file.name} has {counted(count, 'edit')} of {whose}"
    message = f"{edits}, for another store, which was at {str(path)!r} before."
    step = "Put that store's file back: they are then committed, and none is committed twice."
    if is_alive:
        step += " Or save what the notebook sees, before it ends: store.export('setup.json')."
    return Finding("problem", "outbox", message, step)


def _store(path: Path, secrets: Secrets) -> Iterator[Finding]:
    try:
        yield from _engine(path)
        with open_store(path, read_only=True) as store:
            configs = list(store.configs.values())
            found = f"{counted(len(configs), 'config')}, {counted(len(store.history), 'revision')}"
            yield Finding("ok", "store", found)
            for conflict in store.conflicts.values():
                step = "Decide in the form of the store, or with store.conflicts.of(name)[0].resolve(...)."
                yield Finding("warning", "conflict", f"Undecided: {conflict}", step)
            yield from _configs(configs, secrets)
    except OrchstateError as error:
        yield Finding("problem", "store", str(error))


def _engine(path: Path) -> Iterator[Finding]:
    engine = SqliteEngine(path, read_only=True)
    try:
        # What a reader sees of the other mode differs from what a writer sets.
        mode = engine.journal_mode if engine.journal_mode == "wal" else journal_mode(path)
        reason = "" if has_wal_fix(sqlite3.sqlite_version_info) else "; a newer SQLite would be faster"
        yield Finding("ok", "sqlite", f"{sqlite3.sqlite_version}, journal mode {mode}{reason}")
        damages = engine.check()
        if engine.salvaged:
            # What is looked at is what could be saved of it, in memory.
            damages = [str(engine.salvaged.error())]
        yield from (Finding("problem", "damage", damage, _SALVAGE) for damage in damages)
        yield from lost(engine)
    finally:
        engine.close()


def _configs(configs: list[Config], secrets: Secrets) -> Iterator[Finding]:
    sdks: dict[str, str] = {}
    for config in configs:
        try:
            definition = config.definition
        except OrchstateError as error:
            yield Finding("warning", "config", f"{config.name}: {error}")
            continue
        sdks.setdefault(definition.sdk, config.name)
        for spec in definition.fields:
            if spec.type == "secret":
                yield from _key(config, spec.name, secrets)
    for missing in missing_packages(sdks, {}):
        yield Finding("warning", "package", f"{missing.config} needs {missing.name}.", missing.next_step)


def _key(config: Config, field: str, secrets: Secrets) -> Iterator[Finding]:
    ref: SecretRef = getattr(config, field)
    if not ref.is_set:
        return
    try:
        if not secrets.exists(ref):
            where = secrets.describe(ref)
            message = f"{config.name}: its {field} is not there ({where})."
            yield Finding("warning", "key", message, "Type it again in the form.")
    except SecretError as error:
        yield Finding("warning", "key", f"{config.name}: {error}")
