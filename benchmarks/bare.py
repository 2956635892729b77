"""The bare metal: the same work done by hand with sqlite3, traitlets, json or nothing at all.

Each does only what is compared: no journal, no checksum, no merge, no undo. What is
written is as long as what orchstate writes, since the size of a document is not ours to save.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final

from traitlets import Bool, Dict, Float, HasTraits, Int, TraitError, Tuple, Unicode, validate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

BODY: Final = {
    "max_tokens": 1000,
    "model": "gpt-5.4-mini",
    "name": "config 0",
    "provider": "openai",
    "tags": ["chat", "test"],
    "temperature": 0.5,
}
_TABLES: Final = (
    "CREATE TABLE doc (id TEXT PRIMARY KEY, name TEXT UNIQUE, revision INTEGER, at REAL, body TEXT)",
    "CREATE TABLE rev (seq INTEGER PRIMARY KEY, id TEXT, revision INTEGER, at REAL, body TEXT, diff TEXT)",
    "CREATE INDEX rev_id ON rev (id, seq)",
)
# What the history is as a DataFrame, in typed columns.
_CHANGES: Final = """CREATE TABLE changes (
    seq INTEGER PRIMARY KEY, at INTEGER, txn TEXT, label TEXT, kind TEXT, id TEXT, name TEXT, op TEXT,
    field TEXT, old REAL, new REAL, actor TEXT, notebook TEXT, cell TEXT)"""
_TYPED: Final = f"INSERT INTO changes VALUES ({', '.join('?' * 14)})"
_UPDATE: Final = "UPDATE doc SET revision = revision + 1, at = ?, body = ? WHERE id = ?"
_APPEND: Final = "INSERT INTO rev (id, revision, at, body, diff) VALUES (?, ?, ?, ?, ?)"


class Sqlite:
    """Documents and their history in a file of its own, one transaction per edit.

    Parameters
    ----------
    path
        The file; made when missing.
    journal_mode, synchronous
        SQLite's names.
    count
        How many documents a new file has.
    """

    def __init__(self, path: Path, *, journal_mode: str, synchronous: str, count: int = 1) -> None:
        is_new = not path.exists()
        self.connection = sqlite3.connect(path, isolation_level=None, timeout=10)
        self.connection.execute(f"PRAGMA journal_mode = {journal_mode}")
        self.connection.execute(f"PRAGMA synchronous = {synchronous}")
        if is_new:
            self._fill(count)
        self._body = dict(BODY)
        self._revision = 1

    def edit(self, temperature: float, id: str = "0") -> None:
        """Change one value of one document, and keep the history."""
        self.connection.execute("BEGIN IMMEDIATE")
        self._write(temperature, id)
        self.connection.execute("COMMIT")

    def edit_all(self, temperature: float, ids: Iterable[str]) -> None:
        """Change one value of many documents in one transaction."""
        self.connection.execute("BEGIN IMMEDIATE")
        for id in ids:
            self._write(temperature, id)
        self.connection.execute("COMMIT")

    def create(self, name: str) -> None:
        """Add a document, and keep the history."""
        now, text = time.time(), json.dumps(self._body | {"name": name})
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.execute("INSERT INTO doc VALUES (?, ?, 1, ?, ?)", [name, name, now, text])
        self.connection.execute(_APPEND, [name, 1, now, text, "{}"])
        self.connection.execute("COMMIT")

    def read(self, name: str) -> dict[str, Any]:
        """Return the document of a name."""
        (text,) = self.connection.execute("SELECT body FROM doc WHERE name = ?", [name]).fetchone()
        found: dict[str, Any] = json.loads(text)
        return found

    def read_all(self) -> list[dict[str, Any]]:
        """Return all documents."""
        return [json.loads(text) for (text,) in self.connection.execute("SELECT body FROM doc")]

    def _write(self, temperature: float, id: str) -> None:
        old, self._body["temperature"] = self._body["temperature"], temperature
        self._revision += 1
        now, text = time.time(), json.dumps(self._body)
        diff = json.dumps({"temperature": [old, temperature]})
        self.connection.execute(_UPDATE, [now, text, id])
        self.connection.execute(_APPEND, [id, self._revision, now, text, diff])

    def _fill(self, count: int) -> None:
        for statement in _TABLES:
            self.connection.execute(statement)
        self.connection.execute("BEGIN")
        rows = [(str(number), f"config {number}", body_of(number)) for number in range(count)]
        self.connection.executemany("INSERT INTO doc VALUES (?, ?, 1, 0, ?)", rows)
        self.connection.execute("COMMIT")


class Traits(HasTraits):
    """A config as plain traitlets: twelve fields, one of them with a rule of its own."""

    name = Unicode("gpt")
    provider = Unicode("openai")
    model = Unicode("gpt-5.4-mini")
    base_url = Unicode(None, allow_none=True)
    organization = Unicode(None, allow_none=True)
    temperature = Float(0.5, allow_none=True)
    top_p = Float(None, allow_none=True)
    max_tokens = Int(None, allow_none=True)
    seed = Int(None, allow_none=True)
    store = Bool(None, allow_none=True)
    headers = Dict()
    tags = Tuple()

    @validate("temperature")
    def _check_temperature(self, proposal: Any) -> float:
        value: float = proposal["value"]
        if not 0 <= value <= 2:
            raise TraitError(f"{value!r} is too large: at most 2 is allowed.")
        return value


VALUES: Final[dict[str, Any]] = {
    "name": "gpt",
    "provider": "openai",
    "model": "gpt-5.4-mini",
    "base_url": None,
    "organization": None,
    "temperature": 0.5,
    "top_p": 0.9,
    "max_tokens": 1000,
    "seed": None,
    "store": None,
    "headers": {},
    "tags": ("chat", "test"),
}
"""One value for each field of :class:`Traits`."""


def body_of(number: int) -> str:
    """Return the JSON text of one of many documents."""
    return json.dumps(BODY | {"name": f"config {number}", "max_tokens": 1000 + number})


def temperature(number: int) -> float:
    """Return a value that differs from the one before, with three digits as people type them."""
    return 0.001 + number % 1999 / 1000


def ids(count: int) -> Sequence[str]:
    """Return the ids of the first documents of a :class:`Sqlite` file."""
    return [str(number) for number in range(count)]


def fill_history(path: Path, store: Path) -> None:
    """Make a file with the history of a store by hand: each revision whole, and its change in typed columns.

    Of a creation, which has several changed fields, the temperature stands for all.
    """
    rows = _revisions_of(store)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in (*_TABLES, _CHANGES):
            connection.execute(statement)
        connection.execute("BEGIN")
        for seq, id, revision, at_us, body, diff, *circumstances in rows:
            past = [seq, id, revision, at_us, body, diff]
            connection.execute("INSERT INTO rev VALUES (?, ?, ?, ?, ?, ?)", past)
            txn, label, kind, name, verb, *place = circumstances
            change = ["temperature", *json.loads(diff)["temperature"]]
            connection.execute(_TYPED, [seq, at_us, txn, label, kind, id, name, verb, *change, *place])
        connection.execute("COMMIT")


def _revisions_of(store: Path) -> list[tuple[Any, ...]]:
    sql = """SELECT seq, id, revision, at_us, body, diff, txn, label, kind, name, verb, actor, notebook, cell
        FROM rev ORDER BY seq"""
    with contextlib.closing(sqlite3.connect(store)) as connection:
        return connection.execute(sql).fetchall()
