"""However edits interleave, in the end everybody sees the same, and it is what is stored."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import sqlite3
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from testbed.kernel import Kernel

import orchstate
from orchstate.errors import OrchstateError
from orchstate.following import Options
from orchstate.secrets.secrets import Secrets
from orchstate.storage.outbox import Outbox
from orchstate.storage.sqlite import SqliteEngine
from orchstate.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = ("a", "b", "c", "d")


def present(store: Store) -> dict[str, Any]:
    """Everything that can be seen of a store, by id."""
    configs = {config.id: config.to_dict() for config in store.configs.values()}
    by_name = {name: store.configs[name].id for name in store.configs}
    return {"configs": configs, "names": by_name, "settings": store.settings.to_dict()}


class Notebooks:
    """Several stores on one file in one process, whose commits can be held up."""

    def __init__(self, path: Path, count: int) -> None:
        self.stores = [self._open(path, number) for number in range(count)]
        self._held: dict[int, bool] = dict.fromkeys(range(count), False)

    def _open(self, path: Path, number: int) -> Store:
        engine = SqliteEngine(path)
        folder = path.with_name(f"{path.name}.outbox")
        journal = Outbox.create(folder, store_id=engine.store_id, writer=uuid.uuid4().hex)
        secrets = Secrets("memory", vault_path=path)
        return Store(engine, journal, Options(False, "memory", f"user {number}"), secrets)

    def toggle(self, number: int) -> None:
        mutex = self.stores[number]._engine._write_mutex
        (mutex.release if self._held[number] else mutex.acquire)()
        self._held[number] = not self._held[number]

    def settle(self) -> None:
        for number, is_held in self._held.items():
            if is_held:
                self.toggle(number)
        for store in self.stores:
            store.flush(60)
        for store in self.stores:
            store.refresh(60)

    def close(self) -> None:
        for store in self.stores:
            store.close()


def edit(store: Store, chance: random.Random) -> None:
    """Make one edit that may well be refused."""
    name = chance.choice(NAMES)
    kind = chance.choice(
        ["create", "upsert", "set", "set", "set", "rename", "move", "delete", "undo", "setting"]
    )
    if kind == "create":
        store.configs.create(chance.choice(["openai", "ollama"]), name=name, temperature=chance.random())
    elif kind == "upsert":
        store.configs.upsert(name, "openai", seed=chance.randrange(9))
    elif kind == "undo":
        chance.choice([store.undo, store.redo])()
    elif kind == "setting":
        store.settings.agents.retry_attempts = chance.randrange(10)
    elif kind == "delete":
        store.configs[name].delete()
    elif kind == "rename":
        store.configs[name].name = chance.choice(NAMES)
    elif kind == "move":
        store.configs[name].provider = chance.choice(["openai", "anthropic", "ollama"])
    else:
        field, value = chance.choice(
            [
                ("temperature", chance.random()),
                ("model", chance.choice(["x", "y", None])),
                ("base_url", chance.choice([None, "http://127.0.0.1:1/v1"])),
                ("data_residency", chance.choice([None, "eu"])),
                ("tags", chance.choice([[], ["t"], ["t", "u"]])),
            ]
        )
        store.configs[name].update(**{field: value})


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level("CRITICAL", "orchstate")
    yield


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    "seed", [*range(8), *(pytest.param(n, marks=pytest.mark.long) for n in range(8, 60))]
)
def test_all_notebooks_end_with_what_is_stored(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    notebooks = Notebooks(tmp_path / "store.db", 3)
    told: dict[str, dict[str, Any]] = {}
    for _ in range(80):
        number = chance.randrange(3)
        store = notebooks.stores[number]
        action = chance.random()
        if action < 0.15:
            notebooks.toggle(number)
        elif action < 0.3:
            with contextlib.suppress(OrchstateError), store.transaction():
                edit(store, chance)
                edit(store, chance)
        else:
            with contextlib.suppress(OrchstateError):
                edit(store, chance)
        if number == 0:
            for config in store.configs.values():
                if config.id not in told:
                    told[config.id] = {}
                    # Whoever only follows what is told has the same in the end.
                    config.observe(lambda change, id=config.id: told[id].update({change.name: change.new}))
    notebooks.settle()
    seen = [present(store) for store in notebooks.stores]
    assert seen[0] == seen[1] == seen[2]
    assert all(store.pending == 0 and store.status == "ready" for store in notebooks.stores)
    for id, config in seen[0]["configs"].items():
        record = notebooks.stores[0].configs[id]
        heard = {name: value for name, value in told.get(id, {}).items() if hasattr(record, name)}
        assert {name: getattr(record, name) for name in heard} == heard, config["name"]
    notebooks.close()
    with orchstate.open(tmp_path / "store.db") as fresh:
        assert present(fresh) == seen[0]
        assert fresh._engine.check() == []
        seqs = [revision.row.seq for revision in fresh._engine.changes_since(0)]
        assert seqs == list(range(1, len(seqs) + 1))


PLAY = """
import random
from state.test_convergence import edit, present
chance = random.Random({seed})
import logging; logging.disable()
for _ in range(120):
    try:
        edit(store, chance)
    except orchstate.OrchstateError:
        pass
store.flush(60)
"""


def test_processes_that_edit_at_once_end_with_the_same(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    setup = f"import sys, orchstate; sys.path.insert(0, 'tests'); store = orchstate.open({path!r})"
    with contextlib.ExitStack() as stack:
        kernels = [stack.enter_context(Kernel(setup)) for _ in range(3)]
        for seed, kernel in enumerate(kernels):
            kernel.send(PLAY.format(seed=seed))
        for kernel in kernels:
            kernel.receive()
        seen = [kernel("store.refresh(60); present(store)") for kernel in kernels]
    assert seen[0] == seen[1] == seen[2]
    assert seen[0]["configs"]


# -- four writers ---------------------------------------------------------------------------

DOCUMENTS = 20


def append(store: Store, number: int, count: int) -> dict[str, int]:
    """Make edits whose values nobody else writes, and return what became of them."""
    chance = random.Random(number)
    configs = [store.configs.upsert(f"config {place}", "openai") for place in range(DOCUMENTS)]
    values = range(number * count, (number + 1) * count)
    receipts = [chance.choice(configs).update(seed=value) for value in values]
    store.flush(120)
    return Counter(receipt.state for receipt in receipts)


def sum_of(rows: list[list[Any]]) -> str:
    return hashlib.sha256(json.dumps(sorted(rows), sort_keys=True).encode()).hexdigest()


def seen(store: Store) -> str:
    """Return a hash of everything that a store shows."""
    configs = store.configs.values()
    return sum_of([[one.id, one.name, one.revision, one.document().body()] for one in configs])


def stored(path: Path) -> tuple[str, Counter[int]]:
    """Read without orchstate: the same hash, and how often each value is in the history."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT id, name, revision, body FROM doc WHERE kind = 'config' AND deleted = 0"
        ).fetchall()
        diffs = connection.execute("SELECT diff FROM rev").fetchall()
    values = (json.loads(diff).get("seed", [None, None])[1] for (diff,) in diffs)
    present = [[id, name, revision, json.loads(body)] for id, name, revision, body in rows]
    return sum_of(present), Counter(value for value in values if value is not None)


@pytest.mark.parametrize("count", [300, pytest.param(2_000, marks=pytest.mark.long)])
def test_what_four_writers_append_is_there_once_and_all_see_the_same(count: int, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    setup = (
        "import sys, orchstate; sys.path.insert(0, 'tests'); "
        "from state.test_convergence import append, seen; "
        f"store = orchstate.open({str(path)!r}, secrets='memory')"
    )
    with contextlib.ExitStack() as stack:
        kernels = [stack.enter_context(Kernel(setup)) for _ in range(4)]
        for number, kernel in enumerate(kernels):
            kernel.send(f"append(store, {number}, {count})")
        outcomes = sum((Counter(kernel.receive()) for kernel in kernels), Counter[str]())
        sums = {kernel("store.refresh(60); seen(store)") for kernel in kernels}
        sums.add(stack.enter_context(Kernel(setup))("seen(store)"))
    found, values = stored(path)
    print(f"{dict(outcomes)}, {len(values)} values in the history, hash {found[:12]}")
    assert set(outcomes) <= {"committed", "merged"}
    assert outcomes.total() == 4 * count
    assert values == Counter(range(4 * count))
    assert sums == {found}
