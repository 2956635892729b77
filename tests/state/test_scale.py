"""A store with very many configs does what a small one does, and reads no more than it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import orchstate
from benchmarks.filling import fill

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [3_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_a_store_of_many_configs_is_opened_searched_edited_and_listed(count: int, tmp_path: Path) -> None:
    path, middle = tmp_path / "store.db", f"config {count // 2}"
    fill(path, count)
    with orchstate.open(path, secrets="memory") as store:
        config = store.configs[middle]
        assert config.max_tokens == 1000 + count // 2
        config.update(temperature=0.25)
        new = store.configs.create("openai", name="new")
        store.configs["config 0"].delete()
        assert "nobody" not in store.configs
        store.flush()
        # So far only what was asked for is in memory.
        assert [entry.name for entry in store._state.view.loaded("config")] == [middle, "new"]
        names = list(store.configs)
        assert (len(names), names[0], names[-1]) == (count, "config 1", "new")
        assert store.configs[middle] is config
        assert store.configs.filter(temperature=0.25) == [config]
        store.undo()
        assert (store.configs["config 0"].temperature, len(store.configs)) == (0.5, count + 1)
        new.name = "renamed"
        store.flush()
        assert (store.status, len(store.at(count).configs), len(store.configs)) == ("ready", count, count + 1)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("revisions", [3_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_any_moment_of_a_long_history_is_exact(revisions: int, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    fill(path, 20, revisions)
    with orchstate.open(path, secrets="memory") as store:
        changes = store.history.changes("config 7", field="temperature")
        assert len(store.history) == revisions
        for seq in (20, 27, 28, revisions // 2, revisions):
            then = changes.loc[:seq]["new"].tolist()[-1]
            assert store.at(seq).configs["config 7"].at("temperature") == then
