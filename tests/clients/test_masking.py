"""Secrets out of text."""

from __future__ import annotations

import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchstate.clients.masking import mask

SECRET = 'sk-"quoted"/1+2 é\\'


@pytest.mark.parametrize(
    "shown",
    [
        SECRET,
        json.dumps({"key": SECRET}),
        json.dumps({"key": SECRET}, ensure_ascii=False),
        repr(SECRET),
        repr(SECRET.encode()),
        urllib.parse.quote(SECRET),
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.quote_plus(SECRET),
    ],
)
def test_every_form_of_a_secret_is_covered(shown: str):
    masked = mask(f"The key {shown} is wrong.", [SECRET])
    assert "********" in masked
    assert "quoted" not in masked and "1+2" not in masked


def test_a_key_with_a_line_break_is_covered_with_and_without_it():
    assert mask("b'Bearer sk-123\\n' and sk-123", ["sk-123\n"]) == "b'Bearer ********' and ********"


def test_a_secret_that_is_part_of_another_leaves_no_rest():
    assert mask("sk-1-and-more", ["sk-1", "sk-1-and-more"]) == "********"


def test_an_empty_secret_changes_nothing():
    assert mask("text", ["", "  "]) == "text"


@given(st.text(min_size=4), st.text(max_size=20))
def test_a_masked_text_does_not_hold_the_secret(secret: str, around: str):
    if secret.strip() and secret.strip() not in "********" and secret.strip() not in around:
        assert secret.strip() not in mask(f"{around}\0{secret}\0{around}", [secret])
