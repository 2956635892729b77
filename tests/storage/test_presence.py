"""The engine and its file: what is committed while the file is taken away is not said to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from contract.notes import created, decide, intent, updated

from orchstate.errors import StoreError, StoreMovedError
from orchstate.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchstate.storage.engine import Decision
    from orchstate.storage.placement import JournalMode


@pytest.fixture(params=["truncate", "wal"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteEngine]:
    mode: JournalMode = request.param
    engine = SqliteEngine(tmp_path / "store.db", mode=mode)
    engine.commit("a", [intent(1, created("x"))], decide)
    yield engine
    engine.close()


def test_a_file_that_goes_in_the_middle_of_a_commit_is_noticed_and_nothing_happens_twice(
    engine: SqliteEngine, tmp_path: Path
) -> None:
    def take_away(*arguments: Any) -> Decision:
        (tmp_path / "store.db").rename(tmp_path / "moved.db")
        return decide(*arguments)

    edit = intent(2, updated("x", size=1))
    with pytest.raises(StoreError):
        engine.commit("a", [edit], take_away)
    with pytest.raises(StoreMovedError, match=r"was removed or moved away while it was open"):
        engine.commit("a", [edit], decide)
    (tmp_path / "moved.db").rename(tmp_path / "store.db")
    assert engine.commit("a", [edit], decide).decisions[2].outcome == "committed"
    assert [revision.row.revision for revision in engine.changes_since(0)] == [1, 2]


def test_verifying_is_harmless_while_others_commit(engine: SqliteEngine, tmp_path: Path) -> None:
    other = SqliteEngine(tmp_path / "store.db")
    other.commit("b", [intent(1, created("y"))], decide)
    engine.verify()
    engine.commit("a", [intent(2, updated("x", size=1))], decide)
    other.verify()
    assert (engine.seq(), other.seq()) == (3, 3)
    other.close()


def test_a_file_that_was_read_before_can_still_be_saved_when_it_is_gone(
    engine: SqliteEngine, tmp_path: Path
) -> None:
    assert engine.seq() == 1
    (tmp_path / "store.db").unlink()
    engine.backup(tmp_path / "rescued.db")
    rescued = SqliteEngine(tmp_path / "rescued.db")
    assert (rescued.store_id, rescued.seq()) == (engine.store_id, 1)
    rescued.close()
