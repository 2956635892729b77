"""The conflicts that a store's form shows because no form of a config does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from testbed.kernel import Kernel

from orchstate.opening import open
from orchstate.widgets.conflict_rows import SHOWN
from tests.widgets.tree import is_shown, shown, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchstate.store import Store
    from orchstate.widgets.store_form import StoreForm


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open(tmp_path / "store.db", secrets="memory") as store:
        store.settings.sync.conflict_resolution = "prompt"
        for count in range(SHOWN + 2):
            store.configs.create("openai", name=f"gpt {count}", temperature=0.2)
        store.flush()
        yield store


@pytest.fixture
def meet(store: Store) -> Callable[[Callable[[], object], str], None]:
    """A function that edits here, and lets another process be first."""

    def meet(here: Callable[[], object], there: str) -> None:
        setup = f"import orchstate; store = orchstate.open({str(store.path)!r}, secrets='memory')"
        with Kernel(setup) as other:
            with store._engine._write_mutex:
                here()
                other(f"{there}; store.flush()")
            store.flush()
            store.refresh()

    return meet


def form_of(store: Store) -> StoreForm:
    return cast("StoreForm", store.form())


def test_without_conflicts_there_is_nothing(store: Store) -> None:
    assert not is_shown(form_of(store).conflicts.box)


def test_what_was_deleted_elsewhere_is_shown_and_can_be_brought_back(store: Store, meet: Any) -> None:
    form = form_of(store)
    one = store.configs["gpt 1"]
    meet(lambda: one.update(temperature=0.9), "store.configs['gpt 1'].delete()")
    (row,) = form.conflicts.rows
    assert "Conflict about gpt 1: config 'gpt 1' was deleted meanwhile" in words(form.conflicts.box)
    assert "Conflict: gpt 1: config 'gpt 1' was deleted" in form.describe()
    row.ours.click()
    store.flush()
    assert store.configs["gpt 1"].temperature == 0.9
    assert not is_shown(form.conflicts.box)


def test_conflicts_about_settings_are_decided_there_too(store: Store, meet: Any) -> None:
    form = form_of(store)
    meet(lambda: setattr(store.settings.agents, "timeout", 7_000), "store.settings.agents.timeout = 9_000")
    (row,) = form.conflicts.rows
    assert (row.ours.description, row.theirs.description) == ("Use 7000", "Keep 9000")
    row.theirs.click()
    store.flush()
    assert (store.settings.agents.timeout, form.conflicts.rows) == (9_000, [])


def test_the_config_that_is_shown_tells_of_its_own(store: Store, meet: Any) -> None:
    form = form_of(store)
    first = store.configs["gpt 0"]
    form.choose(first)
    meet(lambda: first.update(temperature=0.9), "store.configs['gpt 0'].temperature = 1.5")
    assert form.conflicts.rows == []
    assert "was wanted here" in words(form.form.status.box) if form.form else False
    form.choose(store.configs["gpt 1"])
    assert len(form.conflicts.rows) == 1


def test_of_many_the_first_are_shown(store: Store, meet: Any) -> None:
    form = form_of(store)
    form._begin()
    count = len(store.configs)

    def here() -> None:
        for config in store.configs.values():
            config.temperature = 0.9

    meet(here, "[setattr(config, 'temperature', 1.5) for config in store.configs.values()]")
    assert len(store.conflicts) == count
    assert len(form.conflicts.rows) == SHOWN
    assert f"And {count - SHOWN} more in store.conflicts." in words(form.conflicts.box)
    store.conflicts.resolve("theirs")
    assert not is_shown(form.conflicts.box)


def test_what_cannot_be_stays_and_says_why(store: Store, meet: Any) -> None:
    form = form_of(store)
    form._begin()
    meet(lambda: setattr(store.configs["gpt 1"], "name", "new"), "store.configs.create('openai', name='new')")
    (row,) = form.conflicts.rows
    row.ours.click()
    assert "Not possible: There is a config 'new' already" in words(form.conflicts.box)
    assert {row.ours, row.theirs} <= set(shown(form.conflicts.box))
    row.theirs.click()
    assert not is_shown(form.conflicts.box)


def test_the_second_who_decides_is_told(store: Store, meet: Any) -> None:
    form = form_of(store)
    meet(lambda: store.configs["gpt 1"].update(temperature=0.9), "store.configs['gpt 1'].delete()")
    (row,) = form.conflicts.rows
    id = row.conflict.id
    with Kernel(f"import orchstate; store = orchstate.open({str(store.path)!r}, secrets='memory')") as other:
        other("store.conflicts[0].resolve('theirs'); store.flush()")
    # In the page it is there still, until the kernel has a moment.
    assert id in [one.id for one in form.conflicts.rows]
    row.ours.click()
    assert "Not possible: This conflict was resolved already" in words(form.conflicts.box)
    assert form.conflicts.rows == []


def test_who_may_only_read_decides_nothing(store: Store, meet: Any) -> None:
    path = store.path
    meet(lambda: store.configs["gpt 1"].update(temperature=0.9), "store.configs['gpt 1'].delete()")
    store.close()
    with open(cast("Path", path), read_only=True) as reader:
        (row,) = form_of(reader).conflicts.rows
        assert row.ours.disabled
        assert row.theirs.disabled
