"""The doorbell between processes."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.forking import in_child

from orchstate.storage import bell as bells
from orchstate.storage.bell import POLL_WITH_BELL_S, POLL_WITHOUT_BELL_S, Bell

if TYPE_CHECKING:
    import pytest

LISTENER = """
import sys, time
from pathlib import Path
from orchstate.storage.bell import Bell
bell = Bell(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    if bell.wait(60):
        print(time.monotonic(), flush=True)
"""


def test_another_process_hears_the_bell(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    command = [sys.executable, "-c", LISTENER, str(path)]
    late_ms = []
    with subprocess.Popen(command, stdout=subprocess.PIPE) as listener, closing(Bell(path)) as bell:
        assert listener.stdout and listener.stdout.readline() == b"ready\n"
        for _ in range(50):
            rung = time.monotonic()
            bell.ring()
            late_ms.append((float(listener.stdout.readline()) - rung) * 1000)
        listener.kill()
    print(f"heard after {statistics.median(late_ms):.2f} ms (median), {max(late_ms):.2f} ms (longest)")
    assert statistics.median(late_ms) < 1000 * POLL_WITH_BELL_S


def test_nobody_hears_their_own_bell(tmp_path: Path) -> None:
    with closing(Bell(tmp_path / "a")) as bell, closing(Bell(tmp_path / "b")) as other:
        bell.ring()
        assert not bell.wait(0.01)
        assert not other.wait(0.01)


def test_waking_ends_the_wait_of_this_process_alone(tmp_path: Path) -> None:
    with closing(Bell(tmp_path / "a")) as bell:
        timer = threading.Timer(0.02, bell.wake)
        timer.start()
        start = time.monotonic()
        assert not bell.wait(60)
        assert time.monotonic() - start < 30
        timer.join()


def test_a_wake_before_the_wait_counts() -> None:
    with closing(Bell(None)) as bell:
        bell.wake()
        start = time.monotonic()
        bell.wait(60)
        assert time.monotonic() - start < 30


def test_waking_leaves_the_interpreter_with_those_who_wake() -> None:
    def sleep() -> None:
        while not is_over:
            bell.wait(60)
            awake.append(None)

    awake: list[None] = []
    is_over, overtaken, usual = False, 0, sys.getswitchinterval()
    with closing(Bell(None)) as bell:
        sleeper = threading.Thread(target=sleep)
        sleeper.start()
        sys.setswitchinterval(10)
        try:
            for _ in range(200):
                time.sleep(0.001)
                before = len(awake)
                bell.wake()
                # Long enough for the other thread to run, if it may.
                sum(range(20_000))
                overtaken += len(awake) - before
        finally:
            sys.setswitchinterval(usual)
        is_over = True
        bell.wake()
        sleeper.join()
    assert overtaken == 0
    assert len(awake) >= 100


def test_it_wakes_without_ctypes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctypes", None)
    bells._write.cache_clear()
    with closing(Bell(None)) as bell:
        bell.wake()
        assert bell._ears.poll(0)
    bells._write.cache_clear()


class Waker:
    """The waking end of a bell; somebody closes the bell just when its number was read."""

    def __init__(self, bell: Bell) -> None:
        self._end = bell._waker
        self._bell = bell
        self.closing = threading.Thread(target=bell.close)

    def fileno(self) -> int:
        number = self._end.fileno()
        self.closing.start()
        # Where nothing is in its way, it is through by then.
        self.closing.join(0.2)
        return number

    def close(self) -> None:
        self._end.close()


def test_waking_writes_into_no_file_that_has_got_the_number_of_a_closed_bell(tmp_path: Path) -> None:
    bell = Bell(None)
    number = bell._waker.fileno()
    bell._waker = waker = Waker(bell)  # type: ignore[assignment]
    with (tmp_path / "other").open("w+b", buffering=0) as other:
        usual = bells._write()

        def write(descriptor: int, text: bytes, count: int) -> object:
            if not waker.closing.is_alive():
                os.dup2(other.fileno(), number)
            return usual(descriptor, text, count)

        bell._write = write
        bell.wake()
        waker.closing.join()
        assert other.read() == b""
        assert os.fstat(other.fileno()).st_size == 0


def test_a_closed_bell_wakes_nobody(tmp_path: Path) -> None:
    bell = Bell(None)
    number = bell._waker.fileno()
    bell.close()
    with (tmp_path / "other").open("w+b") as other:
        os.dup2(other.fileno(), number)
        bell.wake()
        bell.close()
        assert os.fstat(number).st_size == 0
        os.close(number)


def test_a_child_gives_a_bell_up_that_another_thread_was_just_waking() -> None:
    bell = Bell(None)
    held, over = threading.Event(), threading.Event()

    def wake() -> None:
        with bell._lock:
            held.set()
            over.wait(10)

    thread = threading.Thread(target=wake)
    thread.start()
    held.wait(10)
    assert in_child(lambda: (bell.abandon(), bell.wake())) == "(None, None)"
    over.set()
    thread.join()
    bell.close()


def test_ringing_a_thousand_times_without_a_listener_awake_is_no_harm(tmp_path: Path) -> None:
    with closing(Bell(tmp_path / "a")) as bell, closing(Bell(tmp_path / "a")) as other:
        for _ in range(1000):
            bell.ring()
            other.wake()
        assert other.wait(0)
        assert not other.wait(0)


def test_the_address_of_a_dead_process_is_swept(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LISTENER, str(tmp_path / "a")]
    with closing(Bell(tmp_path / "a")) as bell:
        folder = Path(str(bell._folder))
        with subprocess.Popen(command, stdout=subprocess.PIPE) as listener:
            assert listener.stdout and listener.stdout.readline() == b"ready\n"
            listener.kill()
        assert len(list(folder.iterdir())) == 2
        bell.ring()
        assert len(list(folder.iterdir())) == 1
    assert list(folder.iterdir()) == []


def test_a_folder_that_others_may_enter_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bells, "_BASE", tmp_path)
    (tmp_path / f"orchstate-{os.getuid()}").mkdir(mode=0o755)
    with closing(Bell(tmp_path / "a")) as bell:
        assert bell.poll_s == POLL_WITHOUT_BELL_S
        bell.ring()


def test_with_a_bell_one_looks_seldom(tmp_path: Path) -> None:
    with closing(Bell(tmp_path / "a")) as bell:
        assert bell.poll_s == POLL_WITH_BELL_S


def test_it_works_among_thousands_of_open_files(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with closing(Bell(tmp_path / "a")) as bell, closing(Bell(tmp_path / "a")) as other:
            assert bell._socket.fileno() > 1024
            other.ring()
            assert bell.wait(10)
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
