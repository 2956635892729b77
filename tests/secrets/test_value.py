from __future__ import annotations

import pytest
from pydantic import SecretStr

from orchstate.errors import ValidationError
from orchstate.secrets import clean_secret
from tests.contract.secret_store import assert_keeps_quiet

SPACES = "Spaces or line breaks around the key were taken off."
NAME = "The name of a variable before the key was taken off."
PLACEHOLDER = "This looks like a placeholder, not like a key."


@pytest.mark.parametrize(
    "value",
    [
        *(
            "sk-1",
            "two words",
            "{'json': 1}",
            "*x*",
            "YWJjZGVmZ2g=",
            "YWJjZGVmZw==",
            "AB_CD==",
            "a=b",
            "EMPTY",
        ),
        *(
            "none",
            "lm-studio",
            "key=value;other=1",
            "it's",
            "bearer",
            "Basic abc",
            "MonkeY=abcdefgh",
            "Xkey=abcdefgh=",
            "openai_key=abcdefgh",
            "token=abc123",
            "api_key=abc",
            "ABC_DEF=",
            "my-own-key",
            "sk-yours",
            "x",
        ),
        "k" * 16_384,
    ],
)
def test_a_plain_key_is_kept_as_it_is(value: str) -> None:
    assert clean_secret(value) == (value, None)


@pytest.mark.parametrize(
    "value", ["sk-1\n", "sk-1\r\n", "  sk-1", "\tsk-1 ", "\ufeffsk-1", "\u200b sk-1\n\u200b", "\xa0sk-1"]
)
def test_what_copying_leaves_at_the_ends_is_taken_off_with_a_warning(value: str) -> None:
    assert clean_secret(value) == ("sk-1", SPACES)


@pytest.mark.parametrize(
    ("value", "warning"),
    [
        ("Bearer sk-1", "The word 'Bearer' before the key was taken off."),
        ("Authorization: bearer sk-1", "The word 'Bearer' before the key was taken off."),
        ('"sk-1"', "Quotation marks around the key were taken off."),
        ("'sk-1',", "Quotation marks around the key were taken off."),
        ("\u201csk-1\u201d", "Quotation marks around the key were taken off."),
    ],
)
def test_what_stands_around_a_key_elsewhere_is_taken_off_with_a_warning(value: str, warning: str) -> None:
    assert clean_secret(value) == ("sk-1", warning)


@pytest.mark.parametrize(
    ("value", "warning"),
    [
        ("OPENAI_API_KEY=sk-12345", NAME),
        ("export OPENAI_API_KEY=sk-12345", NAME),
        ("$env:OPENAI_API_KEY = sk-12345;", NAME),
        ("api_key = sk-12345", NAME),
        ("token=sk-12345", NAME),
        ("key=sk-12345", NAME),
        ("'api_key=sk-12345'\n", f"{SPACES} Quotation marks around the key were taken off. {NAME}"),
    ],
)
def test_the_name_in_a_line_that_sets_a_variable_is_taken_off(value: str, warning: str) -> None:
    assert clean_secret(value) == ("sk-12345", warning)


@pytest.mark.parametrize(
    "value",
    [
        *("$OPENAI_API_KEY", "${OPENAI_API_KEY}", "$key", "%OPENAI_API_KEY%", "$env:OPENAI_API_KEY"),
        *("THE_VARIABLE", "os.environ['OPENAI_API_KEY']", "os.getenv('X')", "MY_KEY=$OPENAI_API_KEY"),
    ],
)
def test_the_name_of_a_variable_is_no_key(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_VARIABLE", "sk-1")
    with pytest.raises(
        ValidationError, match=r"name of an environment variable.*orch\.env\('NAME'\)"
    ) as caught:
        clean_secret(value)
    assert_keeps_quiet(caught.value, value)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "sk-...",
            "sk-ant-...",
            "<key>",
            "<your key here>",
            "changeme",
            "change-me",
            "xxx",
            "sk-xxx",
            "sk-xxxxxx",
        ),
        *(
            "your-key",
            "LOCAL_KEY",
            "MY_TOKEN",
            "OPENAI_API_KEY=",
            "your-api-key",
            "YOUR_API_KEY_HERE",
            "your_openai_api_key",
            "sk-your-key-here",
            "Insert your API key here",
        ),
    ],
)
def test_what_looks_like_a_placeholder_is_a_key_with_a_warning(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOCAL_KEY", raising=False)
    monkeypatch.delenv("MY_TOKEN", raising=False)
    assert clean_secret(value) == (value, PLACEHOLDER)


def test_a_placeholder_tells_what_was_taken_off_as_well() -> None:
    assert clean_secret(" sk-xxx\n") == ("sk-xxx", f"{SPACES} {PLACEHOLDER}")


@pytest.mark.parametrize("char", ["е", "é", "\u2013", "\xa0", "１", "😀"])
def test_a_character_that_no_header_carries_is_refused_by_its_position(char: str) -> None:
    with pytest.raises(
        ValidationError, match=r"beyond ASCII at position 5 of 10, which cannot be sent"
    ) as caught:
        clean_secret(f"sk-1{char}hideX")
    assert_keeps_quiet(caught.value, "hideX")


@pytest.mark.parametrize("value", ["k" * 16_385, '"' * 100_000, "A_" * 50_000, "KEY=" * 25_000])
def test_what_is_too_long_for_a_header_is_refused_by_its_length(value: str) -> None:
    with pytest.raises(ValidationError, match=r"has [\d,]+ characters, and servers take no more than 16,384"):
        clean_secret(value)


@pytest.mark.parametrize("value", ["", " ", "\n", "\ufeff", '""', "'  '"])
def test_an_empty_key_is_refused(value: str) -> None:
    with pytest.raises(ValidationError, match=r"key is empty\. Type it, or set it to None"):
        clean_secret(value)


@pytest.mark.parametrize("value", [None, 7, b"sk-1", ["sk-1"], SecretStr("sk-1")])
def test_something_else_than_text_is_refused_by_its_type(value: object) -> None:
    with pytest.raises(ValidationError, match=rf"A key is text, not {type(value).__name__}\.") as caught:
        clean_secret(value)
    assert_keeps_quiet(caught.value, "sk-1")


@pytest.mark.parametrize("char", ["\n", "\r", "\t", "\0", "\x1b", "\x7f", "\u2028", "\u200b", "\ud800"])
def test_a_control_character_inside_is_refused_by_its_position(char: str) -> None:
    with pytest.raises(ValidationError, match=r"position 5 of 10\. Copy it again") as caught:
        clean_secret(f"sk-1{char}hideX")
    assert_keeps_quiet(caught.value, "hideX")


@pytest.mark.parametrize("mask", ["********", "*", "\u2022\u2022\u2022\u2022"])
def test_the_mask_of_a_key_is_no_key(mask: str) -> None:
    with pytest.raises(ValidationError, match="is the mask that stands for a key"):
        clean_secret(mask)
