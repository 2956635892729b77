from __future__ import annotations

import pytest
from pydantic import SecretStr

from orchstate.errors import ValidationError
from orchstate.secrets import clean_secret
from tests.contract.secret_store import assert_keeps_quiet


@pytest.mark.parametrize("value", ["sk-1", "two words", "ключ", "{'json': 1}", "*x*"])
def test_a_plain_key_is_kept_as_it_is(value: str) -> None:
    assert clean_secret(value) == (value, None)


@pytest.mark.parametrize(
    "value", ["sk-1\n", "sk-1\r\n", "  sk-1", "\tsk-1 ", "\ufeffsk-1", "\u200b sk-1\n\u200b", "\xa0sk-1"]
)
def test_what_copying_leaves_at_the_ends_is_taken_off_with_a_warning(value: str) -> None:
    assert clean_secret(value) == ("sk-1", "Spaces or line breaks around the key were taken off.")


@pytest.mark.parametrize("value", ["", " ", "\n", "\ufeff"])
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
