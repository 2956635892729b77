"""Transactions: all or nothing, unseen from outside, one undo step, one revision per document."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest
from testbed.observing import changes_of

from orchstate.errors import DuplicateNameError, NotFoundError, StoreError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from testbed.kernel import Kernel

    from orchstate.config import Config
    from orchstate.store import Store


def ops(store: Store) -> list[tuple[int, str, str]]:
    """Every revision so far, as ``(seq, op, name)``."""
    store.flush()
    return [(rev.row.seq, rev.verb, rev.row.name) for rev in store._engine.changes_since(0)]


def test_a_block_is_one_revision_per_document_and_one_undo_step(store: Store, gpt: Config) -> None:
    with store.transaction("tuning"):
        gpt.temperature = 0.5
        gpt.model = "gpt-z"
        gpt.temperature = 0.6
        other = store.configs.create("ollama", name="o")
        other.num_ctx = 5
    assert ops(store) == [(1, "create", "gpt"), (2, "update", "gpt"), (3, "create", "o")]
    changes = store.history.changes(since=1)
    assert set(changes["label"]) == {"tuning"}
    assert changes["txn"].nunique() == 1
    assert changes[changes["field"] == "temperature"]["new"].tolist() == [0.6]
    assert repr(store.undo()) == "<Undone o, gpt.model, gpt.temperature of 'tuning'>"
    assert (list(store.configs), gpt.temperature, gpt.model) == (["gpt"], 0.2, "gpt-y")


def test_a_block_that_raises_did_nothing(store: Store, gpt: Config) -> None:
    heard, events = changes_of(gpt), []
    store.subscribe(events.append)
    with pytest.raises(ZeroDivisionError), store.transaction():
        gpt.temperature = 0.5
        store.configs.create("ollama", name="o")
        gpt.provider = "anthropic"
        raise ZeroDivisionError
    assert ops(store) == [(1, "create", "gpt")]
    assert (list(store.configs), gpt.temperature, gpt.provider) == (["gpt"], 0.2, "openai")
    assert (heard, events, store.pending) == ([], [], 0)
    assert [step.label for step in store._state._undo.done] == [""]


def test_inside_the_block_its_edits_are_seen(store: Store, gpt: Config) -> None:
    with store.transaction():
        gpt.name = "renamed"
        o = store.configs.create("ollama", name="o")
        assert (gpt.name, list(store.configs), "gpt" in store.configs) == ("renamed", ["renamed", "o"], False)
        assert store.configs["renamed"] is gpt
        assert store.configs["o"] is o
        o.delete()
        assert list(store.configs) == ["renamed"]
        assert gpt.to_dict()["name"] == "renamed"


def test_observers_are_told_once_and_at_the_end(store: Store, gpt: Config) -> None:
    heard = changes_of(gpt, "temperature", "model")
    with store.transaction():
        gpt.temperature = 0.5
        gpt.temperature = 0.6
        gpt.model = "gpt-z"
        assert heard == []
    assert heard == [("model", "gpt-y", "gpt-z", "edit"), ("temperature", 0.2, 0.6, "edit")]


def test_there_and_back_is_no_event_and_no_revision(store: Store, gpt: Config) -> None:
    heard, events = changes_of(gpt), []
    store.subscribe(events.append)
    with store.transaction():
        gpt.temperature = 0.9
        gpt.provider = "anthropic"
        gpt.provider = "openai"
        gpt.temperature = 0.2
        store.configs.create("ollama", name="o").delete()
        store.settings.agents.timeout = 5_000
        store.settings.agents.timeout = 60_000
    store.flush()
    assert (heard, events) == ([], [])
    assert ops(store) == [(1, "create", "gpt")]


def test_settings_of_a_new_store_that_go_there_and_back_and_there_are_made(store: Store) -> None:
    with store.transaction():
        for timeout in (5_000, 60_000, 5_000):
            store.settings.agents.timeout = timeout
    assert ops(store) == [(1, "create", "settings")]
    assert (store.settings.agents.timeout, store.error) == (5_000, None)


def test_a_block_goes_across_records_settings_and_the_active_config_in_one_round(
    store: Store, gpt: Config
) -> None:
    seen: list[tuple[Any, ...]] = []

    def look(change: Any) -> None:
        seen.append((change.name, gpt.temperature, store.settings.agents.timeout, store.active))

    gpt.observe(look, "temperature")
    store.settings.observe(look, "agents.timeout")
    store.observe(look, "active")
    with store.transaction():
        store.active = gpt
        store.settings.agents.timeout = 5_000
        store.settings.agents.timeout = 6_000
        gpt.temperature = 0.9
        assert seen == []
    done = (0.9, 6_000, gpt)
    assert sorted(seen) == [("active", *done), ("agents.timeout", *done), ("temperature", *done)]
    store.undo()
    back = (0.2, 60_000, None)
    assert sorted(seen[3:], key=str) == [("active", *back), ("agents.timeout", *back), ("temperature", *back)]


@pytest.mark.parametrize("level", range(4))
def test_a_block_that_raises_at_any_level_takes_back_what_is_inside_of_it(
    level: int, store: Store, gpt: Config
) -> None:
    def nest(depth: int) -> None:
        with store.transaction():
            gpt.update(tags=[*gpt.tags, f"level {depth}"])
            store.settings.agents.timeout = 5_000 + depth
            if depth < 3:
                with contextlib.suppress(ZeroDivisionError):
                    nest(depth + 1)
            if depth == level:
                raise ZeroDivisionError

    with contextlib.suppress(ZeroDivisionError):
        nest(0)
    assert gpt.tags == tuple(f"level {depth}" for depth in range(level))
    assert store.settings.agents.timeout == (4_999 + level if level else 60_000)
    assert len(ops(store)) == (3 if level else 1)


def test_holding_the_notifications_of_a_record_is_a_transaction(store: Store, gpt: Config) -> None:
    heard = changes_of(gpt, "temperature", "model")
    with pytest.raises(ValidationError), gpt.hold_trait_notifications():
        gpt.model = "gpt-z"
        gpt.temperature = 9.0
    assert (gpt.model, heard) == ("gpt-y", [])
    with gpt.hold_trait_notifications():
        gpt.model = "gpt-z"
        gpt.temperature = 0.9
        assert heard == []
    assert len(heard) == 2
    assert ops(store) == [(1, "create", "gpt"), (2, "update", "gpt")]


# -- nested ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [True, False])
def test_what_another_thread_edits_is_told_after_the_block(fails: bool, store: Store, gpt: Config) -> None:
    follower, tuned = (store.configs.create("openai", name=name) for name in ("follower", "tuned"))
    heard: list[Any] = []

    def follow(change: Any) -> None:
        heard.append(tuned.temperature)
        follower.temperature = change.new

    gpt.observe(follow, "temperature")
    with contextlib.suppress(RuntimeError), store.transaction():
        thread = threading.Thread(target=lambda: gpt.update(temperature=0.5))
        thread.start()
        thread.join()
        tuned.temperature = 1.5
        assert heard == []
        if fails:
            raise RuntimeError
    assert (follower.temperature, heard) == (0.5, [None if fails else 1.5])


def test_a_nested_block_joins_the_outer_one(store: Store, gpt: Config) -> None:
    with store.transaction("outer"):
        gpt.temperature = 0.5
        with store.transaction("inner"):
            gpt.model = "gpt-z"
    assert ops(store) == [(1, "create", "gpt"), (2, "update", "gpt")]
    assert set(store.history.changes(since=1)["label"]) == {"outer"}


def test_a_nested_block_that_raises_takes_back_its_own_part(store: Store, gpt: Config) -> None:
    with store.transaction():
        gpt.temperature = 0.5
        with pytest.raises(ZeroDivisionError), store.transaction():
            gpt.temperature = 0.9
            store.configs.create("ollama", name="o")
            raise ZeroDivisionError
        assert (gpt.temperature, list(store.configs)) == (0.5, ["gpt"])
        gpt.model = "gpt-z"
    assert (gpt.temperature, gpt.model, list(store.configs)) == (0.5, "gpt-z", ["gpt"])


def test_a_refused_edit_inside_a_block_can_be_caught(store: Store, gpt: Config) -> None:
    with store.transaction():
        gpt.temperature = 0.5
        with pytest.raises(ValidationError):
            gpt.temperature = 9.0
        assert gpt.temperature == 0.5
    assert gpt.temperature == 0.5


# -- names ----------------------------------------------------------------------------------


def test_names_are_exchanged_in_a_block(store: Store, gpt: Config) -> None:
    other = store.configs.create("ollama", name="other")
    with store.transaction():
        gpt.name, other.name = "other", "gpt"
    assert (store.configs["other"] is gpt, store.configs["gpt"] is other) == (True, True)
    store.flush()
    assert (gpt.sync_state, other.sync_state, store.error) == ("saved", "saved", None)
    store.undo()
    assert (gpt.name, other.name) == ("gpt", "other")
    store.flush()
    assert store.status == "ready"


def test_three_names_go_round(store: Store) -> None:
    configs = [store.configs.create("openai", name=name) for name in "abc"]
    with store.transaction():
        for config, name in zip(configs, "bca", strict=True):
            config.name = name
    store.flush()
    assert [config.name for config in configs] == ["b", "c", "a"]
    assert [store.configs[name] for name in "bca"] == configs


def test_a_name_that_is_taken_at_the_end_of_the_block_refuses_the_block(store: Store, gpt: Config) -> None:
    other = store.configs.create("ollama", name="other")
    with (
        pytest.raises(DuplicateNameError, match=r"There is a config 'other' already, .* 'OTHER' is not"),
        store.transaction(),
    ):
        gpt.name = "OTHER"
        gpt.temperature = 0.9
    assert (gpt.name, gpt.temperature) == ("gpt", 0.2)
    with pytest.raises(DuplicateNameError, match="There is a config 'new' already"), store.transaction():
        gpt.name = "new"
        other.name = "new"
    assert (gpt.name, other.name) == ("gpt", "other")


def test_a_name_that_a_block_frees_can_be_taken_in_it(store: Store, gpt: Config) -> None:
    with store.transaction():
        gpt.delete()
        again = store.configs.create("ollama", name="gpt")
    store.flush()
    assert (store.configs["gpt"] is again, again.id != gpt.id, again.sync_state) == (True, True, "saved")


# -- from outside ---------------------------------------------------------------------------


def test_another_thread_sees_nothing_before_the_end(store: Store, gpt: Config) -> None:
    seen: list[Any] = []

    def look() -> None:
        seen.append(
            (gpt.temperature, gpt.provider, gpt.organization, list(store.configs), len(store.configs))
        )

    def elsewhere() -> None:
        worker = threading.Thread(target=look)
        worker.start()
        worker.join()

    gpt.organization = "o"
    with store.transaction():
        gpt.temperature = 0.9
        gpt.provider = "anthropic"
        store.configs.create("ollama", name="o")
        elsewhere()
    assert seen == [(0.2, "openai", "o", ["gpt"], 1)]


def test_another_task_sees_nothing_before_the_end(store: Store, gpt: Config) -> None:
    async def work() -> list[float]:
        seen: list[float] = []

        async def look() -> None:
            seen.append(gpt.temperature)

        with store.transaction():
            gpt.temperature = 0.9
            await asyncio.create_task(look())
        await look()
        return seen

    assert asyncio.run(work()) == [0.2, 0.9]


def test_a_task_that_a_block_starts_edits_for_itself(store: Store, gpt: Config) -> None:
    async def work() -> None:
        async def later() -> None:
            await asyncio.sleep(0.01)
            gpt.model = "gpt-late"

        with store.transaction():
            task = asyncio.create_task(later())
            gpt.temperature = 0.9
        await task

    asyncio.run(work())
    assert (gpt.temperature, gpt.model) == (0.9, "gpt-late")
    assert [op for _, op, _ in ops(store)] == ["create", "update", "update"]


def test_a_worker_that_a_block_starts_edits_for_itself(store: Store, gpt: Config) -> None:
    async def work() -> None:
        with store.transaction():
            gpt.temperature = 0.9
            # Its context is that of the block.
            await asyncio.to_thread(gpt.update, seed=1)
            assert store.history.changes("gpt", field="seed")["new"].tolist() == [1]

    asyncio.run(work())
    assert (gpt.temperature, gpt.seed) == (0.9, 1)


def test_two_tasks_have_a_block_each(store: Store, gpt: Config) -> None:
    async def block(field: str, value: Any) -> None:
        with store.transaction(field):
            await asyncio.sleep(0.01)
            gpt.update(**{field: value})
            await asyncio.sleep(0.01)

    async def work() -> None:
        await asyncio.gather(block("temperature", 0.9), block("seed", 5), block("max_tokens", 7))

    asyncio.run(work())
    assert (gpt.temperature, gpt.seed, gpt.max_tokens) == (0.9, 5, 7)
    assert set(store.history.changes(since=1)["label"]) == {"temperature", "seed", "max_tokens"}


def test_an_edit_elsewhere_while_the_block_runs_is_kept(disk: Store, other: Kernel) -> None:
    gpt = disk.configs["gpt"]
    with disk.transaction():
        gpt.temperature = 0.9
        other("gpt.model = 'gpt-other'; store.flush()")
        disk._state._writer.refresh(10)
    disk.flush()
    assert (gpt.temperature, gpt.model, gpt.sync_state) == (0.9, "gpt-other", "saved")
    assert other("store.refresh(); (gpt.temperature, gpt.model)") == [0.9, "gpt-other"]


def test_a_change_of_provider_meets_an_edit_elsewhere(disk: Store, other: Kernel) -> None:
    gpt = disk.configs["gpt"]
    with disk.transaction():
        gpt.provider = "anthropic"
        gpt.max_tokens = 5
        other("gpt.organization = 'theirs'; store.flush()")
        disk._state._writer.refresh(10)
    disk.flush()
    assert (gpt.provider, gpt.max_tokens) == ("anthropic", 5)
    gpt.provider = "openai"
    assert (gpt.organization, gpt.model) == ("theirs", "gpt-y")


def test_what_is_deleted_elsewhere_refuses_the_block(disk: Store, other: Kernel) -> None:
    gpt = disk.configs["gpt"]
    with (
        pytest.raises(NotFoundError, match="'gpt' was deleted by somebody else meanwhile"),
        disk.transaction(),
    ):
        gpt.temperature = 0.9
        other("gpt.delete(); store.flush()")
        disk._state._writer.refresh(10)
    assert list(disk.configs) == []


def test_what_is_deleted_elsewhere_need_not_be_deleted_again(disk: Store, other: Kernel) -> None:
    gpt = disk.configs["gpt"]
    with disk.transaction():
        gpt.delete()
        disk.configs.create("ollama", name="o")
        other("gpt.delete(); store.flush()")
        disk._state._writer.refresh(10)
    disk.flush()
    assert (list(disk.configs), disk.error) == (["o"], None)


# -- outcomes -------------------------------------------------------------------------------


def test_the_receipt_of_an_edit_follows_its_block(store: Store, gpt: Config) -> None:
    with store.transaction():
        receipt = gpt.update(temperature=0.5)
        assert receipt.state == "accepted"
        with pytest.raises(StoreError, match="The transaction of this edit still runs"):
            receipt.wait()
    assert receipt.wait(10).state == "committed"
    assert (receipt.revision, receipt.seq) == (2, 2)


def test_the_receipt_of_a_block_that_raised_says_why(store: Store, gpt: Config) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction():
        receipt = gpt.update(temperature=0.5)
        raise ZeroDivisionError
    assert receipt.wait().state == "rejected"
    assert str(receipt.error) == "The transaction ended with ZeroDivisionError."


def test_undo_is_refused_inside_a_block(store: Store, gpt: Config) -> None:
    for step in (store.undo, store.redo):
        with (
            pytest.raises(StoreError, match=r"Call .*do\(\) after the end of its block"),
            store.transaction(),
        ):
            step()
    assert list(store.configs) == ["gpt"]


def test_nothing_is_flushed_exported_or_closed_inside_a_block(
    store: Store, gpt: Config, tmp_path: Path
) -> None:
    """What the block did is not accepted yet, so it could not be on disk either."""
    steps: tuple[Callable[[], object], ...] = (
        store.flush,
        store.close,
        lambda: store.snapshot("x"),
        lambda: store.export(tmp_path / "setup.json"),
        lambda: store.history.compact(1),
    )
    for step in steps:
        with pytest.raises(StoreError, match=r"Call \w+\(\) after the end of its block"), store.transaction():
            step()


def test_an_interrupt_in_the_body_undoes_the_block(store: Store, gpt: Config) -> None:
    with pytest.raises(KeyboardInterrupt), store.transaction():
        gpt.temperature = 0.9
        raise KeyboardInterrupt
    assert gpt.temperature == 0.2
    gpt.temperature = 0.5
    assert ops(store) == [(1, "create", "gpt"), (2, "update", "gpt")]


def test_a_block_that_is_broken_off_from_outside_is_over(store: Store, gpt: Config) -> None:
    block = store.transaction()
    block.__enter__()
    gpt.temperature = 0.9
    del block
    assert gpt.temperature == 0.2
    gpt.temperature = 0.5
    assert ops(store) == [(1, "create", "gpt"), (2, "update", "gpt")]
