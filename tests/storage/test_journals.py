"""The rollback journal that a killed process leaves: what is unfinished in it, and what is damaged."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from contract.notes import created, decide, intent

from orchstate.storage.pages import read_journal
from orchstate.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    from pathlib import Path


def killed(folder: Path, *, is_written: bool) -> Path:
    """Return a store as a process killed in mid-commit leaves it, before it wrote to the file or after."""
    path, left = folder / "store.db", folder / "left" / "store.db"
    with closing(SqliteEngine(path, mode="truncate")) as engine:
        engine.commit("a", [intent(n, created(f"x{n}", text="x" * 900)) for n in range(1, 40)], decide)
    left.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = TRUNCATE")
        if is_written:
            other.execute("PRAGMA cache_size = 1")
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE doc SET body = replace(body, 'x', 'y')")
        for suffix in ("", "-journal", ".lock"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(f"{path}{suffix}", f"{left}{suffix}")
        other.execute("ROLLBACK")
    return left


@pytest.mark.parametrize("is_written", [False, True])
def test_what_was_unfinished_is_rolled_back_and_no_damage(is_written: bool, tmp_path: Path) -> None:
    left = killed(tmp_path, is_written=is_written)
    journal = read_journal(left.with_name("store.db-journal"))
    assert not journal.is_damaged and bool(journal.pages) == is_written
    with closing(SqliteEngine(left, mode="truncate")) as engine:
        assert (engine.salvaged, engine.check()) == (None, [])


@pytest.mark.parametrize("at", [0, 7, 20, 600])
def test_a_journal_of_which_a_part_alone_would_be_rolled_back_is_damaged(at: int, tmp_path: Path) -> None:
    left = killed(tmp_path, is_written=True)
    journal = left.with_name("store.db-journal")
    data = bytearray(journal.read_bytes())
    data[at : at + 4] = b"\xaa" * 4
    # The checksum of a page looks at one byte in 200, from its end.
    data[512 + 4 + 4096 - 200] ^= at == 600
    journal.write_bytes(data)
    assert read_journal(journal).is_damaged
    with closing(SqliteEngine(left, mode="truncate")) as engine:
        assert engine.salvaged and engine.check() == []
