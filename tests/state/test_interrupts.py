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
from testbed.observing import changes_of

import orchstate
from orchstate.state.interrupts import Uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchstate.config import Config


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
import json, os, signal, sys
import orchstate
store = orchstate.open(sys.argv[1])
gpt = store.configs.upsert("gpt", "openai")
store.flush()
log = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
count = 0
def edit():
    global count
    while True:
        count += 1
        gpt.seed = count
        os.write(log, json.dumps(count).encode() + b"\\n")
        if count % 10 == 0:
            with store.transaction():
                count += 1
                gpt.seed = count
                gpt.max_tokens = count
            os.write(log, json.dumps(count).encode() + b"\\n")
def interrupt(number, frame):
    # Also where the store deals with another one, but not where this program does.
    while frame is not None:
        if frame.f_code is edit.__code__:
            raise KeyboardInterrupt
        frame = frame.f_back
signal.signal(signal.SIGINT, interrupt)
print("ready", flush=True)
while True:
    try:
        edit()
    except KeyboardInterrupt:
        pass
"""


def test_a_hail_of_interrupts_loses_no_edit_and_doubles_none(tmp_path: Path) -> None:
    path, log = tmp_path / "store.db", tmp_path / "log"
    chance = random.Random(1)
    command = [sys.executable, "-c", TYPIST, str(path), str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as typist:
        assert typist.stdout and typist.stdout.readline() == b"ready\n"
        for _ in range(300):
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


# Each instruction of these is tried, and each line of the rest of the state.
CLOSELY = ("block.py", "interrupts.py", "transaction.py", "acceptance.py")


class Meddler:
    """Interrupts at one point of our code, whichever; a trace function is called before each of them."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.has_struck = False

    def __call__(self, frame: Any, event: str, argument: object) -> Any:
        folder, _, module = frame.f_code.co_filename.rpartition(os.sep)
        # In the latter Python ignores whatever is raised.
        if not folder.endswith(f"orchstate{os.sep}state") or frame.f_code.co_name == "__del__":
            return None
        frame.f_trace_opcodes = module in CLOSELY
        if event == "line" and frame.f_trace_opcodes:
            return self
        self.left -= 1
        if not self.left:
            self.has_struck = True
            sys.settrace(None)
            interrupt()
        return self


def meddled(at: int, action: Callable[[], object]) -> bool:
    """Do something, interrupted at its point of a number; returns whether there is one."""
    meddler = Meddler(at)
    sys.settrace(meddler)
    try:
        action()
    except KeyboardInterrupt:
        assert meddler.has_struck
    finally:
        sys.settrace(None)
    return meddler.has_struck


@pytest.fixture
def gpt() -> Iterator[Config]:
    with orchstate.open(":memory:") as store:
        yield store.configs.create("openai", name="gpt", temperature=0.0, seed=0)


def block_of(gpt: Config, number: int, *, is_nested: bool) -> None:
    with gpt._state.transaction():
        gpt.temperature = number / 1e6
        if is_nested:
            with gpt._state.transaction():
                gpt.seed = number
        gpt.max_tokens = number


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("is_nested", [False, True])
def test_an_interrupt_at_any_instruction_of_a_block_leaves_all_of_it_or_nothing(
    is_nested: bool, step: int, gpt: Config
) -> None:
    usual, at, done = signal.getsignal(signal.SIGINT), 1, True
    while done:
        before = (gpt.temperature, gpt.seed, gpt.max_tokens)
        done = meddled(at, lambda: block_of(gpt, at, is_nested=is_nested))  # noqa: B023
        after = (at / 1e6, at if is_nested else 0, at)
        assert (gpt.temperature, gpt.seed, gpt.max_tokens) in (before, after), at
        assert gpt._state.transaction_here is None
        assert signal.getsignal(signal.SIGINT) == usual
        # Whatever comes next is accepted as ever.
        assert gpt.update(frequency_penalty=at / 1e6).wait(10).state == "committed"
        at += step
    assert at > 500


@pytest.mark.parametrize("is_nested", [False, True])
def test_a_handler_that_raises_nothing_breaks_into_no_block(is_nested: bool, gpt: Config) -> None:
    heard: list[int] = []
    usual = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        at = 1
        while meddled(at, lambda: block_of(gpt, at, is_nested=is_nested)):  # noqa: B023
            seen = (gpt.temperature, gpt.seed, gpt.max_tokens)
            assert seen == (at / 1e6, at if is_nested else 0, at), at
            at += 7
    finally:
        signal.signal(signal.SIGINT, usual)
    assert len(heard) == at // 7 > 70


def test_a_handler_that_is_set_for_a_part_of_a_block_is_gone_with_it(gpt: Config) -> None:
    usual, heard = signal.getsignal(signal.SIGINT), []
    with gpt._state.transaction():
        before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
        with gpt._state.transaction():
            gpt.seed = 5
        interrupt()
        signal.signal(signal.SIGINT, before)
    assert (heard, gpt.seed) == ([signal.SIGINT], 5)
    assert signal.getsignal(signal.SIGINT) == usual


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.long)])
def test_an_interrupt_at_any_instruction_of_an_edit_leaves_it_whole(step: int, gpt: Config) -> None:
    at, done, accepted = 1, True, 0
    while done:
        done = meddled(at, lambda: gpt.update(seed=at))  # noqa: B023
        accepted += gpt.seed == at
        assert gpt.update(max_tokens=at).wait(10).state == "committed"
        at += step
    changes = gpt._services.history.changes("gpt", field="seed")["new"].tolist()
    assert (len(changes), accepted > 10 / step, at > 200) == (accepted + 1, True, True)


def test_a_block_that_nobody_ends_swallows_what_follows(gpt: Config) -> None:
    """The control: without its end being seen to, this is how it would be."""
    block = gpt._state.transaction()
    block.__enter__()
    gpt.seed = 5
    assert gpt._state.flush() == 1
    block.give_up(KeyboardInterrupt())
    gpt.seed = 6
    assert gpt._state.flush() == 2


def test_who_observes_the_same_edit_is_told_though_another_observer_is_interrupted(gpt: Config) -> None:
    interrupts: list[BaseException] = [KeyboardInterrupt()]

    def interrupted(change: Any) -> None:
        if interrupts:
            raise interrupts.pop()

    gpt.observe(interrupted, "temperature")
    heard = changes_of(gpt, "temperature", "model")
    with pytest.raises(KeyboardInterrupt):
        gpt.update(temperature=0.9, model="gpt-z")
    assert gpt.temperature == 0.9
    assert [(name, new) for name, _, new, _ in heard][:2] == [("model", "gpt-z"), ("temperature", 0.9)]
