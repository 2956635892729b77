"""A command line that is not understood: what to write instead, and no key that was put into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run

LONG_KEY = "sk-proj-" + "zQ3dE5fG7hW9" * 9


@pytest.mark.parametrize(
    ("arguments", "usage", "message"),
    [
        (
            ["lab", "--expose-app-in-browser", "--ip", "a b"],
            "usage: orchstate lab ",
            "behind two dashes: orchstate lab -- --expose-app-in-browser --ip 'a b'\n",
        ),
        (["show", "gpt", "--nonsense"], "usage: orchstate show ", "unrecognized arguments: --nonsense\n"),
        (["import", "https://example.org/a"], "usage: orchstate import ", "is an address; name a file"),
    ],
    ids=["lab", "show", "address"],
)
def test_what_is_not_understood_is_told_with_its_own_usage(
    run: Run, arguments: list[str], usage: str, message: str
) -> None:
    done = run(*arguments)
    assert done.returncode == 2 and done.stderr.startswith(usage) and message in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        *([LONG_KEY], ["show", LONG_KEY], ["history", LONG_KEY], ["history", "--field", LONG_KEY]),
        *(["history", "--since", LONG_KEY], ["history", "--limit", LONG_KEY], ["check", LONG_KEY]),
        *(["export", LONG_KEY], ["import", LONG_KEY], ["list", "--store", LONG_KEY], ["list", LONG_KEY]),
        *(
            ["lab", "--port", LONG_KEY],
            ["lab", f"--key={LONG_KEY}"],
            ["import", "a", "--on-conflict", LONG_KEY],
        ),
    ],
    ids=lambda arguments: "_".join(arguments).replace(LONG_KEY, "KEY"),
)
def test_a_key_in_place_of_something_else_is_not_shown(
    run: Run, store_path: Path, tmp_path: Path, arguments: list[str]
) -> None:
    done = run(*arguments)
    assert "zQ3dE5" not in done.stdout + done.stderr
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("sk-")]
