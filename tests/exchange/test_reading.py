"""Whatever is given as a setup, it is read, or the error says what is wrong and where."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from orchstate.errors import NewerSchemaError, SetupError
from orchstate.exchange.format import MAX_BYTES, digest_of
from orchstate.exchange.reading import read_setup
from tests.exchange.samples import HEAD, setup

TEXT = json.dumps(HEAD)


def _config(**changes: Any) -> dict[str, Any]:
    return setup({"name": "gpt", "provider": "openai", **changes})


@pytest.mark.parametrize(
    "source", [TEXT, TEXT.encode(), dict(HEAD), f" \t{TEXT}", f"\ufeff{TEXT}", TEXT.encode("utf-8-sig")]
)
def test_content_is_read(source: Any) -> None:
    assert read_setup(source).setup.version == 1


@pytest.mark.parametrize("to_source", [str, Path])
def test_a_file_is_read(tmp_path: Path, to_source: Any) -> None:
    (tmp_path / "setup.json").write_text(TEXT)
    reading = read_setup(to_source(tmp_path / "setup.json"))
    assert (reading.source, reading.file) == (str(tmp_path / "setup.json"),) * 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        (TEXT[:-5], r"is not JSON: .*\(line 1, column \d+\)\. Is it complete\?"),
        ('{"format": "orch', r"is not JSON: .*Is it complete\?$"),
        ('{"a": nul', r"is not JSON: .*Is it complete\?$"),
        ("{'format': 1}", r"is not JSON: .*\(line 1, column 2\)\.$"),
        ("{\n" + TEXT, "is not JSON: .*line 2"),
        ('{"a": 1, "a": 2}', r"has the key 'a' twice in one object\.$"),
        ('{"a": NaN}', r"has NaN, which is not a JSON number\.$"),
        ('{"a": 1e999}', r"has 1e999, which is too large for a number\.$"),
        ('{"a": ' * 100 + "1" + "}" * 100, "is nested deeper than 64 levels"),
        ('{"a": ' * 100_000, "is nested deeper than 64 levels"),
        ('{"a": "\\ud800"}', "half a character"),
        (b'{"a": "\xff"}', "is not UTF-8 text"),
        (b"PK\x03\x04\x00", "is not"),
        ("{}\n[]", "is not JSON"),
        ('{"a": ' + "1" * 5000 + "}", "digits"),
        ("[1,\n2]", "expected one JSON object, a setup"),
        (b"null", "expected one JSON object, a setup"),
        ("{" + " " * MAX_BYTES + "}", "is larger than 100 MB"),
    ],
)
def test_what_is_no_json_object_is_refused(content: Any, message: str) -> None:
    with pytest.raises(SetupError, match=f"the (text|bytes)(: it)? ?.*{message}"):
        read_setup(content)


@pytest.mark.parametrize(
    ("raw", "path", "message"),
    [
        ({}, "format", 'expected "format": "orchstate.setup"'),
        ({"format": "other", "version": 1}, "format", 'expected "format": "orchstate.setup"'),
        ({"format": "orchstate.setup"}, "version", 'expected "version": 1'),
        ({**HEAD, "version": "1"}, "version", 'expected "version": 1'),
        ({**HEAD, "version": True}, "version", 'expected "version": 1'),
        ({**HEAD, "version": 0}, "version", 'expected "version": 1'),
        ({**HEAD, "config": []}, "config", "there is no such key. Did you mean 'configs'?"),
        ({**HEAD, "x": 1}, "x", "there is no such key. There are: 'format', 'version'"),
        ({**HEAD, "configs": {}}, "configs", "expected a list in brackets, not an object"),
        ({**HEAD, "configs": ["gpt"]}, "configs[0]", "expected an object in braces, not text"),
        ({**HEAD, "configs": [{"name": "gpt"}]}, "configs[0].provider", "is needed"),
        (_config(name=1), "configs[0].name", "1 is not text"),
        (_config(provider=None), "configs[0].provider", "None is not text"),
        (_config(tags="a"), "configs[0].tags", "expected a list in brackets, not text"),
        (_config(tags=["a", 1]), "configs[0].tags[1]", "1 is not text"),
        (_config(values=[]), "configs[0].values", "expected an object in braces, not a list"),
        (_config(value={}), "configs[0].value", "there is no such key. Did you mean 'values'?"),
        (_config(stash={"a": 1}), "configs[0].stash.a", "expected an object in braces, not a number"),
        ({**HEAD, "settings": []}, "settings", "expected an object in braces, not a list"),
        ({**HEAD, "definitions": {}}, "definitions", "expected a list in brackets, not an object"),
        ({**HEAD, "active": 1}, "active", "1 is not text"),
        ({**HEAD, "digest": "abc"}, "digest", "'abc' is not sha256: and 64 hexadecimal digits"),
        (
            {**HEAD, "packages": {"openai": "latest"}},
            "packages.openai",
            "'latest' is not a version such as >=1.60",
        ),
    ],
)
def test_a_broken_rule_is_named_with_its_place(raw: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(SetupError, match=f"^the dict at {re.escape(path)}: .*{re.escape(message)}") as caught:
        read_setup(raw)
    assert (caught.value.source, caught.value.path) == ("the dict", path)


@pytest.mark.parametrize(
    ("secret", "path"),
    [
        ("sk-secret", "configs[0].secrets.api_key"),
        ({"source": "keyring", "name": "sk-secret"}, "configs[0].secrets.api_key"),
        ({"source": "env", "name": "sk-secret"}, "configs[0].secrets.api_key.name"),
        ({"source": "env", "name": "gsk_sk-secret"}, "configs[0].secrets.api_key.name"),
        ({"source": "env", "name": "gsk_0123456789secret"}, "configs[0].secrets.api_key.name"),
        ({"source": "asked", "value": "sk-secret"}, "configs[0].secrets.api_key.value"),
        ({"name": "sk-secret"}, "configs[0].secrets.api_key"),
        (["sk-secret"], "configs[0].secrets.api_key"),
    ],
)
def test_a_key_in_the_wrong_place_is_refused_and_not_quoted(secret: Any, path: str) -> None:
    with pytest.raises(SetupError, match=rf"^the dict at {re.escape(path)}: ") as caught:
        read_setup(_config(secrets={"api_key": secret}))
    assert caught.value.path == path
    assert "secret" not in str(caught.value).partition(path)[2].replace("secrets", "")
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_a_newer_setup_says_which_orchstate_reads_it() -> None:
    newer = {**HEAD, "version": 2, "packages": {"orchstate": ">=0.4"}, "something": "new"}
    with pytest.raises(
        NewerSchemaError, match=r'setup format 2, and this orchstate reads 1.*"orchstate>=0.4"'
    ):
        read_setup(newer)


def test_a_newer_setup_gets_nothing_into_a_command_line() -> None:
    with pytest.raises(NewerSchemaError, match=r'pip install --upgrade "orchstate"$'):
        read_setup({**HEAD, "version": 2, "packages": {"orchstate": '>=1" evil "'}})


def test_the_definition_of_a_provider_is_told_from_a_setup() -> None:
    with pytest.raises(
        SetupError, match=r"this is the definition of a provider. Put the file into the folder"
    ):
        read_setup({"format": "orchstate.provider", "version": 1})


def test_an_edited_file_is_noted_and_read() -> None:
    digest = digest_of(HEAD)
    assert read_setup({**HEAD, "digest": digest}).notes == ()
    (note,) = read_setup({**HEAD, "digest": digest, "active": "gpt"}).notes
    assert "It was edited since it was exported" in note


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"setup\.json: there is no such file"):
        read_setup(tmp_path / "setup.json")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("[" * 5000, "the file cannot be read"),
        ("configs: gpt", "there is no such file"),
        ("https://example.org/setup.json", "^https://example.org/setup.json: this is an address"),
    ],
)
def test_text_that_is_neither_path_nor_content_is_told_what_is_expected(source: str, message: str) -> None:
    with pytest.raises(
        SetupError, match=rf"{message}.* Give the path of a setup, or its content as"
    ) as caught:
        read_setup(source)
    assert len(str(caught.value)) < 350


def test_a_folder_is_no_setup(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"this is a folder. Name a file in it"):
        read_setup(str(tmp_path))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SetupError, match="this is no ordinary file"):
        read_setup(tmp_path / "pipe")


def test_a_huge_file_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "setup.json"
    with path.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(SetupError, match="is larger than 100 MB"):
        read_setup(path)


@pytest.mark.parametrize("source", ["a\0b", "a" * 5000, "~nobody-of-this-name/setup.json"])
def test_a_path_that_no_system_takes_is_an_error_of_ours(source: str) -> None:
    with pytest.raises(SetupError, match=r"the file cannot be read \(.*\)|there is no such file"):
        read_setup(source)


@pytest.mark.parametrize("source", [None, 1, ["a"], object()])
def test_other_things_are_no_source(source: Any) -> None:
    with pytest.raises(SetupError, match="expected a path, text, bytes or a dict, not"):
        read_setup(source)


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), object()])
def test_a_dict_that_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(SetupError, match="the dict: it has no JSON form"):
        read_setup({**HEAD, "settings": {"a": value}})


def test_a_dict_that_holds_itself_is_refused() -> None:
    raw: dict[str, Any] = dict(HEAD)
    raw["settings"] = raw
    with pytest.raises(SetupError, match="the dict: it has no JSON form"):
        read_setup(raw)
