"""The settings document."""

from __future__ import annotations

import numpy as np
import pytest

from orchstate.errors import ValidationError
from orchstate.models.document import leaves, plain_defaults
from orchstate.models.settings import SettingsDocument
from orchstate.models.values import is_same

SETTINGS = SettingsDocument.initial("1")


def test_settings_are_complete_without_anybody_having_set_one() -> None:
    assert SETTINGS.issues() == ()
    assert SETTINGS.body() == {"name": "settings"}


def test_every_leaf_has_a_default_a_title_and_an_effect() -> None:
    own = {path: info for path, info in leaves(SettingsDocument).items() if "." in path}
    assert own
    for path, info in own.items():
        assert plain_defaults(SettingsDocument)[path] is not None
        assert info.title, path


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("agents.timeout", 999, "999 is too small: at least 1000"),
        ("agents.timeout", 300_001, "300001 is too large: at most 300000"),
        ("agents.timeout", 5000.5, "5000.5 is not a whole number"),
        ("agents.timeout", True, "True is not a whole number"),
        ("agents.retry_attempts", -1, "-1 is too small: at least 0"),
        ("agents.retry_attempts", "2", "'2' is not a whole number"),
    ],
)
def test_a_leaf_out_of_range_is_refused_with_the_rule(path: str, value: object, rule: str) -> None:
    with pytest.raises(ValidationError, match=rule) as caught:
        SETTINGS.replaced({path: value})
    assert [issue.field for issue in caught.value.issues] == [path]


def test_a_leaf_takes_whole_numbers_of_any_kind() -> None:
    assert is_same(SETTINGS.replaced({"agents.timeout": 5000.0}).agents.timeout, 5000)
    assert is_same(SETTINGS.replaced({"agents.retry_attempts": np.int64(3)}).agents.retry_attempts, 3)


def test_one_leaf_changes_and_its_neighbours_stay() -> None:
    changed = SETTINGS.replaced({"agents.timeout": 5_000})
    assert changed.agents.timeout == 5_000
    assert changed.agents.retry_attempts == SETTINGS.agents.retry_attempts
    assert changed.body() == {"name": "settings", "agents.timeout": 5_000}
