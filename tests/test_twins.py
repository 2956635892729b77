"""Twins: every call that can block has one with an ``a`` in front that lets the event loop go on."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import TYPE_CHECKING, Any

import pytest

import orchstate
from orchstate.errors import StoreError
from orchstate.exchange.plan import ImportPlan
from orchstate.history.history import History
from orchstate.history.past import PastState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from orchstate.store import Store

SETUP = {"format": "orchstate.setup", "version": 1, "configs": [{"name": "new", "provider": "openai"}]}
BLOCKING: dict[Any, tuple[str, ...]] = {
    orchstate: ("open",),
    orchstate.Store: (*("at", "close", "export", "flush", "plan_import", "refresh", "resolve", "snapshot"),),
    orchstate.Config: ("ask", "check", "client", "models", "stamp"),
    History: ("changes", "compact", "diff", "revisions"),
    PastState: ("restore",),
    ImportPlan: ("apply",),
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with orchstate.open(tmp_path / "store.db", secrets="memory") as store:
        store.configs.create("openai", name="gpt", temperature=0.2)
        store.flush()
        yield store


@pytest.mark.parametrize("owner", BLOCKING, ids=str)
def test_every_call_that_can_block_has_a_twin_with_its_arguments(owner: Any) -> None:
    for name in BLOCKING[owner]:
        plain, twin = (inspect.signature(getattr(owner, each)) for each in (name, f"a{name}"))
        assert [*plain.parameters.values()] == [*twin.parameters.values()], name
        is_awaited = inspect.iscoroutinefunction(getattr(owner, f"a{name}"))
        # A client is there at once; it is its own calls that are awaited.
        assert is_awaited or name == "client" or "Coroutine" in str(twin.return_annotation), name


CALLS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "at": lambda store: store.aat(1),
    "close": lambda store: store.aclose(),
    "flush": lambda store: store.aflush(),
    "changes": lambda store: store.history.achanges(),
    "diff": lambda store: store.history.adiff(1),
    "revisions": lambda store: store.history.arevisions("gpt"),
    "snapshot": lambda store: store.asnapshot("before"),
    "stamp": lambda store: store.configs["gpt"].astamp(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_loop_goes_on_while_the_engine_does_not(
    call: Callable[[Store], Awaitable[object]], store: Store
) -> None:
    is_held, may_go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with store._engine._write_mutex:
            is_held.set()
            may_go_on.wait(10)

    async def main() -> None:
        thread = threading.Thread(target=hold)
        thread.start()
        is_held.wait(10)
        store.configs["gpt"].temperature = 0.5
        task = asyncio.ensure_future(call(store))
        for _ in range(20):
            await asyncio.sleep(0.001)
            assert not task.done()
        may_go_on.set()
        await task
        thread.join()

    asyncio.run(main())


def test_twins_do_what_their_plain_calls_do(store: Store, tmp_path: Path) -> None:
    async def main() -> None:
        gpt = store.configs["gpt"]
        stamp = await gpt.astamp()
        assert stamp == gpt.stamp()
        assert await store.asnapshot("before", "note") == 1
        gpt.temperature = 0.5
        assert (await store.aat("before")).configs["gpt"].temperature == 0.2
        assert (await store.aresolve(stamp)).temperature == 0.2
        assert len(await store.history.arevisions("gpt")) == 2
        assert len(await store.history.adiff(1)) > 0
        assert len(await store.history.achanges("gpt", field="temperature")) == 2
        assert (await store.aexport(tmp_path / "setup.json")).exists()
        plan = await store.aplan_import(SETUP)
        await plan.aapply()
        assert list(store.configs) == ["gpt", "new"]

    asyncio.run(main())


def test_observers_are_told_in_the_loops_thread(store: Store) -> None:
    async def main() -> None:
        gpt, threads = store.configs["gpt"], []
        gpt.observe(lambda change: threads.append(threading.current_thread()), "temperature")
        gpt.temperature = 0.5
        await store.at(1).arestore()
        assert threads == [threading.current_thread()] * 2

    asyncio.run(main())


def test_a_twin_in_a_transaction_is_refused(store: Store) -> None:
    async def main() -> None:
        with store.transaction():
            for name, call in CALLS.items():
                if name in ("at", "close", "flush", "snapshot"):
                    with pytest.raises(StoreError, match=rf"Call a{name}\(\) after the end of its block"):
                        await call(store)

    asyncio.run(main())


def test_a_store_is_left_without_stopping_the_loop(tmp_path: Path) -> None:
    async def main() -> None:
        async with await orchstate.aopen(tmp_path / "new.db", secrets="memory") as store:
            store.configs.create("openai", name="gpt")
        assert store.status == "closed"
        await store.aclose()

    asyncio.run(main())
    with orchstate.open(tmp_path / "new.db", secrets="memory") as store:
        assert list(store.configs) == ["gpt"]
