from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from testbed.notebook import Notebook

from orchstate.widgets.key_entry import PAUSED, KeyEntry, _running_cell

if TYPE_CHECKING:
    from collections.abc import Iterator

SETUP = """
from orchstate.widgets.key_entry import KeyEntry, _running_cell
log = []
entry = KeyEntry(placeholder="sk-...")
log.append(entry.disabled)
entry.observe(lambda change: log.append((entry.disabled, entry.placeholder)), "placeholder")
"""
HOOKS = "on = get_ipython().events.callbacks; [len(on[kind]) for kind in ('pre_run_cell', 'post_run_cell')]"


@pytest.fixture
def notebook() -> Iterator[Notebook]:
    """A kernel with a key entry that was made in its first cell."""
    with Notebook(SETUP) as notebook:
        yield notebook


def test_an_entry_is_off_while_a_cell_runs_and_says_why(notebook: Notebook) -> None:
    off, on = (True, PAUSED), (False, "sk-...")
    assert notebook.run("print(log)") == repr([True, on, off])
    assert notebook.run("print(log)") == repr([True, on, off, on, off])


def test_an_entry_is_on_again_after_a_cell_that_failed(notebook: Notebook) -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        notebook.run("log.clear()\n1 / 0")
    assert notebook.run("log[0]") == repr((False, "sk-..."))


def test_an_entry_that_is_off_for_good_stays_off(notebook: Notebook) -> None:
    notebook.run("entry.disable()")
    assert notebook.run("log[-2][0], entry.disabled") == "(True, True)"


def test_only_while_there_are_entries_anything_is_hooked(notebook: Notebook) -> None:
    before, other = notebook.run(HOOKS), notebook.run("other = KeyEntry(); " + HOOKS)
    assert other == before
    notebook.run("other.close(); entry.close()")
    assert json.loads(notebook.run(HOOKS)) == [count - 1 for count in json.loads(before)]


def test_an_entry_that_was_lost_is_not_kept(notebook: Notebook) -> None:
    notebook.run("from ipywidgets import Widget; Widget.close_all(); entry = None; log.clear()")
    notebook.run("import gc; gc.collect()")
    assert notebook.run("len(_running_cell._followers), _running_cell._events, log") == "(0, None, [])"


def test_outside_ipython_nothing_is_hooked_and_entries_are_on() -> None:
    entry = KeyEntry()
    assert (entry.disabled, _running_cell._events) == (False, None)
