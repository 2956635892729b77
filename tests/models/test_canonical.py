"""Canonical JSON: one text per value; and reading of what others wrote."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchstate.models.canonical import canonical, fingerprint, parse

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_parsing_canonical_text_gives_the_value_back(value: object) -> None:
    assert parse(canonical(value)) == value


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    turned = dict(reversed(value.items()))
    assert canonical(turned) == canonical(value)
    assert fingerprint(turned) == fingerprint(value)


def test_whole_and_broken_numbers_differ() -> None:
    assert canonical([1, 1.0, True]) == "[1,1.0,true]"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}, object(), {1, 2}])
def test_what_json_has_no_form_for_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"not JSON (compliant|serializable)"):
        canonical(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"is not JSON: Expecting value \(line 1, column 1\)"),
        ('{"a": 1,', "is not JSON"),
        ('{"a": 1, "a": 2}', "has the key 'a' twice"),
        ('{"a": NaN}', "has NaN"),
        ("[-Infinity]", "has -Infinity"),
        ("[1e999]", "has 1e999, which is too large"),
        ("[" + "9" * 5000 + "]", "has a number of 5000 digits, which is too large"),
        (b"\xff\xfe\xff", "is not"),
        (b'"\x80"', r"is not UTF-8 text \(byte 1\)"),
        ("[" * 65 + "]" * 65, "deeper than 64 levels"),
        ("[" * 100_000, "deeper than 64 levels"),
        ('{"a": "\\ud800"}', "half a character"),
        ('{"\\udfff": 1}', "half a character"),
    ],
)
def test_hostile_text_is_refused_with_the_reason(text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_sixty_four_levels_are_read() -> None:
    assert json.dumps(parse("[" * 64 + "]" * 64)) == "[" * 64 + "]" * 64
