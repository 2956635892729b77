"""Selections: run once per change that can affect them, never half-way, and told of results alone."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import ipywidgets
import pytest
import traitlets
from testbed.observing import changes_of, wait_until

import orchstate
from orchstate.errors import (
    ClosedError,
    LiveObjectError,
    NotFoundError,
    StoreError,
    UnknownFieldError,
    ValidationError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.kernel import Kernel

    from orchstate.config import Config
    from orchstate.state.selection import Selection
    from orchstate.store import Store


class Counted:
    """A selection that says how often its selector ran since it was asked last."""

    def __init__(self, store: Store, selector: Callable[[Store], Any], **how: Any) -> None:
        self._runs = 0

        def counted(store: Store) -> Any:
            self._runs += 1
            return selector(store)

        self.selection: Selection[Any] = store.select(counted, **how)
        self._runs = 0

    @property
    def runs(self) -> int:
        runs, self._runs = self._runs, 0
        return runs

    @property
    def value(self) -> Any:
        return self.selection.value


def temperature(store: Store) -> Any:
    return store.configs["gpt"].temperature


def test_a_selection_has_the_result(store: Store, gpt: Config) -> None:
    selection = store.select(temperature)
    gpt.temperature = 0.5
    assert selection.value == 0.5


def test_it_runs_once_per_change_of_what_it_read(store: Store, gpt: Config, claude: Config) -> None:
    counted = Counted(store, temperature)
    gpt.temperature = 0.5
    store.flush()
    assert counted.runs == 1
    claude.temperature = 0.5
    claude.name = "opus"
    store.configs.create("openai", name="new")
    store.settings.agents.timeout = 5_000
    store.active = claude
    store.flush()
    assert (counted.runs, counted.value) == (0, 0.5)


@pytest.mark.parametrize(
    ("selector", "edit", "runs", "value"),
    [
        (lambda s: len(s.configs), lambda s: s.configs.create("openai", name="new"), 1, 3),
        (lambda s: len(s.configs), lambda s: s.configs["gpt"].update(temperature=1), 0, 2),
        (lambda s: list(s.configs), lambda s: s.configs["gpt"].update(name="g"), 1, ["g", "claude"]),
        (lambda s: "new" in s.configs, lambda s: s.configs.create("openai", name="new"), 1, True),
        (lambda s: "new" in s.configs, lambda s: s.configs.create("openai", name="other"), 0, False),
        (lambda s: "gpt" in s.configs, lambda s: s.configs["gpt"].update(name="g"), 1, False),
        (lambda s: "gpt" in s.configs, lambda s: s.configs["gpt"].delete(), 1, False),
        (
            lambda s: [c.temperature for c in s.configs.values()],
            lambda s: s.configs["claude"].update(temperature=1),
            1,
            [0.2, 1],
        ),
        (
            lambda s: len(s.configs.filter(temperature=1)),
            lambda s: s.configs["claude"].update(temperature=1),
            1,
            1,
        ),
        (
            lambda s: s.configs.to_frame()["temperature"]["gpt"],
            lambda s: s.configs["gpt"].update(temperature=1),
            2,
            1,
        ),
        (
            lambda s: s.settings.agents.timeout,
            lambda s: s.settings.update(**{"agents.timeout": 7_000}),
            1,
            7_000,
        ),
        (lambda s: s.settings["agents.timeout"], lambda s: s.configs["gpt"].delete(), 0, 60_000),
        (lambda s: s.active and s.active.name, lambda s: setattr(s, "active", "gpt"), 1, "gpt"),
        (lambda s: s.active, lambda s: s.configs["gpt"].update(temperature=1), 0, None),
        (lambda s: s.configs["gpt"].revision, lambda s: s.configs["gpt"].update(temperature=1), 2, 2),
        (lambda s: s.configs["gpt"].to_dict()["model"], lambda s: s.configs["gpt"].update(model="x"), 1, "x"),
        (lambda s: s.pending, lambda s: s.configs["gpt"].update(temperature=1), 2, 0),
    ],
)
def test_whatever_it_reads_is_followed_and_nothing_else(
    selector: Any, edit: Any, runs: int, value: Any, store: Store, claude: Config
) -> None:
    counted = Counted(store, selector)
    with store._engine._write_mutex:
        # Not committed before it was seen to be on its way.
        edit(store)
    store.flush()
    assert (counted.runs, counted.value) == (runs, value)


def test_a_transaction_is_one_run(store: Store, gpt: Config, claude: Config) -> None:
    counted = Counted(store, lambda store: [config.temperature for config in store.configs.values()])
    with store.transaction():
        gpt.temperature = 0.5
        claude.temperature = 0.6
        gpt.temperature = 0.7
        assert counted.runs == 0
        assert counted.value == [0.2, None]
    assert (counted.runs, counted.value) == (1, [0.7, 0.6])


def test_a_transaction_that_fails_is_no_run(store: Store, gpt: Config) -> None:
    counted = Counted(store, temperature)
    with pytest.raises(RuntimeError, match="no"), store.transaction():
        gpt.temperature = 0.5
        raise RuntimeError("no")
    assert (counted.runs, counted.value) == (0, 0.2)


def test_one_made_in_a_transaction_shows_what_was_before(store: Store, gpt: Config) -> None:
    with store.transaction():
        gpt.temperature = 0.5
        counted = Counted(store, temperature)
        assert counted.value == 0.2
        assert gpt.temperature == 0.5
    assert (counted.runs, counted.value) == (1, 0.5)


def test_observers_are_told_of_results_that_differ(store: Store, gpt: Config) -> None:
    heard = changes_of(store.select(lambda store: (temperature(store) or 0) > 0.4), "value")
    for value in (0.3, 0.5, 0.6, 0.1):
        gpt.temperature = value
    assert heard == [("value", False, True, "edit"), ("value", True, False, "edit")]


def test_equal_says_what_differs(store: Store, gpt: Config) -> None:
    close = store.select(temperature, equal=lambda old, new: abs(old - new) < 0.1)
    always = store.select(temperature, equal=lambda old, new: False)
    near, told = changes_of(close, "value"), changes_of(always, "value")
    gpt.temperature = 0.25
    gpt.model = "gpt-z"
    assert close.value == 0.2
    assert (near, len(told)) == ([], 2)


def test_frames_count_as_different_unless_equal_knows_better(store: Store, gpt: Config) -> None:
    import pandas as pd

    def frame(store: Store) -> Any:
        return store.configs.to_frame()[["model"]]

    usual, exact = (
        changes_of(store.select(frame, **how), "value") for how in ({}, {"equal": pd.DataFrame.equals})
    )
    gpt.temperature = 0.9
    store.flush()
    assert (len(usual), exact) == (2, [])


def test_a_widget_is_linked(store: Store, gpt: Config) -> None:
    slider = ipywidgets.FloatSlider(max=2)
    link = traitlets.dlink((store.select(temperature), "value"), (slider, "value"))
    gc.collect()
    assert slider.value == 0.2
    gpt.temperature = 1.5
    assert slider.value == 1.5
    store.undo()
    assert slider.value == 0.2
    link.unlink()
    gpt.temperature = 1.5
    assert slider.value == 0.2


def test_one_selection_reads_another(store: Store, gpt: Config) -> None:
    is_hot = Counted(store, lambda store: temperature(store) > 0.4)
    word = Counted(store, lambda store: "hot" if is_hot.value else "cold")
    gpt.temperature = 0.3
    assert (is_hot.runs, word.runs) == (1, 0)
    gpt.temperature = 0.5
    assert (is_hot.runs, word.runs, word.value) == (1, 1, "hot")


def test_no_observer_sees_one_part_before_and_another_after(store: Store, gpt: Config) -> None:
    double = store.select(lambda store: temperature(store) * 2)
    both = store.select(lambda store: (temperature(store), double.value))
    seen: list[Any] = []
    for observed, name in ((gpt, "temperature"), (double, "value"), (both, "value")):
        observed.observe(lambda change: seen.append((gpt.temperature, double.value, both.value)), name)
    gpt.temperature = 0.5
    assert seen == [(0.5, 1.0, (0.5, 1.0))] * 3


def test_a_circle_is_refused(store: Store, gpt: Config, caplog: pytest.LogCaptureFixture) -> None:
    made: dict[str, Selection[Any]] = {}

    def first(store: Store) -> Any:
        return temperature(store) + (made["second"].value if "second" in made else 0)

    made["first"] = store.select(first)
    made["second"] = store.select(lambda store: made["first"].value + 1)
    gpt.temperature = 0.5
    for selection in made.values():
        with pytest.raises(StoreError, match=r"read by its own selector.*Have one of them read the store"):
            raise selection.error or AssertionError
    assert made["first"].value == 0.2


def test_an_error_is_logged_and_the_value_stays(
    store: Store, gpt: Config, caplog: pytest.LogCaptureFixture
) -> None:
    selection = store.select(temperature)
    heard = changes_of(selection)
    gpt.delete()
    assert isinstance(selection.error, NotFoundError)
    assert selection.value == 0.2
    assert "The selector of a selection raised; its value stays as it was" in caplog.text
    assert repr(selection) == "<Selection 0.2, failing: NotFoundError>"
    store.undo()
    assert selection.error is None
    assert [name for name, *_ in heard] == ["error", "error"]


def test_the_first_call_raises(store: Store) -> None:
    with pytest.raises(NotFoundError, match="There is no config 'gpt'"):
        store.select(temperature)


def test_a_selector_only_reads(store: Store, gpt: Config) -> None:
    with pytest.raises(StoreError, match=r"A selector only reads\. Have an observer"):
        store.select(lambda store: setattr(store.configs["gpt"], "temperature", 1))
    with pytest.raises(StoreError, match="A selector only reads"):
        store.select(lambda store: store.undo())
    assert gpt.temperature == 0.2


@pytest.mark.parametrize("given", [{"selector": 5}, {"selector": len, "equal": 5}])
def test_what_cannot_be_called_is_refused(given: Any, store: Store) -> None:
    with pytest.raises(ValidationError, match=r"5 cannot be called\. Give a function"):
        store.select(**given)


def test_nothing_keeps_a_selection_that_nobody_holds(store: Store, gpt: Config) -> None:
    gone = weakref.ref(store.select(temperature))
    observed = store.select(temperature)
    heard, kept = changes_of(observed, "value"), weakref.ref(observed)
    del observed
    gc.collect()
    gpt.temperature = 0.5
    assert gone() is None
    assert heard == [("value", 0.2, 0.5, "edit")]
    kept().unobserve_all()  # type: ignore[union-attr]
    gc.collect()
    assert kept() is None


def test_a_closed_selection_keeps_its_value(store: Store, gpt: Config) -> None:
    counted = Counted(store, temperature)
    counted.selection.close()
    counted.selection.close()
    gpt.temperature = 0.5
    assert (counted.runs, counted.value) == (0, 0.2)
    assert repr(counted.selection) == "<Selection 0.2, closed>"


def test_nothing_of_a_selection_can_be_set(store: Store, gpt: Config) -> None:
    selection: Any = store.select(temperature)
    with pytest.raises(ValidationError, match=r"'value' follows from what the selector reads"):
        selection.value = 1
    with pytest.raises(UnknownFieldError, match="Selection has no field 'valeu'"):
        selection.valeu = 1
    with pytest.raises(UnknownFieldError, match="Did you mean 'value'"):
        selection.valeu  # noqa: B018
    with pytest.raises(UnknownFieldError, match="no field 'valeu'"):
        selection.observe(print, "valeu")
    with pytest.raises(LiveObjectError, match="cannot be deleted"):
        del selection.value
    with pytest.raises(LiveObjectError, match="cannot be copied"):
        selection.__reduce__()


def test_a_repr_shows_what_is_short(store: Store, gpt: Config) -> None:
    assert repr(store.select(lambda store: store.configs["gpt"].model)) == "<Selection 'gpt-y'>"
    assert repr(store.select(lambda store: [*store.configs])) == "<Selection list of 1>"
    assert repr(store.select(lambda store: store.history)) == "<Selection History of 1>"
    assert repr(store.select(lambda store: object())) == "<Selection object>"


def test_what_another_process_changes_is_followed(disk: Store, other: Kernel) -> None:
    counted = Counted(disk, temperature)
    there = Counted(disk, lambda store: "new" in store.configs)
    other("gpt.temperature = 0.5; x = store.configs.create('openai', name='new'); store.flush()")
    wait_until(lambda: counted.value == 0.5 and there.value)
    assert (counted.runs, there.runs) == (1, 1)


def test_what_only_a_refresh_finds_is_followed(
    disk: Store, other: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    selections = disk.select(temperature), disk.select(lambda store: list(store.configs))
    told = changes_of(selections[0], "value")
    arrive = disk._state.view.arrive
    # As where the history is damaged, and its rows are not.
    monkeypatch.setattr(disk._state.view, "arrive", lambda revisions, *how: arrive((), *how))
    other("gpt.temperature = 1.5; store.configs.create('openai', name='new', model='m'); store.flush()")
    disk.refresh()
    assert [selection.value for selection in selections] == [1.5, ["gpt", "new"]]
    assert [change[:3] for change in told] == [("value", 0.2, 1.5)]


def test_what_was_looked_up_in_vain_is_followed_when_a_refresh_finds_it(
    disk: Store, other: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_there = disk.select(lambda store: "new" in store.configs)
    arrive = disk._state.view.arrive
    monkeypatch.setattr(disk._state.view, "arrive", lambda revisions, *how: arrive((), *how))
    other("store.configs.create('openai', name='new', model='m'); store.flush()")
    disk.refresh()
    assert is_there.value


def test_a_bundle_of_news_is_one_run(disk: Store, other: Kernel) -> None:
    counted = Counted(disk, temperature)
    other("for n in range(20): gpt.temperature = n / 20\nstore.flush()")
    disk._state.wait_for_news()
    assert (counted.value, counted.runs) == (0.95, 1)


def test_an_edit_that_is_not_committed_vanishes_from_it(
    disk: Store, other: Kernel, held: Callable[[], None]
) -> None:
    counted = Counted(disk, lambda store: [*store.configs])
    disk.configs.create("openai", name="new")
    assert counted.value == ["gpt", "new"]
    other("x = store.configs.create('ollama', name='NEW'); n = store.flush()")
    held()
    wait_until(lambda: counted.value == ["gpt", "NEW"] or counted.value == ["gpt"])
    disk.refresh()
    assert counted.value == [*disk.configs]


def test_all_who_observe_a_selection_are_told_though_one_of_them_is_interrupted(
    store: Store, gpt: Config
) -> None:
    selection, heard = store.select(lambda store: store.configs["gpt"].temperature), []
    interrupts: list[BaseException] = [KeyboardInterrupt()]

    def interrupted(change: Any) -> None:
        if interrupts:
            raise interrupts.pop()

    selection.observe(interrupted, "value")
    selection.observe(lambda change: heard.append(change.new), "value")
    with pytest.raises(KeyboardInterrupt):
        gpt.temperature = 0.9
    assert (selection.value, heard) == (0.9, [0.9])


def test_an_interrupted_run_is_made_up_for(store: Store, gpt: Config) -> None:
    interrupts = [KeyboardInterrupt()]

    def selector(store: Store) -> Any:
        value = temperature(store)
        if value == 0.5 and interrupts:
            raise interrupts.pop()
        return value

    selection = store.select(selector)
    with pytest.raises(KeyboardInterrupt):
        gpt.temperature = 0.5
    assert selection.value == 0.5


def test_a_closed_store_has_its_last_values(gpt: Config, store: Store) -> None:
    selection = store.select(temperature)
    status = store.select(lambda store: store.status)
    store.close()
    assert (selection.value, status.value) == (0.2, "closed")
    with pytest.raises(ClosedError, match="closed"):
        selection.observe(print, "value")


def test_reading_goes_the_short_way_when_nobody_is_noted(store: Store, gpt: Config) -> None:
    selection = store.select(temperature)
    gpt.temperature = 0.5
    store.flush()
    assert selection.value == 0.5
    assert store._state.attention is False


def test_a_selection_in_a_store_of_ones_own_tests() -> None:
    with orchstate.open(":memory:") as store:
        count = store.select(lambda store: len(store.configs))
        store.configs.create("openai")
        assert count.value == 1
