"""References to secrets: masked, comparable, and without the secret."""

from __future__ import annotations

import copy
import pickle

import pytest

from orchstate.errors import SecretUnavailableError, ValidationError
from orchstate.models.secret import SecretRef, env, is_reference, references

KEYRING = SecretRef(source="keyring", name="3f/api_key/1")


def test_a_reference_shows_neither_value_nor_entry() -> None:
    assert repr(KEYRING) == str(KEYRING) == f"{KEYRING}" == "SecretRef(keyring: ********)"


def test_the_name_of_a_variable_is_shown() -> None:
    assert repr(env("OPENAI_API_KEY")) == "SecretRef(env: OPENAI_API_KEY)"


@pytest.mark.parametrize("name", ["", "two words", "A=B", "1ST", None, 5])
def test_what_cannot_be_a_variable_is_refused(name: object) -> None:
    with pytest.raises(ValidationError, match="not the name of an environment variable"):
        env(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["sk-proj-LEAK", "gsk_abc123LEAKabcdef0123456789", "two LEAK words"])
def test_a_key_that_is_given_for_a_name_is_refused_and_in_no_error(key: str) -> None:
    with pytest.raises(ValidationError, match=r"given to orch\.env\(\) cannot be used: this") as caught:
        env(key)
    frame = caught.tb.tb_next
    assert frame is not None
    assert "LEAK" not in f"{caught.value} {frame.tb_frame.f_locals}"


def test_nothing_is_there_to_read_where_none_is_set() -> None:
    with pytest.raises(SecretUnavailableError, match="No key is set"):
        SecretRef().get_secret_value()


def test_a_reference_without_a_store_cannot_be_read() -> None:
    with pytest.raises(SecretUnavailableError, match="not connected to a store"):
        KEYRING.get_secret_value()


def test_a_bound_reference_reads_at_the_moment_of_use() -> None:
    values = iter(["first", "second"])
    bound = KEYRING.reading_with(lambda ref: f"{ref.name} {next(values)}")
    assert bound.get_secret_value() == "3f/api_key/1 first"
    assert bound.get_secret_value() == "3f/api_key/1 second"


def test_equality_is_by_place_and_name() -> None:
    bound = KEYRING.reading_with(lambda ref: "sk")
    assert bound == KEYRING
    assert {bound, KEYRING} == {KEYRING}
    assert SecretRef(source="vault", name=KEYRING.name) != KEYRING


def test_a_copy_is_the_reference_and_no_more() -> None:
    assert copy.deepcopy(KEYRING) == pickle.loads(pickle.dumps(KEYRING)) == KEYRING


def test_a_reference_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        KEYRING.name = "other"


def test_what_a_newer_version_adds_to_a_reference_stays() -> None:
    newer = SecretRef.model_validate({"source": "env", "name": "K", "expires": "2030"})
    assert newer.model_dump()["expires"] == "2030"
    assert is_reference(newer.model_dump())


@pytest.mark.parametrize("plain", [None, "x", {}, {"source": "env"}, {"source": "web", "name": "x"}, [1]])
def test_other_values_are_no_references(plain: object) -> None:
    assert not is_reference(plain)


def test_references_are_found_however_deep() -> None:
    plain = {"a": [{"b": KEYRING.model_dump()}], "c": env("K").model_dump(), "d": {"source": "x"}}
    assert list(references(plain)) == [KEYRING, env("K")]
