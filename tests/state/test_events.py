"""Events: what was committed, by whomever, in the order of the seqs."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING

import pytest

import orchstate
from orchstate import ActiveChanged, Created, Deleted, Event, SettingChanged, Updated

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.kernel import Kernel

    from orchstate.config import Config
    from orchstate.store import Store


def heard_by(store: Store, *event: type[Event]) -> list[Event]:
    heard: list[Event] = []
    store.subscribe(heard.append, *event)
    return heard


def test_every_revision_is_one_event(store: Store) -> None:
    heard = heard_by(store)
    gpt = store.configs.create("openai", name="gpt")
    gpt.temperature = 0.5
    store.active = gpt
    store.settings.agents.timeout = 5_000
    gpt.delete()
    store.flush()
    assert [(type(event), event.kind, event.seq) for event in heard] == [
        (Created, "config", 1),
        (Updated, "config", 2),
        (ActiveChanged, "profile", 3),
        (SettingChanged, "settings", 4),
        (Deleted, "config", 5),
    ]


def test_an_event_names_what_changed_and_nothing_else(store: Store, gpt: Config) -> None:
    heard = heard_by(store)
    gpt.update(temperature=0.5, model="gpt-y", tags=["a"])
    store.flush()
    (event,) = heard
    assert event.changes == {"temperature": (0.2, 0.5), "tags": ([], ["a"])}
    assert (event.id, event.name, event.external, event.cause) == (gpt.id, "gpt", False, "edit")


def test_a_deletion_says_what_was_lost(store: Store, gpt: Config) -> None:
    heard = heard_by(store, Deleted)
    gpt.delete()
    store.flush()
    assert heard[0].changes["temperature"] == (0.2, None)


def test_only_events_of_the_wanted_class_come(store: Store, gpt: Config) -> None:
    created, settings, all_of_them = (
        heard_by(store, Created),
        heard_by(store, SettingChanged),
        heard_by(store),
    )
    gpt.temperature = 0.5
    store.settings.agents.timeout = 5_000
    store.configs.create("ollama", name="o")
    store.flush()
    assert [event.name for event in created] == ["o"]
    assert [event.changes for event in settings] == [
        {"name": (None, "settings"), "agents.timeout": (60_000, 5_000)}
    ]
    assert [event.seq for event in all_of_them] == [2, 3, 4]


def test_events_come_when_committed_and_not_when_accepted(disk: Store, held: Callable[[], None]) -> None:
    heard = heard_by(disk)
    disk.configs["gpt"].temperature = 0.5
    assert heard == []
    held()
    disk.flush()
    assert [event.seq for event in heard] == [2]


def test_events_of_all_processes_come_in_the_order_of_the_seqs(disk: Store, other: Kernel) -> None:
    heard = heard_by(disk)
    for count in range(5):
        disk.configs["gpt"].seed = count
        other(f"gpt.max_tokens = {count + 1}; store.flush()")
    disk.flush()
    disk.refresh()
    assert [event.seq for event in heard] == list(range(2, 12))
    own = [event.external for event in heard if "seed" in event.changes]
    foreign = [(event.external, event.cause) for event in heard if "max_tokens" in event.changes]
    assert (own, foreign) == ([False] * 5, [(True, "external")] * 5)


def test_a_raising_listener_does_not_stop_the_others(
    store: Store, gpt: Config, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: Event) -> None:
        raise ZeroDivisionError

    store.subscribe(fail)
    heard = heard_by(store)
    gpt.temperature = 0.5
    store.flush()
    assert len(heard) == 1
    assert "An observer of the store raised; the others go on" in caplog.text


def test_unsubscribing_ends_it_even_for_what_is_on_its_way(store: Store, gpt: Config) -> None:
    heard: list[Event] = []

    def once(event: Event) -> None:
        heard.append(event)
        unsubscribe()

    unsubscribe = store.subscribe(once)
    with store.transaction():
        gpt.temperature = 0.5
        store.configs.create("ollama", name="o")
    store.flush()
    assert len(heard) == 1
    unsubscribe()


def test_one_listener_may_listen_twice(store: Store, gpt: Config) -> None:
    heard: list[Event] = []
    first, second = store.subscribe(heard.append), store.subscribe(heard.append)
    first()
    gpt.temperature = 0.5
    store.flush()
    assert len(heard) == 1
    second()


def test_listeners_run_in_the_owners_thread(disk: Store) -> None:
    threads: list[int] = []
    disk.subscribe(lambda event: threads.append(threading.get_ident()))
    worker = threading.Thread(target=lambda: disk.configs["gpt"].update(seed=1).wait(10))
    worker.start()
    worker.join()
    disk.flush()
    assert threads == [threading.get_ident()]


def test_events_are_frozen(store: Store) -> None:
    event = Updated("config", "1", "gpt", 5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.seq = 6  # type: ignore[misc]
    assert issubclass(orchstate.Updated, orchstate.Event)


def test_an_edit_by_a_listener_is_an_event_of_its_own(store: Store, gpt: Config) -> None:
    heard = heard_by(store)

    def follow(event: Event) -> None:
        if "temperature" in event.changes:
            gpt.seed = 1

    store.subscribe(follow)
    gpt.temperature = 0.5
    store.flush()
    store.flush()
    assert [list(event.changes) for event in heard] == [["temperature"], ["seed"]]
