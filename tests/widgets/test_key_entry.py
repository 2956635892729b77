from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipywidgets import Password

from orchstate.widgets.key_entry import PAUSED, KeyEntry
from tests.widgets.tree import KEY, from_page

if TYPE_CHECKING:
    from pydantic import SecretStr


def entry_with_catch() -> tuple[KeyEntry, list[SecretStr]]:
    caught: list[SecretStr] = []
    entry = KeyEntry()
    entry.on_typed(caught.append)
    return entry, caught


def test_what_was_typed_is_handed_over_once_and_not_kept() -> None:
    entry, caught = entry_with_catch()
    from_page(entry, value=KEY)
    assert [key.get_secret_value() for key in caught] == [KEY]
    assert entry.value == ""


def test_it_is_empty_before_anybody_hears_of_the_key() -> None:
    entry = KeyEntry()
    seen: list[str] = []
    entry.on_typed(lambda key: seen.append(entry.value))
    entry.observe(lambda change: seen.append(change.new), "value")
    from_page(entry, value=KEY)
    assert not any(seen)


def test_the_page_is_never_sent_the_key_back(sent: list[dict[str, Any]]) -> None:
    entry, _ = entry_with_catch()
    from_page(entry, value=KEY)
    entry.value = KEY
    assert {"value": ""} in [message["data"].get("state") for message in sent]
    assert KEY not in str(sent)


def test_a_plain_password_is_sent_back_and_kept(sent: list[dict[str, Any]]) -> None:
    plain = Password()
    from_page(plain, value=KEY)
    assert KEY in str(sent)
    assert KEY in str(plain.get_state())


def test_its_state_is_empty_even_while_the_key_is_taken() -> None:
    entry = KeyEntry()
    states: list[Any] = []
    entry.observe(lambda change: states.append(entry.get_state()), "value")
    entry.on_typed(lambda key: states.append(entry.get_state()))
    from_page(entry, value=KEY)
    assert len(states) >= 2
    assert KEY not in str(states)


def test_a_hint_that_changes_while_a_cell_runs_is_shown_after_it() -> None:
    entry = KeyEntry(placeholder="sk-...")
    entry.pause()
    entry.hint("typed")
    assert entry.placeholder == PAUSED
    entry.resume()
    assert entry.placeholder == "typed"
