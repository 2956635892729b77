"""The digest of a setup."""

from __future__ import annotations

from orchstate.exchange.format import digest_of


def test_it_does_not_count_itself() -> None:
    assert digest_of({"version": 1, "digest": "a"}) == digest_of({"version": 1, "digest": "b"})


def test_it_does_not_depend_on_the_order() -> None:
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})


def test_it_sees_every_change() -> None:
    assert digest_of({"a": 1}) != digest_of({"a": 2})
