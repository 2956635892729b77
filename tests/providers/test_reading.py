"""Definition files: what is refused, and with which words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchstate.errors import SetupError
from orchstate.providers.reading import read_definition
from tests.providers.definitions import LAB, lab, lab_text, with_field

MODE = {"id": "key", "label": "Key"}


def test_a_definition_is_read_with_all_its_parts():
    definition = read_definition(lab_text(models={"date": "2026-07-02", "ids": ["a"]}), "lab.json")
    assert [spec.name for spec in definition.fields] == [spec["name"] for spec in LAB["fields"]]
    assert definition.auth[0].requirement == "required"
    assert definition.models is not None and definition.models.ids == ("a",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"mine.json: the file is not JSON: .*line 1"),
        ("[]", r"mine.json: expected one JSON object"),
        ('{"a": 1, "a": 2}', r"mine.json: the file has the key 'a' twice"),
        ("{}", r'mine.json at format: expected "format": "orchstate.provider"'),
        (lab_text(version="1"), r'mine.json at version: expected "version": 1'),
        (lab_text(version=True), r'mine.json at version: expected "version": 1'),
        (lab_text(version=2), r"at version: this orchstate reads version 1, not 2. Upgrade it"),
        (lab_text(id="Lab 1"), r"at id: 'Lab 1' is not an id: lower-case letters"),
        (lab_text(sdk="curl"), r"at sdk: 'curl' is not one of 'openai', 'anthropic' or 'ollama'"),
        (lab_text(lable="x"), r"at lable: there is no such key. Did you mean 'label'\?"),
        (lab_text(xyzzy="x"), r"at xyzzy: there is no such key. There are: 'format', 'version', 'id'"),
        (lab_text(base_url="ftp://x"), r"at base_url: 'ftp://x' is not a URL that can be called"),
        (lab_text(base_url=None), r"at base_url: give an address here, or a required field 'base_url'"),
        (lab_text(links={"keys": "here"}), r"at links.keys: 'here' is not a URL"),
        (lab_text(models={"date": "soon"}), r"at models.date: 'soon' is not a day, such as"),
        (lab_text(targets={"litellm": 1}), r"at targets.litellm: a value of the type int is not text"),
        (lab_text(fields={}), r"at fields: {} is not a list of values"),
        (lab_text(fields=["x"]), r"at fields\[0\]: expected an object in braces, not 'x'"),
        (lab_text(auth=[MODE | {"fields": ["no"]}]), r"at auth\[0\].fields\[0\]: 'no' is not one of this"),
        (lab_text(auth=[MODE, MODE]), r"at auth\[1\]: 'key' is there twice"),
        (lab_text(label=""), r"at label: '' is too short: at least 1 characters"),
    ],
)
def test_a_faulty_file_is_refused_with_the_place_and_what_was_expected(text: str, message: str):
    with pytest.raises(SetupError, match=message):
        read_definition(text, "mine.json")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "top-p"}, r"fields\[0\].name: 'top-p' cannot be .*: it is not a Python name"),
        ({"name": "_x"}, r"fields\[0\].name: '_x' cannot be .*: Python keeps such names"),
        ({"name": "class"}, r"fields\[0\].name: 'class' cannot be .*: Python keeps such names"),
        ({"name": "update"}, r"fields\[0\].name: 'update' cannot be .*: every config has something else"),
        ({"type": "numbr"}, r"fields\[0\].type: 'numbr' is not one of 'text', 'secret'"),
        ({"minimun": 1}, r"fields\[0\].minimun: there is no such key. Did you mean 'minimum' or 'maximum'\?"),
        ({"minimum": "1"}, r"fields\[0\].minimum: expected a number, not '1'"),
        ({"minimum": 3, "maximum": 1}, r"fields\[0\].minimum: the minimum 3 is above the maximum 1"),
        ({"type": "text", "maximum": 1}, r"fields\[0\].type: minimum, maximum and step belong to"),
        ({"choices": ["a"]}, r"fields\[0\].choices: a field of the type 'choice' needs choices"),
        ({"type": "choice"}, r"fields\[0\].choices: a field of the type 'choice' needs choices"),
        ({"type": "secret", "classification": "public"}, r"fields\[0\].classification: 'secret' is for"),
        ({"classification": "secret"}, r"fields\[0\].classification: 'secret' is for"),
        ({"type": "secret", "parameter": "key"}, r"fields\[0\].parameter: a secret is sent as"),
        ({"type": "secret", "default": "sk-1"}, r"fields\[0\].default: 'sk-1' is not a value"),
        ({"maximum": 1, "default": 2}, r"fields\[0\].default: 2 is not a value that this field can have"),
        ({"default": True}, r"fields\[0\].default: True is not a value"),
        ({"default": [1]}, r"fields\[0\].default: expected text, a number, true or false, not \[1\]"),
        ({"type": "integer", "default": 1.5}, r"fields\[0\].default: 1.5 is not a value"),
        ({"type": "boolean", "default": 1}, r"fields\[0\].default: 1 is not a value"),
        ({"type": "choice", "choices": ["a"], "default": "b"}, r"fields\[0\].default: 'b' is not"),
        ({"pattern": "("}, r"fields\[0\].pattern: '\(' is not a regular expression"),
        ({"excludes": ["width"]}, r"fields\[0\].excludes\[0\]: 'width' is not one of this"),
        ({"base_urls": {"eu": "http://eu"}}, r"fields\[0\].base_urls: base URLs belong to choices"),
    ],
)
def test_a_faulty_field_is_refused_with_the_place_and_the_rule(spec: dict[str, Any], message: str):
    with pytest.raises(SetupError, match=message):
        read_definition(with_field(**spec), "mine.json")


def test_a_region_with_a_faulty_address_is_refused():
    spec = {"type": "choice", "choices": ["eu"], "base_urls": {"eu": "eu.example"}}
    with pytest.raises(SetupError, match=r"base_urls.eu: 'eu.example' is not a URL"):
        read_definition(with_field(**spec), "mine.json")


def test_two_fields_that_differ_only_in_case_are_refused():
    fields = [{"name": name, "type": "text", "label": "X"} for name in ("Note", "note")]
    with pytest.raises(SetupError, match=r"fields\[1\]: 'note' differs from 'Note' only in case"):
        read_definition(lab_text(auth=[], fields=fields), "mine.json")


def test_the_error_knows_its_file_and_path():
    with pytest.raises(
        SetupError, match=r"mine\.json at fields\[0\]\.minimum: the minimum 3 is above"
    ) as caught:
        read_definition(with_field(minimum=3, maximum=1), "mine.json")
    assert (caught.value.source, caught.value.path) == ("mine.json", "fields[0].minimum")


def test_bytes_are_read_as_utf_8():
    assert read_definition(json.dumps(LAB).encode(), "lab.json") == lab()
    with pytest.raises(SetupError, match="is not UTF-8 text"):
        read_definition(b'{"label": "\xff"}', "lab.json")
