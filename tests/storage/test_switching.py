"""Quick thread switches during a commit."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from testbed.forking import in_child

from orchstate.storage.switching import QUICK_S, quick_switching

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def usual() -> Iterator[float]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.004)
    yield sys.getswitchinterval()
    sys.setswitchinterval(before)


def test_the_interval_is_short_inside_and_as_before_outside(usual: float) -> None:
    with quick_switching():
        assert sys.getswitchinterval() == pytest.approx(QUICK_S)
    assert sys.getswitchinterval() == usual


def test_it_is_restored_after_an_error(usual: float) -> None:
    with pytest.raises(ZeroDivisionError), quick_switching():
        raise ZeroDivisionError
    assert sys.getswitchinterval() == usual


def test_of_overlapping_blocks_the_last_one_restores(usual: float) -> None:
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with quick_switching():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with quick_switching(), quick_switching():
        thread.start()
        entered.wait()
    assert sys.getswitchinterval() == pytest.approx(QUICK_S)
    leave.set()
    thread.join()
    assert sys.getswitchinterval() == usual


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_is_forked_meanwhile_has_the_usual_interval(usual: float) -> None:
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with quick_switching():
            entered.set()
            leave.wait()

    def intervals() -> list[float]:
        before = round(sys.getswitchinterval(), 6)
        with quick_switching():
            inside = round(sys.getswitchinterval(), 6)
        return [before, inside, round(sys.getswitchinterval(), 6)]

    thread = threading.Thread(target=other)
    thread.start()
    entered.wait()
    assert in_child(intervals) == str([usual, QUICK_S, usual])
    assert sys.getswitchinterval() == pytest.approx(QUICK_S)
    leave.set()
    thread.join()
    assert sys.getswitchinterval() == usual


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_of_a_block_leaves_it_and_enters_others_as_usual(usual: float) -> None:
    def leave() -> list[float]:
        block.close()
        with quick_switching():
            return [usual, round(sys.getswitchinterval(), 6)]

    with ExitStack() as block:
        block.enter_context(quick_switching())
        assert in_child(leave) == str([usual, QUICK_S])
    assert sys.getswitchinterval() == usual


def test_an_interval_that_is_shorter_already_stays() -> None:
    sys.setswitchinterval(0.00001)
    with quick_switching():
        assert sys.getswitchinterval() == pytest.approx(0.00001)
