"""The tables of the SQLite engine, and how older ones become the present ones.

``doc`` has the present row of every document, ``rev`` every revision whole, ``applied``
the last intent of each writer that has an outcome, ``parked`` the intents that were not
committed, ``clock`` the one counter from which seqs come, ``meta`` what is fixed at birth
and notes about the file.
``piece`` has what is long in a text, by the hash of its content; ``pin`` the revisions that
results refer to; ``backstep`` where the clock was set back between two commits;
``compaction`` what was removed from the history, when and by whom.

Steps are only ever appended: each is one transaction together with the number it sets.
What they leave behind is known, so that damage to the tables' own definitions is seen
before anything is read through them.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Final

from orchstate.errors import CorruptStoreError, NewerSchemaError, StoreError
from orchstate.storage.connection import fetch, transaction
from orchstate.storage.engine import checksum_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from pathlib import Path

    from orchstate.storage.connection import Query

# "orch" in the file's header, so that a store is told from any other SQLite database.
APPLICATION_ID: Final = 0x6F726368

_STEPS: Final = (
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL)",
        "INSERT INTO clock VALUES (1, 0)",
        """CREATE TABLE doc (
            id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, name_key TEXT NOT NULL,
            revision INTEGER NOT NULL, seq INTEGER NOT NULL, schema INTEGER NOT NULL,
            created_us INTEGER NOT NULL, updated_us INTEGER NOT NULL, user TEXT NOT NULL,
            deleted INTEGER NOT NULL, body TEXT NOT NULL, writer TEXT NOT NULL, foreign_seq INTEGER NOT NULL,
            checksum BLOB NOT NULL) WITHOUT ROWID""",
        "CREATE UNIQUE INDEX doc_name ON doc (kind, name_key) WHERE deleted = 0",
        """CREATE TABLE rev (
            seq INTEGER PRIMARY KEY, id TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
            revision INTEGER NOT NULL, schema INTEGER NOT NULL, created_us INTEGER NOT NULL,
            updated_us INTEGER NOT NULL, user TEXT NOT NULL, deleted INTEGER NOT NULL, body TEXT NOT NULL,
            writer TEXT NOT NULL, foreign_seq INTEGER NOT NULL, checksum BLOB NOT NULL,
            verb TEXT NOT NULL, diff TEXT NOT NULL, at_us INTEGER NOT NULL,
            committed_us INTEGER NOT NULL, txn TEXT NOT NULL, label TEXT NOT NULL, actor TEXT NOT NULL,
            notebook TEXT NOT NULL, cell TEXT NOT NULL, n INTEGER NOT NULL)""",
        "CREATE INDEX rev_id ON rev (id, seq)",
        "CREATE TABLE applied (writer TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID",
        """CREATE TABLE parked (
            writer TEXT NOT NULL, n INTEGER NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL,
            error TEXT NOT NULL, seq INTEGER NOT NULL, intent BLOB NOT NULL,
            PRIMARY KEY (writer, n)) WITHOUT ROWID""",
    ),
    # Whether a row is really deleted is known once it is verified, so those are found by name too.
    ("CREATE INDEX doc_deleted ON doc (kind, name_key) WHERE deleted <> 0",),
    (
        "CREATE TABLE piece (hash BLOB NOT NULL UNIQUE, data BLOB NOT NULL)",
        """CREATE TABLE pin (
            id TEXT NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY (id, revision)) WITHOUT ROWID""",
        "CREATE TABLE backstep (seq INTEGER PRIMARY KEY, committed_us INTEGER NOT NULL)",
        """INSERT INTO backstep SELECT rev.seq, rev.committed_us
            FROM rev JOIN rev AS before ON before.seq = rev.seq - 1
            WHERE rev.committed_us < before.committed_us""",
        # A trigger, since a statement more of ours would cost each commit more.
        """CREATE TRIGGER rev_backstep AFTER INSERT ON rev
            WHEN NEW.committed_us < (SELECT committed_us FROM rev WHERE seq = NEW.seq - 1)
            BEGIN INSERT OR REPLACE INTO backstep VALUES (NEW.seq, NEW.committed_us); END""",
        """CREATE TABLE compaction (
            n INTEGER PRIMARY KEY, at_us INTEGER NOT NULL, actor TEXT NOT NULL, notebook TEXT NOT NULL,
            cell TEXT NOT NULL, horizon INTEGER NOT NULL, removed INTEGER NOT NULL,
            removed_in_all INTEGER NOT NULL, kept TEXT NOT NULL, lost TEXT NOT NULL,
            checksum BLOB NOT NULL)""",
    ),
    # What else must not be believed unseen: how far writers had got. Rows of before have no sum.
    ("ALTER TABLE applied ADD COLUMN checksum BLOB NOT NULL DEFAULT x''",),
)


# Of the definitions after each step. Others may add tables and indexes of their own.
_SUMS: Final = (
    "962a46990c29d4ef631b529b3b8a4a26",
    "216d4ee56102526167180721aacd5ae2",
    "17204a3355f84896722b26e2c6eb8fbc",
    "81c3d0313167f56ff195b651b24311e3",
)
_NAME: Final = re.compile(r"CREATE (?:UNIQUE )?(?:TABLE|INDEX|TRIGGER) (\w+)")
_ID: Final = re.compile(r"[0-9a-f-]{36}")
_STORE_ID, _ID_SUM, _FORMAT = "store_id", "store_id_sum", "format"
_META: Final = "SELECT key, value FROM meta WHERE key IN (?, ?, ?)"


def version_of(connection: sqlite3.Connection) -> int:
    """Return how many steps a file has had, 0 for an empty one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check_identity(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a database that is not a store, or that a newer version wrote.

    Raises
    ------
    StoreError
        If the file is the database of another program.
    NewerSchemaError
        If it needs a newer orchstate; it stays as it is.
    CorruptStoreError
        If its tables are not as they were made.
    """
    # In this order: while another process makes the tables, there are none yet, or the mark is there too.
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    if application not in (0, APPLICATION_ID) or (tables and not application):
        raise StoreError(f"{str(path)!r} is a database of another program. Choose another path.")
    # Both at one moment, since another process may be at the next step.
    connection.execute("BEGIN")
    try:
        found = version_of(connection)
        is_sound = 0 < found <= len(_STEPS) and _sum_of(connection, found) == _SUMS[found - 1]
        # Where the number itself is damaged, the note of it is not.
        is_newer = found > len(_STEPS) and meta(connection).get(_FORMAT) != str(len(_STEPS))
    finally:
        # A disk that fails ends it, and what it says is to be heard.
        if connection.in_transaction:
            connection.execute("COMMIT")
    if is_newer:
        raise NewerSchemaError(
            f"{str(path)!r} has store format {found}, and this orchstate knows {len(_STEPS)}. "
            "Install a newer orchstate; the file was not touched."
        )
    if tables and not is_sound:
        raise CorruptStoreError(f"{str(path)!r} is malformed: its tables are not as they were made.")


def _sum_of(connection: sqlite3.Connection, version: int) -> str:
    """Return the sum of the definitions that a number of steps have made."""
    names = {found[1] for step in _STEPS[:version] for text in step if (found := _NAME.match(text))}
    stored = fetch(connection, "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
    return checksum_of("\n".join(f"{name} {text}" for name, text in stored if name in names)).hex()


def store_id(connection: sqlite3.Connection) -> str:
    """Return the id that the store got at birth.

    Raises
    ------
    CorruptStoreError
        If it is missing or damaged.
    """
    found = meta(connection)
    id = found.get(_STORE_ID, "")
    if not id or found.get(_ID_SUM, sum_of_id(id)) != sum_of_id(id):
        raise CorruptStoreError("The store's file has lost its id. Restore it from a backup.")
    return id


def is_id(text: str) -> bool:
    """Whether a text can be the id of a store."""
    return bool(_ID.fullmatch(text))


def sum_of_id(id: str) -> str:
    """Return the sum by which a store's id is known to be undamaged."""
    return checksum_of(id).hex()[:16]


def is_vouched_for(meta: Mapping[str, str]) -> bool:
    """Whether ``meta`` says that the store's id is undamaged; that of earlier versions did not."""
    id = meta.get(_STORE_ID, "")
    return is_id(id) and meta.get(_ID_SUM) == sum_of_id(id)


def vouchers(id: str) -> dict[str, str]:
    """Return what is put into ``meta`` so that damage to it, and to the number of the format, is seen."""
    return {_STORE_ID: id, _ID_SUM: sum_of_id(id), _FORMAT: str(len(_STEPS))}


def vouch(connection: sqlite3.Connection) -> None:
    """Put the vouchers into a file where they are missing."""
    found = meta(connection)
    for key, value in vouchers(store_id(connection)).items():
        if found.get(key) != value:
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [key, value])


def meta(connection: sqlite3.Connection) -> dict[str, str]:
    """Return what ``meta`` says of the store's id and format."""
    return {key: str(value) for key, value in fetch(connection, _META, [_STORE_ID, _ID_SUM, _FORMAT])}


def has_table(query: Query, name: str) -> bool:
    """Whether a file has a table; one that is only read may be of an older format."""
    return bool(query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", [name]))


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file to the present tables; harmless when it has them."""
    for step in range(version_of(connection), len(_STEPS)):
        with transaction(connection):
            # Another process may have been faster.
            if version_of(connection) == step:
                _run(connection, step)


def _run(connection: sqlite3.Connection, step: int) -> None:
    for statement in _STEPS[step]:
        connection.execute(statement)
    if step == 0:
        connection.execute("INSERT INTO meta VALUES (?, ?)", [_STORE_ID, str(uuid.uuid4())])
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {step + 1}")
