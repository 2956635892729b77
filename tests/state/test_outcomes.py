"""Outcomes: receipts, flush, and what happens while the engine cannot commit."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from testbed.observing import changes_of, wait_until

import orchstate
from orchstate.errors import ClosedError, DuplicateNameError, FlushError, StoreError
from orchstate.state import present
from orchstate.storage import outbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from testbed.kernel import Kernel

    from orchstate.config import Config
    from orchstate.store import Store


@pytest.fixture
def locked(disk: Store) -> Iterator[Callable[[], None]]:
    """Another program that locks the file of the store until the test calls this."""
    disk._engine._timeout_s = 0.05
    disk._engine._writing.execute("PRAGMA busy_timeout = 50")
    disk._engine._reading.execute("PRAGMA busy_timeout = 50")
    with closing(sqlite3.connect(str(disk.path), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield other.rollback


# -- receipts -------------------------------------------------------------------------------


def test_a_receipt_follows_an_edit_to_its_revision(disk: Store, held: Callable[[], None]) -> None:
    receipt = disk.configs["gpt"].update(temperature=0.9)
    assert (receipt.state, receipt.seq, receipt.revision, repr(receipt)) == (
        "accepted",
        None,
        None,
        "<Receipt accepted>",
    )
    with pytest.raises(TimeoutError, match=r"No outcome after 0.01 s; the edit stays accepted"):
        receipt.wait(0.01)
    held()
    assert receipt.wait() is receipt
    assert (receipt.state, receipt.seq, receipt.revision, receipt.error) == ("committed", 2, 2, None)


def test_when_a_receipt_is_settled_the_record_shows_it(disk: Store) -> None:
    gpt = disk.configs["gpt"]
    for count in range(200):
        receipt = gpt.update(seed=count).wait(10)
        assert (gpt.revision, gpt.sync_state) == (receipt.revision, "saved")


def test_a_receipt_can_be_awaited(disk: Store) -> None:
    async def work() -> list[int | None]:
        receipts = [disk.configs["gpt"].update(seed=count) for count in range(20)]
        return [(await receipt).revision for receipt in receipts]

    assert asyncio.run(work()) == list(range(2, 22))


def test_nobody_waits_for_an_outcome_that_will_not_come(disk: Store, locked: Callable[[], None]) -> None:
    receipt = disk.configs["gpt"].update(temperature=0.9)
    failures: list[BaseException] = []

    def wait() -> None:
        try:
            receipt.wait()
        except ClosedError as error:
            failures.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    disk._close(0.1)
    waiter.join(10)
    assert "It is in the outbox, and whoever opens the store next commits it" in str(failures[0])
    locked()
    with orchstate.open(disk.path) as again:
        assert again.configs["gpt"].temperature == 0.9


# -- flush ----------------------------------------------------------------------------------


def test_flush_returns_when_everything_is_committed(disk: Store) -> None:
    for count in range(100):
        disk.configs["gpt"].seed = count
    assert disk.flush() == 101 == disk._engine.seq()
    assert (disk.pending, disk.status) == (0, "ready")


def test_flush_has_a_time_limit_and_names_what_is_open(disk: Store, held: Callable[[], None]) -> None:
    receipts = [disk.configs["gpt"].update(seed=count) for count in range(3)]
    with pytest.raises(
        FlushError, match=r"3 accepted edits are not committed yet: no outcome after 0.05 s"
    ) as caught:
        disk.flush(0.05)
    assert list(caught.value.receipts) == receipts
    held()
    assert disk.flush(10) == 4


def test_flush_gives_up_when_the_engine_keeps_failing(disk: Store, locked: Callable[[], None]) -> None:
    gpt = disk.configs["gpt"]
    heard = changes_of(gpt, "sync_state")
    states: list[str] = []
    disk.observe(lambda change: states.append(change.new), "status")
    receipt = gpt.update(temperature=0.9)
    with pytest.raises(FlushError, match="is locked by another program") as caught:
        disk.flush()
    assert caught.value.receipts == (receipt,)
    assert isinstance(caught.value.__cause__, StoreError)
    assert (gpt.temperature, gpt.sync_state, disk.status) == (0.9, "saving", "degraded")
    assert "is locked by another program" in str(disk.error)
    locked()
    assert receipt.wait(20).state == "committed"
    disk.flush()
    assert (disk.status, disk.error, gpt.sync_state) == ("ready", None, "saved")
    assert [new for _, _, new, _ in heard] == ["saving", "saved"]
    assert states == ["saving", "degraded", "ready"]


def test_it_recovers_by_itself(disk: Store, locked: Callable[[], None]) -> None:
    disk.configs["gpt"].temperature = 0.9
    wait_until(lambda: disk.status == "degraded")
    locked()
    wait_until(lambda: disk.status == "ready")
    assert disk._engine.seq() == 2


def test_failures_are_logged_once_and_not_at_every_try(
    disk: Store, locked: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    disk.configs["gpt"].temperature = 0.9
    with pytest.raises(FlushError):
        disk.flush()
    assert caplog.text.count("Not committed, will be tried again") == 1


def test_an_error_that_nobody_foresaw_is_logged_and_the_writer_goes_on(
    disk: Store, caplog: pytest.LogCaptureFixture
) -> None:
    engine, real = disk._engine, disk._engine.commit
    tries: list[int] = []

    def failing_once(writer: str, intents: Any, decide: Any) -> Any:
        tries.append(len(intents))
        if len(tries) == 1:
            raise ZeroDivisionError("unforeseen")
        return real(writer, intents, decide)

    engine.commit = failing_once  # type: ignore[method-assign]
    assert disk.configs["gpt"].update(temperature=0.9).wait(20).state == "committed"
    assert "The writer met an error that it does not know" in caplog.text
    assert "ZeroDivisionError: unforeseen" in caplog.text
    disk.flush()
    assert (disk.status, disk.error) == ("ready", None)


def test_a_flush_that_fails_twice_succeeds_later(disk: Store, locked: Callable[[], None]) -> None:
    disk.configs["gpt"].temperature = 0.9
    for _ in range(2):
        with pytest.raises(FlushError):
            disk.flush()
    locked()
    assert disk.flush(20) == 2


def test_editing_goes_on_while_the_engine_cannot_commit(disk: Store, locked: Callable[[], None]) -> None:
    gpt = disk.configs["gpt"]
    for count in range(50):
        gpt.seed = count
    assert (gpt.seed, disk.pending) == (49, 50)
    locked()
    disk.flush(20)
    assert disk.history.changes("gpt", field="seed")["new"].tolist() == list(range(50))


def test_configs_are_made_while_the_engine_cannot_commit(disk: Store, request: pytest.FixtureRequest) -> None:
    assert list(disk.configs) == ["gpt"]
    release = request.getfixturevalue("locked")
    disk._engine._timeout_s = 60
    disk._engine._reading.execute("PRAGMA busy_timeout = 60000")
    start = time.monotonic()
    made = disk.configs.create("openai", name="new", model="gpt-z")
    disk.configs.upsert("new", temperature=0.5)
    assert time.monotonic() - start < 40
    assert (made.temperature, disk.pending) == (0.5, 2)
    release()
    disk.flush(20)
    assert made.revision == 2


def test_an_asynchronous_flush_waits_for_what_was_there_when_it_began(disk: Store) -> None:
    async def work() -> int:
        gpt = disk.configs["gpt"]
        gpt.seed = 0
        flush = asyncio.create_task(disk.aflush())
        for count in range(1, 200):
            gpt.seed = count
            await asyncio.sleep(0)
        return await flush

    assert asyncio.run(work()) >= 2


def test_an_intent_that_cannot_be_applied_blocks_nobody(disk: Store) -> None:
    gpt = disk.configs["gpt"]
    with closing(sqlite3.connect(str(disk.path), isolation_level=None)) as other:
        other.execute("UPDATE doc SET body = '{}'")
        other.execute("UPDATE rev SET body = '{}'")
    damaged = gpt.update(temperature=0.9)
    fine = disk.configs.create("ollama", name="o").update(num_ctx=5)
    assert damaged.wait(10).state == "rejected"
    assert isinstance(damaged.error, orchstate.CorruptStoreError)
    assert fine.wait(10).state == "committed"
    disk.flush()
    assert (gpt.temperature, gpt.sync_state, disk.status) == (0.2, "failed", "ready")


def test_outcomes_are_right_though_reading_fails_after_the_commit(disk: Store) -> None:
    """The writer repeats the whole turn, and the engine tells it what had become of each intent."""
    engine, real = disk._engine, disk._engine.changes_since
    tries: list[int] = []

    def failing_twice(seq: int, **limits: Any) -> Any:
        tries.append(seq)
        if len(tries) <= 2:
            raise StoreError("cannot be read now")
        return real(seq, **limits)

    gpt = disk.configs["gpt"]
    with engine._write_mutex:
        first, second = gpt.update(temperature=0.9), gpt.update(seed=1)
        refused = disk.configs.create("openai", name="taken").update(seed=2)
        # As if somebody else had committed meanwhile: so the writer reads what.
        disk._state._writer.cursor = 0
        engine.changes_since = failing_twice  # type: ignore[method-assign]
    assert [receipt.wait(20).state for receipt in (first, second, refused)] == ["committed"] * 3
    assert (first.revision, second.revision, len(tries)) == (2, 3, 3)
    disk.flush()
    assert (gpt.revision, gpt.sync_state, disk.status) == (3, "saved", "ready")
    assert engine.seq() == 5


# -- growth ---------------------------------------------------------------------------------


def test_the_outbox_is_emptied_when_all_of_it_has_an_outcome(disk: Store) -> None:
    gpt = disk.configs["gpt"]
    (outbox,) = (disk.path.parent / "store.db.outbox").iterdir()  # type: ignore[union-attr]
    sizes = []
    for count in range(80):
        gpt.headers = {"X-Long": "x" * 9_000 + str(count)}
        if count % 5 == 0:
            disk.flush()
        sizes.append(outbox.stat().st_size)
    assert max(sizes) < 600_000
    assert sorted(sizes) != sizes
    assert gpt.headers["X-Long"].endswith("79")


def test_a_burst_of_edits_of_one_document_is_committed_in_linear_time(disk: Store) -> None:
    gpt = disk.configs["gpt"]
    start = time.perf_counter()
    for count in range(5_000):
        gpt.seed = count
    disk.flush()
    took_s = time.perf_counter() - start
    print(f"5,000 edits accepted and committed in {took_s:.1f} s")
    assert disk.history.changes("gpt", field="seed")["new"].tolist() == list(range(5_000))


def test_news_that_nobody_takes_wait_in_the_engine(
    disk: Store, other: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(present, "MAX_WAITING", 2)
    gpt, writer = disk.configs["gpt"], disk._state._writer
    other("for count in range(60): gpt.update(seed=count).wait(10)")
    wait_until(lambda: writer.is_held_back)
    assert len(disk._state._inbox) == 2
    wait_until(lambda: gpt.seed == 59)
    assert disk.history.changes("gpt", field="seed")["new"].tolist() == list(range(60))
    other("for count in range(60): gpt.update(max_tokens=count + 1).wait(10)")
    wait_until(lambda: writer.is_held_back)
    disk.refresh()
    assert gpt.max_tokens == 60
    gpt.temperature = 0.9
    disk.flush()
    assert (gpt.sync_state, gpt.revision) == ("saved", 122)


def test_nothing_is_kept_of_edits_that_have_an_outcome(store: Store, gpt: Config) -> None:
    for count in range(2_000):
        gpt.seed = count
    store.flush()
    state = store._state
    assert (len(state._inbox), len(state._writer._queue), len(gpt._entry.pending)) == (0, 0, 0)
    assert (state.view._open_edits, state.delivery.is_waiting) == ({}, False)
    assert len(state._undo.done) <= 500


def test_a_large_outbox_forgets_nothing_that_has_no_outcome(
    disk: Store, held: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "RESET_BYTES", 1_000)
    gpt, journal = disk.configs["gpt"], disk._state._journal
    for count in range(30):
        gpt.seed = count
    assert journal is not None
    records = journal.records().records
    assert len(records) >= 30
    assert all(b'"seed":%d' % count in record for count, record in enumerate(records[-30:]))
    held()
    disk.flush()
    gpt.seed = 30
    assert len(journal.records().records) == 1


def test_what_was_read_before_its_news_came_can_be_deleted(
    disk: Store, other: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk._state._writer, "_deliver", lambda arrival: True)
    other("store.configs.create('openai', name='late'); store.flush()")
    assert disk.configs["late"].delete().wait(10).state == "committed"


def test_a_block_that_makes_what_somebody_else_has_made_meanwhile_is_refused(
    disk: Store, other: Kernel
) -> None:
    list(disk.configs)
    with pytest.raises(DuplicateNameError, match=r"There is a config 'new' already"), disk.transaction():
        disk.configs.create("openai", name="new")
        other("store.configs.create('ollama', name='new'); store.flush()")
        wait_until(lambda: disk._state._inbox)
    assert disk.configs["new"].provider == "ollama"
