"""What the clock says decides nothing: neither what is kept, nor who wins, nor in which order it is told."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from testbed.kernel import Kernel

import orchstate
from orchstate.errors import NotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from orchstate.store import Store

HOUR = 3_600
YEAR = 365 * 24 * HOUR
START = datetime.now(UTC)

# A clock of its own for each process: ahead by so many seconds, and put back in mid-run.
SETUP = """
import time
true_ns, ahead_s = time.time_ns, {ahead_s!r}
time.time_ns = lambda: true_ns() + int(ahead_s * 1e9)
import orchstate
store = orchstate.open({path!r}, secrets="memory", actor={actor!r})
told = []
store.subscribe(lambda event: told.append((event.seq, event.name, type(event).__name__)))
"""

CLOCKS = {
    "good": (0, 0, 0),
    "an hour ahead": (HOUR, HOUR, 0),
    "an hour behind": (-HOUR, -HOUR, 0),
    "ten years ahead": (10 * YEAR, 10 * YEAR, 0),
    "ten years behind": (-10 * YEAR, -10 * YEAR, 0),
    "an hour apart": (HOUR, 0, 0),
    "back by a day in mid-run": (0, 0, -24 * HOUR),
    "ahead by ten years in mid-run": (0, 0, 10 * YEAR),
}


def work(path: Path, first: int, second: int, step: int) -> dict[str, Any]:
    """Have two processes edit one store in turns, with these clocks; return what came of it."""
    with contextlib.ExitStack() as stack:
        one, two = (
            stack.enter_context(Kernel(SETUP.format(path=str(path), ahead_s=ahead_s, actor=actor)))
            for ahead_s, actor in ((first, "one"), (second, "two"))
        )
        one("gpt = store.configs.create('openai', name='gpt', temperature=0.1)")
        one("store.configs.create('ollama', name='gone').delete(); store.flush()")
        two("store.refresh(30); gpt = store.configs['gpt']")
        for kernel, number in ((one, 1), (two, 2), (one, 3), (two, 4)):
            kernel(f"store.refresh(30); gpt.seed = {number}; store.flush(30)")
        one(f"ahead_s += {step}")
        two(f"ahead_s += {step}")
        # Both at once: the second commit wins, though its clock may say that it was first.
        two("store._engine._write_mutex.acquire(); gpt.max_tokens = 2")
        one("gpt.max_tokens = 1; store.flush(30)")
        two("store._engine._write_mutex.release(); store.flush(30)")
        one("store.refresh(30); gpt.top_p = 0.5; store.flush(30); store.undo(); store.flush(30)")
        two("store.refresh(30); store.configs.create('openai', name='later'); store.flush(30)")
        # What one accepts and does not live to commit is taken over.
        two("store._state._writer.stop(); gpt.temperature = 0.9")
        two.kill()
        one("store.close()")
        with Kernel(SETUP.format(path=str(path), ahead_s=first, actor="one")) as again:
            times = again(
                "[(c.created_at.timestamp(), c.updated_at.timestamp()) for c in store.configs.values()]"
            )
        told = one("told")
    with orchstate.open(path, secrets="memory") as store:
        changes = store.history.changes()
        at = [store.at(seq).configs for seq in range(len(store.history) + 1)]
        return {
            "state": {name: config.to_dict() for name, config in sorted(store.configs.items())},
            "order": changes[["kind", "name", "op", "field", "old", "new", "actor"]].values.tolist(),
            "told": told,
            "past": [sorted((name, past[name].model_dump()["seed"]) for name in past) for past in at],
            "times": times,
            "moments": [moment(store, seconds) for seconds in (0, 60, 20 * YEAR)],
            "check": store._engine.check(),
        }


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What comes of it with a good clock."""
    return work(tmp_path_factory.mktemp("good") / "store.db", 0, 0, 0)


def moment(store: Store, seconds: float) -> int:
    """Return the seq of a time, 0 where it is before all."""
    with contextlib.suppress(NotFoundError):
        return store.at(START + timedelta(seconds=seconds)).seq
    return 0


def without_times(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state without what differs from one store, or one run, to another."""
    differing = ("id", "created_at", "updated_at")
    return {
        name: {field: value for field, value in values.items() if field not in differing}
        for name, values in state.items()
    }


@pytest.mark.parametrize("clock", CLOCKS)
def test_any_clock_leads_to_what_a_good_one_leads_to(
    clock: str, good: dict[str, Any], tmp_path: Path
) -> None:
    found = work(tmp_path / "store.db", *CLOCKS[clock])
    assert without_times(found["state"]) == without_times(good["state"])
    for what in ("order", "told", "past", "check"):
        assert found[what] == good[what], what
    assert found["state"]["gpt"]["max_tokens"] == 2
    assert found["state"]["gpt"]["temperature"] == 0.9
    last = len(found["past"]) - 1
    # Whatever the clocks were, a later time is no earlier moment, and one after all of them is the present.
    assert found["moments"] == sorted(found["moments"])
    assert found["moments"][-1] == last
    for created, updated in found["times"]:
        assert created <= updated, "changed before it was made"
    print(f"clock {clock}: {last} revisions, 0 lost, 0 twice")
