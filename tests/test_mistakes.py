"""Typical mistakes in a notebook: each gets an error of ours that names the value, and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import orchstate
from orchstate.errors import NotFoundError, OrchstateError, SetupError, UnknownFieldError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchstate.store import Store


@pytest.fixture
def store() -> Iterator[Store]:
    with orchstate.open(":memory:") as store:
        store.configs.create("openai", name="gpt")
        yield store


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda s: s.configs[5], NotFoundError, r"There is no config 5\. There are: 'gpt'"),
        (lambda s: s.configs.create(5), NotFoundError, r"There is no provider 5"),
        (lambda s: s.configs.upsert(5), ValidationError, r"5 is not a valid name: a name is text"),
        (lambda s: s.configs.duplicate(5), NotFoundError, r"There is no config 5"),
        (lambda s: s.at(1).configs[5], NotFoundError, r"There is no config 5"),
        (lambda s: s.at(1.5), ValidationError, r"1\.5 is no moment\. Give a seq, a datetime, ISO text or"),
        (lambda s: s.history.changes(5), NotFoundError, r"Nothing called 5 is or was in this store"),
        (lambda s: s.history.changes(field="temprature"), NotFoundError, r"Did you mean 'temperature'"),
        (lambda s: s.history.changes(field=5), NotFoundError, r"There is no field 5"),
        (lambda s: s.history.revisions(5), NotFoundError, r"Nothing called 5 is or was"),
        (lambda s: s.subscribe(5), ValidationError, r"5 cannot be called\. Give a function"),
        (
            lambda s: s.subscribe(print, "Updated"),
            ValidationError,
            r"'Updated' is no class of events, such as",
        ),
        (lambda s: s.observe(print, "actve"), UnknownFieldError, r"Store has no field 'actve'. Did you mean"),
        (lambda s: setattr(s, "configs", 5), UnknownFieldError, r"'configs' of a Store cannot be assigned"),
        (lambda s: setattr(s, "undo", 5), UnknownFieldError, r"'undo' of a Store cannot be assigned"),
        (lambda s: s.configs["gpt"][5], UnknownFieldError, r"Config has no field 5"),
        (lambda s: setattr(s.configs["gpt"], "kind", 5), UnknownFieldError, r"'kind' of a Config cannot be"),
        (lambda s: s.configs["gpt"].update(revision=5), ValidationError, r"'revision' follows from"),
        (lambda s: s.configs["gpt"].update(id="5"), ValidationError, r"'id' is set by the store and cannot"),
        (lambda s: s.configs.create("openai", id="5"), ValidationError, r"'id' is set by the store and"),
        (lambda s: s.configs.upsert("gpt", stash={}), ValidationError, r"'stash' is set by the store and"),
        (
            lambda s: setattr(s.at(1).configs["gpt"], "temperature", 1),
            ValidationError,
            r"a value of one",
        ),
        (lambda s: setattr(s.configs["gpt"], "name", "\ud83d"), ValidationError, r"half a character in it"),
        (lambda s: s.configs["\ud83d"], NotFoundError, r"There is no config '\\ud83d'"),
        (lambda s: setattr(s, "active", "\ud83d"), NotFoundError, r"There is no config"),
        (lambda s: s.history.changes("\ud83d"), NotFoundError, r"Nothing called"),
        (lambda s: s.export(5), SetupError, r"5 is no path\. Name the file to write"),
        (lambda s: s.plan_import(5), SetupError, r"expected a path, text, bytes or a dict, not int"),
        (lambda s: setattr(s, "active", 5), ValidationError, r"5 cannot be active\. Assign a config"),
        (lambda s: setattr(s, "actve", "gpt"), UnknownFieldError, r"Did you mean 'active'\?"),
        (lambda s: setattr(s.configs["gpt"], "tags", 5), ValidationError, r"tags: 5 is not a list of values"),
        (lambda s: orchstate.open(":memory:", actor=5), OrchstateError, r"actor=5 is no name"),
        (
            lambda s: orchstate.open(":memory:", secrets="safe"),
            ValidationError,
            r"secrets='safe' is not known",
        ),
        (lambda s: orchstate.env(5), ValidationError, r"not the name of an environment variable"),
    ],
)
def test_each_gets_an_error_that_names_it(
    call: Callable[[Store], Any], kind: type[OrchstateError], message: str, store: Store
) -> None:
    before = store.flush()
    with pytest.raises(kind, match=message):
        call(store)
    assert (store.flush(), store.active, list(store.configs)) == (before, None, ["gpt"])
