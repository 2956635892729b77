"""The packaged definitions: complete, and of one kind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import orchstate.providers
from orchstate.providers.registry import Registry

if TYPE_CHECKING:
    from orchstate.providers.definition import ProviderDefinition

DEFINITIONS = list(Registry([]))
everyone = pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.id)


def test_every_file_is_named_as_its_provider():
    folder = Path(orchstate.providers.__file__).parent / "catalog"
    assert sorted(file.stem for file in folder.iterdir()) == [definition.id for definition in DEFINITIONS]


@everyone
def test_key_model_and_base_url_come_first_and_advanced_fields_last(definition: ProviderDefinition):
    assert [spec.name for spec in definition.fields[:3]] == ["api_key", "model", "base_url"]
    folded = [spec.advanced for spec in definition.fields]
    assert folded == sorted(folded)


@everyone
def test_every_field_but_the_obvious_explains_itself(definition: ProviderDefinition):
    assert [spec.name for spec in definition.fields if not spec.help.endswith(".")] == []


@everyone
def test_every_field_does_something(definition: ProviderDefinition):
    known = (
        "api_key auth_token profile model base_url organization project data_residency headers model_list "
        "ssl_verify ca_bundle_path client_cert_path client_key_path".split()
    )
    assert [spec.name for spec in definition.fields if not spec.parameter and spec.name not in known] == []


@everyone
def test_numbers_that_people_drag_have_limits(definition: ProviderDefinition):
    numbers = [spec for spec in definition.fields if spec.type == "number"]
    assert [spec.name for spec in numbers if spec.minimum is None or spec.maximum is None] == []


@everyone
def test_other_libraries_are_named(definition: ProviderDefinition):
    assert {"any-llm", "langchain", "litellm", "pydantic-ai"} <= definition.targets.keys()


@everyone
def test_the_time_limit_is_a_setting_and_not_a_field(definition: ProviderDefinition):
    assert definition.field("timeout") is None


@pytest.mark.parametrize(
    ("provider", "modes"),
    [
        ("openai", {"api_key": "required"}),
        ("anthropic", {"api_key": "required", "auth_token": "required", "profile": "required"}),
        ("ollama", {"local": "none", "cloud": "required"}),
        ("openai_compatible", {"api_key": "optional"}),
    ],
)
def test_the_ways_to_authenticate_are_known(provider: str, modes: dict[str, str]):
    definition = Registry([]).get(provider)
    assert {mode.id: mode.requirement for mode in definition.auth} == modes


@pytest.mark.parametrize(
    ("provider", "field", "variables"),
    [
        ("openai", "api_key", ("OPENAI_API_KEY",)),
        ("openai", "base_url", ("OPENAI_BASE_URL",)),
        ("anthropic", "auth_token", ("ANTHROPIC_AUTH_TOKEN",)),
        ("ollama", "base_url", ("OLLAMA_HOST", "OLLAMA_BASE_URL", "OLLAMA_API_BASE")),
        (
            "openai_compatible",
            "api_key",
            ("VLLM_API_KEY", "LM_STUDIO_API_KEY", "LMSTUDIO_API_KEY", "HF_TOKEN"),
        ),
    ],
)
def test_environment_names_are_known_in_order(provider: str, field: str, variables: tuple[str, ...]):
    spec = Registry([]).get(provider).field(field)
    assert spec is not None and spec.env == variables


def test_an_openai_compatible_server_is_not_offered_the_key_of_openai():
    spec = Registry([]).get("openai_compatible").field("api_key")
    assert spec is not None and "OPENAI_API_KEY" not in spec.env


def test_a_region_of_openai_excludes_an_address():
    spec = Registry([]).get("openai").field("data_residency")
    assert spec is not None and spec.excludes == ("base_url",)
    assert spec.base_urls.keys() == set(spec.choices)
    assert spec.base_urls["eu"] == "https://eu.api.openai.com/v1"
