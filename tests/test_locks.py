"""File locks among real processes, threads and forks, and with the file pulled away from under them."""

from __future__ import annotations

import math
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchstate import locks
from orchstate.locks import FairLock, FileLock

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLD = """
import sys, time
from orchstate.locks import FileLock
lock = FileLock(sys.argv[1], shared=sys.argv[2] == "shared")
print(lock.acquire(5.0), flush=True)
sys.stdin.read()
"""
# Reads, waits and writes: without exclusion, increments get lost.
COUNT = """
import os, sys, time
from pathlib import Path
from orchstate.locks import FileLock
counter = Path(sys.argv[2])
for _ in range(100):
    with FileLock(sys.argv[1]) as lock:
        value = int(counter.read_text())
        time.sleep(0.0001)
        counter.write_text(str(value + 1))
        if sys.argv[3] == "removing":
            os.unlink(lock.path)
"""
# A child that outlives its parent must neither keep nor give back the parent's lock.
FORK = """
import os, sys, time
from orchstate.locks import FileLock
lock = FileLock(sys.argv[1])
lock.acquire(5.0)
if os.fork() == 0:
    held, taken = lock.is_held, lock.try_acquire()
    lock.release()
    print(os.getpid(), held, taken, FileLock(sys.argv[1]).try_acquire(), flush=True)
    sys.stdin.read()
    os._exit(0)
time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the lock's file is."""
    return tmp_path / "store.lock"


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    process = start(HOLD, path, "exclusive")
    assert said(process) == "True"
    yield process
    process.kill()
    process.communicate(timeout=10)


@pytest.fixture
def ordinary_user() -> Iterator[None]:
    """The rights of a user who is not root, who may do everything."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    yield
    if is_root:
        os.seteuid(0)


def start(program: str, path: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, str(path), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_file_is_made_with_mode_0600_whatever_the_umask(path: Path) -> None:
    for umask in (0o000, 0o777):
        before = os.umask(umask)
        try:
            with FileLock(path.with_suffix(f".{umask}")) as lock:
                assert oct(stat.S_IMODE(os.fstat(lock.fileno()).st_mode)) == "0o600"
        finally:
            os.umask(before)


def test_another_process_excludes_us_until_it_is_killed(path: Path, holder: subprocess.Popen[str]) -> None:
    lock = FileLock(path)
    assert not lock.try_acquire()
    holder.kill()
    assert lock.acquire(5.0)
    lock.release()


def test_a_wait_ends_at_its_limit(path: Path, holder: subprocess.Popen[str]) -> None:
    start_s = time.monotonic()
    assert not FileLock(path).acquire(0.1)
    assert 0.1 <= time.monotonic() - start_s < 10


def test_a_limit_of_zero_asks_once(path: Path, holder: subprocess.Popen[str]) -> None:
    start_s = time.monotonic()
    assert not FileLock(path).acquire(0)
    assert time.monotonic() - start_s < 5


def test_a_wait_ends_after_the_release(path: Path, holder: subprocess.Popen[str]) -> None:
    threading.Timer(0.2, holder.kill).start()
    start_s = time.monotonic()
    with FileLock(path) as lock:
        assert lock.is_held
        assert 0.19 <= time.monotonic() - start_s < 10


def test_readers_share_and_exclude_a_writer(path: Path) -> None:
    reader = start(HOLD, path, "shared")
    assert said(reader) == "True"
    with FileLock(path, shared=True) as lock:
        assert lock.is_held
        assert not FileLock(path).try_acquire()
    reader.kill()
    reader.communicate(timeout=10)
    assert FileLock(path).acquire(5.0)


def test_a_reader_may_lock_what_it_may_not_write_and_a_writer_may_not(ordinary_user: None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.lock"
        path.touch(0o444)
        with FileLock(path, shared=True) as lock:
            assert lock.is_held
        with pytest.raises(PermissionError):
            FileLock(path).try_acquire()


def test_a_writer_excludes_readers(path: Path, holder: subprocess.Popen[str]) -> None:
    assert not FileLock(path, shared=True).try_acquire()


@pytest.mark.parametrize("habit", ["keeping", "removing"])
def test_processes_that_count_lose_no_count_though_the_file_is_removed_under_them(
    path: Path, habit: str
) -> None:
    counter = path.with_name("counter")
    counter.write_text("0")
    processes = [start(COUNT, path, str(counter), habit) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    for process in processes:
        process.communicate()
    assert counter.read_text() == "300"


def test_threads_exclude_each_other(path: Path) -> None:
    inside: list[int] = []
    seen: list[int] = []

    def work() -> None:
        for _ in range(20):
            with FileLock(path):
                inside.append(1)
                seen.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 80


def test_a_lock_on_a_file_that_was_replaced_is_not_believed(path: Path) -> None:
    fd = locks._open(path, shared=False)
    path.unlink()
    path.touch()
    assert locks._take(fd, path, shared=False) is None
    assert FileLock(path).try_acquire()


def test_a_lock_on_a_file_that_was_removed_is_not_believed(path: Path) -> None:
    fd = locks._open(path, shared=False)
    path.unlink()
    assert locks._take(fd, path, shared=False) is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_a_forked_child_neither_keeps_nor_releases_its_parents_lock(path: Path) -> None:
    parent = start(FORK, path)
    child, *answers = said(parent).split()
    try:
        assert answers == ["False", "False", "False"]
        assert not FileLock(path).try_acquire()
        parent.kill()
        parent.wait(10)
        os.kill(int(child), 0)
        assert FileLock(path).acquire(1.0)
    finally:
        os.kill(int(child), signal.SIGKILL)
        parent.communicate(timeout=10)


def test_a_started_program_inherits_no_lock(path: Path) -> None:
    lock = FileLock(path)
    lock.acquire(1.0)
    program = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    lock.release()
    assert not os.get_inheritable(locks._open(path, shared=False))
    assert FileLock(path).try_acquire()
    program.communicate(b"\n", timeout=10)


def test_a_file_that_must_exist_is_not_made(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileLock(path, must_exist=True).acquire(1)
    assert not path.exists()


def test_a_held_lock_is_not_taken_twice(path: Path) -> None:
    with (
        FileLock(path) as lock,
        pytest.raises(RuntimeError, match=r"store\.lock \(held\)> is held already; release"),
    ):
        lock.try_acquire()


def test_with_takes_over_a_lock_that_was_acquired_with_a_limit(path: Path) -> None:
    lock = FileLock(path)
    assert lock.acquire(1.0)
    with lock as same:
        assert same is lock
    assert not lock.is_held


def test_a_released_lock_can_be_taken_again_and_released_twice(path: Path) -> None:
    lock = FileLock(path)
    for _ in range(2):
        assert lock.acquire(math.inf)
        lock.release()
        lock.release()
    with pytest.raises(ValueError, match="is not held"):
        lock.fileno()


def test_an_error_inside_gives_the_lock_back(path: Path) -> None:
    with pytest.raises(KeyError), FileLock(path):
        raise KeyError("inside")
    assert FileLock(path).try_acquire()


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "missing" / "store.lock").acquire(1.0)


def test_no_descriptor_is_left_behind(path: Path) -> None:
    before = len(locks._open_fds)
    with FileLock(path):
        for _ in range(100):
            assert not FileLock(path).try_acquire()
    assert len(locks._open_fds) == before


@pytest.mark.parametrize(
    ("shared", "shown"),
    [(False, "<FileLock store.lock (free)>"), (True, "<FileLock store.lock (shared, free)>")],
)
def test_the_repr_tells_the_state(path: Path, shared: bool, shown: str) -> None:
    lock = FileLock(path, shared=shared)
    assert repr(lock) == shown
    with lock:
        assert repr(lock) == shown.replace("free", "held")


_BUSY = """
import sys, time
from pathlib import Path
from orchstate.locks import FairLock, FileLock
lock = {"fair": FairLock, "plain": FileLock}[sys.argv[1]](Path(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
end = time.monotonic() + 1.5
count = 0
while time.monotonic() < end:
    if lock.acquire(10):
        count += 1
        time.sleep(0.001)
        lock.release()
print(count)
"""


def _turns(kind: str, path: Path) -> list[int]:
    """Have three processes take a lock again and again; return how often each had it."""
    busy = [
        subprocess.Popen(
            [sys.executable, "-c", _BUSY, kind, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in busy:
        assert process.stdout and process.stdout.readline() == "ready\n"
    return [int(process.communicate("go\n")[0]) for process in busy]


def test_a_fair_lock_lets_everybody_have_a_turn(tmp_path: Path) -> None:
    turns = _turns("fair", tmp_path / "fair.lock")
    assert min(turns) * 10 > max(turns), turns


def test_a_fair_lock_gives_up_in_time_at_the_gate_and_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "fair.lock"
    with FileLock(path):
        assert not FairLock(path).acquire(timeout_s=0.01)
    with FileLock(tmp_path / "fair.lock.gate"):
        assert not FairLock(path).acquire(timeout_s=0.01)
    assert FairLock(path).acquire(timeout_s=0.01)
