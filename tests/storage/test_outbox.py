"""The outbox: what was accepted is found again, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from testbed.disk import small_files

from orchstate.errors import StoreWriteError
from orchstate.locks import FileLock
from orchstate.storage.outbox import (
    MAX_RECORD_BYTES,
    RESET_BYTES,
    Outbox,
    adopt_all,
    is_held,
    scan,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAYLOADS = (b"first", b"\x00" * 40, "dritter ü".encode())


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox.create(tmp_path / "outbox", store_id="s", writer="w")
    for payload in PAYLOADS:
        made.append(payload)
    yield made
    made.close(keep=False)


def left_behind(outbox: Outbox, data: bytes | None = None) -> Path:
    """Make the outbox that of a dead process, with other bytes perhaps; return its folder."""
    outbox.close(keep=True)
    if data is not None:
        outbox.path.write_bytes(data)
    return outbox.path.parent


def adopted(folder: Path, store_id: str = "s") -> list[tuple[bytes, ...]]:
    found = []
    for outbox in adopt_all(folder, store_id=store_id):
        found.append(outbox.records().records)
        outbox.close(keep=False)
    return found


# -- appending ------------------------------------------------------------------------------


def test_what_was_appended_is_read_in_order(outbox: Outbox) -> None:
    found = outbox.records()
    assert (found.records, found.damaged_bytes) == (PAYLOADS, 0)


def test_the_file_is_private_to_its_owner(outbox: Outbox) -> None:
    assert outbox.path.stat().st_mode & 0o777 == 0o600
    assert outbox.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_reset_forgets_the_records_and_keeps_the_file_in_use(outbox: Outbox) -> None:
    outbox.reset()
    outbox.append(b"later")
    assert outbox.records().records == (b"later",)
    assert adopted(left_behind(outbox)) == [(b"later",)]


def test_it_is_large_when_resetting_pays(outbox: Outbox) -> None:
    assert not outbox.is_large
    outbox.append(b"x" * RESET_BYTES)
    assert outbox.is_large
    outbox.reset()
    assert not outbox.is_large


def test_closing_removes_the_file_unless_it_is_kept(tmp_path: Path) -> None:
    for keep in (False, True):
        made = Outbox.create(tmp_path, store_id="s", writer="w")
        made.close(keep=keep)
        made.close(keep=False)
        assert made.path.exists() is keep


# -- a disk that takes no more --------------------------------------------------------------


def test_a_write_that_is_cut_short_is_refused_and_leaves_nothing(outbox: Outbox) -> None:
    size = outbox.path.stat().st_size
    with (
        small_files(),
        pytest.raises(StoreWriteError, match=r"only \d+ of 5008 bytes fit on the disk. Nothing was"),
    ):
        outbox.append(b"x" * 5000)
    assert outbox.path.stat().st_size == size
    outbox.append(b"small")
    assert outbox.records().records == (*PAYLOADS, b"small")


def test_a_record_that_no_reader_would_accept_is_refused_and_leaves_nothing(outbox: Outbox) -> None:
    with pytest.raises(StoreWriteError, match=r"67,108,865 bytes, and 67,108,864 is the limit\. Nothing was"):
        outbox.append(bytes(MAX_RECORD_BYTES + 1))
    outbox.append(b"small")
    assert outbox.records().records == (*PAYLOADS, b"small")


def test_the_largest_record_is_found_again(outbox: Outbox) -> None:
    largest = bytes(MAX_RECORD_BYTES)
    outbox.append(largest)
    outbox.append(b"small")
    assert outbox.records().records == (*PAYLOADS, largest, b"small")


def test_a_write_that_fails_is_refused_and_leaves_nothing(outbox: Outbox) -> None:
    outbox.append(b"x" * (4096 - outbox.path.stat().st_size - 8))
    with small_files(), pytest.raises(StoreWriteError, match="File too large"):
        outbox.append(b"y")
    assert len(outbox.records().records) == len(PAYLOADS) + 1


def test_nothing_is_appended_behind_a_torn_record_that_cannot_be_cut(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, size: int) -> None:
        raise PermissionError("not permitted")

    with monkeypatch.context() as broken:
        # An imitation: no file system takes appends, refuses to cut, and can be had everywhere.
        broken.setattr(os, "ftruncate", refuse)
        with small_files(), pytest.raises(StoreWriteError, match="fit on the disk"):
            outbox.append(b"x" * 5000)
        with pytest.raises(StoreWriteError, match="not permitted"):
            outbox.append(b"refused")
    outbox.append(b"accepted")
    found = outbox.records()
    assert (found.records, found.damaged_bytes) == ((*PAYLOADS, b"accepted"), 0)


def test_a_folder_that_takes_no_file_is_an_error_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("no folder")
    with pytest.raises(StoreWriteError, match=r"Cannot write in .*outbox.*Make the folder writable"):
        Outbox.create(tmp_path / "outbox", store_id="s", writer="w")


def test_an_outbox_that_cannot_be_begun_leaves_no_file(tmp_path: Path) -> None:
    with small_files(50), pytest.raises(StoreWriteError, match="or free some space"):
        Outbox.create(tmp_path, store_id="s", writer="w")
    assert list(tmp_path.iterdir()) == []


# -- torn and damaged files -----------------------------------------------------------------


def test_a_file_torn_at_any_byte_gives_all_whole_records(outbox: Outbox) -> None:
    data = outbox.path.read_bytes()
    ends = [scan(data[:size]).end for size in range(len(data) + 1)]
    whole = sorted(set(ends))
    for size in range(len(data) + 1):
        found = scan(data[:size])
        assert found.records[1:] == PAYLOADS[: len(found.records[1:])]
        assert len(found.records) == whole.index(max(end for end in whole if end <= size))
        assert found.damaged_bytes == 0


def test_a_changed_bit_loses_its_record_alone(outbox: Outbox) -> None:
    data = outbox.path.read_bytes()
    everything = scan(data).records
    last = len(data) - len(everything[-1]) - 8
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        found = scan(bytes(changed))
        lost = [record for record in everything if record not in found.records]
        # Of the last record, a damaged length is found out and does not matter.
        assert len(lost) == 1 or (not lost and position in range(last, last + 4))
        assert found.records == tuple(record for record in everything if record not in lost)
        assert found.damaged_bytes > 0 or not lost


def test_a_length_from_outer_space_asks_for_no_memory() -> None:
    assert scan(b"\xff" * 4096).records == ()
    assert scan(b"\x00" * 4096).records == ()


# -- adoption -------------------------------------------------------------------------------


def test_the_outbox_of_a_dead_process_is_adopted(outbox: Outbox) -> None:
    folder = left_behind(outbox)
    assert adopted(folder) == [PAYLOADS]
    assert list(folder.iterdir()) == []


def test_the_outbox_of_a_living_process_is_left_alone(outbox: Outbox) -> None:
    assert adopted(outbox.path.parent) == []
    outbox.append(b"still mine")
    assert outbox.records().records[-1] == b"still mine"


HOLDER = """
import sys
from pathlib import Path
from orchstate.storage.outbox import Outbox
outbox = Outbox.create(Path(sys.argv[1]), store_id="s", writer="killed")
outbox.append(b"accepted")
print("ready", flush=True)
sys.stdin.read()
"""


def test_the_outbox_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"ready\n"
        assert adopted(tmp_path) == []
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert adopted(tmp_path) == [(b"accepted",)]


def test_whether_it_is_held_is_asked_in_turn_with_those_who_take_over(tmp_path: Path) -> None:
    outbox = Outbox.create(tmp_path, store_id="s", writer="w")
    outbox.append(b"accepted")
    assert is_held(outbox.path)
    outbox.close(keep=True)
    assert not is_held(outbox.path)
    with FileLock(tmp_path):
        assert is_held(outbox.path)
    assert adopted(tmp_path) == [(b"accepted",)]
    assert not is_held(tmp_path / "gone.outbox")


ADOPTER = """
import sys
from pathlib import Path
from orchstate.storage.outbox import adopt_all
sys.stdin.readline()
for outbox in adopt_all(Path(sys.argv[1]), store_id="s"):
    print(outbox.writer, flush=True)
    outbox.close(keep=False)
"""


def test_two_that_adopt_at_once_share_the_outboxes(tmp_path: Path) -> None:
    writers = {f"w{number:03}" for number in range(100)}
    for writer in writers:
        Outbox.create(tmp_path, store_id="s", writer=writer).close(keep=True)
        (tmp_path / f"{writer}.outbox").open("ab").close()
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", ADOPTER, str(tmp_path)]
    adopters = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    for adopter in adopters:
        assert adopter.stdin
        adopter.stdin.write("\n")
        adopter.stdin.flush()
    found = [adopter.communicate()[0].split() for adopter in adopters]
    assert sorted(found[0] + found[1]) == sorted(writers)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_the_outbox_of_another_user_is_left_alone(outbox: Outbox) -> None:
    folder = left_behind(outbox)
    os.chown(outbox.path, 12345, 12345)
    assert adopted(folder) == []
    assert outbox.path.exists()


def test_the_outbox_of_another_store_is_left_alone(outbox: Outbox) -> None:
    folder = left_behind(outbox)
    assert adopted(folder, "another") == []
    assert adopted(folder, "s") == [PAYLOADS]


def test_the_outbox_of_a_newer_version_is_left_alone(outbox: Outbox, tmp_path: Path) -> None:
    header = {"format": "orchstate.outbox", "version": 2, "store": "s", "writer": "w"}
    newer = Outbox.create(tmp_path / "newer", store_id="s", writer="w")
    os.truncate(newer.path, 0)
    newer.append(json.dumps(header).encode())
    folder = left_behind(newer)
    assert adopted(folder) == []
    assert newer.path.exists()


@pytest.mark.parametrize("harm", ["cut", "changed"])
def test_an_outbox_whose_header_is_damaged_is_doubtful(harm: str, outbox: Outbox) -> None:
    data = bytearray(outbox.path.read_bytes())
    data[20] ^= 1
    folder = left_behind(outbox, bytes(data[:15] if harm == "cut" else data))
    (found,) = adopt_all(folder, store_id="s")
    assert found.is_doubtful
    assert found.records().records == (() if harm == "cut" else PAYLOADS)
    found.close(keep=False)


def test_a_foreign_file_in_the_folder_is_no_outbox(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "folder.outbox").mkdir()
    assert adopted(tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.outbox", "notes.txt"]


def test_one_that_another_process_adopts_meanwhile_is_not_made_anew(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = outbox.path, left_behind(outbox)
    real = FileLock.try_acquire

    def after_it_is_gone(lock: FileLock) -> bool:
        path.unlink(missing_ok=True)
        return real(lock)

    monkeypatch.setattr(FileLock, "try_acquire", after_it_is_gone)
    assert list(adopt_all(folder, store_id="s")) == []
    assert not path.exists()
