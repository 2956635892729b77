"""What a closed store, and one inherited by a forked child, still does: what was read can be looked at."""

from __future__ import annotations

import asyncio
import inspect
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from testbed.forking import in_child

import orchstate
from orchstate.errors import ClosedError, ValidationError
from orchstate.following import Followed
from orchstate.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CALLS: dict[str, Callable[[Store], Any]] = {
    "aat": lambda store: asyncio.run(store.aat(1)),
    "aexport": lambda store: asyncio.run(store.aexport("setup.json")),
    "aflush": lambda store: asyncio.run(store.aflush()),
    "aplan_import": lambda store: asyncio.run(store.aplan_import({"format": "orchstate.setup"})),
    "arefresh": lambda store: asyncio.run(store.arefresh()),
    "aresolve": lambda store: asyncio.run(store.aresolve({})),
    "asnapshot": lambda store: asyncio.run(store.asnapshot("x")),
    "at": lambda store: store.at(1),
    "export": lambda store: store.export("setup.json"),
    "flush": lambda store: store.flush(),
    "form": lambda store: store.form(),
    "observe": lambda store: store.observe(print, "status"),
    "plan_import": lambda store: store.plan_import({"format": "orchstate.setup", "version": 1}),
    "redo": lambda store: store.redo(),
    "refresh": lambda store: store.refresh(),
    "resolve": lambda store: store.resolve({}),
    "select": lambda store: store.select(len),
    "snapshot": lambda store: store.snapshot("x"),
    "subscribe": lambda store: store.subscribe(print),
    "transaction": lambda store: store.transaction(),
    "undo": lambda store: store.undo(),
    "__enter__": lambda store: store.__enter__(),
}
# They end what is open, which is harmless when repeated.
ENDS = {"close", "aclose"}
# What a process has done so far is of interest afterwards, too.
LOOKS = {"stats"}
READS: dict[str, Callable[[Store], Any]] = {
    "actor": lambda store: store.actor,
    "configs": lambda store: [config.model for config in store.configs.values()],
    "error": lambda store: store.error,
    "frame": lambda store: len(store.configs.to_frame()),
    "pending": lambda store: store.pending,
    "record": lambda store: store.configs["GPT"].to_dict()["name"],
    "settings": lambda store: store.settings.agents.timeout,
    "stats": lambda store: store.stats().accepted,
    "status": lambda store: store.status,
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A closed store that was read before."""
    monkeypatch.chdir(tmp_path)
    with orchstate.open(tmp_path / "store.db", secrets="memory", actor="me") as store:
        store.configs.create("openai", name="gpt", model="gpt-y")
        assert list(store.configs) == ["gpt"]
    return store


def test_the_table_has_every_method() -> None:
    methods = {
        name
        for cls in Store.__mro__[: Store.__mro__.index(Followed) + 1]
        for name, value in vars(cls).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    assert methods == CALLS.keys() - {"__enter__"} | ENDS | LOOKS


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_no_method_of_a_closed_store_does_anything(call: Callable[[Store], Any], store: Store) -> None:
    with pytest.raises(ClosedError, match=r"This store is closed\. Open it again with orchstate\.open\(\)"):
        call(store)
    assert not os.path.exists("setup.json")


def test_what_was_read_of_a_closed_store_can_be_looked_at(store: Store) -> None:
    store.close()
    found = {name: read(store) for name, read in READS.items()}
    assert found == {
        "actor": "me",
        "configs": ["gpt-y"],
        "error": None,
        "frame": 1,
        "pending": 0,
        "record": "gpt",
        "settings": 60_000,
        "stats": 1,
        "status": "closed",
    }


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks belong to POSIX")
def test_a_forked_child_has_the_same_rule(tmp_path: Path) -> None:
    with orchstate.open(tmp_path / "store.db", secrets="memory", actor="me") as store:
        store.configs.create("openai", name="gpt", model="gpt-y")
        assert list(store.configs) == ["gpt"]
        for name, call in CALLS.items():
            assert in_child(partial(call, store)).startswith("ForkedStoreError: "), name
        assert in_child(lambda: {name: str(read(store)) for name, read in READS.items()}) == str(
            {name: str(read(store)) for name, read in READS.items()} | {"status": "closed"}
        )


@pytest.mark.parametrize("timeout", ["x", -1, float("nan"), True])
def test_what_is_no_time_limit_is_refused(timeout: Any) -> None:
    with orchstate.open(":memory:") as store:
        receipt = store.configs.create("openai", name="gpt").update(seed=1)
        for wait in (store.flush, store.refresh, receipt.wait, lambda t: asyncio.run(store.aflush(t))):
            with pytest.raises(
                ValidationError, match=r"timeout=.* is no time limit\. Give seconds from 0 on"
            ):
                wait(timeout)
        assert store.flush(float("inf")) == store.flush(1e300) == 2
