"""Eight threads and a hundred tasks on one store do what one after the other would have done."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

import orchstate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchstate.config import Config
    from orchstate.state.receipt import Receipt
    from orchstate.store import Store

THREADS, TASKS = 8, 100
# Of an edit: its place in the order of all, and by id what it sets; None where it deletes.
Done = tuple[int, dict[str, dict[str, Any] | None]]


class Work:
    """Edits that many make at once, and what each of them did."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.shared = [store.configs.create("openai", name=f"shared {number}") for number in range(5)]
        store.flush()
        self.first = store._state.n
        self.done: list[Done] = []
        self._numbers = itertools.count(1)

    def steps(self, count: int) -> Iterator[Receipt]:
        """Make so many edits of all kinds, one at a time."""
        chance = random.Random(next(self._numbers))
        for _ in range(count):
            act = chance.choice([self._change, self._change, self._change, self._group, self._make])
            receipt, changes = act(chance)
            # Nobody can be sure of what was just set, but of a value that somebody has set.
            assert chance.choice(self.shared).name.startswith("shared")
            self.done.append((receipt.n, changes))
            yield receipt

    def _change(self, chance: random.Random) -> tuple[Receipt, dict[str, Any]]:
        config, value = chance.choice(self.shared), next(self._numbers)
        return config.update(seed=value), {config.id: {"seed": value}}

    def _group(self, chance: random.Random) -> tuple[Receipt, dict[str, Any]]:
        one, other = chance.sample(self.shared, 2)
        value = next(self._numbers)
        with self.store.transaction():
            one.seed = -1
            receipt = other.update(max_tokens=value)
            one.seed = value
            assert (one.seed, other.max_tokens) == (value, value)
        return receipt, {one.id: {"seed": value}, other.id: {"max_tokens": value}}

    def _make(self, chance: random.Random) -> tuple[Receipt, dict[str, Any]]:
        value = next(self._numbers)
        made, receipt = self.store._state.create(
            "config", f"own {value}", {"provider": "openai", "seed": value}
        )
        if chance.random() < 0.5:
            self.done.append((receipt.n, {made.id: {"seed": value}}))
            return self.store.configs[f"own {value}"].delete(), {made.id: None}
        return receipt, {made.id: {"seed": value}}

    def one_after_the_other(self) -> dict[str, dict[str, Any]]:
        """Return what all edits give when they are made in their order."""
        found: dict[str, dict[str, Any]] = {config.id: {} for config in self.shared}
        for _, changes in sorted(self.done, key=lambda done: done[0]):
            for id, change in changes.items():
                if change is None:
                    del found[id]
                else:
                    found.setdefault(id, {}).update(change)
        return found


def values_of(config: Config) -> dict[str, Any]:
    return {path: config[path] for path in ("seed", "max_tokens") if config[path] is not None}


async def everybody(work: Work, each: int) -> tuple[list[BaseException], int]:
    """Have all threads and tasks work at once; return what failed, and how often the loop came round."""
    failures: list[BaseException] = []
    beats = 0

    def thread() -> None:
        try:
            for _ in work.steps(each * TASKS // THREADS):
                pass
        except BaseException as error:
            failures.append(error)

    async def task(number: int) -> None:
        for count, receipt in enumerate(work.steps(each)):
            await asyncio.sleep(0)
            if count % 25 == number % 25:
                await receipt
                await work.store.aflush()

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.001)
            beats += 1

    heart = asyncio.create_task(beat())
    threads = [threading.Thread(target=thread) for _ in range(THREADS)]
    for one in threads:
        one.start()
    await asyncio.gather(*map(task, range(TASKS)))
    for one in threads:
        await asyncio.to_thread(one.join)
    heart.cancel()
    return failures, beats


@pytest.mark.timeout(600)
@pytest.mark.parametrize("each", [10, pytest.param(50, marks=pytest.mark.long)])
def test_threads_and_tasks_do_what_one_after_the_other_would_have_done(each: int, tmp_path: Path) -> None:
    with orchstate.open(tmp_path / "store.db", secrets="memory") as store:
        work = Work(store)
        told: dict[str, int] = {}
        for config in work.shared:
            config.observe(lambda change, id=config.id: told.update({id: change.new}), "seed")
        failures, beats = asyncio.run(asyncio.wait_for(everybody(work, each), 500))
        store.flush()
        print(f"{len(work.done):,} edits, the loop came round {beats:,} times")
        assert failures == []
        assert beats > 1
        assert len(work.done) >= 2 * each * TASKS
        # Every edit has a place of its own in the order of all.
        assert sorted(n for n, _ in work.done) == list(range(work.first + 1, store._state.n + 1))
        expected = work.one_after_the_other()
        assert {config.id: values_of(config) for config in store.configs.values()} == expected
        assert told == {config.id: config.seed for config in work.shared}
        rows = {row.id: row.body for row in store._engine.snapshot().rows("config")}
        assert rows.keys() == expected.keys()
        news = store.history.changes(work.shared[0].id, field="seed")["new"].tolist()
        ids = ((work.shared[0].id, changes) for _, changes in sorted(work.done, key=lambda done: done[0]))
        assert news == [changes[id]["seed"] for id, changes in ids if "seed" in (changes.get(id) or {})]
