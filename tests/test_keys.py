"""Keys and the documents that refer to them: none is shared, left behind, or taken for something else."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from testbed.observing import wait_until

import orchstate
from orchstate.errors import (
    ClosedError,
    OrchstateWarning,
    ReadOnlyError,
    SecretUnavailableError,
    ValidationError,
)
from orchstate.models.secret import SecretRef
from orchstate.secrets.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchstate.store import Store


class Place(MemoryStore):
    """A place for keys that can be looked into."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, str] = {}
        self.written = 0

    def set(self, name: str, value: str) -> None:
        super().set(name, value)
        self.kept[name] = value
        self.written += 1

    def delete(self, name: str) -> None:
        super().delete(name)
        self.kept.pop(name, None)

    @property
    def keys(self) -> list[str]:
        return sorted(self.kept.values())


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    with orchstate.open(":memory:", secrets=place) as store:
        yield store


def test_a_key_taken_from_another_config_is_a_copy(store: Store, place: Place) -> None:
    one = store.configs.create("openai", name="one", api_key="sk-1")
    other = store.configs.create("openai", name="other", api_key=one.api_key)
    third = store.configs.upsert("third", "openai", api_key=one.api_key)
    assert len({one.api_key, other.api_key, third.api_key}) == 3
    other.delete()
    third.api_key = None
    store.flush()
    wait_until(lambda: place.keys == ["sk-1"])
    assert one.api_key.get_secret_value() == "sk-1"


def test_taking_the_same_key_again_changes_nothing(store: Store, place: Place) -> None:
    one = store.configs.create("openai", name="one", api_key="sk-1")
    other = store.configs.create("openai", name="other", api_key=one.api_key)
    before = store.flush()
    other.api_key = one.api_key
    other.api_key = other.api_key
    store.configs.upsert("other", api_key=one.api_key)
    assert (store.flush(), place.written) == (before, 2)


@pytest.mark.parametrize(
    "value",
    [{}, {"a": 1}, {"api_key": "sk-2"}, {"source": "env"}, 5, ["sk-2"], SecretRef(source="env", name="")],
)
def test_what_is_no_key_is_refused_and_the_old_one_stays(value: object, store: Store, place: Place) -> None:
    gpt = store.configs.create("openai", name="gpt", api_key="sk-1")
    store.flush()
    with pytest.raises(ValidationError, match=r"config 'gpt' is unchanged: api_key: needs a reference"):
        gpt.api_key = value  # type: ignore[assignment]
    assert (gpt.api_key.get_secret_value(), place.keys) == ("sk-1", ["sk-1"])


def test_a_copy_of_a_store_leaves_the_keys_of_the_original(place: Place, tmp_path: Path) -> None:
    with orchstate.open(tmp_path / "store.db", secrets=place) as store:
        store.configs.create("openai", name="gpt", api_key="sk-1")
    shutil.copy(tmp_path / "store.db", tmp_path / "copy.db")
    with orchstate.open(tmp_path / "copy.db", secrets=place) as copy:
        copy.configs["gpt"].api_key = "sk-2"
        copy.flush()
        copy.configs["gpt"].api_key = "sk-3"
        copy.flush()
        wait_until(lambda: place.keys == ["sk-1", "sk-3"])
        copy.configs["gpt"].delete()
        copy.flush()
        wait_until(lambda: place.keys == ["sk-1"])
    with orchstate.open(tmp_path / "store.db", secrets=place) as store:
        assert store.configs["gpt"].api_key.get_secret_value() == "sk-1"


def test_a_reference_to_nothing_is_refused(store: Store) -> None:
    gpt = store.configs.create("openai", name="gpt")
    with pytest.raises(SecretUnavailableError):
        gpt.api_key = SecretRef(source="memory", name="somebody/api_key/1")
    assert not gpt.api_key.is_set


def test_of_two_keys_of_which_one_is_bad_none_is_kept(store: Store, place: Place) -> None:
    claude = store.configs.create("anthropic", name="claude")
    with pytest.raises(ValidationError, match="The key is empty"):
        claude.update(api_key="sk-ant-1", auth_token="")
    wait_until(lambda: place.keys == [])
    assert not claude.api_key.is_set


def test_a_store_that_takes_no_edit_writes_no_key(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with orchstate.open(path, secrets=place) as store:
        gpt = store.configs.create("openai", name="gpt")
    with pytest.raises(ClosedError):
        gpt.api_key = "sk-1"
    with orchstate.open(path, secrets=place, read_only=True) as store, pytest.raises(ReadOnlyError):
        store.configs["gpt"].api_key = "sk-1"
    assert place.written == 0


def test_a_mapping_cannot_pass_for_a_reference(store: Store) -> None:
    """Else emptying it would remove the key of another config."""
    one = store.configs.create("openai", name="one", api_key="sk-1")
    with pytest.raises(ValidationError, match="'source' and 'name' stand for a reference to a key"):
        one.headers = {"source": "memory", "name": one.api_key.name}
    one.headers = {"source": "lab", "name": "prod"}
    assert store.configs.duplicate("one").headers == one.headers


def test_a_key_that_comes_with_a_new_provider_is_stored_as_a_key(store: Store, place: Place) -> None:
    gpt = store.configs.create("ollama", name="gpt")
    gpt.update(provider="anthropic", auth_token="sk-ant-1")
    assert (gpt.auth_token.get_secret_value(), place.keys) == ("sk-ant-1", ["sk-ant-1"])


def test_a_key_with_something_around_it_is_the_same_key(store: Store, place: Place) -> None:
    with pytest.warns(OrchstateWarning, match="The word 'Bearer' before the key was taken off"):
        gpt = store.configs.upsert("gpt", "openai", api_key="Bearer sk-1")
    store.configs.upsert("gpt", api_key='"sk-1"')
    gpt.update(temperature=0.5)
    assert (gpt.api_key.get_secret_value(), place.written) == ("sk-1", 1)


def test_what_looks_like_a_placeholder_is_stored_with_a_warning(store: Store) -> None:
    gpt = store.configs.create("openai", name="gpt")
    with pytest.warns(OrchstateWarning, match=r"^This looks like a placeholder, not like a key\.$"):
        gpt.api_key = "sk-xxx"
    assert gpt.api_key.get_secret_value() == "sk-xxx"


def test_what_only_stands_for_a_key_is_refused_and_the_old_one_stays(store: Store, place: Place) -> None:
    gpt = store.configs.create("openai", name="gpt", api_key="sk-1")
    for value in ("$OPENAI_API_KEY", "********", "k" * 20_000, "sk-ключ"):
        with pytest.raises(ValidationError):
            gpt.api_key = value
    assert (gpt.api_key.get_secret_value(), place.keys) == ("sk-1", ["sk-1"])
