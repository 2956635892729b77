"""Config documents: equal settings, equal fingerprint."""

from __future__ import annotations

import hashlib

import pytest

from orchstate.errors import ValidationError
from orchstate.models.canonical import canonical, parse
from orchstate.models.config import ConfigDocument, config_fingerprint
from orchstate.models.document import datetime_of
from orchstate.models.secret import SecretRef, env
from orchstate.providers.documents import UnknownProviderDocument
from orchstate.providers.registry import Registry

OPENAI = Registry(folders=[]).document_class("openai")


def config(id: str = "1", at_us: int = 0, **values: object) -> ConfigDocument:
    envelope = {"id": id, "created_at": datetime_of(at_us), "updated_at": datetime_of(at_us)}
    return OPENAI.created(envelope, {"name": "gpt", "provider": "openai", **values})


@pytest.mark.parametrize(
    "other",
    [
        config("2"),
        config(at_us=5),
        config(name="another"),
        config(tags=["a"]),
        config(api_key=env("K")),
        config(api_key=SecretRef(source="keyring", name="x")),
        config(stash={"anthropic": {"model": "claude"}}),
        config(model=None),
        config(headers={}),
    ],
)
def test_what_does_not_change_the_behaviour_does_not_change_the_fingerprint(other: ConfigDocument) -> None:
    assert config_fingerprint(other) == config_fingerprint(config())


@pytest.mark.parametrize(
    "other",
    [
        config(model="gpt-y"),
        config(temperature=0.0),
        config(temperature=1.0),
        config(max_tokens=1),
        config(base_url="http://127.0.0.1:1/v1"),
        config(headers={"X-Team": "a"}),
        config(seed=0),
        config(system_prompt="Be brief."),
    ],
)
def test_what_changes_the_behaviour_changes_the_fingerprint(other: ConfigDocument) -> None:
    assert config_fingerprint(other) != config_fingerprint(config())


def test_a_system_prompt_is_kept_as_it_is_and_a_blank_one_is_none() -> None:
    assert config(system_prompt="  Be brief.\n\n\tAlways.\n").system_prompt == "  Be brief.\n\n\tAlways.\n"
    assert [config(system_prompt=blank).system_prompt for blank in ("", " \n\t", None)] == [None] * 3


def test_a_system_prompt_has_a_megabyte_and_no_key() -> None:
    assert len(config(system_prompt="x" * 1_000_000).system_prompt or "") == 1_000_000
    with pytest.raises(ValidationError, match=r"it has 1,000,001 characters, and 1,000,000 is the limit"):
        config(system_prompt="x" * 1_000_001)
    with pytest.raises(ValidationError, match="this is a key") as caught:
        config(system_prompt="Use sk-proj-0123456789abcdef, and be brief.")
    assert "0123456789abcdef" not in str(caught.value)


@pytest.mark.parametrize(
    "known",
    [
        config(),
        config(model="gpt-y", temperature=1, seed=3, headers={"X-Team": "a"}, stop="é"),
        config(api_key=SecretRef(source="keyring", name="x"), tags=["a"], stash={"lab": {"heat": 1}}),
        config(base_url="http://127.0.0.1:1/v1", api_key=env("K"), organization=""),
    ],
)
def test_a_machine_without_the_definition_has_the_same_fingerprint(known: ConfigDocument) -> None:
    elsewhere = Registry(folders=[]).document_class("nobody-has-it")
    envelope = {"id": "1", "created_at": datetime_of(0), "updated_at": datetime_of(0)}
    unknown = elsewhere.from_body(envelope, parse(canonical(known.body())))
    assert config_fingerprint(unknown) == config_fingerprint(known)


def test_without_the_definition_other_settings_have_another_fingerprint() -> None:
    envelope = {"id": "1", "created_at": datetime_of(0), "updated_at": datetime_of(0)}
    bodies = [{"name": "a", "provider": "gone", "heat": heat} for heat in (0, 1)]
    one, other = (UnknownProviderDocument.from_body(envelope, body) for body in bodies)
    assert config_fingerprint(one) != config_fingerprint(other)


def test_a_fingerprint_is_the_same_in_every_version_on_every_machine() -> None:
    fixed = config(model="gpt-y", temperature=0.2, headers={"X-Team": "a"}, stop="é")
    text = '{"headers":{"X-Team":"a"},"model":"gpt-y","provider":"openai","stop":"é","temperature":0.2}'
    assert config_fingerprint(fixed) == hashlib.sha256(text.encode()).hexdigest()
