"""Intents: what an outbox keeps of an edit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchstate.models.intent import Intent, Operation, Origin

plain = st.dictionaries(
    st.text(), st.none() | st.integers() | st.text() | st.lists(st.booleans()), max_size=3
)
operations = st.builds(
    Operation,
    verb=st.sampled_from(["create", "update", "delete"]),
    kind=st.just("config"),
    id=st.text(),
    name=st.text(),
    set=plain,
    drop=st.lists(st.text(), max_size=2).map(tuple),
    seen=plain,
    upsert=st.booleans(),
    base=st.integers(0, 2**53),
)
intents = st.builds(
    Intent,
    n=st.integers(1, 2**53),
    txn=st.text(),
    at_us=st.integers(0, 2**53),
    origin=st.builds(Origin, st.text(), st.text(), st.text()),
    operations=st.lists(operations, max_size=3).map(tuple),
    label=st.text(),
)


@given(intents)
def test_decoding_gives_the_encoded_intent_back(intent: Intent) -> None:
    assert Intent.decode(intent.encode()) == intent


INTENT = Intent(1, "t", 2, Origin("me"), (Operation("update", "config", "id", "gpt", {"a": 1}),))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_cannot_be_stored_is_refused(value: object) -> None:
    operation = INTENT.operations[0]._replace(set={"a": value})
    with pytest.raises(ValueError, match=r"not JSON compliant|surrogates not allowed"):
        INTENT._replace(operations=(operation,)).encode()


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[1]", b"\xff", b"[1,2,3,4,5,6]", INTENT.encode()[:-3], b"null"]
)
def test_other_bytes_are_no_intent(data: bytes) -> None:
    with pytest.raises(ValueError, match="not an intent"):
        Intent.decode(data)
