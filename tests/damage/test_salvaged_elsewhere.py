"""A salvage by one process as another one meets it, which has the store open."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import pytest

from orchstate.kinds import kinds_of
from orchstate.models.intent import Intent, Operation, Origin
from orchstate.providers.registry import Registry
from orchstate.state.decide import decider
from orchstate.storage.sqlite import SqliteEngine
from tests.damage.harming import HISTORY, ROW, harm, overwrite

if TYPE_CHECKING:
    from pathlib import Path

    from orchstate.store import Store


def test_another_process_follows_to_the_salvaged_file(store: Store, path: Path) -> None:
    from testbed.kernel import Kernel

    with Kernel(f"import orchstate; other = orchstate.open({str(path)!r}, secrets='memory')") as kernel:
        assert kernel("other.configs['one'].seed") == 2
        store._engine._close_connections(0)
        overwrite(path, "rev_id")
        store.refresh()
        store.configs["one"].seed = 8
        store.flush()
        kernel("other.configs['two'].seed = 9; other.flush()")
        assert kernel("other.refresh(); other.configs['one'].seed") == 8
    store.refresh()
    assert (store.configs["two"].seed, store._engine.check()) == (9, [])


def edit(engine: SqliteEngine, id: str, n: int, **values: object) -> None:
    """Commit an edit as another process."""
    operation = Operation("update", "config", id, "", values, base=engine.seq())
    intent = Intent(n, f"other-{n}", 1, Origin("other"), (operation,))
    engine.commit("other", [intent], decider(kinds_of(Registry())))


def edit_one(store: Store) -> None:
    store.configs["one"].seed = 5
    store.flush()


@pytest.mark.parametrize("is_refreshed", [True, False])
def test_what_another_process_could_not_save_is_said_and_what_it_saved_is_shown(
    is_refreshed: bool, store: Store, path: Path
) -> None:
    two, seen = store.configs["two"], []
    two.observe(lambda change: seen.append(change.new), "seed")
    # Held, so that the writer does not look by itself.
    with store._engine._write_mutex:
        harm(path, ROW, HISTORY)
        with contextlib.closing(SqliteEngine(path)) as other:
            other.salvage()
        if is_refreshed:
            store.refresh()
    edit_one(store)
    assert (two.seed, two.revision, seen, two.sync_state) == (1, 1, [1], "saved")
    assert store.status == "degraded" and store.error.ids == (two.id,)
    assert re.search(
        r"another process saved .* kept as 'store\.db\.damaged-.* change 4 is lost", str(store.error)
    )
    store.refresh()
    assert (store.status, store.error, two.seed) == ("ready", None, 1)


def test_an_edit_that_waits_stays_on_top_of_what_another_process_saved(store: Store, path: Path) -> None:
    two = store.configs["two"]
    with store._engine._write_mutex:
        two.temperature = 0.5
        harm(path, ROW, HISTORY)
        with contextlib.closing(SqliteEngine(path)) as other:
            other.salvage()
            edit(other, two.id, 1, top_p=0.3)
    store.flush()
    assert (two.seed, two.temperature, two.top_p, two.revision) == (1, 0.5, 0.3, 3)


@pytest.mark.parametrize("is_deaf", [False, True], ids=["heard", "its history is damaged as well"])
def test_a_revision_whose_number_is_given_again_is_not_taken_for_the_lost_one(
    is_deaf: bool, store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = store.configs["two"]
    # As if what was saved was not looked at.
    monkeypatch.setattr(store._engine, "known_anew", list)
    with store._engine._write_mutex, contextlib.closing(SqliteEngine(path)) as other:
        harm(path, ROW, HISTORY)
        other.salvage()
        edit(other, two.id, 1, seed=9)
        if is_deaf:
            harm(path, "UPDATE rev SET body = 'x' WHERE seq = 7")
    edit_one(store)
    assert two.seed == (2 if is_deaf else 9)
    two.temperature = 0.5
    store.flush()
    assert (two.seed, two.temperature, two.revision) == (9, 0.5, 3)
