"""The tables of the SQLite engine, and how older ones become the present ones.

``doc`` has the present row of every document, ``rev`` every revision whole, ``applied``
the last intent of each writer that has an outcome, ``parked`` the intents that were not
committed, ``clock`` the one counter from which seqs come, ``meta`` what is fixed at birth.
``piece`` has what is long in a text, by the hash of its content; ``pin`` the revisions that
results refer to; ``backstep`` where the clock was set back between two commits;
``compaction`` what was removed from the history, when and by whom.

Steps are only ever appended: each is one transaction together with the number it sets.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from orchstate.errors import CorruptStoreError, NewerSchemaError, StoreError
from orchstate.storage.connection import transaction

if TYPE_CHECKING:
    import sqlite3
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
    """
    # In this order: while another process makes the tables, there are none yet, or the mark is there too.
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    if application not in (0, APPLICATION_ID) or (tables and not application):
        raise StoreError(f"{str(path)!r} is a database of another program. Choose another path.")
    found = version_of(connection)
    if found > len(_STEPS):
        raise NewerSchemaError(
            f"{str(path)!r} has store format {found}, and this orchstate knows {len(_STEPS)}. "
            "Install a newer orchstate; the file was not touched."
        )


def store_id(connection: sqlite3.Connection) -> str:
    """Return the id that the store got at birth.

    Raises
    ------
    CorruptStoreError
        If it is missing.
    """
    row = connection.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone()
    if row is None:
        raise CorruptStoreError("The store's file has lost its id. Restore it from a backup.")
    return str(row[0])


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
        connection.execute("INSERT INTO meta VALUES ('store_id', ?)", [str(uuid.uuid4())])
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {step + 1}")
