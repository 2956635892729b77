"""Values inside documents: frozen, comparable, plain."""

from __future__ import annotations

import copy
import math
import pickle
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import numpy as np
import pydantic
import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter

from orchstate.errors import Issue
from orchstate.models.secret import SecretRef
from orchstate.models.values import (
    FrozenMap,
    PlainMap,
    Section,
    StringMap,
    Strings,
    Text,
    is_same,
    to_number,
    to_plain,
    to_whole,
)


class Sample(BaseModel):
    model_config = ConfigDict(strict=True)

    words: Strings = ()
    texts: StringMap = FrozenMap()
    anything: PlainMap = FrozenMap()


@pytest.mark.parametrize(
    "edit",
    [
        lambda values: values.update(b=2),
        lambda values: values.__setitem__("a", 2),
        lambda values: values.pop("a"),
        lambda values: values.clear(),
        lambda values: values.setdefault("b", 1),
        lambda values: values.__ior__({"b": 1}),
        lambda values: values.popitem(),
        lambda values: values.__delitem__("a"),
    ],
)
def test_a_frozen_map_refuses_every_edit_in_place(edit: object) -> None:
    values = FrozenMap(a=1)
    with pytest.raises(TypeError, match="Assign a new dict"):
        edit(values)  # type: ignore[operator]
    assert values == {"a": 1}


def test_a_frozen_map_can_be_copied_and_pickled() -> None:
    values = FrozenMap(a=1)
    assert copy.deepcopy(values) == pickle.loads(pickle.dumps(values)) == {"a": 1}


def test_a_plain_map_is_frozen_all_the_way_down() -> None:
    anything = Sample(anything={"a": {"b": [{"c": 1}]}}).anything
    with pytest.raises(TypeError, match="read-only"):
        anything["a"]["b"][0]["c"] = 2
    assert to_plain(anything) == {"a": {"b": [{"c": 1}]}}


@pytest.mark.parametrize("value", [{"a": object()}, {"a": float("nan")}, {"a": {1, 2}}, {"a": "\ud800"}])
def test_a_plain_map_holds_nothing_but_json(value: object) -> None:
    with pytest.raises(ValueError, match="JSON has no form for"):
        Sample(anything=value)


def test_a_set_of_words_has_one_order_in_every_process() -> None:
    assert Sample(words={"c", "a", "b"}).words == ("a", "b", "c")
    assert Sample(words=["c", "a"]).words == ("c", "a")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Text, "x" * 1_000_001),
        (Strings, ["x" * 999_999, "xy"]),
        (StringMap, {"a": "x" * 999_999, "b": ""}),
        (PlainMap, {"a": ["x" * 999_999]}),
    ],
)
def test_a_value_is_no_file(kind: Any, value: object) -> None:
    with pytest.raises(pydantic.ValidationError, match=r"it has 1,000,00\d characters, and 1,000,000 is"):
        TypeAdapter(kind).validate_python(value)


def test_text_that_cannot_be_stored_is_refused() -> None:
    with pytest.raises(ValueError, match="half a character"):
        Sample(words=["\ud800"])
    with pytest.raises(ValueError, match="half a character"):
        Sample(texts={"a": "\udfff"})


@pytest.mark.parametrize("value", [1, True, 1.0, "1", None, [1], {"a": 1}, (1,)])
def test_a_value_is_the_same_as_itself_only(value: object) -> None:
    others = [1, True, 1.0, "1", None, [1], [True], [1.0], {"a": 1}, {"a": True}, {"a": 1, "b": 2}, (1,)]
    assert [other for other in others if is_same(value, other)] == [value]
    assert [type(other) for other in others if is_same(value, other)] == [type(value)]


def test_plain_values_have_plain_types() -> None:
    class Part(Section):
        ref: SecretRef = SecretRef()
        count: int = 1

    moment = datetime(2026, 11, 20, tzinfo=UTC)
    value = {"part": Part(), "at": moment, "issue": Issue("f", "error", "m"), "many": (Part(), None)}
    assert to_plain(value) == {
        "part": {"ref": None, "count": 1},
        "at": "2026-11-20T00:00:00+00:00",
        "issue": {"field": "f", "level": "error", "message": "m"},
        "many": [{"ref": None, "count": 1}, None],
    }


def test_what_has_no_plain_form_says_so() -> None:
    with pytest.raises(TypeError, match=r"object at .* has no plain JSON form"):
        to_plain(object())


@pytest.mark.parametrize(
    "given", [5, 5.0, np.int64(5), np.uint8(5), np.float64(5.0), np.float32(5.0), np.array(5)]
)
def test_a_whole_number_of_any_kind_becomes_a_plain_one(given: object) -> None:
    assert is_same(to_whole(given), 5)


@pytest.mark.parametrize(
    "given", [True, np.bool_(True), "5", None, 5.5, math.inf, math.nan, np.float32(0.5), [5]]
)
def test_what_is_no_whole_number_is_left_for_its_rule_to_refuse(given: object) -> None:
    assert to_whole(given) is given


@pytest.mark.parametrize("given", [0.5, np.float64(0.5), np.float32(0.5), np.float16(0.5), Fraction(1, 2)])
def test_a_number_of_any_kind_becomes_a_plain_one(given: object) -> None:
    assert is_same(to_number(given), 0.5)


def test_a_whole_number_where_any_is_allowed_becomes_a_plain_one() -> None:
    assert is_same(to_number(np.int64(2)), 2.0)


def test_a_truth_value_of_numpy_is_one_of_ours() -> None:
    assert to_number(np.bool_(True)) is True
    assert to_number(np.array(0.5)) == 0.5


@pytest.mark.parametrize("given", [True, "0.5", None, 1j, [0.5], 10**400])
def test_what_is_no_number_is_left_for_its_rule_to_refuse(given: object) -> None:
    assert to_number(given) is given
