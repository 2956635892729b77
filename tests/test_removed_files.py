"""A store's file that is removed, moved or replaced while a notebook has it open."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from testbed.kernel import Kernel

import orchstate
import orchstate.opening
from orchstate.errors import FlushError, StoreError, StoreMovedError, StoreWriteError
from orchstate.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchstate.store import Store

OTHER = "other.db"


@pytest.fixture(params=["truncate", "wal"], autouse=True)
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have stores opened in both journal modes, whatever is safe with this SQLite."""
    monkeypatch.setattr(orchstate.opening, "SqliteEngine", partial(SqliteEngine, mode=request.param))
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds nothing but stores."""
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    """A store with a committed config, beside another store."""
    with orchstate.open(folder / OTHER, secrets="memory") as other:
        other.configs.create("ollama", name="local")
    with orchstate.open(folder / "store.db", secrets="memory") as store:
        store.configs.create("openai", name="gpt")
        store.flush()
        yield store
        # It cannot be committed any more, and nobody has to wait for it.
        store._close(0.0)


def seen_within(look: Callable[[], object], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not look() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(look())


def remove(path: Path) -> None:
    path.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


def replace(path: Path) -> None:
    shutil.copy(path.with_name(OTHER), path.with_name("new"))
    path.with_name("new").replace(path)


def copy_over(path: Path) -> None:
    shutil.copy(path.with_name(OTHER), path)


def write_over(path: Path) -> None:
    path.unlink()
    path.write_text("no database")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (remove, "was removed or moved away"),
        (move, "was removed or moved away"),
        (replace, r"was replaced by another (store|file)"),
        (copy_over, "was replaced by another store"),
        (write_over, r"was replaced by (something that is no store|another file)"),
    ],
)
def test_nothing_is_said_to_be_committed_to_a_file_that_is_gone(
    store: Store, folder: Path, harm: Callable[[Path], None], told: str
) -> None:
    harm(folder / "store.db")
    receipt = store.configs["gpt"].update(temperature=0.7)
    with pytest.raises(FlushError, match=rf"^1 accepted edit is not committed yet: '.*store\.db' {told}"):
        store.flush()
    assert isinstance(store.error, StoreMovedError) and store.error.path == store.path
    assert str(folder / "store.db.outbox") in str(store.error)
    assert "store.export('setup.json')" in str(store.error)
    assert (store.status, receipt.state, store.configs["gpt"].temperature) == ("degraded", "accepted", 0.7)


def test_it_is_noticed_without_an_edit(store: Store, folder: Path) -> None:
    (folder / "store.db").unlink()
    assert seen_within(lambda: isinstance(store.error, StoreMovedError))


def test_a_file_that_is_put_back_goes_on_by_itself(store: Store, folder: Path) -> None:
    move(folder / "store.db")
    store.configs["gpt"].temperature = 0.7
    assert seen_within(lambda: store.status == "degraded")
    (folder / "moved.db").rename(folder / "store.db")
    assert seen_within(lambda: store.status == "ready")
    assert (store.error, store.pending) == (None, 0)
    assert store.history.changes("gpt", field="temperature")["new"].tolist() == [0.7]
    store.configs["gpt"].seed = 1
    assert store.flush() == 3


def test_a_whole_folder_that_is_put_back_goes_on_by_itself(store: Store, folder: Path) -> None:
    folder.rename(folder.with_name("away"))
    store.configs["gpt"].temperature = 0.7
    with pytest.raises(FlushError, match=r"The folder of .* was removed or moved away .*Put the folder back"):
        store.flush()
    folder.with_name("away").rename(folder)
    assert seen_within(lambda: store.status == "ready")
    assert store.flush() == 2


def test_edits_that_nobody_could_find_again_are_refused(store: Store, folder: Path) -> None:
    shutil.rmtree(folder)
    gpt = store.configs["gpt"]
    with pytest.raises(StoreWriteError, match=r"\.outbox' was removed .* Nothing was changed\. Save what"):
        gpt.temperature = 0.7
    assert (gpt.temperature, store.status) == (None, "degraded")
    assert isinstance(store.error, StoreWriteError)
    folder.mkdir()
    assert store.export(folder / "setup.json").exists()


def test_what_is_seen_can_be_saved_though_the_file_is_gone(store: Store, folder: Path) -> None:
    (folder / "store.db").unlink()
    store.configs["gpt"].temperature = 0.7
    store.export(folder / "setup.json")
    with orchstate.open(":memory:") as rescued:
        rescued.plan_import(folder / "setup.json").apply()
        assert rescued.configs["gpt"].temperature == 0.7


def test_an_older_copy_of_the_store_is_told_and_gets_the_edits_when_opened_anew(
    store: Store, folder: Path
) -> None:
    store._engine.backup(folder / "backup.db")
    store.configs["gpt"].seed = 1
    store.flush()
    for companion in folder.glob("store.db-*"):
        companion.unlink()
    (folder / "backup.db").replace(folder / "store.db")
    store.configs["gpt"].temperature = 0.7
    with pytest.raises(
        FlushError, match=r"another copy of this store .* close\(\) the store and open it again"
    ):
        store.flush()
    store._close(0.1)
    with orchstate.open(folder / "store.db", secrets="memory") as again:
        assert (again.configs["gpt"].seed, again.configs["gpt"].temperature) == (1, 0.7)


def test_a_copy_of_the_present_state_goes_on_by_itself(store: Store, folder: Path) -> None:
    store._engine.backup(folder / "backup.db")
    for companion in folder.glob("store.db-*"):
        companion.unlink()
    (folder / "backup.db").replace(folder / "store.db")
    store.configs["gpt"].temperature = 0.7
    assert store.flush() == 2
    with Kernel(f"import orchstate; store = orchstate.open({str(folder / 'store.db')!r})") as other:
        assert other("store.configs['gpt'].temperature") == 0.7


def test_what_other_stores_hold_is_never_shown(store: Store, folder: Path) -> None:
    with orchstate.open(folder / OTHER, secrets="memory") as other:
        for seed in range(5):
            other.configs["local"].seed = seed
    assert list(store.configs) == ["gpt"]
    copy_over(folder / "store.db")
    with contextlib.suppress(StoreError):
        store.refresh()
    assert list(store.configs) == ["gpt"]


def test_reading_goes_on_and_says_that_the_file_is_gone(store: Store, folder: Path) -> None:
    path = folder / OTHER
    with orchstate.open(path, secrets="memory", read_only=True) as reader:
        path.unlink()
        assert seen_within(lambda: isinstance(reader.error, StoreMovedError))
        assert (reader.status, list(reader.configs)) == ("read-only", ["local"])


def test_after_closing_a_new_store_begins_and_says_what_was_left(
    store: Store, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "store.db").unlink()
    store.configs["gpt"].temperature = 0.7
    store._close(0.1)
    for companion in folder.glob("store.db-*"):
        companion.unlink()
    with orchstate.open(folder / "store.db", secrets="memory") as new:
        assert (new.id != store.id, list(new.configs)) == (True, [])
    assert "is not for this store and is kept. Run: orchstate doctor" in caplog.text


def test_a_journal_of_another_store_is_not_rolled_back_into_this_one(store: Store, folder: Path) -> None:
    path = folder / "interrupted.db"
    store._engine.backup(path)
    with orchstate.open(path, secrets="memory"):
        pass
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE rev SET label = hex(zeroblob(20000))")
        journal = path.with_name(path.name + "-journal").read_bytes()
        connection.execute("ROLLBACK")
    shutil.copy(folder / OTHER, path)
    path.with_name(path.name + "-journal").write_bytes(journal)
    with pytest.raises(StoreError, match=r"unfinished work on the earlier one still lies beside it"):
        orchstate.open(path, secrets="memory")


KILLED = """
import os, orchstate, orchstate.opening
from functools import partial
orchstate.opening.SqliteEngine = partial(orchstate.opening.SqliteEngine, mode="wal")
store = orchstate.open({path!r}, secrets="memory")
store.configs.create("openai", name="gpt")
store.flush()
"""


def test_unfinished_work_of_a_killed_process_is_not_put_into_another_store(
    store: Store, folder: Path
) -> None:
    path = folder / "killed.db"
    with Kernel(KILLED.format(path=str(path))) as kernel:
        kernel.kill()
    assert os.stat(folder / "killed.db-wal").st_size
    shutil.copy(folder / OTHER, path)
    content = path.read_bytes()
    with pytest.raises(
        StoreError, match=r"replaced by another store, and unfinished work .* nothing was touched"
    ):
        orchstate.open(path, secrets="memory")
    assert path.read_bytes() == content
    (folder / "killed.db-wal").rename(folder / "kept-wal")
    with orchstate.open(path, secrets="memory") as other:
        assert list(other.configs) == ["local"]
