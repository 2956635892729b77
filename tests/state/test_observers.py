"""Observers: told of what changed, once, in order, in the owner's thread, whoever raises."""

from __future__ import annotations

import asyncio
import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import traitlets
from contract.notes import ME
from testbed.observing import changes_of, wait_until

from orchstate.models.intent import Intent, Operation
from orchstate.state.delivery import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.kernel import Kernel

    from orchstate.config import Config
    from orchstate.store import Store


def test_an_observer_is_told_of_its_field_alone(gpt: Config) -> None:
    heard = changes_of(gpt, "temperature")
    gpt.update(temperature=0.5, model="gpt-z")
    assert heard == [("temperature", 0.2, 0.5, "edit")]


def test_an_observer_of_everything_is_told_of_everything_that_changed(gpt: Config) -> None:
    heard = changes_of(gpt)
    gpt.update(temperature=0.5, model="gpt-z")
    names = {name for name, *_ in heard}
    assert names == {"temperature", "model", "updated_at", "sync_state"}


def test_an_observer_sees_the_whole_edit_done(gpt: Config) -> None:
    seen: list[tuple[Any, Any]] = []
    gpt.observe(lambda change: seen.append((gpt.temperature, gpt.model)), ["temperature", "model"])
    gpt.update(temperature=0.5, model="gpt-z")
    assert seen == [(0.5, "gpt-z")] * 2


def test_nothing_is_told_where_nothing_changed(gpt: Config) -> None:
    heard = changes_of(gpt)
    gpt.temperature = 0.2
    gpt.update()
    assert heard == []


def test_whoever_begins_late_is_not_told_of_the_past(store: Store, gpt: Config) -> None:
    gpt.temperature = 0.5
    heard = changes_of(gpt, "temperature", "validation", "revision")
    store.flush()
    gpt.model = "gpt-z"
    store.flush()
    assert heard == [("revision", 1, 2, "edit"), ("revision", 2, 3, "edit")]


def test_a_raising_observer_does_not_stop_the_others(gpt: Config, caplog: pytest.LogCaptureFixture) -> None:
    def fail(change: Any) -> None:
        raise ZeroDivisionError

    gpt.observe(fail, "temperature")
    heard = changes_of(gpt, "temperature")
    gpt.temperature = 0.5
    assert (gpt.temperature, len(heard)) == (0.5, 1)
    assert "An observer of Config.temperature raised; the others go on" in caplog.text


def test_a_raising_observer_of_the_store_does_not_stop_the_others(
    store: Store, gpt: Config, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(change: Any) -> None:
        raise ZeroDivisionError

    heard: list[Any] = []
    store.observe(fail, "active")
    store.observe(lambda change: heard.append((change.old, change.new)), "active")
    store.active = gpt
    assert heard == [(None, gpt)]
    assert "An observer of Store.active raised" in caplog.text


def test_an_edit_by_an_observer_is_told_after_the_first_one(gpt: Config) -> None:
    heard: list[tuple[str, Any]] = []

    def follow(change: Any) -> None:
        gpt.max_tokens = int(change.new * 100)
        heard.append(("first", gpt.max_tokens))

    gpt.observe(follow, "temperature")
    gpt.observe(lambda change: heard.append(("temperature", change.new)), "temperature")
    gpt.observe(lambda change: heard.append(("max_tokens", change.new)), "max_tokens")
    gpt.temperature = 0.5
    assert heard == [("first", 50), ("temperature", 0.5), ("max_tokens", 50)]


def test_all_observers_see_re_entrant_changes_in_one_order(gpt: Config) -> None:
    def chain(change: Any) -> None:
        if change.new < 5:
            gpt.seed = change.new + 1

    gpt.observe(chain, "seed")
    late = changes_of(gpt, "seed")
    gpt.seed = 0
    assert [(old, new) for _, old, new, _ in late] == [(None, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]


def test_a_value_that_an_observer_sets_back_is_told_there_and_back(store: Store, gpt: Config) -> None:
    def set_back(change: Any) -> None:
        gpt.temperature = 0.2

    early = changes_of(gpt, "temperature")
    gpt.observe(set_back, "temperature")
    late, events = changes_of(gpt, "temperature"), []
    store.subscribe(lambda event: events.append(event.changes["temperature"]))
    gpt.temperature = 0.9
    store.flush()
    assert early == late == [("temperature", 0.2, 0.9, "edit"), ("temperature", 0.9, 0.2, "edit")]
    assert events == [(0.2, 0.9), (0.9, 0.2)]


def test_one_and_true_are_two_values(store: Store, gpt: Config) -> None:
    """To traitlets they are one; what others have stored may be either, whatever the field takes."""
    gpt.seed = 1
    store.flush()
    heard = changes_of(gpt, "seed")
    for n, (seen, value) in enumerate([(1, True), (True, 1), (1, 1)], 1):
        change = Operation("update", "config", gpt.id, "gpt", {"seed": value}, seen={"seed": seen}, base=99)
        store._engine.commit(
            "elsewhere", [Intent(n, f"t{n}", n, ME, (change,))], store._state._writer._decide
        )
        store.refresh()
    assert [(old, new) for _, old, new, _ in heard] == [(1, True), (True, 1)]
    assert [type(new) for _, _, new, _ in heard] == [bool, int]


def flushing(store: Store, gpt: Config) -> None:
    store.flush()


def undoing(store: Store, gpt: Config) -> None:
    store.undo()


def deleting(store: Store, gpt: Config) -> None:
    gpt.delete().wait()


def leaving(store: Store, gpt: Config) -> None:
    gpt.unobserve_all()


def failing(store: Store, gpt: Config) -> None:
    with store.transaction():
        gpt.seed = 4
        raise ZeroDivisionError


def grouping(store: Store, gpt: Config) -> None:
    with store.transaction():
        gpt.seed = 4
        gpt.temperature = 0.9


@pytest.mark.parametrize(
    ("act", "then"),
    [
        (flushing, []),
        (undoing, [("temperature", 0.5, 0.2)]),
        (deleting, []),
        (leaving, []),
        (failing, []),
        (grouping, [("temperature", 0.5, 0.9), ("seed", None, 4)]),
    ],
)
def test_whatever_an_observer_does_the_others_are_told_in_order(
    act: Callable[[Store, Config], None], then: list[Any], disk: Store
) -> None:
    gpt, left = disk.configs["gpt"], [act]
    gpt.observe(lambda change: [left.pop()(disk, gpt) for _ in left[:]], "temperature")
    heard = changes_of(gpt, "temperature", "seed")
    gpt.temperature = 0.5
    assert [change[:3] for change in heard] == [("temperature", 0.2, 0.5), *then]
    disk.flush()
    assert (disk.status, disk.error) == ("ready", None)


def test_observers_that_never_agree_come_to_an_end(gpt: Config, caplog: pytest.LogCaptureFixture) -> None:
    def disagree(change: Any) -> None:
        gpt.temperature = 1.5 if change.new == 0.5 else 0.5

    heard: list[float] = []
    gpt.observe(lambda change: heard.append(change.new), "temperature")
    gpt.observe(disagree, "temperature")
    gpt.temperature = 1.5
    assert 50 <= len(heard) <= 52
    assert "Observers edit what they observe, round and round" in caplog.text
    assert "LimitExceededError" in caplog.text
    gpt.unobserve_all()
    assert gpt.temperature == heard[-1]
    gpt.temperature = 0.25
    assert gpt.temperature == 0.25


def test_a_chain_of_observers_is_no_circle(store: Store) -> None:
    chain = [store.configs.create("openai", name=f"c{number}", temperature=0.0) for number in range(300)]
    for one, next in pairwise(chain):
        one.observe(lambda change, next=next: setattr(next, "temperature", change.new), "temperature")
    for number in range(3):
        chain[0].temperature = 1 + number / 10
    assert chain[-1].temperature == 1.2


def test_traits_can_be_linked_with_a_widget(gpt: Config) -> None:
    class Slider(traitlets.HasTraits):
        value = traitlets.Any()

    slider = Slider()
    link = traitlets.link((gpt, "temperature"), (slider, "value"))
    assert slider.value == 0.2
    slider.value = 0.9
    assert gpt.temperature == 0.9
    gpt.temperature = 1.1
    assert slider.value == 1.1
    link.unlink()
    gpt.temperature = 0.1
    assert slider.value == 1.1


def test_unobserving_ends_it(gpt: Config) -> None:
    heard = changes_of(gpt, "temperature")
    gpt.unobserve_all()
    gpt.temperature = 0.5
    assert heard == []


def test_revision_and_sync_state_follow(disk: Store, held: Callable[[], None]) -> None:
    gpt = disk.configs["gpt"]
    heard = changes_of(gpt, "sync_state", "revision")
    gpt.temperature = 0.5
    assert (gpt.sync_state, gpt.revision, disk.status, disk.pending) == ("saving", 1, "saving", 1)
    held()
    disk.flush()
    assert (gpt.sync_state, gpt.revision, disk.status, disk.pending) == ("saved", 2, "ready", 0)
    assert [(name, new) for name, _, new, _ in heard] == [
        ("sync_state", "saving"),
        ("revision", 2),
        ("sync_state", "saved"),
    ]


def test_validation_is_told_when_it_changes(store: Store) -> None:
    config = store.configs.create("openai_compatible", name="a")
    heard: list[bool] = []
    config.observe(lambda change: heard.append(change.new.ready), "validation")
    config.temperature = 0.5
    assert heard == []
    config.base_url = "http://127.0.0.1:1/v1"
    assert config.validation.ready
    assert heard == [True]


def test_a_document_that_comes_back_tells_what_is_different_now(store: Store, gpt: Config) -> None:
    gpt.api_key = "sk-proj-0123456789abcdef0123"
    heard = changes_of(gpt, "api_key", "temperature")
    gpt.delete()
    store.undo()
    assert [name for name, *_ in heard] == ["api_key"]
    assert not gpt.api_key.is_set


# -- threads --------------------------------------------------------------------------------


def test_an_edit_from_a_worker_is_told_in_the_owners_thread(disk: Store) -> None:
    gpt = disk.configs["gpt"]
    threads: list[int] = []
    gpt.observe(lambda change: threads.append(threading.get_ident()), "temperature")
    worker = threading.Thread(target=lambda: gpt.update(temperature=0.5))
    worker.start()
    worker.join()
    assert threads == []
    assert gpt.temperature == 0.5
    assert threads == [threading.get_ident()]


def test_an_edit_from_a_worker_is_told_on_the_running_loop(disk: Store) -> None:
    async def work() -> list[int]:
        gpt, threads = disk.configs["gpt"], []
        told = asyncio.Event()

        def hear(change: Any) -> None:
            threads.append(threading.get_ident())
            told.set()

        gpt.observe(hear, "temperature")
        await asyncio.to_thread(gpt.update, temperature=0.5)
        await asyncio.wait_for(told.wait(), 10)
        return threads

    assert asyncio.run(work()) == [threading.get_ident()]


def test_what_a_worker_reads_is_the_present(disk: Store) -> None:
    gpt, seen = disk.configs["gpt"], []
    gpt.temperature = 0.5
    worker = threading.Thread(target=lambda: seen.append((gpt.temperature, disk.configs["gpt"] is gpt)))
    worker.start()
    worker.join()
    assert seen == [(0.5, True)]


def test_many_threads_edit_and_read_without_a_torn_moment(disk: Store) -> None:
    gpt = disk.configs["gpt"]
    failures: list[BaseException] = []
    stop = threading.Event()

    def guarded(work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                while not stop.is_set():
                    work()
            except BaseException as error:
                failures.append(error)

        return threading.Thread(target=run)

    def read() -> None:
        # What both providers have, and what only one of them has.
        assert gpt.temperature is not None
        assert getattr(gpt, "organization", None) in (None, "o")
        assert getattr(gpt, "keep_alive", None) in (None, "5m")
        assert gpt.to_dict()["provider"] in ("openai", "ollama")

    def move() -> None:
        gpt.update(provider="ollama", temperature=0.5, keep_alive="5m")
        gpt.update(provider="openai", temperature=0.5, organization="o")

    threads = [guarded(read), guarded(read), guarded(move)]
    for thread in threads:
        thread.start()
    stop.wait(1.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    disk.flush()


def test_the_next_to_come_owns_a_store_whose_thread_has_ended(tmp_path: Any) -> None:
    import orchstate

    opened: list[Store] = []
    worker = threading.Thread(target=lambda: opened.append(orchstate.open(tmp_path / "store.db")))
    worker.start()
    worker.join()
    with opened[0] as store:
        gpt = store.configs.create("openai", name="gpt")
        heard = changes_of(gpt, "temperature")
        gpt.temperature = 0.5
        assert len(heard) == 1


# -- from elsewhere -------------------------------------------------------------------------


def test_a_change_elsewhere_is_told_at_the_next_access(disk: Store, other: Kernel) -> None:
    gpt = disk.configs["gpt"]
    heard = changes_of(gpt, "temperature")
    other("gpt.temperature = 0.9; store.flush()")
    wait_until(lambda: gpt.temperature == 0.9)
    assert heard == [("temperature", 0.2, 0.9, "external")]


def test_a_change_elsewhere_is_told_by_a_loop_that_only_sleeps(disk: Store, other: Kernel) -> None:
    async def idle() -> float:
        # The store was opened before there was a loop.
        gpt, told = disk.configs["gpt"], asyncio.Event()
        gpt.observe(lambda change: told.set(), "temperature")
        await asyncio.to_thread(other, "gpt.temperature = 0.9; store.flush()")
        start = asyncio.get_running_loop().time()
        await asyncio.wait_for(told.wait(), 10)
        return (asyncio.get_running_loop().time() - start) * 1000

    late_ms = asyncio.run(idle())
    print(f"told {late_ms:.1f} ms after the other process had flushed")


def test_what_arrives_while_no_loop_runs_is_delivered_by_the_next_one() -> None:
    caught_up: list[str] = []
    delivery = Delivery(lambda: caught_up.append("caught up"))

    async def serve() -> int:
        delivery.attach()
        await asyncio.sleep(0.01)
        return len(caught_up)

    assert asyncio.run(serve()) == 1
    # The loop is closed: this wakes nobody.
    delivery.wake()
    assert asyncio.run(serve()) == 2


def test_a_loop_that_was_woken_and_never_ran_again_keeps_no_other_from_being_woken() -> None:
    caught_up: list[str] = []
    delivery = Delivery(lambda: caught_up.append("woken"))

    async def attach() -> None:
        delivery.attach()
        await asyncio.sleep(0)

    stopped = asyncio.new_event_loop()
    stopped.run_until_complete(attach())
    delivery.wake()

    async def serve() -> None:
        delivery.attach()
        await asyncio.sleep(0.01)
        caught_up.clear()
        delivery.wake()
        await asyncio.sleep(0.01)

    asyncio.run(serve())
    stopped.close()
    assert caught_up == ["woken"]


def test_one_loop_after_another_is_served(disk: Store, other: Kernel) -> None:
    gpt = disk.configs["gpt"]
    heard = changes_of(gpt, "temperature")

    async def idle(count: int) -> None:
        disk.configs["gpt"].observe(lambda change: None, "seed")
        while len(heard) < count:
            await asyncio.sleep(0.002)

    for count in (1, 2, 3):
        other(f"gpt.temperature = {count / 10 + 1}; store.flush()")
        asyncio.run(asyncio.wait_for(idle(count), 10))
    assert [new for _, _, new, _ in heard] == [1.1, 1.2, 1.3]


def test_a_change_elsewhere_arrives_in_the_midst_of_a_cell_but_not_of_a_block(
    disk: Store, other: Kernel
) -> None:
    gpt = disk.configs["gpt"]
    with disk.transaction():
        other("gpt.temperature = 0.9; store.flush()")
        disk._state._writer.refresh(10)
        assert gpt.temperature == 0.2
    wait_until(lambda: gpt.temperature == 0.9)


def test_an_observer_sees_no_later_change_than_its_own(disk: Store, other: Kernel) -> None:
    gpt, seen = disk.configs["gpt"], []

    def hear(change: Any) -> None:
        other("gpt.temperature = 0.9; store.flush()")
        disk._state._writer.refresh(10)
        seen.append(gpt.temperature)

    gpt.observe(hear, "seed")
    gpt.seed = 1
    assert seen == [0.2]
    wait_until(lambda: gpt.temperature == 0.9)


def test_documents_made_and_deleted_elsewhere_appear_and_go(disk: Store, other: Kernel) -> None:
    assert list(disk.configs) == ["gpt"]
    other("new = store.configs.create('ollama', name='new', num_ctx=5); store.flush()")
    disk.refresh()
    assert (list(disk.configs), disk.configs["new"].num_ctx) == (["gpt", "new"], 5)
    new = disk.configs["new"]
    other("new.name = 'renamed'; store.flush()")
    disk.refresh()
    assert (list(disk.configs), disk.configs["renamed"] is new) == (["gpt", "renamed"], True)
    other("new.delete(); store.flush()")
    disk.refresh()
    assert list(disk.configs) == ["gpt"]


def test_a_change_of_provider_elsewhere_changes_the_fields(disk: Store, other: Kernel) -> None:
    gpt = disk.configs["gpt"]
    other("gpt.update(provider='ollama', num_ctx=4096); store.flush()")
    disk.refresh()
    assert (gpt.provider, gpt.num_ctx, hasattr(gpt, "organization")) == ("ollama", 4096, False)
    assert disk.configs["gpt"] is gpt
