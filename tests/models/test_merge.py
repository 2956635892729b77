"""Three-way merge: disjoint changes commute, groups travel whole, overlaps are named."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchstate.models.merge import merge
from orchstate.models.values import is_same

PATHS = "abcdef"
GROUPS = (frozenset("ab"), frozenset("cd"))
scalars = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from([0.0, 1.0, "x"])
documents = st.fixed_dictionaries(dict.fromkeys(PATHS, scalars))
changes = st.dictionaries(st.sampled_from(PATHS), scalars, max_size=4)


def unit_of(path: str) -> frozenset[str]:
    return next((group for group in GROUPS if path in group), frozenset(path))


def effective(base: dict[str, Any], edit: dict[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in edit.items() if not is_same(base[path], value)}


def merged(base: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    seen = {path: base[path] for path in base if any(path in unit_of(other) for other in ours)}
    return theirs | merge(seen, ours, theirs, GROUPS).changes


@given(documents, changes, changes)
def test_disjoint_changes_commute(base: Any, one: Any, two: Any) -> None:
    one, two = effective(base, one), effective(base, two)
    two = {path: value for path, value in two.items() if not any(path in unit_of(other) for other in one)}
    assert merged(base, one, base | two) == merged(base, two, base | one) == base | one | two
    assert merge(base, one, base | two, GROUPS).overlaps == ()


@given(documents, changes, changes)
def test_a_group_is_never_mixed(base: Any, ours: Any, theirs: Any) -> None:
    ours, theirs = effective(base, ours), effective(base, theirs)
    result = merged(base, ours, base | theirs)
    for group in GROUPS:
        of_group = [{path: side[path] for path in group} for side in (result, base | ours, base | theirs)]
        assert any(is_same(of_group[0], side) for side in of_group[1:])


def test_what_both_changed_alike_parts_no_group() -> None:
    group = [frozenset({"provider", "model"})]
    nothing, theirs = {"provider": None, "model": None}, {"provider": "openai", "model": None}
    ours = {"provider": "openai", "model": "m"}
    assert merge(nothing, ours, theirs, group).overlaps == ()
    assert merge(nothing, ours, theirs | {"model": "n"}, group).overlaps == ("model", "provider")
    assert merge(nothing, ours, theirs | {"provider": "ollama"}, group).overlaps == ("model", "provider")


@given(documents, changes, changes)
def test_ours_wins_an_overlap_and_it_is_named(base: Any, ours: Any, theirs: Any) -> None:
    ours, theirs = effective(base, ours), effective(base, theirs)
    result = merge(base, ours, base | theirs, GROUPS)
    for path, value in ours.items():
        assert is_same((base | theirs | result.changes)[path], value)
        if path in theirs and not is_same(theirs[path], value):
            assert unit_of(path) <= {*result.overlaps}


@given(documents, changes)
def test_equal_changes_are_no_overlap(base: Any, edit: Any) -> None:
    edit = effective(base, edit)
    assert merge(base, edit, base | edit, GROUPS).overlaps == ()


@given(documents, changes)
def test_without_changes_of_theirs_only_ours_are_written(base: Any, ours: Any) -> None:
    ours = effective(base, ours)
    assert merge(base, ours, base, GROUPS).changes == ours


def test_a_model_never_lands_at_another_provider() -> None:
    base = {"provider": "openai", "model": "gpt-y", "base_url": None}
    theirs = {"provider": "anthropic", "model": "claude", "base_url": None, "temperature": 1.0}
    group = frozenset(base)
    result = merge(base, {"model": "gpt-z"}, theirs, [group])
    assert result.changes == {"provider": "openai", "model": "gpt-z", "base_url": None}
    assert {*result.overlaps} == group


def test_whoever_did_the_same_and_more_of_a_group_keeps_what_belongs_to_it() -> None:
    group = (frozenset({"provider", "model"}),)
    base, theirs = {"provider": None, "model": None}, {"provider": "openai", "model": "gpt-z"}
    assert merge(base, {"provider": "openai"}, theirs, group).changes == {}
    assert merge(base, {"provider": "ollama"}, theirs, group).changes == {"provider": "ollama", "model": None}
