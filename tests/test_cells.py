"""In a real kernel: what a cell edited is committed at its end, and news arrive while it is idle."""

from __future__ import annotations

import sqlite3
import statistics
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from testbed.kernel import Kernel
from testbed.notebook import Notebook

import orchstate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with a config ``gpt``."""
    with orchstate.open(tmp_path / "store.db") as store:
        store.configs.create("openai", name="gpt", temperature=0.2)
    return tmp_path / "store.db"


@pytest.fixture
def notebook(path: Path) -> Iterator[Notebook]:
    """A kernel whose first cell has opened the store; its ``gpt`` is the config."""
    with Notebook(f"import orchstate\nstore = orchstate.open({str(path)!r}, secrets='memory')") as notebook:
        notebook.run("gpt = store.configs['gpt']")
        yield notebook


def committed(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        ((seq,),) = connection.execute("SELECT seq FROM clock")
    return int(seq)


def test_what_a_cell_edited_is_committed_when_it_has_ended(notebook: Notebook, path: Path) -> None:
    for count in range(5):
        notebook.run(f"gpt.seed = {count}")
        assert committed(path) == 2 + count


def test_what_a_failing_cell_edited_is_committed_too(notebook: Notebook, path: Path) -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        notebook.run("gpt.seed = 1\n1 / 0")
    notebook.run("")
    assert committed(path) == 2


def test_the_history_knows_the_notebook_and_the_cell(path: Path) -> None:
    setup = f"import orchstate; store = orchstate.open({str(path)!r})"
    with Notebook(setup, environment={"JPY_SESSION_NAME": "work/tuning.ipynb"}) as notebook:
        notebook.run("store.configs['gpt'].temperature = 0.9")
        found = notebook.run("store.history.changes('gpt').iloc[-1][['notebook', 'cell']].tolist()")
        assert found == "['work/tuning.ipynb', '[2]']"


def test_what_cannot_be_committed_in_time_is_said_in_one_line_and_not_raised(
    notebook: Notebook, path: Path
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        start = time.monotonic()
        said = notebook.run("gpt.seed = 7")
        assert time.monotonic() - start < 30
        assert (
            said == "1 accepted edit is not committed yet: no outcome after 1 s. They are kept in the outbox."
        )
    notebook.run("store.flush()")
    assert committed(path) == 2


def test_a_cell_without_edits_is_not_held_up(notebook: Notebook, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert notebook.run("1 + 1") == "2"


def test_a_closed_store_leaves_nothing_behind_in_the_shell(notebook: Notebook) -> None:
    ours = "[hook for hook in get_ipython().events.callbacks['post_run_cell'] if 'orchstate' in repr(hook)]"
    assert "CellEnd" in notebook.run(f"print({ours})")
    assert notebook.run(f"store.close(); store.close(); print({ours})") == "[]"
    notebook.run(f"store = orchstate.open({str(store_path(notebook))!r})")
    assert notebook.run(f"len({ours})") == "1"


def store_path(notebook: Notebook) -> str:
    return notebook.run("print(store.path)")


def test_running_the_first_cell_again_is_harmless(notebook: Notebook, path: Path) -> None:
    notebook.run("first = store")
    for _ in range(3):
        notebook.run(f"store = orchstate.open({str(path)!r}, secrets='memory')")
    assert notebook.run("store is first") == "True"
    ours = "[hook for hook in get_ipython().events.callbacks['post_run_cell'] if 'orchstate' in repr(hook)]"
    assert notebook.run(f"len({ours})") == "1"


def test_news_from_another_process_reach_an_idle_kernel(notebook: Notebook, path: Path) -> None:
    notebook.run(
        "import time\nheard = []\ngpt.observe(lambda change: heard.append((change.new, time.time())), 'seed')"
    )
    with Kernel(
        f"import orchstate, time; store = orchstate.open({str(path)!r}); gpt = store.configs['gpt']"
    ) as other:
        sent = {}
        for count in range(20):
            sent[count] = other(f"gpt.update(seed={count}).wait(10); time.time()")
            time.sleep(0.05)
    heard = eval(notebook.run("heard"))
    late_ms = [(moment - sent[value]) * 1000 for value, moment in heard]
    print(f"heard {statistics.median(late_ms):.1f} ms (median) or {max(late_ms):.1f} ms after the commit")
    # Where two commits are seen at once, what changed is told once.
    values = [value for value, _ in heard]
    assert values == sorted({*values}) and values[-1] == 19 and len(values) > 10


def test_observers_run_in_the_main_thread_of_the_kernel(notebook: Notebook, path: Path) -> None:
    notebook.run(
        "import threading\nseen = set()\ngpt.observe(lambda c: seen.add(threading.current_thread()), 'seed')"
    )
    with Kernel(f"import orchstate; store = orchstate.open({str(path)!r})") as other:
        other("store.configs['gpt'].update(seed=1).wait(10)")
    notebook.run(
        "worker = threading.Thread(target=lambda: gpt.update(seed=2)); worker.start(); worker.join()"
    )
    notebook.run("import asyncio; await asyncio.sleep(0.1)")
    assert notebook.run("seen == {threading.main_thread()}") == "True"


def test_the_stop_button_in_the_midst_of_edits_loses_none(notebook: Notebook, path: Path) -> None:
    cell = notebook.start("done = 0\nwhile True:\n    gpt.seed = done\n    done += 1")
    time.sleep(0.5)
    notebook.interrupt()
    with pytest.raises(AssertionError, match="KeyboardInterrupt"):
        notebook.outputs(cell)
    counted = int(notebook.run("print(done)"))
    notebook.run("gpt.seed = -1; store.flush()")
    seeds = eval(notebook.run("print(store.history.changes('gpt', field='seed')['new'].tolist())"))
    # The one at which the button was pressed may be there or not.
    assert seeds in ([*range(counted), -1], [*range(counted + 1), -1])


def test_a_key_as_a_literal_in_a_cell_works_and_warns(notebook: Notebook, path: Path) -> None:
    said = notebook.run("gpt.api_key = 'sk-proj-0123456789abcdef0123'")
    assert "OrchstateWarning" in said
    assert "now delete it from the cell" in said
    assert notebook.run("gpt.api_key") == "SecretRef(memory: ********)"
    assert b"sk-proj" not in path.read_bytes()


@pytest.mark.parametrize(
    "cell", ["gpt.model = 'sk-own-0123456789'", "gpt.update(tags=['a', 'sk-own-0123456789'])"]
)
def test_what_looks_like_a_key_in_a_field_for_something_else_warns_once(
    notebook: Notebook, cell: str
) -> None:
    said = notebook.run(cell)
    assert said.count("looks like a key. It is stored in plain text, in the history and in") == 1
    assert "looks like a key" not in notebook.run("gpt.seed = 5")


def test_a_new_config_with_what_looks_like_a_key_warns(notebook: Notebook) -> None:
    said = notebook.run("new = store.configs.upsert('new', 'openai', stop='sk-own-0123456789')")
    assert said.count("The stop of 'new' looks like a key") == 1


def test_outside_of_ipython_there_is_nothing_to_do() -> None:
    with orchstate.open(":memory:") as store:
        store._cell_end.forget()
        store._cell_end._settle()
        assert store._cell_end._events is None
