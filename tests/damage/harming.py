"""A small store, and ways to damage it behind the back of its checksums."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import orchstate

if TYPE_CHECKING:
    from pathlib import Path


def filled(folder: Path) -> Path:
    """Make a store of three configs, each with two revisions."""
    path = folder / "store.db"
    with orchstate.open(path, secrets="memory") as store:
        for name in ("one", "two", "three"):
            store.configs.create("openai", name=name, seed=1)
            store.flush()
            store.configs[name].seed = 2
    return path


def harm(path: Path, *statements: str) -> None:
    """Change what is stored behind the back of its checksums."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


ROW = "UPDATE doc SET body = replace(body, '2', '7') WHERE name = 'two'"
HISTORY = "UPDATE rev SET body = replace(body, '2', '7') WHERE name = 'two' AND revision = 2"


def overwrite(path: Path, table: str) -> None:
    """Lose the page that a table begins with."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        ((root,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table])
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xaa" * 4096)
