"""What a call knows of a config."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from orchstate.errors import SecretUnavailableError, ValidationError
from orchstate.models.secret import SecretRef
from tests.clients.connections import KEY, REF, connection
from tests.providers.definitions import lab


def test_only_parameters_that_are_set_are_sent():
    assert connection("openai", temperature=0.0, stop="", organization="org-1").parameters() == {
        "temperature": 0.0
    }
    assert connection("openai").parameters() == {}


def test_a_parameter_goes_by_the_providers_name():
    assert connection("openai", max_tokens=5).parameters() == {"max_completion_tokens": 5}


def test_dots_in_a_parameters_name_nest():
    assert connection("ollama", seed=1, num_ctx=4096, keep_alive="5m").parameters() == {
        "options": {"num_ctx": 4096, "seed": 1},
        "keep_alive": "5m",
    }


def test_the_configs_address_comes_before_the_definitions():
    assert connection("openai").base_url == "https://api.openai.com/v1"
    assert connection("openai", base_url="http://127.0.0.1:1/v1/").base_url == "http://127.0.0.1:1/v1/"


def test_a_chosen_region_decides_the_address():
    assert connection("openai", data_residency="eu").base_url == "https://eu.api.openai.com/v1"


def test_the_environment_does_not_redirect(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere.invalid")
    assert connection("openai").base_url == "https://api.openai.com/v1"


def test_no_address_at_all_is_an_error_with_an_example():
    with pytest.raises(ValidationError, match=r"'gpt' has no base URL. Assign gpt.base_url, such as 'http:"):
        _ = connection("openai_compatible").base_url


def test_a_field_that_is_not_set_or_not_there_has_no_value():
    made = connection("openai", temperature=0.5)
    assert [made.value(name) for name in ("temperature", "seed", "headers", "num_ctx", "id")] == [
        0.5,
        None,
        None,
        None,
        None,
    ]


def test_secrets_are_read_when_they_are_asked_for():
    assert connection("openai").secrets() == {"api_key": KEY}
    assert connection("openai", key=None).secrets() == {}


def test_a_secret_of_another_way_to_authenticate_is_not_read():
    read: list[SecretRef] = []
    token = SecretRef(source="memory", name="token")
    made = dataclasses.replace(
        connection("anthropic", auth="auth_token", auth_token=token),
        read_secret=lambda ref: read.append(ref) or KEY,
    )
    assert made.secrets() == {"auth_token": KEY}
    assert read == [token]


def test_a_secret_that_belongs_to_no_way_is_read_too():
    fields = [{"name": name, "type": "secret", "label": "Key"} for name in ("api_key", "gateway")]
    assert connection(lab(fields=fields), gateway=REF).secrets() == {"api_key": KEY, "gateway": KEY}


def test_a_missing_key_is_named_with_the_next_step():
    message = (
        r"'gpt' cannot be used: API key is not set. Type it in the form, or assign gpt.api_key. "
        r"Keys are made at https://platform.openai.com/api-keys."
    )
    with pytest.raises(SecretUnavailableError, match=message):
        connection("openai", key=None).require_ready()


def test_a_key_in_the_environment_is_offered_and_not_taken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-ambient")
    message = (
        r"OPENAI_API_KEY is set in the environment; use it with gpt.api_key = orch.env\('OPENAI_API_KEY'\)"
    )
    with pytest.raises(SecretUnavailableError, match=message) as caught:
        connection("openai", key=None).require_ready()
    assert "sk-ambient" not in str(caught.value)


def test_a_missing_address_is_named_with_the_next_step():
    with pytest.raises(ValidationError, match=r"'gpt' cannot be used: base_url: Base URL is not set. Assign"):
        connection("openai_compatible").require_ready()


@pytest.mark.parametrize(
    ("provider", "values"),
    [
        ("openai", {}),
        ("ollama", {"key": None}),
        ("anthropic", {"key": None, "profile": "work"}),
        ("openai_compatible", {"key": None, "base_url": "http://127.0.0.1:1"}),
    ],
)
def test_a_config_with_what_its_provider_needs_is_ready(provider: str, values: dict[str, Any]):
    connection(provider, **values).require_ready()


def test_the_repr_is_one_line_without_the_key():
    assert repr(connection("openai", model="gpt-5.4-mini")) == "<Connection gpt: openai, gpt-5.4-mini>"
    assert repr(connection("ollama")) == "<Connection gpt: ollama>"
