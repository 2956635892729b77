"""Pages are heard in a thread of their own; nothing of what they send may be lost."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING, Any

import ipywidgets
import pytest

from orchstate.widgets import turns
from tests.widgets.tree import KEY, all_of, words

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchstate.config import Config
    from orchstate.store import Store
    from orchstate.widgets.config_form import ConfigForm


def sends(widget: Any, **state: Any) -> None:
    widget._handle_msg({"content": {"data": {"method": "update", "state": state}}, "buffers": []})


def press(button: Any) -> None:
    content = {"method": "custom", "content": {"event": "click"}}
    button._handle_msg({"content": {"data": content}, "buffers": []})


def entered_while_shown(gpt: Config) -> float | None:
    """Return what becomes of an entry that a page sends in the midst of showing another value."""
    form: ConfigForm = gpt.form()
    control = form.rows["temperature"].control
    show, page = control._show, threading.Thread(target=lambda: sends(control.widgets[0], value=0.25))

    def show_slowly(value: Any) -> None:
        show(value)
        if not page.ident:
            page.start()
            page.join(0.5)

    control._show = show_slowly  # type: ignore[method-assign]
    gpt.temperature = 1.5
    page.join(20)
    control._show = show  # type: ignore[method-assign]
    form.close()
    return gpt.temperature


def test_what_a_page_enters_while_the_store_shows_something_is_not_lost(gpt: Config) -> None:
    assert entered_while_shown(gpt) == 0.25


def test_without_turns_it_would_be(gpt: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(turns._InTurn, "_handle_msg")
    assert entered_while_shown(gpt) == 1.5


def test_two_threads_that_never_rest_lose_nothing(
    store: Store, gpt: Config, caplog: pytest.LogCaptureFixture
) -> None:
    form: ConfigForm = gpt.form()
    slider = form.rows["temperature"].control.widgets[0]
    wanted = [number / 400 for number in range(400)]
    page = threading.Thread(target=lambda: [sends(slider, value=value) for value in wanted])
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        page.start()
        while page.is_alive():
            gpt.temperature = 1.0 + len(threading.enumerate()) % 2 / 2
            gpt.temperature = 1.25
        page.join()
    finally:
        sys.setswitchinterval(usual)
    store.flush()
    assert set(wanted) <= {*store.history.changes("gpt", field="temperature")["new"], 0.2}
    assert caplog.records == []


def test_everything_that_hears_pages_waits_for_its_turn(store: Store, gpt: Config) -> None:
    form = store.form()
    acting = [
        widget
        for widget in all_of(form)
        if isinstance(widget, ipywidgets.DOMWidget)
        and not isinstance(widget, ipywidgets.HTML | ipywidgets.Box)
    ]
    assert len(acting) > 20
    assert all(isinstance(widget, turns._InTurn) for widget in acting)


def test_a_view_that_is_collected_waits_for_nobody(gpt: Config) -> None:
    form: Any = gpt.form()
    with turns.turns.take():
        thread = threading.Thread(target=form.__del__)
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
    assert form.comm is None


def in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


def test_what_an_undo_did_stays_said_when_the_page_has_asked_for_it(gpt: Config) -> None:
    form: ConfigForm = gpt.form()
    gpt.api_key = KEY
    press(form.delete.ask)
    press(form.delete.yes)
    press(form.undo)
    assert gpt._state.seen(gpt.id) is not None
    assert "Undone: gpt." in words(form.status.box)
    assert "enter it again: api_key of gpt." in words(form.status.box)
    press(form.undo)
    assert "Undone: gpt." not in words(form.status.box)


def test_what_an_undo_of_the_provider_did_stays_said(gpt: Config) -> None:
    form: ConfigForm = gpt.form()
    gpt.provider = "ollama"
    press(form.undo)
    assert "Undone: provider of gpt." in words(form.status.box)


def test_a_cell_does_not_wait_for_a_page(gpt: Config) -> None:
    form: ConfigForm = gpt.form()
    slider = form.rows["temperature"].control.widgets[0]
    entered, left = threading.Event(), threading.Event()

    def page() -> None:
        with turns.turns.take():
            entered.set()
            left.wait(20)

    thread = threading.Thread(target=page)
    thread.start()
    entered.wait(20)
    gpt.temperature = 0.75
    assert slider.value != 0.75
    left.set()
    thread.join(20)
    assert slider.value == 0.75


def test_what_was_left_and_raises_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []
    own = turns.Turns()
    with own.take():
        in_thread(lambda: own.do(lambda: 1 / 0))
        in_thread(lambda: own.do(lambda: done.append(1)))
        assert done == []
    assert done == [1]
    assert "ZeroDivisionError" in caplog.text


def test_observers_of_people_are_called_out_of_turn(store: Store, gpt: Config) -> None:
    form: ConfigForm = gpt.form()
    other = store.configs.create("openai", name="other").form()
    gpt.observe(lambda change: in_thread(other.close), "temperature")
    sends(form.rows["temperature"].control.widgets[0], value=0.5)
    assert (gpt.temperature, other.comm) == (0.5, None)


@pytest.mark.parametrize("fails", [True, False])
def test_forms_show_what_a_page_enters_while_a_block_runs(fails: bool, store: Store, gpt: Config) -> None:
    forms: list[ConfigForm] = [gpt.form(), gpt.form()]
    sliders = [form.rows["temperature"].control.widgets[0] for form in forms]
    other = store.configs.create("openai", name="other")
    with contextlib.suppress(RuntimeError), store.transaction():
        in_thread(lambda: sends(sliders[0], value=0.5))
        other.seed = 1
        if fails:
            raise RuntimeError
    assert gpt.temperature == 0.5
    assert [slider.value for slider in sliders] == [0.5, 0.5]
