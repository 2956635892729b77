"""Damage to what a long text is stored in: a changed bit is put right; what is beyond that is named whole."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

import orchstate
from orchstate.errors import CorruptStoreError
from orchstate.storage.sqlite import SqliteEngine
from tests.storage.test_pieces import prose

if TYPE_CHECKING:
    from pathlib import Path

    from orchstate.storage.salvage import Salvaged

PROMPT = prose(30_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store in which one config has had a long prompt, and another was edited all the time."""
    path = tmp_path / "store.db"
    with orchstate.open(path, secrets="memory") as store:
        gpt = store.configs.create("openai", name="gpt", model="m1", temperature=0.0)
        other = store.configs.create("openai", name="other", seed=0)
        store.flush()
        gpt.system_prompt = PROMPT
        for number in range(1, 6):
            gpt.temperature = number / 10
            other.seed = number
            store.flush()
    return path


def pieces(path: Path) -> list[tuple[bytes, bytes]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT hash, data FROM piece ORDER BY hash").fetchall()


def change(path: Path, key: bytes, *, new_key: bytes, data: bytes) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE piece SET hash = ?, data = ? WHERE hash = ?", [new_key, data, key])


def flipped(data: bytes, chance: random.Random) -> bytes:
    at, bit = chance.randrange(len(data)), chance.randrange(8)
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def salvaged(path: Path) -> Salvaged:
    with closing(SqliteEngine(path)) as engine:
        return engine.salvaged or engine.salvage()


@pytest.mark.parametrize("of", ["data", "hash"])
def test_a_changed_bit_of_a_piece_is_put_right(of: str, path: Path) -> None:
    chance = random.Random(1)
    # A list of pieces has no hash of its own, so nothing says what it was.
    key, data = chance.choice([(key, data) for key, data in pieces(path) if data[:1] in b"tz"])
    new_key, new_data = (key, flipped(data, chance)) if of == "data" else (flipped(key, chance), data)
    change(path, key, new_key=new_key, data=new_data)
    with orchstate.open(path, secrets="memory") as store, pytest.raises(CorruptStoreError, match="damaged"):
        _ = store.configs["gpt"]
    done = salvaged(path)
    assert (done.losses, done.doubt) == ((), "")
    with orchstate.open(path, secrets="memory") as store:
        gpt = store.configs["gpt"]
        assert (gpt.system_prompt, gpt.temperature, gpt.model) == (PROMPT, 0.5, "m1")
        assert store.at(8).configs["gpt"].temperature == 0.3
        assert store._engine.check() == []


def test_what_is_beyond_that_is_named_whole(path: Path) -> None:
    key, data = next((key, data) for key, data in pieces(path) if data[:1] in b"tz")
    change(path, key, new_key=key, data=data[:20] + bytes(20) + data[40:])
    done = salvaged(path)
    (loss,) = done.losses
    assert loss.what == "config 'gpt' is as it was at 1: its changes 3-4, 6, 8, 10, 12 are lost."
    assert done.doubt == " Not certain any more before 13: what was config 'gpt' from 3 on."
    assert done.doubt in str(done.error())
    with orchstate.open(path, secrets="memory") as store:
        # What nothing was lost of is there at every moment.
        for number in range(1, 5):
            then = store.at(3 + 2 * number).configs
            assert then["other"].seed == number
            assert list(then) == ["other"]
            with pytest.raises(CorruptStoreError, match=r"What config 'gpt' was at \d+ is not certain"):
                then["gpt"]
            with pytest.raises(CorruptStoreError, match="Whether there was a config 'new' at"):
                then["new"]
        assert store.at(2).configs["gpt"].system_prompt is None
        assert store.at(13).configs["gpt"].temperature == 0.0


def test_what_is_whole_now_is_whole_in_the_past_though_its_change_is_damaged(path: Path) -> None:
    with orchstate.open(path, secrets="memory") as store:
        store.configs["gpt"].system_prompt = "Short."
        store.flush()
        store.configs["other"].seed = 99
        last = store.flush()
    key, data = next((key, data) for key, data in pieces(path) if data[:1] in b"tz")
    change(path, key, new_key=key, data=data[:20] + bytes(20) + data[40:])
    with orchstate.open(path, secrets="memory") as store:
        assert store.configs["gpt"].system_prompt == "Short."
        for seq in (last - 1, last):
            assert store.at(seq).configs["gpt"].system_prompt == "Short."
            assert sorted(store.at(seq).configs) == ["gpt", "other"]
        assert list(store.at(last - 2).configs) == ["other"]


def test_where_it_is_not_certain_of_all_whose_they_were_no_document_is(path: Path) -> None:
    with orchstate.open(path, secrets="memory") as store:
        store.configs["gpt"].system_prompt = "Short."
        last = store.flush()
    key, data = next((key, data) for key, data in pieces(path) if data[:1] in b"tz")
    change(path, key, new_key=key, data=data[:20] + bytes(20) + data[40:])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("DELETE FROM rev WHERE seq = 5")
    # The present row of gpt stands in for its last revision, and not for the one that nobody knows.
    done = salvaged(path)
    assert done.doubt == f" What the store was from 3 to {last - 1} is not certain any more."
    with orchstate.open(path, secrets="memory") as store:
        with pytest.raises(CorruptStoreError, match="What the store was at 6 is not certain"):
            _ = store.at(6).configs["other"]
        assert store.at(last).configs["gpt"].system_prompt == "Short."
