"""Keys stay out of tracebacks, where debuggers and error reporters would show them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import orchstate
from orchstate.errors import SecretUnavailableError
from orchstate.models.secret import SecretRef
from orchstate.secrets.memory import MemoryStore
from orchstate.tracebacks import Forgetting, forget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchstate.config import Config
    from orchstate.store import Store

KEY = "sk-proj-hidden0123456789"


class Refusing(MemoryStore):
    """A place for keys that takes none."""

    def set(self, name: str, value: str) -> None:
        del value
        raise SecretUnavailableError("It takes none today.")


@pytest.fixture
def store() -> Iterator[Store]:
    with orchstate.open(":memory:") as store:
        store.configs.create("openai", name="gpt")
        yield store


def left_in(error: BaseException | None) -> str:
    """Return everything that the frames of an error and its causes hold, but for those of this file."""
    found = []
    while error is not None:
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename != __file__:
                found.append(repr(dict(trace.tb_frame.f_locals)))
            trace = trace.tb_next
        error = error.__cause__ or error.__context__
    return "\n".join(found)


def closed(store: Store) -> Config:
    gpt = store.configs["gpt"]
    store.close()
    return gpt


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.configs["gpt"].update(api_key=KEY, temperature=9),
        lambda store: store.configs["gpt"].update(api_key=KEY, temprature=1),
        lambda store: store.configs["gpt"].update(api_kee=KEY),
        lambda store: setattr(store.configs["gpt"], "api_kee", KEY),
        lambda store: setattr(store.configs["gpt"], "api_key", f"{KEY}\n{KEY}"),
        lambda store: setattr(store.configs["gpt"], "seed", KEY),
        lambda store: setattr(store.configs["gpt"], "model", KEY),
        lambda store: setattr(store.configs["gpt"], "name", KEY),
        lambda store: store.configs["gpt"].update(headers={"X-Team": KEY}),
        lambda store: store.configs.upsert("gpt", stop=KEY),
        lambda store: store.configs.create("openai", name="new", tags=[KEY]),
        lambda store: setattr(closed(store), "api_key", KEY),
        lambda store: store.configs.create("openai", name="new", api_key=KEY, temperature=9),
        lambda store: store.configs.create("openai", name="gpt", api_key=KEY),
        lambda store: store.configs.create("opneai", api_key=KEY),
        lambda store: store.configs.upsert("gpt", api_key=KEY, temperature=9),
        lambda store: store.configs.upsert("new", "openai", api_key=KEY, temprature=1),
        lambda store: store.configs["gpt"].set_secret("model", KEY),
        lambda store: store.configs["gpt"].set_secret("api_key", f"{KEY}\n{KEY}"),
        lambda store: store.configs.create("openai", name=KEY),
        lambda store: store.configs.create(KEY),
        lambda store: store.configs.upsert(KEY, "openai"),
        lambda store: store.configs.upsert("gpt", KEY),
        lambda store: store.configs.duplicate("gpt", name=KEY),
        lambda store: store.configs.duplicate(KEY),
        lambda store: store.configs.filter(api_kee=KEY),
        lambda store: store.configs[KEY],
        lambda store: store.providers.get(KEY),
        lambda store: store.snapshot(KEY),
        lambda store: store.snapshot("before", note=KEY),
        lambda store: store.transaction(KEY).__enter__(),
        lambda store: store.at(KEY),
        lambda store: store.at(0).restore(KEY),
        lambda store: store.at(0).restore(label=KEY),
        lambda store: store.resolve(KEY),
        lambda store: store.resolve({"store": KEY, "config": KEY, "revision": 1, "fingerprint": KEY}),
        lambda store: store.history.changes(KEY),
        lambda store: store.history.revisions(KEY),
        lambda store: store.history.diff(KEY),
        lambda store: store.history.compact(KEY),
        lambda store: asyncio.run(store.history.acompact(KEY)),
        lambda store: setattr(store, "api_key", KEY),
        lambda store: setattr(store, "active", KEY),
        lambda store: orchstate.open(f"postgres://u:{KEY}@host/x"),
        lambda store: orchstate.open(f"sqlite://u:{KEY}@host/x"),
        lambda store: orchstate.open(f":{KEY}"),
        lambda store: orchstate.open(":memory:", actor=[KEY]),
        lambda store: orchstate.open(":memory:", secrets=KEY),
        lambda store: asyncio.run(orchstate.aopen(f":{KEY}")),
        lambda store: asyncio.run(store.aat(KEY)),
        lambda store: asyncio.run(store.asnapshot(KEY)),
        lambda store: asyncio.run(store.aresolve(KEY)),
        lambda store: asyncio.run(store.aplan_import(KEY)),
        lambda store: asyncio.run(store.history.achanges(KEY)),
        lambda store: asyncio.run(store.at(0).arestore(KEY)),
        lambda store: store.plan_import(KEY),
        lambda store: store.plan_import({"format": "orchstate.setup", "version": 1, "configs": [KEY]}),
    ],
)
def test_a_key_is_in_no_frame_of_what_failed(call: Callable[[Store], Any], store: Store) -> None:
    with pytest.raises(orchstate.OrchstateError) as caught:
        call(store)
    assert KEY not in left_in(caught.value)


def test_a_place_that_takes_no_key_leaves_it_in_no_frame() -> None:
    with orchstate.open(":memory:", secrets=Refusing()) as store:
        gpt = store.configs.create("openai", name="gpt")
        with pytest.raises(SecretUnavailableError, match="none today") as caught:
            gpt.api_key = KEY
        assert KEY not in left_in(caught.value)
        assert gpt.api_key == SecretRef()


def test_without_forgetting_the_key_would_be_found(store: Store) -> None:
    """The control: this is how it is seen if nothing is done."""
    with pytest.raises(orchstate.OrchstateError) as caught:
        store._state.update(store.configs["gpt"].id, {"api_kee": KEY})
    assert KEY in left_in(caught.value)
    forget(caught.value)
    assert KEY not in left_in(caught.value)


def test_causes_are_emptied_too() -> None:
    def fail(secret: str) -> None:
        raise KeyError(secret[:3])

    def fail_again(secret: str) -> None:
        try:
            fail(secret)
        except KeyError as error:
            raise ValueError("no") from error

    held = {"secret": KEY}
    with pytest.raises(ValueError, match="no") as caught, Forgetting(held):
        fail_again(**held)
    frames = [caught.value.__cause__.__traceback__]  # type: ignore[union-attr]
    assert held == {}
    while (trace := frames[-1]) is not None:
        frames.append(trace.tb_next)
        assert KEY not in repr(trace.tb_frame.f_locals) or trace.tb_frame.f_code.co_name.startswith("test_")
