"""What fresh processes do; run by its path, and importing nothing but what the role needs.

Whoever started the process takes the time until its first line.
"""

from __future__ import annotations

import itertools
import sys


def nothing() -> None:
    """Only start."""
    print(flush=True)


def import_bases() -> None:
    """Import what orchstate is built on, and use it once, since pydantic loads its parts late."""
    import traitlets
    from pydantic import BaseModel, Field

    class Model(BaseModel):
        name: str
        temperature: float = Field(0.5, ge=0, le=2)

    traitlets.HasTraits()
    Model(name="gpt")
    print(flush=True)


def import_orchstate() -> None:
    """Do what :func:`import_bases` does, and import everything that opening a store needs."""
    import orchstate

    _ = orchstate.open
    import_bases()


def open_orchstate(path: str, name: str) -> None:
    """Import, open, look one config up, read one value."""
    import orchstate

    store = orchstate.open(path, secrets="memory")
    print(store.configs[name].temperature, flush=True)
    store.close()


def open_sqlite_pydantic(path: str, name: str) -> None:
    """Do the same as people do: read all rows, validate them with pydantic, look one up."""
    import sqlite3

    from pydantic import BaseModel, Field

    class Config(BaseModel):
        name: str
        provider: str
        model: str | None = None
        base_url: str | None = None
        organization: str | None = None
        temperature: float | None = Field(None, ge=0, le=2)
        top_p: float | None = Field(None, ge=0, le=1)
        max_tokens: int | None = Field(None, ge=1)
        seed: int | None = None
        headers: dict[str, str] = Field(default_factory=dict)
        tags: tuple[str, ...] = ()
        stash: dict[str, str] = Field(default_factory=dict)

    rows = sqlite3.connect(path).execute("SELECT name, body FROM doc")
    configs = {name: Config.model_validate_json(text) for name, text in rows}
    print(configs[name].temperature, flush=True)


def open_sqlite_json(path: str, name: str) -> None:
    """Do the same with the least: read the one row, trust what is stored."""
    import json
    import sqlite3

    connection = sqlite3.connect(path)
    (text,) = connection.execute("SELECT body FROM doc WHERE name = ?", [name]).fetchone()
    print(json.loads(text)["temperature"], flush=True)


def phases(path: str, name: str) -> None:
    """Print the milliseconds of: open and look one up; list the names; read a value of each."""
    from time import perf_counter

    import orchstate

    open_store = orchstate.open
    times = [perf_counter()]
    store = open_store(path, secrets="memory")
    _ = store.configs[name].temperature
    times.append(perf_counter())
    list(store.configs)
    times.append(perf_counter())
    for config in store.configs.values():
        _ = config.temperature
    times.append(perf_counter())
    print(*(1000 * (end - start) for start, end in itertools.pairwise(times)))
    store.close()


def phases_bare(path: str, name: str) -> None:
    """Print the same by hand: one row; all names; all bodies."""
    import json
    import sqlite3
    from time import perf_counter

    times = [perf_counter()]
    connection = sqlite3.connect(path)
    (text,) = connection.execute("SELECT body FROM doc WHERE name = ?", [name]).fetchone()
    _ = json.loads(text)["temperature"]
    times.append(perf_counter())
    [row[0] for row in connection.execute("SELECT name FROM doc ORDER BY id")]
    times.append(perf_counter())
    for (text,) in connection.execute("SELECT body FROM doc"):
        _ = json.loads(text)["temperature"]
    times.append(perf_counter())
    print(*(1000 * (end - start) for start, end in itertools.pairwise(times)))


def registry() -> None:
    """Print the milliseconds until all definitions are read, and until they have classes and traits."""
    from time import perf_counter

    from orchstate.config import Config
    from orchstate.providers.registry import Registry
    from orchstate.state.derivation import derive

    times = [perf_counter()]
    registry = Registry()
    definitions = list(registry)
    times.append(perf_counter())
    for definition in definitions:
        derive(registry.document_class(definition.id), Config)
    times.append(perf_counter())
    print(1000 * (times[1] - times[0]), 1000 * (times[2] - times[0]))


def registry_bare() -> None:
    """Print the milliseconds that parsing the same files takes."""
    import json
    from pathlib import Path
    from time import perf_counter

    catalog = Path(__file__).parent.parent / "orchstate" / "providers" / "catalog"
    start = perf_counter()
    for file in catalog.glob("*.json"):
        json.loads(file.read_bytes())
    print(1000 * (perf_counter() - start))


def memory(path: str) -> None:
    """Print the kB that are added by: opening; listing all names; views of all, held and read."""
    import gc
    import tracemalloc

    import orchstate

    open_store = orchstate.open
    with open_store(":memory:") as warm:
        # What every process has once: the class of the provider's configs, and their traits.
        _ = warm.configs.create("openai", name="warm").temperature
    tracemalloc.start()
    sizes = [_traced(gc.collect)]
    store = open_store(path, secrets="memory")
    sizes.append(_traced(gc.collect))
    names = list(store.configs)
    sizes.append(_traced(gc.collect))
    held = list(store.configs.values())
    for config in held:
        _ = config.temperature
    sizes.append(_traced(gc.collect))
    print(*(end - start for start, end in itertools.pairwise(sizes)))
    del names
    store.close()


def memory_bare(path: str) -> None:
    """Print the kB of the same bodies as dicts."""
    import gc
    import json
    import sqlite3
    import tracemalloc

    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT body FROM doc")
    tracemalloc.start()
    before = _traced(gc.collect)
    held = [json.loads(text) for (text,) in rows]
    print(_traced(gc.collect) - before)
    del held


def _traced(settle: object) -> float:
    import tracemalloc

    assert callable(settle)
    settle()
    return tracemalloc.get_traced_memory()[0] / 1000


if __name__ == "__main__":
    {name: role for name, role in globals().items() if callable(role)}[sys.argv[1]](*sys.argv[2:])
