"""Pages are heard in a thread of their own; nothing of what they send may be lost."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import ipywidgets
import pytest

from orchstate.widgets import turns
from tests.widgets.tree import all_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchstate.config import Config
    from orchstate.store import Store
    from orchstate.widgets.config_form import ConfigForm

ENTRIES = 400


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads that change all the time."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


def sends(widget: Any, **state: Any) -> None:
    widget._handle_msg({"content": {"data": {"method": "update", "state": state}}, "buffers": []})


def drag(slider: Any) -> threading.Thread:
    """Drag a slider in another thread, as a page does with a kernel that has subshells."""

    def move() -> None:
        for number in range(ENTRIES):
            sends(slider, value=number / ENTRIES)

    thread = threading.Thread(target=move)
    thread.start()
    return thread


def lost_of(store: Store, gpt: Config, caplog: pytest.LogCaptureFixture) -> int:
    """Return how much of a drag is lost while the store shows other values; also what was logged."""
    form: ConfigForm = gpt.form()
    thread = drag(form.rows["temperature"].control.widgets[0])
    count = 0
    while thread.is_alive():
        count += 1
        gpt.temperature = 1 + count % 1000 / 1000
    thread.join()
    store.flush()
    entered = set(store.history.changes("gpt", field="temperature")["new"])
    form.close()
    return len({number / ENTRIES for number in range(ENTRIES)} - entered) + len(caplog.records)


def test_what_a_page_enters_while_the_store_shows_something_is_not_lost(
    restless: None, store: Store, gpt: Config, caplog: pytest.LogCaptureFixture
) -> None:
    assert lost_of(store, gpt, caplog) == 0


def test_without_turns_some_of_it_would_be(
    restless: None,
    store: Store,
    gpt: Config,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(turns._InTurn, "_handle_msg")
    assert lost_of(store, gpt, caplog) > 0


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
    with turns.turn:
        thread = threading.Thread(target=form.__del__)
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
    assert form.comm is None
