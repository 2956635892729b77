"""What a config still needs."""

from __future__ import annotations

from typing import Any

import pytest

from orchstate.models.document import ENVELOPE
from orchstate.models.secret import SecretRef
from orchstate.providers.readiness import auth_mode, needs
from orchstate.providers.registry import Registry
from tests.providers.definitions import document, lab

KEY = SecretRef(source="env", name="LAB_KEY")
LINKS = {"keys": "https://lab.example/keys"}


def messages(issues: Any) -> list[str]:
    return [str(issue) for issue in issues]


def test_a_config_with_its_key_is_ready():
    assert needs(lab(), document(lab(), api_key=KEY), environment={}) == ()


def test_a_missing_key_is_asked_for_with_the_next_step():
    assert messages(needs(lab(links=LINKS), document(lab(links=LINKS)), environment={})) == [
        "api_key: API key is not set. Type it in the form, or assign gpt.api_key. "
        "Keys are made at https://lab.example/keys."
    ]


def test_a_key_in_the_environment_is_offered_by_its_first_name():
    environment = {"LAB_TOKEN": "sk-2", "LAB_KEY": "sk-1"}
    assert messages(needs(lab(), document(lab()), environment=environment)) == [
        "api_key: API key is not set. LAB_KEY is set in the environment; "
        "use it with gpt.api_key = orch.env('LAB_KEY')."
    ]


def test_an_empty_variable_is_not_offered():
    (issue,) = needs(lab(), document(lab()), environment={"LAB_KEY": ""})
    assert "LAB_KEY" not in issue.message


def test_a_config_whose_name_is_no_python_name_is_written_as_one_can_type_it():
    (issue,) = needs(lab(), document(lab(), name="gpt (fast)"), environment={})
    assert "assign store.configs['gpt (fast)'].api_key" in issue.message


def test_the_environment_of_the_process_counts_when_none_is_given(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LAB_KEY", "sk-1")
    (issue,) = needs(lab(), document(lab()))
    assert "LAB_KEY is set in the environment" in issue.message


def test_a_required_field_is_asked_for_with_an_example():
    compatible = Registry([]).get("openai_compatible")
    assert messages(needs(compatible, document(compatible), environment={})) == [
        "base_url: Base URL is not set. Assign gpt.base_url, such as 'http://127.0.0.1:8000/v1'."
    ]


def test_an_address_in_the_environment_is_offered_and_not_quoted():
    fields = [{"name": "base_url", "type": "url", "label": "Base URL", "required": True, "env": ["LAB_URL"]}]
    definition = lab(auth=[], fields=fields)
    (issue,) = needs(definition, document(definition), environment={"LAB_URL": "http://me:pass@lab"})
    assert str(issue) == (
        "base_url: Base URL is not set. LAB_URL is set in the environment; "
        "use it with gpt.base_url = os.environ['LAB_URL']."
    )


@pytest.mark.parametrize("requirement", ["optional", "none"])
def test_a_key_that_is_not_required_is_not_asked_for(requirement: str):
    auth = [{"id": "key", "label": "Key", "fields": ["api_key"], "requirement": requirement}]
    assert needs(lab(auth=auth), document(lab(auth=auth)), environment={}) == ()


def test_a_stored_value_that_breaks_a_rule_keeps_the_config_from_use():
    sound = document(lab(), api_key=KEY)
    envelope = {name: getattr(sound, name) for name in ENVELOPE}
    stored = type(sound).from_body(envelope, {**sound.body(), "heat": 9.0})
    assert messages(needs(lab(), stored, environment={})) == [
        "heat: 9.0 is too large: at most 2.0 is allowed."
    ]


def test_the_way_to_authenticate_is_the_named_one():
    anthropic = Registry([]).get("anthropic")
    mode = auth_mode(anthropic, document(anthropic, auth="profile", api_key=KEY))
    assert mode is not None and mode.id == "profile"


def test_without_a_name_the_first_way_that_has_a_value_is_used():
    anthropic = Registry([]).get("anthropic")
    modes = [auth_mode(anthropic, document(anthropic, **values)) for values in ({}, {"auth_token": KEY})]
    assert [mode.id for mode in modes if mode] == ["api_key", "auth_token"]


def test_a_provider_without_ways_has_none():
    assert auth_mode(lab(auth=[]), document(lab(auth=[]))) is None
