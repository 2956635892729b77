"""Adoption: what a process that died had accepted is committed by the next one."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from testbed.kernel import Kernel
from testbed.observing import wait_until

import orchstate
from orchstate.doctor import examine
from orchstate.errors import StoreLockedError, StoreWriteError
from orchstate.locks import FileLock
from orchstate.state import writer
from orchstate.storage.outbox import DAMAGED_SUFFIX
from orchstate.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    from pathlib import Path


def filled(path: Path) -> Path:
    with orchstate.open(path) as store:
        store.configs.create("openai", name="gpt", temperature=0.5)
    return path


WRITE_AND_STOP = """
import orchstate
store = orchstate.open({path!r})
gpt = store.configs.upsert("gpt", "openai")
store.flush()
store._writer_is_stopped = store._state._writer.stop()
"""


def killed_writer(path: Path, edits: str) -> None:
    """Have a process accept edits that it does not live to commit."""
    with Kernel(WRITE_AND_STOP.format(path=str(path))) as kernel:
        kernel(edits)
        kernel.kill()


def test_edits_of_a_killed_process_are_committed_by_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    killed_writer(
        path, "gpt.temperature = 0.1\ngpt.temperature = 0.2\nstore.configs.create('ollama', name='o')"
    )
    with orchstate.open(path) as store:
        assert store.configs["gpt"].temperature == 0.2
        assert store.history.changes("gpt", field="temperature")["new"].tolist() == [0.1, 0.2]
        assert list(store.configs) == ["gpt", "o"]
    assert list((tmp_path / "store.db.outbox").iterdir()) == []


def test_who_opens_waits_for_another_one_that_takes_over(tmp_path: Path) -> None:
    path, opened = tmp_path / "store.db", []
    killed_writer(path, "gpt.temperature = 0.1")
    turn = FileLock(tmp_path / "store.db.outbox", must_exist=True)
    assert turn.acquire(5)
    thread = threading.Thread(target=lambda: opened.append(orchstate.open(path)))
    thread.start()
    thread.join(0.3)
    assert opened == []
    turn.release()
    thread.join(30)
    with opened[0] as store:
        assert store.configs["gpt"].temperature == 0.1


def test_what_is_not_committed_of_them_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "store.db"
    killed_writer(path, "gpt.temperature = 0.1\nstore.configs.create('openai', name='new')")
    # As somebody who opened the store before, and so does not adopt the edits.
    with Kernel("import orchstate.adoption; orchstate.adoption.adopt_all = lambda *_, **__: []") as kernel:
        kernel(f"store = orchstate.open({str(path)!r})")
        kernel("store.configs.create('ollama', name='new'); store.flush()")
    with orchstate.open(path) as store:
        assert (store.configs["gpt"].temperature, store.configs["new"].provider) == (0.1, "ollama")
    assert "An edit of a process that had died was not committed: config 'new'" in caplog.text


def test_they_are_committed_once_though_two_open_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    killed_writer(path, "for count in range(50): gpt.seed = count")
    opening = f"import orchstate; store = orchstate.open({str(path)!r})"
    with Kernel() as one, Kernel() as other:
        one.send(opening)
        other.send(opening)
        one.receive()
        other.receive()
    with orchstate.open(path) as store:
        assert store.history.changes("gpt", field="seed")["new"].tolist() == list(range(50))


def test_a_stamp_that_waits_is_no_edit_that_is_not_seen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.db"
    killed_writer(path, "store._state.pin(gpt.id, 1)")
    assert len(list((tmp_path / "store.db.outbox").iterdir())) == 1
    with orchstate.open(path, read_only=True):
        assert "not seen here" not in caplog.text
    assert not [
        one for one in examine(str(path)) if one.level == "warning" and "not committed" in one.message
    ]
    with orchstate.open(path):
        assert not list((tmp_path / "store.db.outbox").glob("*.damaged"))


def test_reading_alone_adopts_nothing_and_says_what_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.db"
    killed_writer(path, "gpt.temperature = 0.1\ngpt.temperature = 0.2")
    with orchstate.open(path, read_only=True) as store:
        assert store.configs["gpt"].temperature is None
    assert "2 edits of processes that had died are not seen here" in caplog.text
    assert len(list((tmp_path / "store.db.outbox").iterdir())) == 1
    with orchstate.open(path) as store:
        assert store.configs["gpt"].temperature == 0.2
    caplog.clear()
    with orchstate.open(path, read_only=True):
        assert "not seen here" not in caplog.text


@pytest.mark.parametrize("read_only", [True, False])
def test_an_outbox_that_could_not_be_looked_at_is_left_to_the_next_one(
    tmp_path: Path, read_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    killed_writer(path, "gpt.temperature = 0.1")

    def locked(*arguments: object) -> int:
        raise StoreLockedError("Another program keeps it locked.")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteEngine, "applied", locked)
        if read_only:
            orchstate.open(path, read_only=True).close()
        else:
            with pytest.raises(StoreLockedError):
                orchstate.open(path)
    with orchstate.open(path) as store:
        assert store.configs["gpt"].temperature == 0.1


def test_a_damaged_outbox_gives_what_is_sound_and_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.db"
    killed_writer(path, "gpt.seed = 11111\ngpt.max_tokens = 22222\ngpt.top_p = 0.5")
    (outbox,) = (tmp_path / "store.db.outbox").iterdir()
    outbox.write_bytes(outbox.read_bytes().replace(b"22222", b"2x222"))
    with orchstate.open(path) as store:
        gpt = store.configs["gpt"]
        assert (gpt.seed, gpt.max_tokens, gpt.top_p) == (11111, None, 0.5)
        assert "damaged bytes, which may have been edits" in caplog.text
        kept = [
            file.name
            for file in (tmp_path / "store.db.outbox").iterdir()
            if file.name.endswith(DAMAGED_SUFFIX)
        ]
        assert kept == [outbox.name + DAMAGED_SUFFIX]


def test_edits_that_are_lost_at_the_beginning_of_an_outbox_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.db"
    killed_writer(path, "gpt.seed = 11111\ngpt.max_tokens = 22222\ngpt.top_p = 0.5")
    (outbox,) = (tmp_path / "store.db.outbox").iterdir()
    outbox.write_bytes(outbox.read_bytes().replace(b"11111", b"1x111"))
    with orchstate.open(path) as store:
        gpt = store.configs["gpt"]
        assert (gpt.seed, gpt.max_tokens, gpt.top_p) == (None, 22222, 0.5)
        assert "Lost may be its edits 2 and what it had accepted after its edit 4." in str(store.error)


def test_an_outbox_that_cannot_be_understood_is_kept_and_does_not_stop_opening(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from orchstate.storage.outbox import Outbox

    path = filled(tmp_path / "store.db")
    with orchstate.open(path) as store:
        stray = Outbox.create(tmp_path / "store.db.outbox", store_id=store.id, writer="stray")
    stray.append(b'["from", "the", "future"]')
    stray.close(keep=True)
    with orchstate.open(path) as store:
        assert list(store.configs) == ["gpt"]
        assert store.status == "degraded"
        assert re.search(r"is not seen here yet, and kept in .*stray\.outbox", str(store.error))
    assert stray.path.exists()
    assert "is not seen here yet" in caplog.text


def test_whoever_ends_in_the_regular_way_leaves_nothing_to_adopt(tmp_path: Path) -> None:
    code = f"""
import orchstate
store = orchstate.open({str(tmp_path / "store.db")!r})
store.configs.create("openai", name="gpt")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert list((tmp_path / "store.db.outbox").iterdir()) == []
    with orchstate.open(tmp_path / "store.db", read_only=True) as store:
        assert list(store.configs) == ["gpt"]


# -- while others have the store open -------------------------------------------------------


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have outboxes of dead processes looked for all the time."""
    monkeypatch.setattr(writer, "CARE_S", 0.05)


@pytest.mark.usefixtures("quickly")
def test_who_has_the_store_open_takes_them_over_too(tmp_path: Path) -> None:
    path = filled(tmp_path / "store.db")
    with orchstate.open(path) as store:
        gpt, heard = store.configs["gpt"], []
        gpt.observe(lambda change: heard.append(change.new), "temperature")
        killed_writer(path, "gpt.temperature = 0.1")
        wait_until(lambda: gpt.temperature == 0.1)
        assert (heard, store.status, len(store.conflicts)) == ([0.1], "ready", 0)
        assert [box.stem for box in (tmp_path / "store.db.outbox").iterdir()] == [store._state.writer_id]


@pytest.mark.usefixtures("quickly")
def test_what_others_did_since_is_not_overwritten_by_an_edit_of_the_dead(tmp_path: Path) -> None:
    path = filled(tmp_path / "store.db")
    with orchstate.open(path) as store:
        gpt = store.configs["gpt"]
        with Kernel(
            f"import orchstate; store = orchstate.open({str(path)!r}); gpt = store.configs['gpt']"
        ) as b:
            b("store._state._writer.stop()")
            b("gpt.temperature = 0.3; gpt.temperature = 0.05; gpt.seed = 7")
            gpt.temperature = 1.9
            store.flush()
            b.kill()
        wait_until(lambda: len(store.conflicts) == 1)
        assert (gpt.temperature, gpt.seed, gpt.sync_state) == (1.9, 7, "saved")
        # Nobody is asked about what its own process had made anew.
        assert str(store.conflicts[0]) == "gpt: temperature: 1.9 is saved, 0.05 was wanted by root."
        store.conflicts.resolve("ours")
        store.flush()
        assert gpt.temperature == 0.05


@pytest.mark.usefixtures("quickly")
def test_a_store_that_cannot_take_them_over_says_so_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> NoReturn:
        raise StoreWriteError("The disk is full.")

    path = filled(tmp_path / "store.db")
    killed_writer(path, "gpt.temperature = 0.1")
    with monkeypatch.context() as patch:
        patch.setattr("orchstate.adoption.adopted", full)
        store = orchstate.open(path)
        assert (store.configs["gpt"].temperature, store.status) == (0.5, "degraded")
        assert "The disk is full" in str(store.error)
        store.configs["gpt"].temperature = 1.9
        store.flush()
        time.sleep(0.3)
        assert caplog.text.count("is not seen here yet") == 1
    wait_until(lambda: len(store.conflicts) == 1)
    wait_until(lambda: store.status == "ready")
    assert (store.configs["gpt"].temperature, store.error) == (1.9, None)
    store.close()
