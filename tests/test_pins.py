"""Pins: the revision that a stamp names is protected, and nobody sees anything of it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

import pytest
from test_adoption import killed_writer
from testbed.kernel import Kernel

import orchstate
from orchstate.errors import OrchstateError, StoreWriteError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchstate.config import Config
    from orchstate.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with orchstate.open(tmp_path / "store.db", secrets="memory") as store:
        yield store


@pytest.fixture
def gpt(store: Store) -> Config:
    return store.configs.create("openai", name="gpt", model="gpt-y", temperature=0.2)


def pins(store: Store) -> list[tuple[str, int]]:
    store.flush()
    return [(str(id), int(revision)) for id, revision in store._engine.query("SELECT * FROM pin ORDER BY 2")]


def test_a_stamp_is_pinned_when_it_is_handed_out(store: Store, gpt: Config) -> None:
    gpt.temperature = 0.5
    stamp = gpt.stamp()
    assert store._engine.query("SELECT * FROM pin") == [(stamp["config"], stamp["revision"])] == [(gpt.id, 2)]


def test_an_answer_is_pinned_even_if_there_is_none(store: Store, gpt: Config) -> None:
    gpt.update(api_key="sk-example", base_url="http://127.0.0.1:9/v1")
    store.settings.agents.retry_attempts = 0
    with contextlib.suppress(OrchstateError):
        gpt.ask("Hello?")
    gpt.temperature = 0.5
    with contextlib.suppress(OrchstateError):
        asyncio.run(gpt.aask("Hello?"))
    assert pins(store) == [(gpt.id, 2), (gpt.id, 3)]


def test_what_hands_out_no_stamp_pins_nothing(store: Store, gpt: Config) -> None:
    gpt.update(api_key="sk-example", base_url="http://127.0.0.1:9/v1")
    assert not gpt.check().ok
    assert len(gpt.fingerprint) == 64
    assert pins(store) == []


def test_a_pin_is_seen_nowhere(store: Store, gpt: Config) -> None:
    store.flush()
    events: list[object] = []
    store.subscribe(events.append)
    gpt.stamp()
    assert (store.flush(), len(store.history.revisions("gpt")), gpt.revision, events) == (1, 1, 1, [])
    assert repr(store.undo()) == "<Undone gpt>"
    assert not store.can_undo


def test_a_revision_is_pinned_once(store: Store, gpt: Config) -> None:
    store.flush()
    for _ in range(5):
        gpt.stamp()
    assert store._state.n == 2
    assert pins(store) == [(gpt.id, 1)]


def test_a_pin_is_no_part_of_the_block_in_which_it_is_made(store: Store, gpt: Config) -> None:
    store.flush()
    with contextlib.suppress(RuntimeError), store.transaction():
        store.configs.create("ollama", name="o")
        gpt.stamp()
        raise RuntimeError
    assert list(store.configs) == ["gpt"]
    assert pins(store) == [(gpt.id, 1)]


def test_another_thread_may_pin(store: Store, gpt: Config) -> None:
    thread = threading.Thread(target=gpt.stamp)
    thread.start()
    thread.join()
    assert pins(store) == [(gpt.id, 1)]


def test_who_only_reads_gets_a_stamp_without_a_pin(store: Store, gpt: Config, tmp_path: Path) -> None:
    store.close()
    with orchstate.open(tmp_path / "store.db", read_only=True) as reader:
        assert reader.configs["gpt"].stamp()["revision"] == 1
        assert reader._engine.query("SELECT * FROM pin") == []


def test_a_stamp_is_handed_out_where_nothing_can_be_written(
    store: Store, gpt: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(payload: bytes) -> None:
        raise StoreWriteError("The edit was not accepted: No space left on device.")

    store.flush()
    with monkeypatch.context() as patch:
        patch.setattr(store._state._journal, "append", fail)
        assert gpt.stamp()["revision"] == 1
    assert "is not protected from compaction: The edit was not accepted" in caplog.text
    assert pins(store) == []
    gpt.stamp()
    assert pins(store) == [(gpt.id, 1)]


def test_a_pin_that_is_not_adopted_yet_protects_its_revision(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with orchstate.open(path) as store:
        gpt = store.configs.create("openai", name="gpt", model="gpt-y")
        store.flush()
        with Kernel(
            f"import orchstate; store = orchstate.open({str(path)!r}); gpt = store.configs['gpt']"
        ) as kernel:
            kernel("store._engine._write_mutex.acquire() and gpt.stamp()")
            gpt.temperature = 0.8
            kernel.kill()
        store.history.compact("9999-12-31")
    with orchstate.open(path) as store:
        assert pins(store) == [(gpt.id, 1)]
        assert store.history.revisions("gpt").index.tolist() == [1, 2]


def test_the_pins_of_a_killed_process_are_adopted(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    killed_writer(path, "gpt.stamp(); gpt.temperature = 0.5")
    with orchstate.open(path) as store:
        gpt = store.configs["gpt"]
        assert pins(store) == [(gpt.id, 1)]
        assert gpt.temperature == 0.5
        gpt.temperature = 0.6
        store.history.compact("9999-12-31")
        assert store.history.revisions("gpt").index.tolist() == [1, 3]
