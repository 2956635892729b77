"""Names of documents."""

from __future__ import annotations

import re

import pytest

from orchstate.errors import ValidationError
from orchstate.models.names import check_label, check_name, name_key


@pytest.mark.parametrize(
    "name",
    ["gpt", "gpt (fast)", "Übung 2", "模型", "a" * 100, "x.y:z", "👩‍🔬", "❤️‍🔥", "می‌خواهم", "क्‍ष", "+", "★"],
)
def test_ordinary_names_are_valid(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "it is empty"),
        ("   ", "it is empty"),
        ("a" * 101, "it has 101 characters, 100 is the limit"),
        ("a" * 300, "it has 300 characters"),
        (" gpt", "begins or ends with a space"),
        ("gpt\u00a0", "begins or ends with a space"),
        ("a/b", "slashes are not allowed. Use '-' instead"),
        ("a\\b", "slashes are not allowed"),
        ("a\nb", "line breaks and control characters"),
        ("a\x00b", "line breaks and control characters"),
        ("a\u2028b", "line breaks and control characters"),
        ("a\ud800b", "it has half a character in it"),
        ("\u200b", "it is empty. Give it at least one visible character"),
        ("\u2800\u3164", "it is empty"),
        ("\u0301", "it is empty"),
        ("g\u200b", "invisible characters are not allowed. Type it again by hand"),
        ("\u202egpt", "invisible characters"),
        ("g\u00adpt", "invisible characters"),
        ("g\u200dpt", "invisible characters"),
        ("\ufeffgpt", "invisible characters"),
        ("👩\u200d", "invisible characters"),
        (5, "a name is text"),
        (None, "a name is text"),
    ],
)
def test_a_bad_name_is_refused_with_the_rule(name: object, rule: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(rule)) as caught:
        check_name(name)
    (issue,) = caught.value.issues
    assert (issue.field, issue.level) == ("name", "error")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("one", "other"), [("GPT", "gpt"), ("STRASSE", "straße"), ("ｇｐｔ", "gpt"), ("e\u0301", "é")]
)
def test_names_that_look_alike_are_one(one: str, other: str) -> None:
    assert name_key(one) == name_key(other)


@pytest.mark.parametrize(
    ("label", "rule"),
    [
        (5, "5 is no text"),
        ("\ud800", "is no text"),
        ("x" * 1_001, "it has 1,001 characters, 1,000 is the limit"),
        ("for sk-proj-0123456789abcdef", "this is a key"),
    ],
)
def test_a_label_is_short_text_without_a_key(label: object, rule: str) -> None:
    with pytest.raises(ValidationError, match=f"label: .*{rule}"):
        check_label(label)
