"""What a user may not read or write: a typed error that says what to do, and nothing changed."""

from __future__ import annotations

import os
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from contract.notes import created, decide, intent

from orchstate.errors import ReadOnlyError, StoreError
from orchstate.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchstate.storage.placement import JournalMode


@pytest.fixture
def path() -> Iterator[Path]:
    """A store with one document in a folder that everybody may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "store.db"
        fill(path, "truncate")
        yield path
        Path(folder).chmod(0o755)


def fill(path: Path, mode: JournalMode) -> None:
    with closing(SqliteEngine(path, mode=mode)) as engine:
        engine.commit("a", [intent(1, created("x"))], decide)


@pytest.fixture
def ordinary_user(path: Path) -> Iterator[None]:
    """The rights of a user who is not root, who may do everything."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    yield
    if is_root:
        os.seteuid(0)


def as_somebody_else(path: Path, file_mode: int, folder_mode: int) -> None:
    """Set modes as root would; called before the user is an ordinary one, and undone by the fixture."""
    path.chmod(file_mode)
    path.parent.chmod(folder_mode)


@pytest.fixture
def writable_in_a_read_only_folder(path: Path) -> None:
    as_somebody_else(path, 0o666, 0o555)


@pytest.fixture
def unreadable(path: Path) -> None:
    as_somebody_else(path, 0o200, 0o755)


@pytest.fixture
def locked_by_another_user(path: Path) -> None:
    as_somebody_else(path, 0o666, 0o777)


def listing(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


@pytest.mark.usefixtures("writable_in_a_read_only_folder", "ordinary_user")
def test_a_writable_file_in_a_read_only_folder_can_only_be_read(path: Path) -> None:
    before = listing(path)
    with pytest.raises(ReadOnlyError, match=r"folder of '.*store\.db' may not be written.*read_only=True"):
        SqliteEngine(path)
    with closing(SqliteEngine(path, read_only=True)) as engine:
        assert engine.seq() == 1
    assert listing(path) == before


@pytest.mark.usefixtures("locked_by_another_user", "ordinary_user")
def test_a_lock_that_only_somebody_else_may_use_is_named_with_the_next_step(path: Path) -> None:
    with pytest.raises(ReadOnlyError, match=r"store\.db\.lock\S* may not be written: .*read_only=True"):
        SqliteEngine(path)


@pytest.mark.usefixtures("unreadable", "ordinary_user")
@pytest.mark.parametrize("read_only", [True, False])
def test_a_file_that_may_not_be_read_is_refused_with_the_next_step(path: Path, read_only: bool) -> None:
    with pytest.raises(StoreError, match=r"store\.db' may not be read\. Make it readable") as caught:
        SqliteEngine(path, read_only=read_only)
    assert type(caught.value) is StoreError


def test_a_store_that_a_wal_in_a_read_only_folder_keeps_from_being_opened_says_what_to_do(
    path: Path, request: pytest.FixtureRequest
) -> None:
    path.unlink()
    fill(path, "wal")
    as_somebody_else(path, 0o644, 0o555)
    request.getfixturevalue("ordinary_user")
    with pytest.raises(StoreError, match=r"could not be opened: .*Make its folder writable, or open a copy"):
        SqliteEngine(path, read_only=True)
