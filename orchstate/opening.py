"""Opening: from a target to a store, one per target and process; edits of the dead are taken over."""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchstate.errors import OrchstateError, StoreError
from orchstate.models.intent import Intent
from orchstate.origin import user_name
from orchstate.providers.registry import Registry
from orchstate.state.state import adopted
from orchstate.storage.outbox import MemoryJournal, Outbox, adopt_all
from orchstate.storage.sqlite import SqliteEngine
from orchstate.store import Options, Store, kinds_of

if TYPE_CHECKING:
    from orchstate.secrets.secrets import Mode
    from orchstate.secrets.store import SecretStore
    from orchstate.state.kinds import Kinds

logger = logging.getLogger(__name__)


def open(
    target: str | os.PathLike[str] | None = None,
    *,
    read_only: bool = False,
    secrets: Mode | SecretStore = "auto",
    actor: str | None = None,
) -> Store:
    """Open a store, and make it on first use.

    Parameters
    ----------
    target
        A path; ``":memory:"`` for a store that vanishes with the process; None for
        ``$ORCHSTATE_STORE`` or, without it, the user's own store.
    read_only
        Whether edits are refused; the file then has to exist.
    secrets
        Where keys live: ``"auto"`` (the keyring, else the vault), ``"keyring"``,
        ``"vault"``, ``"memory"``, or a store of one's own. A store in memory keeps them
        in memory unless told otherwise.
    actor
        Who edits, as the history shows it; None for the user's name.

    Returns
    -------
    Store
        The same object when the target is open in this process already, so re-running
        a cell is harmless.

    Raises
    ------
    StoreError
        If the target is a folder, not a store, or open already with other options.
    ReadOnlyError
        If it may not be written and `read_only` is False.
    StoreLockedError
        If another program keeps it locked.
    NewerSchemaError
        If a newer version wrote it.

    Examples
    --------
    >>> store = open(":memory:")
    >>> gpt = store.configs.upsert("gpt", "openai", model="gpt-5.4-mini", temperature=0.2)
    >>> gpt.temperature = 0.7
    >>> store.undo()
    <Undone gpt.temperature>
    >>> gpt.temperature
    0.2
    >>> store.close()
    """
    path = _resolve(target)
    if path is None and secrets == "auto":
        secrets = "memory"
    options = Options(read_only, secrets, actor or user_name())
    known = _opened.get(path) if path else None
    if known is not None and not known._state.unusable:
        if known._options != options:
            raise StoreError(
                f"{str(path)!r} is open in this process with {known._options}. "
                "Open it the same way, or close() it first."
            )
        return known
    store = _open_new(path, options)
    if path:
        _opened[path] = store
    return store


async def aopen(
    target: str | os.PathLike[str] | None = None,
    *,
    read_only: bool = False,
    secrets: Mode | SecretStore = "auto",
    actor: str | None = None,
) -> Store:
    """Do what :func:`open` does without stopping the event loop."""
    store = await asyncio.to_thread(open, target, read_only=read_only, secrets=secrets, actor=actor)
    store._state.delivery.attach()
    return store


_opened: Final[weakref.WeakValueDictionary[Path, Store]] = weakref.WeakValueDictionary()


def _open_new(path: Path | None, options: Options) -> Store:
    engine = SqliteEngine(path, read_only=options.read_only)
    vault_path = _vault_path()
    try:
        journal: Any = None
        if path is None:
            journal = MemoryJournal(uuid.uuid4().hex)
        elif not options.read_only:
            journal = _journal(path, engine)
        return Store(engine, journal, options, vault_path=vault_path)
    except BaseException:
        engine.close()
        raise


def _journal(path: Path, engine: SqliteEngine) -> Outbox:
    """Take over what dead processes had accepted, and begin an outbox of our own."""
    folder = path.with_name(f"{path.name}.outbox")
    kinds = kinds_of(Registry())
    for outbox in adopt_all(folder, store_id=engine.store_id):
        _adopt(outbox, engine, kinds)
    return Outbox.create(folder, store_id=engine.store_id, writer=uuid.uuid4().hex)


def _adopt(outbox: Outbox, engine: SqliteEngine, kinds: Kinds) -> None:
    found = outbox.records()
    try:
        intents = [Intent.decode(record) for record in found.records]
        count = adopted(intents, engine, kinds, outbox.writer)
    except (OrchstateError, ValueError) as error:
        logger.warning("The outbox %s could not be adopted and is kept: %s", outbox.path, error)
        outbox.close(keep=True)
        return
    if found.damaged_bytes:
        logger.warning("The outbox %s has %d damaged bytes and is kept.", outbox.path, found.damaged_bytes)
    if count:
        logger.info("Adopted %d edits of a process that had died.", count)
    outbox.close(keep=found.damaged_bytes > 0)


def _resolve(target: str | os.PathLike[str] | None) -> Path | None:
    chosen = target if target is not None else os.environ.get("ORCHSTATE_STORE") or None
    if chosen is None:
        return _data_folder() / "store.db"
    if chosen == ":memory:":
        return None
    if isinstance(chosen, str) and chosen.partition("://")[0] in ("postgres", "postgresql"):
        raise StoreError("PostgreSQL stores are not part of this version. Give the path of a file.")
    if not os.fspath(chosen):
        raise StoreError("'' is no path. Give a file, ':memory:', or nothing for your own store.")
    return Path(chosen).expanduser().resolve()


def _vault_path() -> Path:
    chosen = os.environ.get("ORCHSTATE_VAULT")
    return Path(chosen).expanduser() if chosen else _data_folder() / "vault.json"


def _data_folder() -> Path:
    import platformdirs

    return Path(platformdirs.user_data_dir("orchstate", appauthor=False))
