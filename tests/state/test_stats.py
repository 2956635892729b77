"""Figures: what a process has done on a store, counted once."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from testbed.observing import wait_until

import orchstate
from orchstate.errors import FlushError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.kernel import Kernel

    from orchstate.config import Config
    from orchstate.store import Store


def test_edits_are_counted_with_their_outcomes(store: Store, gpt: Config) -> None:
    with store.transaction():
        gpt.temperature = 0.5
        store.configs.create("openai", name="new")
    store.undo()
    store.flush()
    stats = store.stats()
    assert (stats.accepted, stats.committed, stats.pending, stats.seq) == (3, 3, 0, 5)
    assert (stats.merged, stats.conflicts, stats.rejected, stats.failures) == (0, 0, 0, 0)
    assert (stats.file_bytes, stats.outbox_bytes, stats.journal_mode) == (0, 0, "memory")


def test_what_is_on_its_way_is_pending(disk: Store, held: Callable[[], None]) -> None:
    for number in range(5):
        disk.configs["gpt"].temperature = number / 10
    assert (disk.stats().accepted, disk.stats().pending) == (6, 5)
    before = disk.stats().commits
    held()
    disk.flush()
    stats = disk.stats()
    assert (stats.pending, stats.committed) == (0, 6)
    assert stats.commits <= before + 2
    assert stats.largest_batch >= 4


def test_what_others_did_is_counted_apart(disk: Store, other: Kernel) -> None:
    other("for n in range(20): gpt.temperature = n / 20\nstore.flush()")
    wait_until(lambda: disk.stats().foreign_revisions == 20)
    assert (disk.stats().accepted, disk.stats().committed) == (1, 1)


def test_a_merge_and_a_conflict_are_outcomes(disk: Store, other: Kernel, held: Callable[[], None]) -> None:
    disk.configs["gpt"].model = "gpt-z"
    disk.configs.create("openai", name="new")
    other("gpt.temperature = 0.7; x = store.configs.create('openai', name='NEW'); n = store.flush()")
    held()
    disk.flush()
    stats = disk.stats()
    assert (stats.committed, stats.merged, stats.conflicts) == (1, 1, 1)
    assert repr(stats).startswith("<Stats 3 edits, 0 pending, 1 conflicts, seq ")


def test_sizes_and_times_have_their_units(disk: Store) -> None:
    stats = disk.stats()
    assert disk.path is not None
    assert stats.file_bytes >= disk.path.stat().st_size > 0
    assert stats.outbox_bytes > 0
    assert stats.journal_mode == disk._engine.journal_mode
    assert stats.last_commit is not None
    assert timedelta(0) <= datetime.now(UTC) - stats.last_commit < timedelta(minutes=5)


def test_turns_that_fail_are_counted(disk: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise StoreError("The disk is away.")

    monkeypatch.setattr(disk._engine, "commit", fail)
    disk.configs["gpt"].temperature = 0.5
    with pytest.raises(FlushError, match="The disk is away"):
        disk.flush()
    assert disk.stats().failures >= 3
    monkeypatch.undo()
    disk.flush()


def test_selections_and_loads_are_counted(disk: Store) -> None:
    assert disk.path is not None
    before = disk.stats()
    selection = disk.select(lambda store: store.configs["gpt"].temperature)
    disk.configs["gpt"].temperature = 0.5
    stats = disk.stats()
    assert (stats.selections, stats.selector_runs) == (1, 2)
    assert stats.loads == before.loads
    assert "nothing" not in disk.configs
    assert disk.stats().loads == before.loads + 1
    selection.close()
    assert disk.stats().selections == 0


def test_figures_are_shown_as_text_and_as_html() -> None:
    with orchstate.open(":memory:") as store:
        stats = store.stats()
        assert repr(stats) == "<Stats 0 edits, 0 pending, seq 0>"
        names = [field.name for field in dataclasses.fields(stats)]
        assert list(stats.to_dict()) == names
        for text in (str(stats), stats._repr_html_()):
            assert all(name in text for name in names)
        assert "never" in str(stats)
