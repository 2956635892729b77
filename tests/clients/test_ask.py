"""Questions and answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from testbed.network import answering, dripping

from orchstate.clients.ask import Answer, aask, ask
from orchstate.errors import ProviderError, SecretUnavailableError, ValidationError
from tests.clients.connections import KEY, SDKS, connection, no_calls_left, spoken, wait_until

if TYPE_CHECKING:
    from testbed.llm import LlmServer

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
OPENAI = {
    "id": "1",
    "object": "chat.completion",
    "model": "m-2026",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes."}}],
    "usage": USAGE,
}
ANTHROPIC = {
    "id": "1",
    "type": "message",
    "role": "assistant",
    "model": "m-2026",
    "content": [{"type": "text", "text": "Ye"}, {"type": "text", "text": "s."}],
    "usage": {"input_tokens": 3, "output_tokens": 2},
}
OLLAMA = {
    "model": "m-2026",
    "message": {"role": "assistant", "content": "Yes."},
    "done": True,
    "prompt_eval_count": 3,
    "eval_count": 2,
}
ANSWERS: dict[str, dict[str, Any]] = {"openai": OPENAI, "anthropic": ANTHROPIC, "ollama": OLLAMA}


@pytest.mark.llm
@pytest.mark.parametrize("provider", ["openai", "openai_compatible", "anthropic"])
def test_a_real_model_answers(provider: str, llm_server: LlmServer):
    url = llm_server.root_url if provider == "anthropic" else llm_server.base_url
    made = connection(provider, key=llm_server.api_key, base_url=url, model=llm_server.model, max_tokens=8)
    answer = ask(made, "How are you?", system="Be brief.")
    assert answer.text.strip() and answer.model == llm_server.model
    assert answer.output_tokens == 8 and answer.input_tokens
    assert answer.latency_ms > 0 and answer.stamp == made.stamp


@pytest.mark.llm
def test_the_parameters_reach_a_real_model(llm_server: LlmServer):
    values = {"key": llm_server.api_key, "base_url": llm_server.base_url, "model": llm_server.model}
    made = connection("openai_compatible", temperature=0.0, seed=1, max_tokens=12, **values)
    assert len({ask(made, "The same again").text for _ in range(2)}) == 1


@pytest.mark.llm
def test_a_wrong_key_is_refused_without_a_trace_of_it(llm_server: LlmServer):
    made = connection("openai", base_url=llm_server.base_url, model="m")
    with pytest.raises(ProviderError, match="does not accept the key") as caught:
        ask(made, "Hello?")
    assert caught.value.status == 401
    assert caught.value.__cause__ is None and caught.value.__context__ is None


@pytest.mark.parametrize("provider", SDKS)
def test_an_answer_has_text_model_and_tokens(provider: str):
    with answering(200, ANSWERS[provider]) as server:
        made = connection(provider, base_url=server.url, model="m")
        answer = ask(made, "Is it?")
        twin = asyncio.run(aask(made, "Is it?"))
    assert (answer.text, answer.model, answer.input_tokens, answer.output_tokens) == ("Yes.", "m-2026", 3, 2)
    assert (twin.text, twin.stamp) == (answer.text, made.stamp)


def test_openai_is_sent_exactly_what_is_set():
    with answering(200, OPENAI) as server:
        ask(connection("openai", base_url=server.url, model="m", temperature=0.5, max_tokens=9), "Is it?")
    assert server.requests[0].json() == {
        "model": "m",
        "messages": [{"role": "user", "content": "Is it?"}],
        "temperature": 0.5,
        "max_completion_tokens": 9,
    }


def test_anthropic_is_sent_exactly_what_is_set_and_a_limit():
    with answering(200, ANTHROPIC) as server:
        ask(connection("anthropic", base_url=server.url, model="m", top_k=5), "Is it?", system="Be brief.")
    assert server.requests[0].json() == {
        "model": "m",
        "messages": [{"role": "user", "content": "Is it?"}],
        "system": "Be brief.",
        "max_tokens": 1024,
        "top_k": 5,
    }


def test_the_configs_own_limit_is_sent_to_anthropic():
    with answering(200, ANTHROPIC) as server:
        ask(connection("anthropic", base_url=server.url, model="m", max_tokens=9), "Is it?")
    assert server.requests[0].json()["max_tokens"] == 9


def test_a_stub_of_ollama_is_sent_exactly_what_is_set():
    with answering(404, routes={"/api/chat": (200, OLLAMA)}) as server:
        made = connection("ollama", base_url=server.url, model="m", num_ctx=4096, keep_alive="5m")
        ask(made, "Is it?", system="Be brief.")
    sent = server.requests[0].json()
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert (sent["options"], sent["keep_alive"], sent["stream"]) == ({"num_ctx": 4096}, "5m", False)


def test_a_system_prompt_comes_first_for_openai():
    with answering(200, OPENAI) as server:
        ask(connection("openai", base_url=server.url, model="m"), "Is it?", system="Be brief.")
    messages = server.requests[0].json()["messages"]
    assert messages[0] == {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("given", "sent"), [({}, "Be brief."), ({"system": "Be long."}, "Be long."), ({"system": ""}, None)]
)
def test_the_configs_own_system_prompt_is_sent_unless_another_is_given(
    given: dict[str, str], sent: str | None
):
    with answering(200, OPENAI) as server:
        made = connection("openai", base_url=server.url, model="m", system_prompt="Be brief.")
        ask(made, "Is it?", **given)
    messages = server.requests[0].json()["messages"]
    assert [message["content"] for message in messages[:-1]] == ([sent] if sent else [])


def test_an_answer_without_text_is_empty():
    silent = OPENAI | {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": None}}],
        "usage": None,
    }
    with answering(200, silent) as server:
        answer = ask(connection("openai", base_url=server.url, model="m"), "Is it?")
    assert (answer.text, answer.input_tokens, answer.output_tokens) == ("", None, None)


@pytest.mark.parametrize("prompt", ["", " \n\t"])
def test_an_empty_prompt_is_refused_before_anything_is_sent(prompt: str):
    with pytest.raises(ValidationError, match=r"The prompt is empty. Write what the model should"):
        ask(connection("openai", model="m"), prompt)


def test_a_prompt_that_is_not_text_is_refused():
    with pytest.raises(ValidationError, match=r"5 is not a question: a prompt is text"):
        ask(connection("openai", model="m"), 5)  # type: ignore[arg-type]


def test_without_a_model_the_next_step_is_named():
    message = r"'gpt' has no model. gpt.models\(\) lists what there is; set one with gpt.model = '...'"
    with pytest.raises(ValidationError, match=message):
        ask(connection("openai"), "Is it?")


def test_without_a_key_the_next_step_is_named():
    with pytest.raises(SecretUnavailableError, match=r"Type it in the form, or assign gpt.api_key"):
        asyncio.run(aask(connection("openai", key=None, model="m"), "Is it?"))


@pytest.mark.parametrize("provider", SDKS)
@pytest.mark.parametrize("body", ["<html>", {"x": 1}, []])
def test_an_answer_of_another_kind_is_an_error(provider: str, body: Any):
    with answering(200, body) as server:
        made = connection(provider, base_url=server.url, model="m")
        with pytest.raises(ProviderError, match="does not answer as"):
            ask(made, "Is it?")


@pytest.mark.parametrize("provider", SDKS)
def test_an_error_that_quotes_the_key_shows_it_nowhere(provider: str):
    values = {"auth": "cloud"} if provider == "ollama" else {}
    with answering(418, {"error": {"message": f"Bad key {KEY}"}}, headers={"X-Echo": KEY}) as server:
        made = connection(provider, base_url=server.url, model="m", **values)
        with pytest.raises(ProviderError, match=r"\(status 418\). It says: Bad key \*{8}") as caught:
            ask(made, "Is it?")
    # Older versions of Anthropic's SDK send the second alone.
    sent = server.requests[0].headers
    assert KEY in (sent.get("authorization", "").removeprefix("Bearer "), sent.get("x-api-key"))
    assert KEY not in spoken(caught.value)
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_an_answer_that_takes_too_long_is_given_up():
    with dripping() as server:
        made = connection("openai", base_url=server.url, model="m", timeout_ms=400)
        with pytest.raises(ProviderError, match=r"No complete answer from .* within 0.4 s"):
            ask(made, "Is it?")


def test_a_cancelled_question_ends_its_call():
    async def cancel(made: Any) -> None:
        task = asyncio.ensure_future(aask(made, "Is it?"))
        await asyncio.to_thread(wait_until, lambda: server.requests)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    with dripping() as server:
        asyncio.run(cancel(connection("openai", base_url=server.url, model="m", timeout_ms=30_000)))
        assert wait_until(no_calls_left)


def test_the_repr_is_one_short_line_and_print_shows_everything():
    answer = Answer("One\ntwo " + "x" * 100, "m", 12, 3, 40)
    assert repr(answer) == f"<Answer m: 'One two {'x' * 49}...' (12 ms, 3 + 40 tokens)>"
    assert str(answer) == answer.text


def test_the_repr_leaves_out_what_is_not_known():
    assert repr(Answer("Yes.", "m", 12)) == "<Answer m: 'Yes.' (12 ms)>"
