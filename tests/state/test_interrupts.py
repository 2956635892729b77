"""Ctrl-C comes before an edit or after it, and never loses one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import orchstate
from orchstate.state.interrupts import Uninterrupted

if TYPE_CHECKING:
    from pathlib import Path


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_inside_comes_at_the_end() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), Uninterrupted():
        interrupt()
        done.append("inside")
    assert done == ["inside"]


def test_of_nested_blocks_the_outer_one_ends_the_wait() -> None:
    done, block = [], Uninterrupted()
    with pytest.raises(KeyboardInterrupt), block:
        with block:
            interrupt()
        done.append("after the inner one")
    assert done == ["after the inner one"]


def test_the_usual_handler_is_back_afterwards() -> None:
    usual = signal.getsignal(signal.SIGINT)
    with Uninterrupted():
        assert signal.getsignal(signal.SIGINT) != usual
    assert signal.getsignal(signal.SIGINT) == usual


def test_it_is_back_after_an_error_too() -> None:
    usual = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), Uninterrupted():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) == usual


def test_whatever_handler_there_is_gets_the_signal() -> None:
    heard: list[int] = []
    usual = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        with Uninterrupted():
            interrupt()
            assert heard == []
        assert heard == [signal.SIGINT]
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with Uninterrupted():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, usual)


def test_other_threads_are_not_concerned() -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with Uninterrupted():
                pass
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    with Uninterrupted():
        thread.start()
        thread.join()
    assert failures == []


def test_an_interrupt_in_the_midst_of_an_edit_leaves_it_whole(tmp_path: Path) -> None:
    with orchstate.open(tmp_path / "store.db") as store:
        gpt = store.configs.create("openai", name="gpt")
        real = store._state._journal.append  # type: ignore[union-attr]

        def append(payload: bytes) -> None:
            real(payload)
            interrupt()

        store._state._journal.append = append  # type: ignore[union-attr, method-assign]
        with pytest.raises(KeyboardInterrupt):
            gpt.temperature = 0.5
        store._state._journal.append = real  # type: ignore[union-attr, method-assign]
        gpt.temperature = 0.7
        store.flush()
        assert store.history.changes("gpt", field="temperature")["new"].tolist() == [0.5, 0.7]


def test_a_block_that_was_accepted_stays_accepted(tmp_path: Path) -> None:
    with orchstate.open(tmp_path / "store.db", secrets="memory") as store:
        gpt = store.configs.create("openai", name="gpt")
        real = store._state._journal.append  # type: ignore[union-attr]

        def append(payload: bytes) -> None:
            real(payload)
            interrupt()

        with pytest.raises(KeyboardInterrupt), store.transaction():
            receipt = gpt.update(temperature=0.5, api_key="sk-proj-0123456789abcdef0123")
            store._state._journal.append = append  # type: ignore[union-attr, method-assign]
        store._state._journal.append = real  # type: ignore[union-attr, method-assign]
        assert receipt.wait(10).state == "committed"
        assert (gpt.temperature, gpt.api_key.get_secret_value()) == (0.5, "sk-proj-0123456789abcdef0123")


TYPIST = """
import json, os, sys
import orchstate
store = orchstate.open(sys.argv[1])
gpt = store.configs.upsert("gpt", "openai")
store.flush()
log = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
count = 0
print("ready", flush=True)
while True:
    try:
        count += 1
        gpt.seed = count
        os.write(log, json.dumps(count).encode() + b"\\n")
        if count % 10 == 0:
            with store.transaction():
                count += 1
                gpt.seed = count
                gpt.max_tokens = count
            os.write(log, json.dumps(count).encode() + b"\\n")
    except KeyboardInterrupt:
        continue
"""


def test_a_hail_of_interrupts_loses_no_edit_and_doubles_none(tmp_path: Path) -> None:
    path, log = tmp_path / "store.db", tmp_path / "log"
    chance = random.Random(1)
    command = [sys.executable, "-c", TYPIST, str(path), str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as typist:
        assert typist.stdout and typist.stdout.readline() == b"ready\n"
        for _ in range(600):
            time.sleep(chance.uniform(0.0002, 0.003))
            typist.send_signal(signal.SIGINT)
        # What is left is adopted: numbers that were given twice would show here.
        typist.kill()
    done: list[Any] = [json.loads(line) for line in log.read_bytes().rpartition(b"\n")[0].split(b"\n")]
    with orchstate.open(path) as store:
        seeds = store.history.changes("gpt", field="seed")["new"].tolist()
        assert len(done) > 50
        assert sorted(set(seeds)) == seeds
        assert set(done) <= set(seeds)
        assert store._engine.check() == []
