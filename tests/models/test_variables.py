"""Names of environment variables, told from keys that were given for them by mistake."""

from __future__ import annotations

import pytest

from orchstate.models.variables import variable_problem

NAMES = [
    "OPENAI_API_KEY",
    "AZURE_OPENAI_KEY_SWEDENCENTRAL2025",
    "lab_key",
    "openai_key_for_project_2",
    "MyKey",
]
NAMES += [
    "HF_TOKEN",
    "hf_token",
    "Key",
    "_KEY",
    "openai",
    "hf_TOKEN",
    "credentials_of_the_laboratory",
]
KEYS = [
    "gsk_abc123SECRETabcdef0123456789",
    "hf_AbCdEfGhIjKlMnOpQrStUvWxYz",
    "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
]
KEYS += [
    "AIzaSyA1234567890abcdefghijklmnopqrstu",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_16C7e42F292c6912E7710c838347Ae17",
]
KEYS += ["a3f5c9d1e7b24680a3f5c9d1e7b24680", "xK9vQ2mZpL7tR4wY", "r8_Hw123456789012345678901234567890123"]


@pytest.mark.parametrize("name", NAMES)
def test_what_people_call_their_variables_is_a_name(name: str) -> None:
    assert variable_problem(name) == ""


@pytest.mark.parametrize("key", KEYS)
def test_what_looks_like_a_key_is_none_and_is_not_shown(key: str) -> None:
    problem = variable_problem(key)
    assert problem.startswith("this looks like a key, not like the name of an environment variable")
    assert key not in problem


@pytest.mark.parametrize("key", [*KEYS, "my.odd-name", "two words"])
def test_a_variable_that_is_set_may_have_any_name(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(key, "sk-1")
    assert variable_problem(key) == ""


@pytest.mark.parametrize("name", ["", "two words", "A=B", "1ST", "sk-proj-abc123", "\ud800", "a\0b", None, 5])
def test_what_is_no_identifier_is_no_name(name: object) -> None:
    assert variable_problem(name).startswith("this is not the name of an environment variable")
