"""Definitions as values."""

from __future__ import annotations

import pydantic
import pytest

from orchstate.providers.definition import FieldSpec
from tests.providers.definitions import lab


def test_a_definition_cannot_be_changed():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        lab().label = "Other"


def test_equal_definitions_have_one_hash_and_different_ones_differ():
    assert hash(lab()) == hash(lab())
    assert lab() == lab()
    assert lab() != lab(targets={"litellm": "openai"})


def test_a_field_is_found_by_name():
    spec = lab().field("heat")
    assert spec is not None and spec.label == "Heat"
    assert lab().field("cold") is None


def test_secrets_are_classified_as_such_without_being_told():
    assert {spec.name: spec.classification for spec in lab().fields if spec.classification != "public"} == {
        "api_key": "secret",
        "headers": "confidential",
    }


def test_a_key_of_unusual_shape_gets_a_warning_that_does_not_quote_it():
    spec = FieldSpec(name="key", type="secret", label="API key", pattern="sk-[a-z]{4,}", placeholder="sk-...")
    assert spec.doubt("sk-abcdef") == ""
    assert (
        spec.doubt("my-own-key") == "This does not look like the usual API key (sk-...). It is kept as it is."
    )


def test_a_field_without_a_pattern_doubts_nothing():
    assert FieldSpec(name="key", type="secret", label="API key").doubt("anything") == ""


def test_reprs_are_one_line_of_state():
    assert repr(lab()) == "<ProviderDefinition lab: Our lab's server, 9 fields>"
    assert [repr(spec) for spec in lab().fields[3:5]] == [
        "<FieldSpec heat: number from 0 to 2>",
        "<FieldSpec limit: integer from 1>",
    ]
