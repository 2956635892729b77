"""Binder's folder: what it names is there."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).parents[1]


def test_the_link_opens_a_notebook_that_is_there() -> None:
    (path,) = re.findall(r"\?urlpath=lab%2Ftree%2F(\S+)", (ROOT / "binder" / "README.md").read_text())
    assert (ROOT / unquote(path)).is_file()


def test_the_notebooks_have_there_what_they_have_in_make_lab() -> None:
    (in_lab,) = re.findall(r"^LAB := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert (ROOT / "binder" / "requirements.txt").read_text() == f"{in_lab}\n"
