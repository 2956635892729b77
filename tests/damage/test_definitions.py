"""Damage to what a store's file says of itself: its head, its tables' definitions, its id."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

import orchstate
from orchstate.errors import CorruptStoreError, NewerSchemaError
from orchstate.storage import schema
from orchstate.storage.sqlite import SqliteEngine
from tests.damage.harming import harm, overwrite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = 4096
EVERY_BYTE = pytest.param(1, marks=[pytest.mark.long, pytest.mark.timeout(3600)])


def copies(path: Path, of: Path, step: int) -> Iterator[Path]:
    """Yield a copy of a store again and again, each with one bit of a file changed, always further on."""
    content, chance = of.read_bytes(), random.Random(of.name)
    places = range(0, min(len(content), PAGE), step)
    if of == path:
        # What is beside the store's id, in the page of the table of what is fixed at birth.
        at = content.index(b"store_id")
        places = [*places, *range(at - 60, at + 44, max(1, step // 10))]
    for number, place in enumerate(places):
        folder = path.with_name(f"harmed {number}")
        folder.mkdir()
        for file in path.parent.glob("store.db*"):
            if file.is_file():
                shutil.copy(file, folder)
        harmed = bytearray(content)
        harmed[place] ^= 1 << chance.randrange(8)
        (folder / of.name).write_bytes(harmed)
        yield folder / path.name
        shutil.rmtree(folder)


@pytest.mark.parametrize("step", [67, EVERY_BYTE])
@pytest.mark.parametrize("suffix", ["", ".lock"])
def test_no_bit_of_it_costs_more_than_a_salvage(suffix: str, step: int, path: Path) -> None:
    with orchstate.open(path, secrets="memory") as store:
        wanted = {name: config.seed for name, config in store.configs.items()}, store.id
    count = salvages = 0
    for copy in copies(path, path.with_name(f"{path.name}{suffix}"), step if not suffix else min(step, 3)):
        for is_again in (False, True):
            with orchstate.open(copy, secrets="memory") as store:
                found = {name: config.seed for name, config in store.configs.items()}, store.id
                assert (found, is_again and store.status) == (wanted, is_again and "ready"), count
                if store.status == "degraded":
                    assert isinstance(store.error, CorruptStoreError)
                    salvages += 1
        count += 1
    print(f"{suffix or 'file'}: {count} bits changed, {salvages} salvages, nothing lost")
    assert (salvages > count / 3) == (not suffix)


def test_a_store_of_a_newer_version_is_told_from_a_damaged_number(path: Path) -> None:
    harm(path, "PRAGMA user_version = 36")
    with orchstate.open(path, secrets="memory") as store:
        assert (store.status, len(store.configs)) == ("degraded", 3)
    harm(path, "PRAGMA user_version = 36", "UPDATE meta SET value = '36' WHERE key = 'format'")
    before = path.read_bytes()
    with pytest.raises(NewerSchemaError, match="has store format 36"):
        orchstate.open(path, secrets="memory")
    assert path.read_bytes() == before


def test_a_store_from_before_its_id_had_a_sum_gets_one(path: Path) -> None:
    harm(path, "DELETE FROM meta WHERE key IN ('store_id_sum', 'format')")
    with orchstate.open(path, secrets="memory") as store:
        id, engine = store.id, store._engine
        assert (store.status, isinstance(engine, SqliteEngine)) == ("ready", True)
    # Nothing else says now what the id was.
    path.with_name("store.db.lock").unlink()
    harm(path, "UPDATE meta SET value = replace(value, '-', '+') WHERE key = 'store_id'")
    with orchstate.open(path, secrets="memory") as store:
        assert (store.status, len(store.configs), schema.is_id(store.id)) == ("degraded", 3, True)
        assert store.id != id


def test_a_file_that_has_lost_its_clock_is_salvaged(path: Path) -> None:
    harm(path, "DELETE FROM clock")
    overwrite(path, "rev_id")
    with orchstate.open(path, secrets="memory") as store:
        assert (store.status, len(store.configs), store._engine.check()) == ("degraded", 3, [])


def test_a_key_that_is_no_text_any_more_is_in_nobodys_way(path: Path) -> None:
    harm(path, "UPDATE meta SET key = CAST(key AS BLOB) WHERE key = 'format'")
    with orchstate.open(path, secrets="memory") as store:
        assert (store.status, len(store.configs)) == ("ready", 3)


def test_what_others_add_to_the_file_is_no_damage(path: Path) -> None:
    harm(
        path, "CREATE TABLE mine (a TEXT)", "CREATE INDEX my_index ON doc (user)", "CREATE VIEW v AS SELECT 1"
    )
    with orchstate.open(path, secrets="memory") as store:
        assert (store.status, store.error) == ("ready", None)


@pytest.mark.parametrize("steps", range(1, len(schema._STEPS) + 1))
def test_the_sum_of_the_definitions_is_that_which_the_steps_make(steps: int, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as connection:
        for step in range(steps):
            schema._run(connection, step)
        schema.check_identity(connection, tmp_path / "store.db")
        connection.execute("DROP INDEX rev_id")
        with pytest.raises(CorruptStoreError, match="not as they were made"):
            schema.check_identity(connection, tmp_path / "store.db")
