"""Which document a name means."""

from __future__ import annotations

from orchstate.state.names import Names


def test_a_name_is_found_in_any_case_and_in_its_kind_alone() -> None:
    names = Names()
    names.move("config", "1", None, "Über")
    assert (names.last("config", "ÜBER"), names.last("note", "über")) == ("1", None)
    assert names.has("config", "über") and not names.has("note", "über")
    assert len(names.of_kind("config")) == 1


def test_of_two_with_one_name_the_later_is_meant_until_it_has_another() -> None:
    names = Names()
    names.move("config", "1", None, "a")
    names.move("config", "2", None, "a")
    assert names.last("config", "a") == "2"
    names.move("config", "2", "a", "b")
    assert (names.last("config", "a"), names.last("config", "b")) == ("1", "2")
    names.move("config", "1", "a", None)
    assert not names.has("config", "a")


def test_a_name_that_was_away_in_between_is_there_again() -> None:
    names = Names()
    names.move("config", "1", None, "a")
    names.move("config", "1", "a", None)
    # Whoever looked before that knows of no difference.
    names.move("config", "1", "a", "a")
    assert names.last("config", "a") == "1"


def test_a_change_of_case_is_the_same_name() -> None:
    names = Names()
    names.move("config", "1", None, "gpt")
    names.move("config", "1", "gpt", "GPT")
    assert (names.last("config", "gpt"), len(names.of_kind("config"))) == ("1", 1)
