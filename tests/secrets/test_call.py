from __future__ import annotations

import threading
import time

import pytest

from orchstate.secrets.call import BoundedCall, Outcome


def test_a_call_that_returns_gives_its_value() -> None:
    assert BoundedCall(divmod, 7, 3, limit_s=2.0).wait() == Outcome(value=(2, 1))


def test_a_call_that_raises_gives_its_error_without_frames() -> None:
    def fail() -> None:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error

    fault = BoundedCall(fail, limit_s=2.0).wait().fault
    assert isinstance(fault, ValueError)
    assert (fault.__traceback__, fault.__cause__, fault.__context__) == (None, None, None)


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), BaseException("panic")])
def test_not_even_an_exit_gets_out_of_the_thread(error: BaseException) -> None:
    def fail() -> None:
        raise error

    assert BoundedCall(fail, limit_s=2.0).wait().fault is error


def test_a_call_that_hangs_is_given_up_at_the_limit_and_may_end_later() -> None:
    release = threading.Event()
    start = time.monotonic()
    call = BoundedCall(release.wait, 30, limit_s=0.1)
    assert isinstance(call.wait().fault, TimeoutError)
    assert 0.1 <= time.monotonic() - start < 20
    release.set()
    call.thread.join(5)
    assert call.wait() == Outcome(value=True)


def test_waiting_again_after_the_limit_takes_no_time() -> None:
    release = threading.Event()
    call = BoundedCall(release.wait, 30, limit_s=0.05)
    call.wait()
    start = time.monotonic()
    assert isinstance(call.wait().fault, TimeoutError)
    assert time.monotonic() - start < 20
    release.set()


def test_a_hanging_call_does_not_keep_the_process() -> None:
    release = threading.Event()
    call = BoundedCall(release.wait, 30, limit_s=0.0)
    assert call.thread.daemon
    release.set()


def test_the_repr_of_an_outcome_shows_no_value() -> None:
    assert "sk-hidden" not in repr(Outcome(value="sk-hidden", fault=ValueError("sk-hidden")))
