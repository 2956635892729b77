"""The README's cell runs as printed, and prints what stands below it."""

import re
from pathlib import Path

import pandas as pd
import pytest

from orchstate.opening import open as open_store

README = Path(__file__).parents[1] / "README.md"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_cell_prints_what_the_readme_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHSTATE_STORE", str(tmp_path / "store.db"))
    *body, last = _blocks("python")[0].strip().splitlines()
    names: dict[str, object] = {}
    exec("\n".join(body), names)
    frame = eval(last, names)
    assert isinstance(frame, pd.DataFrame)
    shown = [line.split() for line in str(frame).splitlines()]
    assert shown == [line.split() for line in _blocks("text")[0].strip("\n").splitlines()]
    open_store().close()


def test_the_cell_is_short() -> None:
    assert len(_blocks("python")[0].strip().splitlines()) < 12


def test_the_map_has_every_module_and_no_other() -> None:
    rows = re.findall(r"^\| (`orchstate/[^|]*)\|", README.read_text(), re.MULTILINE)
    places = {place for row in rows for place in re.findall(r"(?:orchstate/)?(\w+(?:/|\.py))`", row)}
    package = README.parent / "orchstate"
    modules = {path.name for path in package.glob("[!_]*.py")}
    assert places == modules | {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
