"""Connection checks: against a real server, and against everything that can be wrong."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from testbed.network import (
    UNKNOWN_URL,
    answering,
    black_hole,
    closed_port,
    dripping,
    silence,
)

from orchstate.clients.check import LIMIT_MS, CheckResult, acheck, check
from orchstate.errors import SecretUnavailableError, WrongPassphraseError
from tests.clients.connections import KEY, SDKS, connection, no_calls_left, wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from testbed.llm import LlmServer

    from orchstate.clients.connection import Connection
    from orchstate.models.secret import SecretRef

MODELS: dict[str, Any] = {"data": [{"id": "a"}, {"id": "b"}], "models": [{"model": "a:latest"}]}
each_sdk = pytest.mark.parametrize("provider", SDKS)


@pytest.mark.llm
@pytest.mark.parametrize("provider", ["openai", "openai_compatible", "anthropic"])
def test_a_right_key_is_ok_and_lists_the_models(provider: str, llm_server: LlmServer):
    url = llm_server.root_url if provider == "anthropic" else llm_server.base_url
    result = check(connection(provider, key=llm_server.api_key, base_url=url, model=llm_server.model))
    assert (result.ok, result.reason, result.status) == (True, "ok", None)
    assert result.models == (llm_server.model,)
    assert "answers and lists 1 model." in result.message


@pytest.mark.llm
@pytest.mark.parametrize("provider", ["openai", "openai_compatible", "anthropic"])
def test_a_wrong_key_is_unauthorized(provider: str, llm_server: LlmServer):
    url = llm_server.root_url if provider == "anthropic" else llm_server.base_url
    result = check(connection(provider, base_url=url))
    assert (result.ok, result.reason, result.status) == (False, "unauthorized", 401)
    assert "does not accept the key (status 401). Type it in the form" in result.message


@pytest.mark.llm
def test_a_server_that_wants_a_key_says_so(llm_server: LlmServer):
    result = check(connection("openai_compatible", key=None, base_url=llm_server.base_url))
    assert "OpenAI-compatible server wants a key (status 401)" in result.message


@each_sdk
@pytest.mark.parametrize(
    ("status", "ok", "reason", "words"),
    [
        (400, False, "unexpected", "refuses the call (status 400)"),
        (401, False, "unauthorized", "does not accept the key"),
        (403, False, "forbidden", "does not allow this with the key"),
        (404, True, "not-found", "does not refuse the key, but has no model list (status 404)"),
        (429, True, "rate-limited", "accepts the key, but its limit is reached"),
        (500, False, "server-error", "has a problem of its own"),
        (503, False, "server-error", "has a problem of its own"),
    ],
)
def test_every_status_has_its_meaning_and_keeps_the_key_to_itself(
    provider: str, status: int, ok: bool, reason: str, words: str
):
    with answering(status, {"error": {"message": f"You sent {KEY}."}}) as server:
        result = check(connection(provider, base_url=server.url))
    assert (result.ok, result.reason, result.status) == (ok, reason, status)
    assert words in result.message
    assert KEY not in repr(result)
    assert status == 404 or "It says: You sent ********." in result.message
    assert len(server.requests) == 1


@each_sdk
@pytest.mark.parametrize(
    ("place", "reason", "words"),
    [
        (closed_port, "unreachable", "Is the server running, and is gpt.base_url right?"),
        (black_hole, "timeout", "within 0.4 s. Try again, or raise store.settings.agents.timeout."),
        (silence, "timeout", "No complete answer from http://127.0.0.1"),
    ],
)
def test_a_dead_address_is_told_within_the_time_limit(
    provider: str, place: Callable[[], AbstractContextManager[str]], reason: str, words: str
):
    check(connection(provider, base_url="http://127.0.0.1:1"))  # the SDK is imported once
    with place() as url:
        started = time.monotonic()
        result = check(connection(provider, base_url=url, timeout_ms=400))
    assert time.monotonic() - started < 20
    assert (result.ok, result.reason, result.status) == (False, reason, None)
    assert words in result.message


@each_sdk
def test_a_slow_drip_is_cut_off_and_leaves_no_thread_behind(provider: str):
    with dripping() as server:
        result = check(connection(provider, base_url=server.url, timeout_ms=400))
        assert (result.reason, result.models) == ("timeout", ())
        assert wait_until(no_calls_left)


@each_sdk
def test_an_unknown_host_is_told(provider: str):
    result = check(connection(provider, base_url=UNKNOWN_URL, timeout_ms=20_000))
    assert (result.ok, result.reason) == (False, "unknown-host")
    assert f"The name in {UNKNOWN_URL} cannot be looked up. Is gpt.base_url right" in result.message


@each_sdk
@pytest.mark.parametrize("body", ["<html>A login page</html>", b"{not json", {"other": 1}, []])
def test_an_answer_of_another_kind_is_unexpected(provider: str, body: Any):
    with answering(200, body) as server:
        result = check(connection(provider, base_url=server.url))
    assert (result.ok, result.reason, result.status) == (False, "unexpected", None)
    assert "does not answer as" in result.message and "Is gpt.base_url right?" in result.message


@each_sdk
def test_malformed_json_is_unexpected(provider: str):
    with answering(200, b"{not json", headers={"Content-Type": "application/json"}) as server:
        result = check(connection(provider, base_url=server.url))
    assert "its answer is not JSON" in result.message


def test_a_key_that_cannot_be_sent_is_told_without_showing_it():
    with answering(200, MODELS) as server:
        result = check(connection("openai", key="sk-secrét", base_url=server.url))
    assert result.reason == "unexpected"
    assert "has the character 'é' in it, which cannot be sent" in result.message
    assert "sk-secr" not in repr(result)


@pytest.mark.parametrize("provider", ["openai", "ollama"])
def test_a_key_with_a_line_break_is_told_without_showing_it(provider: str):
    values = {"auth": "cloud"} if provider == "ollama" else {}
    with answering(200, MODELS) as server:
        result = check(connection(provider, key="sk-secret\nrest", base_url=server.url, **values))
    assert (result.ok, result.reason) == (False, "unexpected")
    assert "sk-secret" not in repr(result) and "rest'" not in repr(result)


def test_a_missing_key_is_reported_and_not_raised(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-ambient")
    result = check(connection("openai", key=None))
    assert (result.ok, result.reason) == (False, "missing-key")
    assert "use it with gpt.api_key = orch.env('OPENAI_API_KEY')" in result.message


@pytest.mark.parametrize("error", [SecretUnavailableError, WrongPassphraseError])
def test_a_key_that_cannot_be_read_is_reported(error: type[Exception]):
    def locked(ref: SecretRef) -> str:
        raise error("The vault is locked: unlock it in the form.")

    result = check(dataclasses.replace(connection("openai"), read_secret=locked))
    assert (result.reason, result.message) == ("missing-key", "The vault is locked: unlock it in the form.")


def test_a_missing_package_is_reported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ollama", None)
    result = check(connection("ollama"))
    assert (result.ok, result.reason) == (False, "missing-package")
    assert 'pip install "orchstate[ollama]"' in result.message


def test_a_missing_address_is_reported():
    result = check(connection("openai_compatible"))
    assert (result.ok, result.reason) == (False, "unexpected")
    assert "Base URL is not set" in result.message


def test_a_key_that_comes_too_late_is_not_sent():
    asked, given = threading.Event(), threading.Event()

    def slow(ref: SecretRef) -> str:
        asked.set()
        given.wait(10)
        return KEY

    with answering(200, MODELS) as server:
        made = connection("openai", base_url=server.url, timeout_ms=300)
        result = check(dataclasses.replace(made, read_secret=slow))
        assert (asked.is_set(), result.reason) == (True, "timeout")
        given.set()
        assert wait_until(no_calls_left)
    assert server.requests == []


def test_a_check_retries_nothing():
    with answering(500, {"error": {"message": "no"}}) as server:
        check(dataclasses.replace(connection("openai", base_url=server.url), retries=3))
    assert len(server.requests) == 1


def test_a_model_that_is_not_listed_is_pointed_out():
    with answering(200, MODELS) as server:
        result = check(connection("openai", base_url=server.url, model="c"))
    assert result.ok
    assert "The model 'c' is not among the 2 models it lists" in result.message


def test_ollamas_models_are_known_without_their_tag():
    with answering(200, MODELS) as server:
        assert "lists 1 model." in check(connection("ollama", base_url=server.url, model="a")).message


def test_a_server_without_a_model_list_still_has_the_models_that_the_config_names():
    with answering(404, {"error": {"message": "no"}}) as server:
        made = connection("openai_compatible", base_url=server.url, model_list="x, y,,x")
        assert check(made).models == ("x", "y")


def test_the_repr_is_one_line_of_state():
    with answering(200, MODELS) as server:
        result = check(connection("openai", base_url=server.url, model="a"))
    line = f"<CheckResult gpt: ok, {result.latency_ms} ms. OpenAI answers and lists 2 models.>"
    assert repr(result) == line


def test_a_result_is_true_when_it_is_ok():
    with answering(200, MODELS) as server:
        assert check(connection("openai", base_url=server.url))
    with closed_port() as url:
        assert not check(connection("openai", base_url=url))


def test_a_result_says_when_and_of_what():
    with answering(200, MODELS) as server:
        result = check(connection("openai", name="gpt (fast)", base_url=server.url))
    assert result.config == "gpt (fast)"
    assert result.at.utcoffset() is not None and result.latency_ms >= 0


async def checked_by_the_loop_that_answers(
    work: Callable[[Connection], Awaitable[CheckResult]],
) -> CheckResult:
    """Return what a check finds at a server that runs in the event loop the check is made in."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps(MODELS).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        return await work(connection("openai", base_url=f"http://{host}:{port}"))


def test_the_event_loop_goes_on_meanwhile():
    assert asyncio.run(checked_by_the_loop_that_answers(acheck)).reason == "ok"


def test_a_check_in_the_event_loop_itself_would_keep_its_server_from_answering(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("orchstate.clients.check.LIMIT_MS", 500)

    async def stopping(made: Connection) -> CheckResult:
        return check(made)

    assert asyncio.run(checked_by_the_loop_that_answers(stopping)).reason == "timeout"


def test_an_sdk_is_imported_outside_the_event_loops_thread():
    code = """
import asyncio, sys, threading
from tests.clients.connections import connection
from orchstate.clients.check import acheck

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "ollama":
            print("in the main thread:", threading.current_thread() is threading.main_thread())

sys.meta_path.insert(0, Watch())
print(asyncio.run(acheck(connection("ollama", base_url="http://127.0.0.1:1"))).reason)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.splitlines() == ["in the main thread: False", "unreachable"]


@each_sdk
def test_the_twin_reports_the_same(provider: str):
    with answering(401, {"error": {"message": "no"}}) as server:
        made = connection(provider, base_url=server.url)
        one, other = check(made), asyncio.run(acheck(made))
    assert isinstance(other, CheckResult)
    assert dataclasses.replace(one, at=other.at, latency_ms=other.latency_ms) == other


@pytest.mark.parametrize(("status", "reason"), [(200, "ok"), (429, "rate-limited"), (404, "not-found")])
def test_a_config_without_a_model_is_told_that_questions_need_one(status: int, reason: str):
    with answering(status, MODELS) as server:
        without = check(connection("openai_compatible", base_url=server.url))
        having = check(connection("openai_compatible", base_url=server.url, model="a"))
    assert (without.ok, without.reason) == (True, reason)
    assert without.message.endswith(" The model is not set, and questions need one: gpt.model = '...'.")
    assert "model is not set" not in having.message


def test_a_check_waits_no_longer_than_its_own_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("orchstate.clients.check.LIMIT_MS", 1_000)
    with black_hole() as url:
        started = time.monotonic()
        made = connection("openai", base_url=url, timeout_ms=60_000)
        results = [check(made), asyncio.run(acheck(made))]
        took_s = time.monotonic() - started
    assert {result.reason for result in results} == {"timeout"} and took_s < 40
    assert all("within 1 s, which is as long as a check waits" in result.message for result in results)


def test_the_limit_of_a_check_is_10_seconds():
    assert LIMIT_MS == 10_000
