"""Selections while other threads edit: never half-way, and nobody is held up."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from testbed.observing import wait_until

if TYPE_CHECKING:
    from orchstate.config import Config
    from orchstate.store import Store


def temperature(store: Store) -> Any:
    return store.configs["gpt"].temperature


def test_a_selector_never_sees_half_of_another_threads_transaction(
    store: Store, gpt: Config, claude: Config
) -> None:
    is_first_read, may_go_on = threading.Event(), threading.Event()

    def edit() -> None:
        is_first_read.wait(10)
        with store.transaction():
            gpt.temperature = claude.temperature = 0.9
        may_go_on.set()

    def both(store: Store) -> tuple[Any, Any]:
        first = temperature(store)
        is_first_read.set()
        may_go_on.wait(10)
        return first, store.configs["claude"].temperature

    claude.temperature = 0.2
    thread = threading.Thread(target=edit)
    thread.start()
    assert store.select(both).value == (0.9, 0.9)
    thread.join()


def test_a_selector_that_is_always_disturbed_shows_no_half_of_a_transaction_and_holds_nobody_up(
    store: Store, gpt: Config, claude: Config
) -> None:
    claude.temperature = 0.2
    is_over = threading.Event()
    edits = 0

    def edit() -> None:
        nonlocal edits
        while not is_over.wait(0.001):
            edits += 1
            with store.transaction():
                gpt.max_tokens = claude.max_tokens = edits

    def both(store: Store) -> tuple[Any, Any]:
        first = store.configs["gpt"].max_tokens
        time.sleep(0.01)
        return first, store.configs["claude"].max_tokens

    selection = store.select(both)
    told: list[tuple[Any, Any]] = []
    selection.observe(lambda change: told.append(change.new), "value")
    thread = threading.Thread(target=edit)
    thread.start()
    try:
        wait_until(lambda: edits > 5)
        for _ in range(20):
            before = edits
            assert gpt.temperature is not None
            # Were it as many as there are, it would go on as long as the others edit.
            assert edits - before < 1_000
    finally:
        is_over.set()
        thread.join()
    assert selection.value == (edits, edits)
    assert all(one == other for one, other in told)


def test_a_selector_runs_outside_every_lock_however_often_others_edit(store: Store, gpt: Config) -> None:
    values = iter([0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    are_stuck = []

    def disturbed(store: Store) -> Any:
        seen = temperature(store)
        for value in values:
            editor = threading.Thread(target=setattr, args=(gpt, "temperature", value))
            editor.start()
            editor.join(3)
            are_stuck.append(editor.is_alive())
            break
        return seen

    selection = store.select(disturbed)
    # It looks again until nobody edits any more.
    wait_until(lambda: selection.value == 0.9)
    assert are_stuck == [False] * 7


def test_edits_of_other_threads_run_it_in_the_owners(store: Store, gpt: Config) -> None:
    threads: list[threading.Thread] = []

    def selector(store: Store) -> Any:
        threads.append(threading.current_thread())
        return temperature(store)

    selection = store.select(selector)
    editor = threading.Thread(target=lambda: setattr(gpt, "temperature", 0.5))
    editor.start()
    editor.join()
    assert selection.value == 0.5
    assert set(threads) == {threading.current_thread()}
