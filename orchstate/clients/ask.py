"""One question, one answer, with what it took and what it was asked with."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from orchstate.clients.calls import Reply, acall, call
from orchstate.display import printable
from orchstate.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchstate.clients.connection import Connection
    from orchstate.clients.failure import Failure

# Anthropic's API insists on a limit, also where a definition names none.
_MAX_TOKENS: Final = 1024
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """What a model answered; ``print(answer)`` shows all of its text.

    Parameters
    ----------
    text
        The answer.
    model
        The model that gave it, as the provider names it.
    latency_ms
        Milliseconds from sending the question to the last byte of the answer.
    input_tokens, output_tokens
        As the provider counts them, None where it does not say.
    stamp
        Pins the answer to the exact revision of the config.
    """

    text: str
    model: str
    latency_ms: int
    input_tokens: int | None = None
    output_tokens: int | None = None
    stamp: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        line = " ".join(self.text.split())
        shown = line if len(line) <= _SHOWN else f"{line[: _SHOWN - 3]}..."
        counts = [count for count in (self.input_tokens, self.output_tokens) if count is not None]
        tokens = f", {' + '.join(map(str, counts))} tokens" if counts else ""
        return printable(f"<Answer {self.model}: {shown!r} ({self.latency_ms} ms{tokens})>")


@dataclass(frozen=True, slots=True)
class _Question:
    connection: Connection
    model: str
    prompt: str
    system: str | None

    @property
    def messages(self) -> list[dict[str, str]]:
        before = [{"role": "system", "content": self.system}] if self.system else []
        return [*before, {"role": "user", "content": self.prompt}]


def ask(connection: Connection, prompt: str, *, system: str | None = None) -> Answer:
    """Return the config's model's answer to `prompt`.

    Parameters
    ----------
    connection
        The config; only parameters that are set are sent.
    prompt
        The question.
    system
        What the model is told before it: None for the config's system prompt, ``""`` for nothing.

    Raises
    ------
    ValidationError
        If the prompt is empty, or the config has no model.
    ProviderError
        If the provider refuses, cannot be reached, or does not answer in time.
    SecretError
        If a key is needed and not set, or cannot be read.
    MissingExtraError
        If the SDK is not installed.
    """
    question = _question(connection, prompt, system)
    return _answered(connection, call(connection, lambda client: _put(question, client)))


async def aask(connection: Connection, prompt: str, *, system: str | None = None) -> Answer:
    """Return what :func:`ask` returns; the event loop goes on meanwhile."""
    question = _question(connection, prompt, system)
    return _answered(connection, await acall(connection, lambda client: _put(question, client)))


def _question(connection: Connection, prompt: str, system: str | None) -> _Question:
    if not isinstance(prompt, str):
        raise ValidationError(f"{prompt!r} is not a question: a prompt is text.")
    if not prompt.strip():
        raise ValidationError("The prompt is empty. Write what the model should answer.")
    model, config = connection.value("model"), connection.spelled
    if model is None:
        raise ValidationError(
            f"{connection.name!r} has no model. {config}.models() lists what there is; "
            f"set one with {config}.model = '...'."
        )
    return _Question(
        connection, model, prompt, connection.document.system_prompt if system is None else system
    )


def _put(question: _Question, client: Any) -> Answer:
    ways = {"openai": _openai, "anthropic": _anthropic, "ollama": _ollama}
    return ways[question.connection.definition.sdk](question, client)


def _answered(connection: Connection, outcome: Reply[Answer] | Failure) -> Answer:
    if not isinstance(outcome, Reply):
        raise outcome.to_error()
    return dataclasses.replace(outcome.value, latency_ms=outcome.latency_ms, stamp=dict(connection.stamp))


def _openai(question: _Question, client: Any) -> Answer:
    create = client.chat.completions.create
    parameters = _arguments(create, question.connection.parameters())
    answer = create(model=question.model, messages=question.messages, **parameters)
    if not getattr(answer, "choices", None):
        raise TypeError("the answer has no choices")
    usage = answer.usage
    return Answer(
        text=answer.choices[0].message.content or "",
        model=answer.model or question.model,
        latency_ms=0,
        input_tokens=usage.prompt_tokens if usage else None,
        output_tokens=usage.completion_tokens if usage else None,
    )


def _anthropic(question: _Question, client: Any) -> Answer:
    create = client.messages.create
    parameters = {"max_tokens": _usual_limit(question)} | question.connection.parameters()
    if question.system:
        parameters["system"] = question.system
    answer = create(
        model=question.model,
        messages=[{"role": "user", "content": question.prompt}],
        **_arguments(create, parameters),
    )
    if not isinstance(getattr(answer, "content", None), list):
        raise TypeError("the answer has no content")
    usage = answer.usage
    return Answer(
        text="".join(block.text for block in answer.content if block.type == "text"),
        model=answer.model or question.model,
        latency_ms=0,
        input_tokens=usage.input_tokens if usage else None,
        output_tokens=usage.output_tokens if usage else None,
    )


def _usual_limit(question: _Question) -> Any:
    spec = question.connection.definition.field("max_tokens")
    return (spec.default if spec else None) or _MAX_TOKENS


def _ollama(question: _Question, client: Any) -> Answer:
    answer = client.chat(
        model=question.model, messages=question.messages, stream=False, **question.connection.parameters()
    )
    return Answer(
        text=answer.message.content or "",
        model=answer.model or question.model,
        latency_ms=0,
        input_tokens=answer.prompt_eval_count,
        output_tokens=answer.eval_count,
    )


def _arguments(method: Callable[..., Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that send `parameters`.

    What this version of the SDK has no name for goes into the request as it is.
    """
    named = inspect.signature(method).parameters
    known = {name: value for name, value in parameters.items() if name in named}
    rest = {name: value for name, value in parameters.items() if name not in named}
    return known | ({"extra_body": {**known.get("extra_body", {}), **rest}} if rest else {})
