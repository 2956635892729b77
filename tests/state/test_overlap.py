"""Edits in flight: whichever of them the engine refuses, the rest is seen as if it had been alone."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Literal

import pytest
from testbed.observing import changes_of

import orchstate
from orchstate.state import writer
from orchstate.state.writer import Arrival
from orchstate.storage.engine import Decision

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orchstate.config import Config
    from orchstate.store import Store

Values = dict[str, Any]
Edit = tuple[Literal["make", "change", "delete"], Values]

START: Values = {"name": "gpt", "temperature": 0.2, "seed": None}
UPDATES: dict[str, Values] = {
    "warm": {"temperature": 0.9},
    "cold": {"temperature": 0.1},
    "seed": {"seed": 7},
    "both": {"temperature": 1.5, "seed": 8},
    "rename": {"name": "renamed"},
}


def orders() -> Iterator[tuple[str, ...]]:
    """Yield all orders of three edits that can follow one another."""
    for edits in itertools.permutations(("create", *UPDATES, "delete", "back"), 3):
        is_there = edits[0] != "create"
        for edit in edits if "create" not in edits[1:] else ("create",) * 2:
            # What takes a deletion back follows it at once, since only the last step is undone.
            if (edit in ("create", "back")) == is_there:
                break
            is_there = edit != "delete"
        else:
            yield edits


class Model:
    """The same in plain dicts: what is confirmed, and the edits on their way."""

    def __init__(self, confirmed: Values | None) -> None:
        self.confirmed = confirmed
        self.pending: list[Edit] = []

    @property
    def seen(self) -> Values | None:
        values = self.confirmed
        for edit in self.pending:
            values = after(values, edit)
        return values

    def settle(self, is_refused: bool) -> bool:
        """Give the oldest edit its outcome; return whether it was refused, for whatever reason."""
        edit = self.pending.pop(0)
        is_there = self.confirmed is not None
        is_refused |= is_there if edit[0] == "make" else not is_there and edit[0] == "change"
        if not is_refused:
            self.confirmed = after(self.confirmed, edit)
        return is_refused


def after(values: Values | None, edit: Edit) -> Values | None:
    verb, change = edit
    if verb == "make":
        return change
    return None if verb == "delete" or values is None else values | change


class Flight:
    """Edits of one config that are made while nothing is committed."""

    config: Config

    def __init__(self, store: Store, edits: Sequence[str]) -> None:
        self.store = store
        self.model = Model(None)
        self.heard: list[tuple[Any, ...]] = []
        if "create" not in edits:
            self._make("create")
            store.flush()
            self.model.settle(False)
        with store._engine._write_mutex:
            for edit in edits:
                self._make(edit)

    def _make(self, name: str) -> None:
        seen = self.model.seen
        if name == "create":
            self.config = self.store.configs.create("openai", name="gpt", temperature=0.2)
            self.heard = changes_of(self.config, *START)
            self.told = self.taken = START
            edit: Edit = ("make", START)
        elif name == "delete":
            self.taken = seen or START
            self.config.delete()
            edit = ("delete", {})
        elif name == "back":
            self.store.undo()
            edit = ("make", self.taken)
        else:
            self.config.update(**UPDATES[name])
            edit = ("change", UPDATES[name])
        self.model.pending.append(edit)
        self.check("edit")

    def arrive(self, refused: frozenset[int], *, together: bool) -> None:
        """Have the outcomes arrive one by one, or as one bundle, and look at what is seen and told."""
        state = self.store._state
        state.wait(10)
        arrivals = [*state._inbox]
        state._inbox.clear()
        outcomes = [number in refused for number in range(3)]
        singly = zip(arrivals, ([one] for one in outcomes), strict=True)
        parts = [(bundle(arrivals), outcomes)] if together else singly
        for arrival, part in parts:
            state._inbox.append(arrival)
            state.attention = True
            found = [self.model.settle(is_refused) for is_refused in part]
            self.check("rollback" if any(found) else "edit")

    def check(self, cause: str) -> None:
        """Compare what is seen, and what was told since the last time."""
        seen, told = self.model.seen, self.told
        document = self.store._state.document(self.config.id)
        assert (document and {field: document.at(field) for field in START}) == seen
        assert list(self.store.configs) == ([seen["name"]] if seen else [])
        now = seen or told
        changes = [(field, told[field], now[field], cause) for field in START if now[field] != told[field]]
        assert sorted(self.heard) == sorted(changes)
        self.heard.clear()
        self.told = now


def bundle(arrivals: Iterable[Arrival]) -> Arrival:
    """Return what the writer brings when all of it was one commit."""
    arrivals = tuple(arrivals)
    revisions = [revision for arrival in arrivals for revision in arrival.revisions]
    refused = tuple(one for arrival in arrivals for one in arrival.refused)
    return Arrival(revisions, arrivals[-1].settled, refused)


def refusing(store: Store, numbers: Iterable[int]) -> None:
    """Have the engine refuse the edits of these numbers."""
    decide = store._state._writer._decide

    def decide_otherwise(snapshot: Any, intent: Any, writer: str) -> Decision:
        if intent.n in numbers:
            return Decision("rejected", (), f"{intent.n} is refused.")
        return decide(snapshot, intent, writer)

    store._state._writer._decide = decide_otherwise


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("edits", [*orders()], ids="-".join)
def test_what_was_refused_of_three_edits_leaves_no_trace(
    edits: tuple[str, ...], together: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For every subset of them."""
    monkeypatch.setattr(writer, "MAX_BATCH", 1)
    caplog.set_level("ERROR", "orchstate")
    for size in range(4):
        for refused in map(frozenset, itertools.combinations(range(3), size)):
            with orchstate.open(":memory:") as store:
                first = 1 if "create" in edits else 2
                refusing(store, {first + number for number in refused})
                flight = Flight(store, edits)
                flight.arrive(refused, together=together)
                assert_nothing_is_left(flight)


def assert_nothing_is_left(flight: Flight) -> None:
    store, state = flight.store, flight.store._state
    entry = state.view.known(flight.config.id)
    assert (store.pending, state.view._open_edits, entry and len(entry.pending)) == (0, {}, 0)
    rows = {row.name for row in store._engine.snapshot().rows("config")}
    assert rows == set(store.configs) == state.view._names.of_kind("config")
    parked = {n for (n,) in store._engine.query("SELECT n FROM parked")}
    assert parked.isdisjoint(step.n for step in (*state._undo.done, *state._undo.undone))
    assert flight.config.sync_state != "saving"
