"""Reprs: one cheap line of state, without an address, a secret, or a look at the disk."""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import orchstate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchstate.store import Store

KEY = "sk-proj-0123456789abcdef0123"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with orchstate.open(tmp_path / "store.db", secrets="memory") as store:
        gpt = store.configs.create("openai", name="gpt", model="gpt-y", temperature=0.5, api_key=KEY)
        store.configs.create("ollama", name="local")
        gpt.temperature = 0.7
        store.settings.agents.timeout = 5_000
        store.flush()
        yield store


def made_in_a_block_that_fails(store: Store) -> Any:
    """A config of a block that raised."""
    with pytest.raises(ZeroDivisionError), store.transaction():
        new = store.configs.create("openai", name="new", model="m")
        raise ZeroDivisionError
    return new


def deleted(store: Store) -> Any:
    """A config that is not there any more."""
    one = store.configs.create("openai", name="old", model="m")
    one.delete()
    return one


OBJECTS: dict[str, tuple[Callable[[Store], Any], str]] = {
    "store": (lambda store: store, r"<Store /.*store\.db: ready, 2 configs in memory>"),
    "configs": (lambda store: store.configs, r"<2 configs in memory: gpt, local>"),
    "config": (lambda store: store.configs["gpt"], r"<Config gpt: openai, gpt-y, temperature 0\.7>"),
    "config that is gone": (deleted, r"<Config old: openai, m, deleted>"),
    "config that never was": (
        made_in_a_block_that_fails,
        r"<Config new: openai, m, not saved>",
    ),
    "bare config": (lambda store: store.configs["local"], r"<Config local: ollama, no model>"),
    "selection": (lambda store: store.select(lambda store: len(store.configs)), r"<Selection 2>"),
    "secret in a selection": (
        lambda store: store.select(lambda store: store.configs["gpt"].api_key),
        r"<Selection SecretRef>",
    ),
    "settings": (lambda store: store.settings, r"<Settings agents\.timeout=5000>"),
    "section": (lambda store: store.settings.agents, r"<agents timeout=5000, retry_attempts=2>"),
    "secret": (lambda store: store.configs["gpt"].api_key, r"SecretRef\(memory: \*{8}\)"),
    "history": (lambda store: store.history, r"<History: 4 revisions>"),
    "past": (lambda store: store.at(1), r"<PastState at revision 1>"),
    "past configs": (lambda store: store.at(1).configs, r"<past configs: not read yet>"),
    "compacted": (
        lambda store: store.history.compact("9999-12-31", preview=True),
        r"<Compacted: would remove 1 of 4 revisions; all of revision 4 and later stays>",
    ),
    "past settings": (lambda store: store.at(1).settings.agents, r".*timeout=60000.*"),
    "preview": (
        lambda store: store.at(1).restore("gpt", preview=True),
        r"<Preview gpt\.temperature as of revision 1>",
    ),
    "pinned": (
        lambda store: store.resolve(store.configs["gpt"]),
        r"<PinnedConfig gpt at revision \d: openai, gpt-y, temperature 0\.7>",
    ),
    "receipt": (
        lambda store: store.configs["gpt"].update(seed=1).wait(),
        r"<Receipt committed as revision 3>",
    ),
    "new receipt": (lambda store: store.configs["gpt"].update(seed=2), r"<Receipt (accepted|committed.*)>"),
    "undone": (lambda store: store.undo(), r"<Undone settings\.agents\.timeout>"),
    "nothing redone": (lambda store: store.redo(), r"<Redone nothing>"),
    "stats": (lambda store: store.stats(), r"<Stats \d+ edits, \d+ pending, seq \d+>"),
    "validation": (lambda store: store.configs["gpt"].validation, r"Validation\(ready=True, issues=\(\)\)"),
    "engine": (lambda store: store._engine, r"<SqliteEngine /.*: (wal|truncate)>"),
    "providers": (lambda store: store.providers, r"<Registry: .*openai.*>"),
    "secrets": (lambda store: store.secrets, r"<Secrets memory>"),
}


@pytest.mark.parametrize(("make", "expected"), OBJECTS.values(), ids=OBJECTS)
def test_a_repr_is_one_line_of_state(make: Callable[[Store], Any], expected: str, store: Store) -> None:
    thing = make(store)
    text = repr(thing)
    assert re.fullmatch(expected, text), text
    assert "0x" not in text
    assert KEY not in text


def test_no_repr_reads_the_disk(store: Store) -> None:
    things = [
        make(store) for name, (make, _) in OBJECTS.items() if "undone" not in name and "receipt" not in name
    ]
    assert store.path is not None
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        # Whoever reads the file now waits for seconds, and raises then.
        other.execute("BEGIN EXCLUSIVE")
        start = time.perf_counter()
        for thing in things:
            repr(thing)
        assert time.perf_counter() - start < 4


def test_a_large_store_has_a_short_repr(tmp_path: Path) -> None:
    with orchstate.open(tmp_path / "store.db") as store:
        with store.transaction():
            for number in range(1000):
                store.configs.create("openai", name=f"config {number:04}")
        list(store.configs)
        texts = [repr(store), repr(store.configs)]
        assert texts[1].startswith("<1000 configs: config 0000, config 0001,")
        assert all(len(text) < 300 for text in texts)


def test_a_config_with_a_faulty_value_has_a_repr(store: Store) -> None:
    gpt = store.configs["gpt"]
    faulty = gpt.document().model_copy(update={"temperature": "hot"})
    gpt.show(faulty)
    assert repr(gpt) == "<Config gpt: openai, gpt-y, temperature hot>"


def test_reprs_outlive_the_store(store: Store) -> None:
    things = [
        store,
        store.configs,
        store.configs["gpt"],
        store.settings,
        store.settings.agents,
        store.history,
    ]
    store.configs["local"].delete()
    store.close()
    assert all("\n" not in repr(thing) for thing in things)
    assert repr(store).endswith("closed>")


def test_events_show_what_they_are(store: Store) -> None:
    heard: list[orchstate.Event] = []
    store.subscribe(heard.append, orchstate.Updated)
    store.configs["gpt"].seed = 7
    store.flush()
    assert repr(heard[0]).startswith("Updated(kind='config', ")
    assert "'seed': (None, 7)" in repr(heard[0])


def test_a_past_collection_names_what_it_has_read(store: Store) -> None:
    past = store.at(2).configs
    assert list(past) == ["gpt", "local"]
    assert repr(past) == "<2 past configs: gpt, local>"
