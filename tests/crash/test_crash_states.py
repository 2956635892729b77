"""From every state that a kill can leave behind, the store opens with every edit that was acknowledged."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from crash.journals import HastyOutbox
from crash.nursery import Findings, faults, history
from crash.recording import Recording

import orchstate
from orchstate import opening
from orchstate.storage import outbox
from orchstate.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    from pathlib import Path

    from crash.recording import Files, Step

    from orchstate.store import Store


@pytest.fixture(autouse=True)
def _small_and_quiet(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(outbox, "RESET_BYTES", 1_000)
    monkeypatch.setattr(opening.SqliteEngine, "__init__", _truncating(SqliteEngine.__init__))
    caplog.set_level("CRITICAL", "orchstate")


def _truncating(usual: object) -> object:
    return lambda engine, *args, **options: usual(engine, *args, **options, mode="truncate")  # type: ignore[operator]


def opened(folder: Path) -> Store:
    return orchstate.open(folder / "store.db", secrets="memory", actor="me")


def contents(folder: Path) -> Files:
    """Return the files of a folder that matter after a kill."""
    names = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".gate"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in names}


def restored(files: Files, folder: Path) -> Path:
    """Make the files in a folder of their own."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o600)
    return folder


def play(recording: Recording, edits: int, seed: int) -> None:
    """Edit in sittings of any length, each with an outbox of its own, and say what was acknowledged."""
    chance = random.Random(seed)
    value = seed * 100_000
    while value < seed * 100_000 + edits:
        with opened(recording.folder) as store:
            gpt = store.configs["gpt"]
            for _ in range(chance.randrange(1, 25)):
                value += 1
                recording.add("about", what=value)
                gpt.seed = value
                recording.add("done", what=value)
                if chance.random() < 0.2:
                    store.flush()


def recorded(folder: Path, edits: int, seed: int) -> tuple[Files, Recording]:
    """Return the files of a store before it was used, and everything that was done to them."""
    with opened(folder) as store:
        store.configs.create("openai", name="gpt")
    before, recording = contents(folder), Recording(folder)
    with pytest.MonkeyPatch.context() as patch:
        recording.start(patch)
        play(recording, edits, seed)
    return before, recording


def compare(stored: list[int], past: list[Step]) -> Findings:
    """Compare what a state's store holds with what had been said up to it."""
    done = [step.what for step in past if step.verb == "done"]
    about = [step.what for step in past if step.verb == "about"]
    return Findings(
        len(done),
        [("gpt", value) for value in done if value not in stored],
        [("gpt", value) for value in {*stored} if stored.count(value) > 1],
        [("gpt", value) for value in stored if value not in about],
    )


def replay(folder: Path, edits: int, seed: int, *, every: int = 1) -> tuple[int, Findings]:
    """Make every state of a recording again, open it, and sum up what is wrong."""
    (folder / "store").mkdir()
    before, recording = recorded(folder / "store", edits, seed)
    total, states = Findings(), 0
    for number, (files, past) in enumerate(recording.states(before)):
        if number % every:
            continue
        place = restored(files, folder / f"state {number}")
        opened(place).close()
        stored = [value for _, value in history(place / "store.db").elements()]
        found = compare(stored, past)
        assert stored == sorted(stored)
        assert faults(place / "store.db") == []
        states += 1
        total = Findings(
            total.done + found.done,
            total.lost + found.lost,
            total.twice + found.twice,
            total.invented + found.invented,
        )
    return states, total


def test_every_state_of_the_outbox_holds_what_was_acknowledged_by_then(quick_folder: Path) -> None:
    states, found = replay(quick_folder, 60, 1, every=3)
    print(f"outbox: {states} states, {found}")
    assert states > 100
    assert found.is_sound, found


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_each_of_two_thousand_states_holds_what_was_acknowledged_by_then(quick_folder: Path) -> None:
    states, found = replay(quick_folder, 350, 2)
    print(f"outbox: {states} states, {found}")
    assert states > 2000
    assert found.is_sound, found


def test_an_outbox_that_is_reset_too_early_is_found_to_lose_edits(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A negative control."""
    commit = SqliteEngine.commit

    def late(engine: SqliteEngine, *args: Any) -> Any:
        # On any machine, later than a few edits.
        time.sleep(0.02)
        return commit(engine, *args)

    monkeypatch.setattr(SqliteEngine, "commit", late)
    with open(os.devnull, "wb") as nowhere:
        monkeypatch.setattr(HastyOutbox, "log", nowhere.fileno())
        monkeypatch.setattr(opening, "Outbox", HastyOutbox)
        states, found = replay(quick_folder, 60, 3, every=6)
    print(f"control, hasty outbox: {states} states, {found}")
    assert found.lost


# -- a backup -------------------------------------------------------------------------------


def test_a_copy_has_its_name_only_once_it_is_whole_and_durable(quick_folder: Path) -> None:
    with opened(quick_folder) as store:
        store.configs.create("openai", name="gpt").seed = 7
        store.flush()
        recording = Recording(quick_folder)
        with pytest.MonkeyPatch.context() as patch:
            recording.start(patch)
            store._engine.backup(quick_folder / "copy.db")
    partial = recording.steps[0].name
    assert partial.startswith("copy.db.") and partial.endswith(".partial")
    assert [(step.verb, step.name) for step in recording.steps] == [
        ("sync", partial),
        ("rename", partial),
        ("sync", "."),
    ]


def test_no_state_of_a_copy_is_in_the_way_or_taken_for_one(quick_folder: Path) -> None:
    (quick_folder / "store").mkdir()
    with opened(quick_folder / "store") as store:
        gpt = store.configs.create("openai", name="gpt")
        for seed in range(300):
            gpt.seed = seed
        store.flush()
        store._engine.backup(quick_folder / "whole.db")
    whole, files = (quick_folder / "whole.db").read_bytes(), contents(quick_folder / "store")
    sizes = [size for page in range(0, len(whole), 4096) for size in (page, page + 2048)]
    for size in sizes:
        left = {"copy.db.0badcafe.partial": whole[:size], "copy.db.0badcafe.partial-journal": b"\xd9\xd5\x05"}
        place = restored(files | left, quick_folder / f"state {size}")
        with opened(place) as store:
            assert store.configs["gpt"].seed == 299
            store._engine.backup(place / "copy.db")
        assert history(place / "copy.db") == history(quick_folder / "store" / "store.db")
        assert faults(place / "copy.db") == []
    print(f"copies: {len(sizes)} states, 300 edits, 0 lost, 0 twice")
