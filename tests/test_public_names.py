"""What `import orchstate` offers: sorted, complete, and every error under one base."""

from __future__ import annotations

import builtins
import inspect
import re
from importlib import import_module

import pytest

import orchstate
from orchstate import errors


def test_public_names_are_sorted_and_there() -> None:
    assert orchstate.__all__ == sorted(orchstate.__all__)
    assert dir(orchstate) == orchstate.__all__
    for name in orchstate.__all__:
        value = getattr(orchstate, name)
        assert inspect.isclass(value) or inspect.isfunction(value), name


def test_every_public_name_has_one_home() -> None:
    assert set(orchstate._HOME) == set(orchstate.__all__)
    for name, home in orchstate._HOME.items():
        assert getattr(import_module(home), name).__module__ == home, name


def test_every_public_name_says_what_it_is_for() -> None:
    for name in orchstate.__all__:
        assert inspect.getdoc(getattr(orchstate, name)), name


def test_a_misspelt_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'orchstate' has no attribute 'opne'"):
        orchstate.opne  # type: ignore[attr-defined]  # noqa: B018


def test_the_version_is_one() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", orchstate.__version__)


ERRORS = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, Exception) and not issubclass(value, Warning)
]


def test_every_error_is_public_and_under_one_base() -> None:
    for error in ERRORS:
        assert issubclass(error, errors.OrchstateError)
        assert error.__name__ in orchstate.__all__
    public = [getattr(orchstate, name) for name in orchstate.__all__ if name.endswith("Error")]
    assert set(public) == set(ERRORS)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("ValidationError", "ValueError"),
        ("NotFoundError", "KeyError"),
        ("UnknownFieldError", "AttributeError"),
        ("DuplicateNameError", "ValueError"),
        ("LiveObjectError", "TypeError"),
        ("StoreWriteError", "OSError"),
        ("MissingExtraError", "ImportError"),
    ],
)
def test_errors_are_also_what_callers_expect(error: str, expected: str) -> None:
    assert issubclass(getattr(orchstate, error), getattr(builtins, expected))


def test_the_drawn_tree_is_the_real_one() -> None:
    drawn = re.findall(r"^    ( *)(\w+Error)", errors.__doc__ or "", re.MULTILINE)
    above: list[str] = []
    for indent, name in drawn:
        depth = len(indent) // 2
        above = above[:depth]
        bases = [base.__name__ for base in getattr(errors, name).__mro__[1:]]
        assert not above or above[-1] in bases, name
        above.append(name)
    assert {name for _, name in drawn} == {error.__name__ for error in ERRORS}


def test_a_not_found_error_reads_as_a_sentence() -> None:
    error = errors.NotFoundError.among("config", "gtp", ["gpt", "claude"], hint="Look again.")
    assert str(error) == "There is no config 'gtp'. Did you mean 'gpt'? Look again."
    assert str(errors.NotFoundError()) == ""
    many = errors.NotFoundError.among("config", "x", [f"name {number}" for number in range(50)])
    assert str(many).endswith("'name 19', ....")
    assert str(errors.NotFoundError.among("config", "x", [])) == "There is no config 'x'."


def test_errors_carry_what_they_are_about() -> None:
    issue = errors.Issue("temperature", "error", "3 is too large.")
    assert errors.ValidationError.of([issue], subject="gpt").issues == (issue,)
    assert str(errors.ValidationError.of([issue], subject="gpt")) == "gpt: temperature: 3 is too large."
    assert str(errors.Issue("", "error", "As a whole.")) == "As a whole."
    assert errors.FlushError("m", receipts=[1]).receipts == (1,)
    assert errors.CorruptStoreError("m", ids=["a"]).ids == ("a",)
    assert str(errors.SetupError("m", source="f.json", path="a.b")) == "f.json at a.b: m"
    assert str(errors.SetupError("m")) == "m"
    assert errors.ProviderError("m", status=429).status == 429
    missing = errors.MissingExtraError.of("openai", extra="openai", purpose="A client")
    assert 'pip install "orchstate[openai]"' in str(missing)
