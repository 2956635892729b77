"""Documents: validated values in flat form; only the faults of the edit refuse it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar, Self

import pytest
from pydantic import Field, model_validator

from orchstate.errors import ValidationError
from orchstate.models.document import Document, datetime_of, leaves, plain_defaults
from orchstate.models.secret import SecretRef, env
from orchstate.models.values import FrozenMap, Section, StringMap, Text


class Limits(Section):
    low: int = Field(0, ge=0)
    high: int = Field(10, le=100)


class Sample(Document):
    kind: ClassVar[str] = "sample"

    size: float | None = Field(None, ge=0, le=2)
    label: Text = ""
    key: SecretRef = SecretRef()
    headers: StringMap = Field(default_factory=FrozenMap)
    limits: Limits = Field(default_factory=Limits)
    needed: int

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.label == "small" and (self.size or 0) > 1:
            raise ValueError("A small one has a size of at most 1.")
        return self


ENVELOPE = {"id": "1", "created_at": datetime_of(0), "updated_at": datetime_of(0)}
SAMPLE = Sample.created(ENVELOPE, {"name": "one", "needed": 1})


def stored(**body: Any) -> Sample:
    return Sample.from_body(ENVELOPE, {"name": "one", "needed": 1, **body})


# -- flat form --------------------------------------------------------------------------


def test_the_body_holds_what_differs_from_the_defaults() -> None:
    assert SAMPLE.body() == {"name": "one", "needed": 1}
    changed = SAMPLE.replaced({"limits.high": 20, "key": env("K"), "tags": ["a"], "size": 0.0})
    assert changed.body() == {
        "name": "one",
        "needed": 1,
        "limits.high": 20,
        "key": {"source": "env", "name": "K"},
        "tags": ["a"],
        "size": 0.0,
    }


def test_a_document_is_what_its_body_says() -> None:
    changed = SAMPLE.replaced({"limits.high": 20, "key": env("K"), "headers": {"a": "b"}})
    again = Sample.from_body(ENVELOPE, changed.body())
    assert again == changed
    assert again.body() == changed.body()


def test_leaves_are_the_fields_without_the_envelope_by_path() -> None:
    expected = ["name", "tags", "size", "label", "key", "headers", "limits.low", "limits.high", "needed"]
    assert list(leaves(Sample)) == expected
    assert plain_defaults(Sample)["limits.high"] == 10


def test_fields_of_a_newer_version_survive() -> None:
    newer = stored(invented={"a": [1]}, **{"limits.low": 1})
    changed = newer.replaced({"label": "x"})
    assert changed.body()["invented"] == {"a": [1]}
    assert changed.issues() == ()


def test_a_document_is_frozen() -> None:
    with pytest.raises(ValidationError, match=r"is a value of one moment, so its label cannot be assigned"):
        SAMPLE.label = "x"
    with pytest.raises(ValueError, match="frozen"):
        SAMPLE.limits.low = 1


def test_times_keep_their_microseconds() -> None:
    assert datetime_of(1_763_640_000_123_456) == datetime(2025, 11, 20, 12, 0, 0, 123_456, UTC)


# -- edits ------------------------------------------------------------------------------


def test_a_replaced_document_is_a_new_one() -> None:
    assert SAMPLE.replaced({"label": "x"}).label == "x"
    assert SAMPLE.label == ""


@pytest.mark.parametrize(
    "change",
    [{"size": 1}, {"label": "small"}, {"tags": ["a"]}, {"headers": {"a": "b"}}, {"key": env("K")}],
)
def test_one_value_alone_is_validated_as_all_of_them_are(change: dict[str, Any]) -> None:
    sample = stored(size=0.5, later={"x": 1})
    alone = sample.replaced({**change, "updated_at": datetime_of(7)})
    together = Sample.created({**ENVELOPE, "updated_at": datetime_of(7)}, {**sample.body(), **change})
    assert alone == together and alone.body() == together.body()
    assert list(alone.__dict__) == list(together.__dict__)
    assert type(alone.at(next(iter(change)))) is type(together.at(next(iter(change))))


def test_the_document_that_is_replaced_stays_as_it_was() -> None:
    sample = stored(later=1)
    before = (dict(sample.__dict__), set(sample.model_fields_set), dict(sample.model_extra or {}))
    sample.replaced({"size": 1.0})
    with pytest.raises(ValidationError):
        sample.replaced({"size": 3.0})
    assert (sample.__dict__, sample.model_fields_set, sample.model_extra) == before


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("size", 3.0, r"size: 3.0 is too large: at most 2.0 is allowed"),
        ("size", "1", r"size: '1' is not a number"),
        ("size", float("nan"), r"size: nan is not a finite number"),
        ("needed", None, r"needed: None is not a whole number"),
        ("needed", True, r"needed: True is not a whole number"),
        ("limits.low", -1, r"limits.low: -1 is too small: at least 0"),
        ("label", 5, r"label: 5 is not text"),
        ("headers", {"a": 1}, r"headers.a: a value of the type int is not text"),
        ("headers", [], r"headers: a value of the type list is not a mapping"),
        ("tags", "abc", r"tags: 'abc' is not a list of values"),
        ("tags", [1], r"tags.0: 1 is not text"),
        ("name", "a/b", r"name: .* slashes are not allowed"),
        ("label", "x" * 500 + "\ud800", r"label: it has half a character in it, '\\ud800'"),
    ],
)
def test_a_bad_value_is_refused_with_field_value_and_rule(path: str, value: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        SAMPLE.replaced({path: value})
    assert str(caught.value).startswith("sample 'one' is unchanged: ")
    assert len(str(caught.value)) < 300


def test_a_rule_across_fields_refuses_what_breaks_it() -> None:
    with pytest.raises(ValidationError, match="A small one has a size of at most 1"):
        SAMPLE.replaced({"label": "small", "size": 2.0})
    with pytest.raises(ValidationError, match="A small one"):
        SAMPLE.replaced({"label": "small"}).replaced({"size": 1.5})


def test_what_is_typed_into_a_secret_field_is_never_quoted() -> None:
    with pytest.raises(ValidationError, match="needs a reference to a secret") as caught:
        SAMPLE.replaced({"key": "sk-123"})
    assert "sk-123" not in str(caught.value)


def test_all_faults_of_an_edit_are_told_at_once() -> None:
    with pytest.raises(
        ValidationError, match=r"size: 3\.0 is too large.*; needed: 'x' is not a whole"
    ) as caught:
        SAMPLE.replaced({"size": 3.0, "needed": "x"})
    assert {issue.field for issue in caught.value.issues} == {"size", "needed"}


def test_a_new_document_needs_what_it_needs() -> None:
    with pytest.raises(ValidationError, match="The sample was not created: needed: is needed"):
        Sample.created(ENVELOPE, {"name": "one"})


# -- old faults -------------------------------------------------------------------------


def test_an_old_fault_is_kept_and_shown() -> None:
    old = stored(size=9.0, key={"source": "env", "name": "K"})
    assert old.size == 9.0
    assert old.key == env("K")
    assert [issue.field for issue in old.issues()] == ["size"]
    assert old.body()["size"] == 9.0


def test_an_old_fault_does_not_block_edits_elsewhere() -> None:
    changed = stored(size=9.0).replaced({"needed": 5})
    assert (changed.needed, changed.size) == (5, 9.0)
    assert [issue.field for issue in changed.issues()] == ["size"]


def test_a_faulty_field_cannot_be_made_faulty_again() -> None:
    with pytest.raises(ValidationError, match=r"8\.0 is too large"):
        stored(size=9.0).replaced({"size": 8.0})


def test_a_faulty_field_can_be_mended() -> None:
    assert stored(size=9.0).replaced({"size": 1.0}).issues() == ()


def test_an_old_fault_inside_a_section_leaves_its_neighbours_alone() -> None:
    old = stored(**{"limits.low": -5, "limits.high": 20})
    assert isinstance(old.limits, Limits)
    assert (old.limits.low, old.at("limits.high")) == (-5, 20)
    assert old.replaced({"limits.high": 30}).limits.high == 30
    assert [issue.field for issue in old.issues()] == ["limits.low"]


def test_an_old_fault_across_fields_is_kept_and_all_values_have_their_types() -> None:
    old = stored(label="small", size=2.0, key={"source": "env", "name": "K"}, tags=["a"], headers={"a": "b"})
    assert [issue.message for issue in old.issues()] == ["A small one has a size of at most 1."]
    assert (old.key, old.tags, old.headers, type(old.limits)) == (env("K"), ("a",), {"a": "b"}, Limits)
    assert old.replaced({"needed": 2}).needed == 2


def test_what_stands_in_place_of_a_reference_is_not_seen() -> None:
    old = stored(key="sk-123", size=9.0)
    assert old.key == SecretRef()
    assert "sk-123" not in repr(old) + str(old.issues())


def test_an_old_fault_does_not_hide_a_new_one_across_fields() -> None:
    old = stored(**{"limits.low": -5})
    with pytest.raises(ValidationError, match="A small one"):
        old.replaced({"label": "small", "size": 2.0})


def test_a_needed_value_that_is_missing_is_an_issue_and_no_crash() -> None:
    old = Sample.from_body(ENVELOPE, {"name": "one"})
    assert old.needed is None
    assert [(issue.field, issue.message) for issue in old.issues()] == [
        ("needed", "None is not a whole number.")
    ]
    assert old.replaced({"label": "x"}).label == "x"


@pytest.mark.parametrize("section", [5, None, "x", []])
def test_a_section_that_is_none_is_read_as_usual(section: object) -> None:
    old = stored(limits=section)
    assert old.limits == Limits()


def test_a_document_without_a_valid_name_cannot_be_read() -> None:
    with pytest.raises(ValidationError, match="sample '1' cannot be read"):
        Sample.from_body(ENVELOPE, {"name": "a/b", "needed": 1})
