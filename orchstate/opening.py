"""Opening: from a target to a store, one per target and process; edits of the dead are taken over."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import logging
import os
import re
import shutil
import threading
import time
import uuid
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchstate.adoption import Adoption, waiting
from orchstate.errors import (
    ClosedError,
    ForkedStoreError,
    OrchstateError,
    StoreError,
    ValidationError,
    may_be_key,
    quoted,
)
from orchstate.following import Options
from orchstate.kinds import kinds_of
from orchstate.loops import in_thread
from orchstate.origin import user_name
from orchstate.providers.registry import Registry
from orchstate.secrets.secrets import Secrets
from orchstate.storage import forks
from orchstate.storage.outbox import MemoryJournal, Outbox, bytes_in
from orchstate.storage.placement import LITTLE_SPACE_BYTES
from orchstate.storage.presence import outboxes
from orchstate.storage.sqlite import SqliteEngine
from orchstate.store import Store
from orchstate.tracebacks import forget

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchstate.secrets.secrets import Mode
    from orchstate.secrets.store import SecretStore

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
        a cell is harmless. Where much has to be looked over or taken over first, its status
        is ``"loading"`` for a while, and what is read or committed waits.

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
    CorruptStoreError
        If it is damaged, and nothing in it can be saved. While a store is loading, this and what else
        goes wrong is its ``error`` instead.

    Examples
    --------
    >>> store = open(":memory:")
    >>> gpt = store.configs.upsert("gpt", "openai", model="gpt-5.4-mini", temperature=0.2)
    >>> gpt.temperature = 0.7
    >>> store.undo()
    <Undone gpt.temperature>
    >>> store.close()
    """
    try:
        return _open(target, read_only=read_only, secrets=secrets, actor=actor)[0]
    except BaseException as error:
        # One of them may be, or hold, a key or a password.
        del target, secrets, actor
        forget(error)
        raise


async def aopen(
    target: str | os.PathLike[str] | None = None,
    *,
    read_only: bool = False,
    secrets: Mode | SecretStore = "auto",
    actor: str | None = None,
) -> Store:
    """Do what :func:`open` does without stopping the event loop."""
    try:
        store, is_new = await in_thread(_open, target, read_only=read_only, secrets=secrets, actor=actor)
    except BaseException as error:
        del target, secrets, actor
        forget(error)
        raise
    if is_new:
        # Observers run here, and not in the thread that did the work.
        store._state.delivery.own()
    return store


class _Opened:
    """The stores that are open in this process, by path."""

    def __init__(self) -> None:
        self.stores: dict[Path, Store] = {}
        self.renew()

    def renew(self) -> None:
        # Two threads that open one target get one store, too.
        self.lock = threading.Lock()

    def before_fork(self) -> None:
        """Wait for nobody: opening may take seconds."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Let the child open stores, whatever another thread of the parent was opening."""
        self.renew()


_opened: Final = _Opened()
# A scheme has two letters at least, so that a drive is none; a Path has lost one of the slashes.
_ADDRESS: Final = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]+):/|(file|sqlite3?):)", re.IGNORECASE)
# Whoever ends in the regular way leaves nothing for others to adopt, if that is quickly done.
_EXIT_FLUSH_S: Final = 2.0
_WHAT_TO_GIVE: Final = "Give a file, ':memory:', or nothing for your own store."
# About a thousand edits, which take less time than anybody notices.
_QUICKLY_ADOPTED_BYTES: Final = 256 * 1024
# Characters of a path that messages show.
_LONGEST_PATH: Final = 500


def _open(
    target: str | os.PathLike[str] | None,
    *,
    read_only: bool,
    secrets: Mode | SecretStore,
    actor: str | None,
) -> tuple[Store, bool]:
    path = resolve(target)
    if not isinstance(actor, str | None):
        raise StoreError(f"actor={quoted(actor)} is no name. Give the text for the history, or nothing.")
    if isinstance(secrets, str) and may_be_key(secrets):
        raise ValidationError(
            "secrets= says where keys live, and this looks like a key. Assign it to the api_key of a config."
        )
    if path is None and secrets == "auto":
        secrets = "memory"
    options = Options(read_only, secrets, actor or user_name())
    if path is None:
        return _open_new(None, options), True
    forks.guard(_opened)
    with _opened.lock:
        known = _known(path)
        if known is None:
            _close_at_exit()
            store = _opened.stores[path] = _open_new(path, options)
            return store, True
    if known._options != options:
        raise StoreError(
            f"{_shown(str(path))} is open in this process with {_difference(known._options, options)}. "
            "Open it the same way, or close() it first."
        )
    return known, False


def _known(path: Path) -> Store | None:
    """Return the store that is open for a path, or for another name of the same file.

    A file with two names would have two locks and two journals, each of which knows nothing of the other.
    """
    known = _opened.stores.get(path)
    if known is not None and not known._state.unusable:
        return known
    for store in _opened.stores.values():
        with contextlib.suppress(OSError):
            if not store._state.unusable and store.path and store.path.samefile(path):
                return store
    return None


def _difference(known: Options, wanted: Options) -> str:
    names = [field.name for field in dataclasses.fields(Options)]
    different = [name for name in names if getattr(known, name) != getattr(wanted, name)]
    there, here = (
        ", ".join(f"{name}={getattr(options, name)!r}" for name in different) for options in (known, wanted)
    )
    return f"{there}, and now wanted with {here}"


@cache
def _close_at_exit() -> None:
    atexit.register(_close_all)


def _close_all() -> None:
    for store in list(_opened.stores.values()):
        store._close(_EXIT_FLUSH_S)


def _open_new(path: Path | None, options: Options) -> Store:
    begun_ns = time.monotonic_ns()
    # First what can be wrong without a trace on the disk.
    secrets = Secrets(options.secrets, vault_path=vault_path())
    engine = SqliteEngine(path, read_only=options.read_only)
    adoption = None
    if path and not options.read_only:
        adoption = Adoption(outboxes(path), engine, kinds_of(Registry()))
    journal: Any = None
    try:
        is_long = path is not None and _is_long(path, engine)
        if is_long:
            engine.check_clock()
            engine.loading.expect()
        elif path:
            engine.inspect(anew=False)
            _log_opening(path, engine, _adopt(path, engine, adoption), begun_ns)
        if path is None:
            journal = MemoryJournal(uuid.uuid4().hex)
        elif not options.read_only:
            writer = uuid.uuid4().hex
            journal = Outbox.create(outboxes(path), store_id=engine.store_id, writer=writer)
        store = Store(engine, journal, options, secrets, adoption)
        if path and is_long:
            engine.loading.begin(partial(_load, path, store, begun_ns), store._state.look_again)
        return store
    except BaseException:
        if journal:
            # Nothing was accepted yet.
            journal.close(keep=False)
        engine.close()
        raise


def _is_long(path: Path, engine: SqliteEngine) -> bool:
    """Whether there is so much to be done before the file is read that who does not read should not wait."""
    return bytes_in(outboxes(path)) > _QUICKLY_ADOPTED_BYTES or engine.is_large


def _adopt(path: Path, engine: SqliteEngine, adoption: Adoption | None) -> int:
    if adoption:
        return adoption.run()
    if count := waiting(outboxes(path), engine):
        logger.warning(
            "%d edits of processes that had died are not seen here: they are committed as soon as the store "
            "is opened for editing.",
            count,
        )
    return 0


def _load(path: Path, store: Store, begun_ns: int) -> None:
    """Do what is long, in a thread that has nobody to raise to: what goes wrong is the store's error."""
    engine = store._engine

    def take_over() -> None:
        _log_opening(path, engine, _adopt(path, engine, store._adoption), begun_ns)

    # Each also where the one before failed: what is read is verified in any case.
    steps: tuple[Callable[[], object], ...] = (partial(engine.inspect, anew=False), take_over, store._begin)
    for step in steps:
        try:
            step()
        except (ClosedError, ForkedStoreError):
            return
        except OrchstateError as error:
            logger.warning("%s could not be looked over: %s", _shown(str(path)), error)
            store._failed_to_load(error)
        except Exception as error:
            logger.exception("%s could not be looked over", _shown(str(path)))
            store._failed_to_load(StoreError(f"The store could not be looked over: {error}."))


def _log_opening(path: Path, engine: SqliteEngine, count: int, begun_ns: int) -> None:
    duration_ms = (time.monotonic_ns() - begun_ns) // 1_000_000
    mode = "read-only" if engine.read_only else engine.journal_mode
    logger.info("Opened %s (%s) at revision %d in %d ms", path, mode, engine.seq(), duration_ms)
    if count:
        logger.info("Adopted %d edits of processes that had died.", count)
    if engine.read_only:
        return
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(path.parent).free
        if free < LITTLE_SPACE_BYTES:
            logger.warning("Only %d kB are free on the disk of %s. Free some space.", free // 1024, path)


def resolve(target: str | os.PathLike[str] | None) -> Path | None:
    """Return the file that a target stands for, None for a store in memory.

    Raises
    ------
    StoreError
        If it is no path.
    """
    chosen = target if target is not None else os.environ.get("ORCHSTATE_STORE") or None
    if chosen is None:
        return _data_folder() / "store.db"
    if chosen == ":memory:":
        return None
    if not isinstance(chosen, str | os.PathLike):
        raise StoreError(f"{_shown(chosen)} is no path. {_WHAT_TO_GIVE}")
    _check_path(os.fspath(chosen))
    try:
        path = Path(chosen).expanduser().resolve()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            # The longest name of the files that will stand beside it.
            os.stat(path.parent / f"{path.name}-journal")
    except (OSError, RuntimeError, ValueError) as error:
        # Too long, a circle of links, a user who is not there, a null character.
        reason = str(getattr(error, "strerror", None) or error).rstrip(".")
        shown = _shown(os.fspath(chosen))
        raise StoreError(f"{shown} cannot be used: {reason}. Give another path.") from error
    return path


def _check_path(text: str) -> None:
    """Refuse what people write for something else than a file, and which would make odd files."""
    if not isinstance(text, str):
        raise StoreError(f"{_shown(text)} is no path. Give it as text or as a Path.")
    if not text.strip():
        raise StoreError(f"{text!r} is no path. {_WHAT_TO_GIVE}")
    if text.startswith(":"):
        raise StoreError(f"{_shown(text)} is not known. Give ':memory:' for a store in memory, or a file.")
    if found := _ADDRESS.match(text):
        raise StoreError(_address_problem(text, found[1] or found[2]))
    if text.endswith(("/", os.sep)):
        example = _shown(f"{text}store.db")
        raise StoreError(f"{_shown(text)} names a folder. Name a file in it, such as {example}.")


def _address_problem(text: str, scheme: str) -> str:
    kind = scheme.casefold()
    if kind in ("postgres", "postgresql"):
        return "PostgreSQL stores are not part of this version. Give the path of a file."
    # With an "@" there may be a password in it, which looks like anything.
    if kind in ("sqlite", "sqlite3", "file") and "@" not in text and not may_be_key(text):
        return f"{text!r} is an address. Give the path alone, such as {_path_in(text)!r}."
    return (
        f"'{scheme}://...' is an address, and a store is a file on this machine. Give its path, such as "
        "'store.db'."
    )


def _shown(target: object) -> str:
    return quoted(target, longest=_LONGEST_PATH)


def _path_in(address: str) -> str:
    path = address.partition(":")[2]
    # As SQLAlchemy counts: three slashes before a relative path, four before an absolute one.
    is_counted = address.casefold().startswith("sqlite") and path.startswith("///")
    return path.removeprefix("///" if is_counted else "//").partition("?")[0] or "store.db"


def vault_path() -> Path:
    """Return where the user's vault is, or would be.

    Raises
    ------
    StoreError
        If ``$ORCHSTATE_VAULT`` names a home that is not there.
    """
    chosen = os.environ.get("ORCHSTATE_VAULT")
    try:
        return Path(chosen).expanduser() if chosen else _data_folder() / "vault.json"
    except RuntimeError as error:
        reason = str(error).rstrip(".")
        raise StoreError(
            f"ORCHSTATE_VAULT={_shown(chosen)} cannot be used: {reason}. Set it to the path of a file."
        ) from error


def _data_folder() -> Path:
    import platformdirs

    return Path(platformdirs.user_data_dir("orchstate", appauthor=False))
