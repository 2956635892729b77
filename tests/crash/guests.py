"""Writers whose own notebook also opens the store's file: with SQLite or pandas, as a file, to copy it."""

from __future__ import annotations

import contextlib
import functools
import shutil
import sqlite3
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crash.journals import LocklessEngine
from crash.nursery import lines

from orchstate import opening

if TYPE_CHECKING:
    from collections.abc import Callable

    from crash.victims import Victim


def read_as_a_file(path: Path) -> None:
    """Read it as a file: closing it drops all of SQLite's locks of this process."""
    with path.open("rb") as file:
        file.read(4096)


def copy_within(path: Path) -> None:
    """Copy it in this process, which drops the locks as well."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copy(path, path.with_name(f"{threading.get_ident()}.copy"))


def copy_with_a_program(path: Path) -> None:
    """Copy it as ``!cp`` does in a cell."""
    subprocess.run(["cp", path, path.with_name(f"{threading.get_ident()}.cp")], check=True)


def look_with_sqlite(path: Path) -> None:
    """Look into it with a connection of one's own."""
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.execute("SELECT count(*), max(seq) FROM rev").fetchone()


def look_with_pandas(path: Path) -> None:
    """Read a table of it as a DataFrame."""
    import pandas as pd

    with closing(sqlite3.connect(path, timeout=30)) as connection:
        pd.read_sql("SELECT seq, name, verb FROM rev ORDER BY seq DESC LIMIT 20", connection)


MANNERS: dict[str, Callable[[Path], None]] = {
    "file": read_as_a_file,
    "copy": copy_within,
    "cp": copy_with_a_program,
    "sqlite": look_with_sqlite,
    "pandas": look_with_pandas,
}


@contextlib.contextmanager
def behaving(path: Path, manners: list[str]) -> Any:
    """Do all of it again and again in another thread for as long as the block runs."""
    stop = threading.Event()

    def behave() -> None:
        while not stop.is_set():
            for name in manners:
                MANNERS[name](path)
            time.sleep(0.0005)

    thread = threading.Thread(target=behave)
    if manners:
        thread.start()
    yield
    stop.set()
    if manners:
        thread.join()


def guest(
    victim: Victim,
    *,
    sittings: int,
    edits: int,
    manners: list[str],
    others: list[str],
    is_lockless: bool = False,
) -> None:
    """Make edits, opening the store anew for each sitting; in the end say what is seen of everybody's."""
    if is_lockless:
        opening.SqliteEngine = functools.partial(  # type: ignore[assignment, misc]
            LocklessEngine,
            mode=opening.SqliteEngine.keywords["mode"],  # type: ignore[attr-defined]
        )
    with behaving(victim.path, manners):
        for _ in range(sittings):
            with victim.open() as store:
                own = store.configs.upsert(f"guest {victim.seed}", "openai")
                for _ in range(edits):
                    victim.edit(own)
                    if victim.chance.random() < 0.3:
                        store.flush(60)
                        store._engine.changes_since(0)
                # Before close() would only log it.
                store.flush(60)
        with victim.open() as store:
            victim.say(finished=True)
            while not all(lines(Path(log), "finished") for log in others):
                time.sleep(0.01)
            store.refresh(60)
            victim.say(seen=sorted([config.name, config.seed] for config in store.configs.values()))
    victim.say(left=True)
