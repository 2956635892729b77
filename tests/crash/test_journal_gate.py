"""Which journal mode a store gets with which SQLite, also where another one has used it before."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from contract.notes import created, decide, intent

from orchstate.storage import file
from orchstate.storage.placement import journal_mode
from orchstate.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    from pathlib import Path

    from orchstate.storage.placement import JournalMode

VERSIONS = {
    (3, 44, 5): "truncate",
    (3, 44, 6): "wal",
    (3, 50, 6): "truncate",
    (3, 50, 7): "wal",
    (3, 51, 2): "truncate",
    (3, 51, 3): "wal",
}


@pytest.fixture(params=VERSIONS, ids=lambda version: ".".join(map(str, version)))
def wanted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Pretend that SQLite has this version; return the mode that is safe with it."""
    monkeypatch.setattr(file, "journal_mode", partial(journal_mode, version=request.param))
    return VERSIONS[request.param]


def filled(path: Path, mode: JournalMode | None) -> SqliteEngine:
    engine = SqliteEngine(path, mode=mode)
    engine.commit("a", [intent(1, created("x"))], decide)
    return engine


def test_a_new_store_is_in_the_mode_that_is_safe(wanted: str, tmp_path: Path) -> None:
    engine = filled(tmp_path / "store.db", None)
    assert engine.journal_mode == wanted
    engine.close()


@pytest.mark.parametrize("mode", ["wal", "truncate"])
def test_a_store_that_another_sqlite_has_used_gets_the_mode_that_is_safe(
    mode: JournalMode, wanted: str, tmp_path: Path
) -> None:
    filled(tmp_path / "store.db", mode).close()
    engine = SqliteEngine(tmp_path / "store.db")
    assert (engine.journal_mode, engine.seq(), engine.check()) == (wanted, 1, [])
    assert (tmp_path / "store.db-wal").exists() is (wanted == "wal")
    engine.close()


def test_a_store_that_another_sqlite_has_open_in_wal_stays_so_until_it_is_opened_alone(
    wanted: str, tmp_path: Path
) -> None:
    other = filled(tmp_path / "store.db", "wal")
    engine = SqliteEngine(tmp_path / "store.db")
    # It cannot be changed now. Commits and checkpoints of both happen under one lock, so that
    # the bug of an older one, which needs both at once, does not come about.
    assert engine.journal_mode == "wal"
    engine.commit("b", [intent(1, created("y"))], decide)
    other.commit("a", [intent(2, created("z"))], decide)
    assert engine.seq() == other.seq() == 3
    other.close()
    engine.close()
    alone = SqliteEngine(tmp_path / "store.db")
    assert (alone.journal_mode, alone.seq(), alone.check()) == (wanted, 3, [])
    alone.close()


def test_who_has_a_store_open_follows_when_another_sqlite_makes_it_wal(tmp_path: Path) -> None:
    older = filled(tmp_path / "store.db", "truncate")
    newer = SqliteEngine(tmp_path / "store.db", mode="wal")
    assert newer.journal_mode == "wal"
    for n in range(2, 20):
        older.commit("a", [intent(n, created(f"o{n}"))], decide)
        newer.commit("b", [intent(n - 1, created(f"n{n}"))], decide)
        assert older.seq() == newer.seq() == 2 * n - 1
    for engine in (older, newer):
        assert engine.check() == []
        engine.close()
