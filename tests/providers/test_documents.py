"""Document classes made from definitions."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchstate.errors import ValidationError
from orchstate.models.canonical import canonical
from orchstate.models.secret import SecretRef
from orchstate.providers.documents import UnknownProviderDocument, document_class, is_set
from orchstate.providers.reading import read_definition
from tests.providers.definitions import NOW, document, lab, with_field


def test_a_field_only_in_the_definition_appears_in_documents_and_schema():
    fields = [{"name": "depth", "type": "integer", "label": "Depth", "help": "How deep.", "maximum": 9}]
    made = document_class(lab(auth=[], fields=fields))
    schema = made.model_json_schema()["properties"]["depth"]
    assert made.model_fields["depth"].title == schema["title"] == "Depth"
    assert schema["description"] == "How deep."
    assert schema["anyOf"][0] == {"type": "integer", "maximum": 9}


def test_equal_definitions_give_the_same_class():
    assert document_class(lab()) is document_class(lab())
    assert document_class(lab()) is not document_class(lab(label="Other"))


def test_nothing_is_set_at_first():
    fresh = document(lab())
    assert [spec.name for spec in lab().fields if is_set(getattr(fresh, spec.name))] == []
    assert fresh.body() == {"name": "gpt", "provider": "lab"}


def test_a_secret_is_a_reference():
    assert document_class(lab()).model_fields["api_key"].annotation is SecretRef
    assert document(lab()).at("api_key") == SecretRef()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heat": 3}, r"heat: 3 is too large: at most 2"),
        ({"heat": -0.1}, r"heat: -0.1 is too small: at least 0"),
        ({"heat": "1"}, r"heat: '1' is not a number"),
        ({"heat": True}, r"heat: True is not a number"),
        ({"heat": float("nan")}, r"heat: nan is not a finite number"),
        ({"limit": 1.5}, r"limit: 1.5 is not a whole number"),
        ({"limit": 0}, r"limit: 0 is too small: at least 1"),
        ({"fast": 1}, r"fast: 1 is neither True nor False"),
        ({"size": "huge"}, r"size: 'huge' is not one of 'small' or 'large'"),
        ({"note": "a\nb"}, r"note: 'a\\nb' has a line break or control character in it. Remove it"),
        ({"model": 5}, r"model: 5 is not text"),
        ({"base_url": "example.com"}, r"base_url: 'example.com' is not a URL .* http:// or https://"),
        ({"headers": ["X"]}, r"headers: a value of the type list is not a mapping such as"),
        ({"headers": {" X": "1"}}, r"headers: ' X' is not a name"),
        ({"note": "x" * 10_001}, r"note: it has 10,001 characters, and 10,000 is the limit"),
        ({"base_url": f"http://a/{'x' * 9_992}"}, r"base_url: it has 10,001 characters"),
        ({"headers": {"X": "x" * 10_001}}, r"headers: it has 10,001 characters"),
        ({"headers": {"X": "1\r\nY: 2"}}, r"headers: the value of 'X' has a line break"),
        ({"auth": "token"}, r"auth: 'token' is not a way to authenticate with Our lab's server. Ways: 'key'"),
        ({"note": "x", "size": "small"}, r"note and size cannot both be set. Set one of them to None"),
    ],
)
def test_a_value_that_breaks_a_rule_is_refused_with_value_rule_and_next_step(
    change: dict[str, Any], message: str
):
    with pytest.raises(ValidationError, match=message):
        document(lab()).replaced(change)


@pytest.mark.parametrize("name", ["note", "model", "base_url", "size"])
@pytest.mark.parametrize("empty", ["", "  "])
def test_empty_text_means_not_set(name: str, empty: str):
    assert document(lab(), **{name: empty}).at(name) is None


def test_numbers_of_any_kind_are_stored_as_plain_ones():
    made = document(lab(), limit=np.int64(5), heat=np.float32(0.5))
    assert (type(made.limit), type(made.heat)) == (int, float)
    assert canonical(made.replaced({"limit": 7.0, "heat": 1}).body()) == (
        '{"heat":1.0,"limit":7,"name":"gpt","provider":"lab"}'
    )


@pytest.mark.parametrize("limit", [True, np.bool_(True), 7.5, "7"])
def test_what_is_no_whole_number_is_refused(limit: Any):
    with pytest.raises(ValidationError, match=r"limit: .* is not a whole number"):
        document(lab()).replaced({"limit": limit})


def test_a_trailing_slash_of_a_url_is_kept():
    assert document(lab(), base_url="http://127.0.0.1/v1/").at("base_url") == "http://127.0.0.1/v1/"


@pytest.mark.parametrize("header", ["Authorization", "x-api-key", "Proxy-Authorization", "Cookie"])
def test_a_key_among_the_headers_is_refused_and_not_quoted(header: str):
    with pytest.raises(ValidationError, match=f"'{header}' carries a key") as caught:
        document(lab()).replaced({"headers": {header: "Bearer sk-very-secret"}})
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"X": "sk-LEAK\n"}, r"headers: the value of 'X' has a line break or control character in it"),
        ({"X": b"sk-LEAK"}, r"headers\.X: a value of the type bytes is not text"),
        ({"X": ["sk-LEAK"]}, r"headers\.X: a value of the type list is not text"),
        (
            {"X-Auth-Key": "sk-LEAK"},
            r"headers: 'X-Auth-Key' carries a key, and this mapping is stored in plain",
        ),
        ({"source": "env", "name": "LEAK"}, r"headers: together, 'source' and 'name' stand for a reference"),
        ("Authorization: sk-LEAK", r"headers: a value of the type str is not a mapping such as"),
        ([("X", "sk-LEAK")], r"headers: a value of the type list is not a mapping such as"),
        ({"X": "sk-LEAK\ud800"}, r"headers\.X: it has half a character in it"),
    ],
)
def test_no_value_of_a_mapping_is_quoted(headers: Any, message: str):
    with pytest.raises(ValidationError, match=message) as caught:
        document(lab()).replaced({"headers": headers})
    assert "LEAK" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "X Team", "X:Team", "X(Team)", "Größe", "X\nTeam", "Ｘ"])
def test_a_header_needs_a_name_that_http_has(name: str):
    with pytest.raises(ValidationError, match=r"cannot be the name of a header|is not a name|line break"):
        document(lab()).replaced({"headers": {name: "a"}})


@pytest.mark.parametrize("value", ["", " ", " a", "a ", "é", "ключ", "a\r\nX: b", "a\0", "a\u200bb"])
def test_a_header_needs_a_value_that_http_carries(value: str):
    with pytest.raises(ValidationError, match=r"headers: the value of 'X-Team' (is empty, or|has)"):
        document(lab()).replaced({"headers": {"X-Team": value}})


def test_a_mapping_that_is_not_sent_as_headers_has_other_texts():
    labels = read_definition(with_field(name="labels", type="map", label="Labels"), "lab.json")
    assert document(labels, labels={"größe a": ""}).at("labels") == {"größe a": ""}


def test_a_literal_key_is_refused_and_not_quoted():
    with pytest.raises(ValidationError, match="api_key: needs a reference to a secret") as caught:
        document(lab()).replaced({"api_key": "sk-very-secret"})
    assert "very-secret" not in str(caught.value)


def test_none_takes_a_secret_away():
    with_key = document(lab(), api_key=SecretRef(source="env", name="LAB_KEY"))
    assert with_key.replaced({"api_key": None}).at("api_key") == SecretRef()


def test_a_provider_without_auth_has_no_way_to_name():
    with pytest.raises(ValidationError, match="Ways: none, since it takes no key"):
        document(lab(auth=[])).replaced({"auth": "key"})


def test_an_unknown_provider_keeps_every_value():
    body = {"name": "old", "provider": "gone", "heat": 0.5, "api_key": {"source": "env", "name": "X"}}
    envelope = {"id": "1", "created_at": NOW, "updated_at": NOW}
    kept = UnknownProviderDocument.from_body(envelope, body)
    assert kept.body() == body
    assert kept.issues() == ()


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "heat": st.floats(0, 2),
            "limit": st.integers(1, 2**70),
            "fast": st.booleans(),
            "size": st.sampled_from(["small", "large"]),
            "model": st.text(st.characters(categories=["L", "N", "P"]), min_size=1),
            "headers": st.dictionaries(
                st.text("ABC-", min_size=1), st.text("abc", min_size=1, max_size=9), min_size=1
            ),
            "api_key": st.builds(SecretRef, source=st.just("env"), name=st.text("ABC_", min_size=1)),
        },
    )
)
def test_a_document_survives_the_round_trip_through_json(values: dict[str, Any]):
    before = document(lab(), **values)
    body = json.loads(json.dumps(before.body()))
    envelope = {"id": "1", "created_at": NOW, "updated_at": NOW}
    assert document_class(lab()).from_body(envelope, body) == before
    assert body.keys() == {"name", "provider", *values}
