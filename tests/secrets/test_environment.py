from __future__ import annotations

import pytest

from orchstate.errors import SecretUnavailableError
from orchstate.secrets.environment import environment, try_environment


@pytest.mark.parametrize("text", ["sk-1", "sk-1\n", "sk-1\r\n"])
def test_a_line_break_at_the_end_is_not_part_of_the_key(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("EXAMPLE_KEY", text)
    assert environment("EXAMPLE_KEY") == "sk-1"


def test_a_variable_that_is_not_set_names_itself_and_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXAMPLE_KEY", raising=False)
    with pytest.raises(SecretUnavailableError, match=r"'EXAMPLE_KEY' is not set\. Set it before the kernel"):
        environment("EXAMPLE_KEY")


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("EXAMPLE_KEY", text)
    assert try_environment("EXAMPLE_KEY") is None
    with pytest.raises(SecretUnavailableError, match="'EXAMPLE_KEY' is empty"):
        environment("EXAMPLE_KEY")


def test_the_variable_is_read_at_the_moment_of_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLE_KEY", "sk-1")
    assert environment("EXAMPLE_KEY") == "sk-1"
    monkeypatch.setenv("EXAMPLE_KEY", "sk-2")
    assert environment("EXAMPLE_KEY") == "sk-2"
