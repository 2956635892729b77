"""A full disk refuses edits, loses none that it accepted, and is forgotten once there is space again."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from crash.full_disk import Disk, below_sqlite, below_the_outbox
from crash.nursery import faults, history

import orchstate
from orchstate.errors import FlushError, StoreError, StoreWriteError
from orchstate.state import writer
from orchstate.storage import outbox

if TYPE_CHECKING:
    from pathlib import Path

    from crash.full_disk import How

    from orchstate.store import Store

LAST = 200
# Of all places each one at length, and some of them otherwise.
STEPS = [7, pytest.param(1, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
# Recognised in any file, whatever is around it.
FIRST_SEED = 71_000_000


def opened(path: Path) -> Store:
    return orchstate.open(path, secrets="memory")


def traces(folder: Path, seed: int) -> list[str]:
    """Return the files that hold a seed."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files if str(seed).encode() in path.read_bytes()]


def edit_through(disk: Disk, folder: Path, store: Store) -> tuple[list[int], list[int]]:
    """Edit until the disk has been full and has space again; return what was accepted, and what refused."""
    accepted, refused, heard = [], [], []
    with store:
        gpt = store.configs.create("openai", name="gpt")
        gpt.observe(lambda change: heard.append(change.new), "seed")
        seed, after = FIRST_SEED, 0
        while after < 3:
            seed, after = seed + 1, after + disk.is_over
            before = gpt.seed
            try:
                gpt.seed = seed
            except StoreWriteError:
                refused.append(seed)
                assert gpt.seed == before
                assert traces(folder / "store.db.outbox", seed) == []
            else:
                accepted.append(seed)
            if disk.writes > disk.failing.start - 8:
                with contextlib.suppress(FlushError):
                    store.flush(30)
        store.flush(30)
        assert (store.status, store.pending, store.error) == ("ready", 0, None)
        assert heard == accepted
        assert not refused or traces(folder, refused[0]) == []
    return accepted, refused


def check(folder: Path, accepted: list[int]) -> None:
    stored = history(folder / "store.db")
    assert [seed for _, seed in stored.elements()] == accepted
    assert faults(folder / "store.db") == []
    assert list((folder / "store.db.outbox").iterdir()) == []


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(writer, "_FIRST_RETRY_S", 0.001)
    # So that the outbox is reset in between, too.
    monkeypatch.setattr(outbox, "RESET_BYTES", 2_000)
    caplog.set_level("CRITICAL", "orchstate")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("how", ["none", "short"])
def test_no_write_of_the_outbox_that_fails_loses_or_doubles_an_edit(
    how: How, step: int, quick_folder: Path
) -> None:
    edits = refusals = 0
    # The first write is that of the header.
    places = range(2, LAST + 2, step)
    for first in places:
        folder, disk = quick_folder / str(first), Disk(first, 1 + first % 3)
        with pytest.MonkeyPatch.context() as patch:
            below_the_outbox(patch, disk, how)
            if first == 2:
                # Making the config is the first edit, and is refused.
                with opened(folder / "store.db") as store, pytest.raises(StoreWriteError):
                    store.configs.create("openai", name="gpt")
                continue
            accepted, refused = edit_through(disk, folder, opened(folder / "store.db"))
        assert len(refused) == len(disk.failing)
        check(folder, accepted)
        edits, refusals = edits + len(accepted), refusals + len(refused)
    print(f"outbox, {how}: {len(places)} places, {edits} edits, {refusals} refused, 0 lost, 0 twice")


@pytest.mark.parametrize("how", ["none", "short"])
def test_an_outbox_that_cannot_be_begun_refuses_to_open_and_leaves_nothing(
    how: How, quick_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below_the_outbox(monkeypatch, Disk(1, 1), how)
    with pytest.raises(StoreWriteError, match="free some space"):
        opened(quick_folder / "store.db")
    assert list((quick_folder / "store.db.outbox").iterdir()) == []
    with opened(quick_folder / "store.db") as store:
        store.configs.create("openai", name="gpt")


@pytest.mark.parametrize("step", STEPS)
def test_no_statement_that_fails_loses_or_doubles_an_edit(step: int, quick_folder: Path) -> None:
    edits = unopened = 0
    failed: set[str] = set()
    places = range(1, LAST + 1, step)
    for first in places:
        folder, disk = quick_folder / str(first), Disk(first, 1 + first % 5)
        with pytest.MonkeyPatch.context() as patch:
            below_sqlite(patch, disk)
            store = None
            while store is None:
                # Where it is full while the store is made, the next try finds no half of one.
                with contextlib.suppress(StoreError):
                    store = opened(folder / "store.db")
                unopened += store is None
            accepted, refused = edit_through(disk, folder, store)
            assert refused == []
        check(folder, accepted)
        edits += len(accepted)
        failed |= disk.failed
    assert {"BEGIN", "INSERT", "COMMIT"} <= failed
    print(f"SQLite: {len(places)} places, {edits} edits, {unopened} times not opened, 0 lost, 0 twice")
