"""Damaged files: what comes back was acknowledged and is the last of its kind, or it is named."""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from crash.damaging import HARMS, NAMES, RENAMED

import orchstate.opening
from orchstate.errors import CorruptStoreError, NotFoundError
from orchstate.storage import tables
from orchstate.storage.engine import Revision, Row
from orchstate.storage.outbox import scan
from orchstate.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchstate.store import Store

SCRIPT = Path(__file__).with_name("damaging.py")
FOUND_AS = {RENAMED: "renamed"}


class Original:
    """A store as it was, and what it acknowledged."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.folder, self.mode = folder, mode
        folder.mkdir()
        log = folder.with_suffix(".log")
        subprocess.run([sys.executable, SCRIPT, folder / "store.db", log, mode], check=False, timeout=120)
        self.values: dict[str, list[int | None]] = {name: [] for name in NAMES}
        self.seqs: dict[str, int] = {}
        """Of the last change of each, if it was committed."""
        self.numbers: dict[str, int] = {}
        """Of the last change of each among those of the process that died, if it was not."""
        for line in log.read_text().splitlines():
            name, value, seq, n = json.loads(line)
            self.values[name].append(value)
            self.seqs[name], self.numbers[name] = seq or 0, n
        assert self.values["config 1"]
        # From a copy, since it would leave traces. Perhaps damage leaves nothing that says a name.
        with contextlib.closing(sqlite3.connect(self.copy(folder.with_name(f"{mode} copy")))) as connection:
            self.ids = dict(connection.execute("SELECT name, id FROM doc"))

    @property
    def files(self) -> list[Path]:
        """What can be damaged: the file, what SQLite left beside it, the outbox."""
        found = [self.folder / "store.db", self.folder / "store.db-wal"]
        found += (self.folder / "store.db.outbox").iterdir()
        return [file for file in found if file.exists() and file.stat().st_size]

    def copy(self, to: Path) -> Path:
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.folder, to)
        return to / "store.db"


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Original]:
    folder = tmp_path_factory.mktemp("originals")
    return {mode: Original(folder / mode, mode) for mode in ("wal", "truncate")}


def faults(original: Original, path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """Open a damaged store; yield what is wrong, and what is merely lost and said, as a kind and a text."""
    engine = partial(SqliteEngine, mode=original.mode)
    monkeypatch.setattr(orchstate.opening, "SqliteEngine", engine)
    try:
        store = orchstate.opening.open(path, secrets="memory")
    except CorruptStoreError as error:
        yield "refused", str(error)
        return
    try:
        yield from _judged(original, store)
    finally:
        store.close()


def _judged(original: Original, store: Store) -> Iterator[tuple[str, str]]:
    listed = list(store.configs)
    said = f"{store.error} {getattr(store.error, 'ids', ())}"
    for name, values in original.values.items():
        try:
            config = store.configs[FOUND_AS.get(name, name)]
            found, id = config.seed, config.id
            told = said
        except NotFoundError:
            found, id, told = None, original.ids.get(FOUND_AS.get(name, name), ""), said
        except CorruptStoreError as error:
            found, id, told = None, original.ids.get(FOUND_AS.get(name, name), ""), f"{said} {error}"
        expected = values[-1]
        if found == expected:
            if found is not None and FOUND_AS.get(name, name) not in listed:
                yield "wrong", f"{name} is not listed"
            continue
        if found is not None and found not in values:
            yield "wrong", f"{name} has {found}, which was never acknowledged"
        elif _is_named(name, id, original.seqs[name], original.numbers[name], told):
            yield "named", name
        else:
            yield "wrong", f"{name} has {found} in place of {expected}, and nothing says so: {told[:600]}"


def _is_named(name: str, id: str, seq: int, n: int, told: str) -> bool:
    if f"'{name}'" in told or f"'{FOUND_AS.get(name)}'" in told or (id and id in told):
        return True
    # What cannot be said of a document is said of its change.
    seqs = re.search(r"what was changed at ([0-9, -]+) nothing is left", told)
    known = re.search(r"The last change that is known is ([0-9]+); later ones may be lost", told)
    numbers = re.search(
        r"Lost may be (?:its edits ([0-9, -]+) and )?what it had accepted after .* ([0-9]+)", told
    )
    is_after = numbers and n > int(numbers[2])
    return bool(
        (seqs and _is_in(seq, seqs[1]))
        or (known and seq > int(known[1]))
        or (n and numbers and (is_after or _is_in(n, numbers[1] or "")))
        or (n and "The outbox of a process that had died cannot be read" in told)
    )


def _is_in(number: int, runs: str) -> bool:
    for run in runs.split(", ") if runs else ():
        first, _, last = run.partition("-")
        if int(first) <= number <= int(last or first):
            return True
    return False


def damage(
    original: Original,
    folder: Path,
    rounds: int,
    seed: str,
    monkeypatch: pytest.MonkeyPatch,
    harms: tuple[str, ...] = tuple(HARMS),
) -> tuple[Counter[str], list[str]]:
    chance, counts, wrong = random.Random(seed), Counter[str](), []
    for number in range(rounds):
        file = original.files[number % len(original.files)]
        harm = chance.choice(harms)
        path = original.copy(folder)
        data = bytearray(file.read_bytes())
        HARMS[harm](data, chance)
        if harm == "truncation" and file.suffix == ".outbox" and not scan(bytes(data)).torn:
            # Cut off between two records: of all damages the one that leaves no trace at all.
            del data[-1:]
        (path.parent / file.relative_to(original.folder)).write_bytes(data)
        what = f"round {number} of {seed!r}: {harm} of {file.name}"
        named = counts["named"]
        try:
            for kind, text in faults(original, path, monkeypatch):
                counts[kind] += 1
                if kind == "wrong" or (kind == "refused" and harm != "truncation"):
                    wrong.append(f"{what}: {text}")
        except Exception as error:
            wrong.append(f"{what}: {type(error).__name__}: {error}")
        if harm == "digit" and counts["named"] - named > 1:
            # One digit is of one document: all others are to be there.
            wrong.append(f"{what}: {counts['named'] - named} documents are named")
        counts[f"{file.suffix} {harm}"] += 1
    return counts, wrong


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", ["wal", "truncate"])
def test_what_damage_leaves_is_true_or_named(
    mode: str, originals: dict[str, Original], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, wrong = damage(originals[mode], tmp_path / "store", 50, f"{mode} 1", monkeypatch)
    print(mode, dict(counts))
    assert wrong == []
    assert counts["named"]


def test_without_checksums_the_same_damage_shows_wrong_values(
    originals: dict[str, Original], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control."""

    class Same(bytes):
        def __eq__(self, other: object) -> bool:
            return True

        def __ne__(self, other: object) -> bool:
            return False

        __hash__ = bytes.__hash__

    monkeypatch.setattr(Row, "checksum", lambda row: Same())
    monkeypatch.setattr(Revision, "checksum", lambda revision, of_row=None: Same())
    monkeypatch.setattr(tables, "change_sum", lambda of_row, change: Same())
    shown: list[str] = []
    # Until it is seen, which takes some dozens of them.
    for number in range(10):
        seed = f"control {number}"
        _, wrong = damage(originals["truncate"], tmp_path / "store", 30, seed, monkeypatch, ("digit",))
        shown += [text for text in wrong if "never acknowledged" in text]
        if shown:
            break
    assert shown


@pytest.mark.long
@pytest.mark.parametrize("mode", ["wal", "truncate"])
def test_what_two_thousand_damages_leave_is_true_or_named(
    mode: str, originals: dict[str, Original], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, wrong = damage(originals[mode], tmp_path / "store", 2000, f"{mode} long", monkeypatch)
    print(mode, dict(counts))
    assert wrong == []
