"""Origins: who edited, from which notebook and cell."""

from __future__ import annotations

import getpass
import os
import sys
import threading
from typing import TYPE_CHECKING

import orchstate
from orchstate import origin as origins
from orchstate.origin import cell, cell_source, notebook_name, origin, place, user_name

if TYPE_CHECKING:
    import pytest


def test_without_a_notebook_it_is_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.setattr(sys, "argv", ["/home/me/code/tune.py", "--fast"])
    assert (notebook_name(), cell(), cell_source()) == ("tune.py", "", "")


def test_at_a_prompt_there_is_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    for argv in (["-c"], [""], ["-m"], []):
        monkeypatch.setattr(sys, "argv", argv)
        assert notebook_name() == ""


def test_the_server_names_the_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "work/tuning.ipynb")
    assert origin("me") == origins.Origin("me", "work/tuning.ipynb", "")


def test_a_name_that_is_no_text_is_shown_with_question_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environb, b"JPY_SESSION_NAME", b"caf\xe9/\xc3\xa9.ipynb")
    with orchstate.open(":memory:", actor="m\udce9") as store:
        store.configs.create("openai", name="gpt")
        store.flush()
        changes = store.history.changes("gpt")
        assert set(changes["notebook"]) == {"caf?/é.ipynb"}
        assert set(changes["actor"]) == {"m?"}


def test_a_place_is_given_for_a_block_and_for_its_thread_alone() -> None:
    elsewhere: list[str] = []
    with place("[3] form"), place("[4] form"):
        worker = threading.Thread(target=lambda: elsewhere.append(origin("me").cell))
        worker.start()
        worker.join()
        assert origin("me").cell == "[4] form"
    assert (elsewhere, origin("me").cell) == ([""], "")


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", fail)
    assert user_name.__wrapped__() == str(os.getuid())


def test_the_user_is_the_actor_unless_another_is_named() -> None:
    with orchstate.open(":memory:") as store:
        assert store.actor == user_name()
    with orchstate.open(":memory:", actor="ann") as store:
        store.configs.create("openai", name="gpt")
        assert set(store.history.changes()["actor"]) == {"ann"}
