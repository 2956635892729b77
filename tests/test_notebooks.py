"""What is committed of a notebook: text and outputs, no widget state, nobody's paths; nbval runs them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from testbed.notebook import Notebook

import orchstate as orch

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks() -> None:
    assert [path.name for path in NOTEBOOKS][:1] == ["01_quickstart.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small(path: Path) -> None:
    assert path.stat().st_size < 100_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_carries_no_widget_state(path: Path) -> None:
    assert "widgets" not in json.loads(path.read_text())["metadata"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_names_no_path_of_a_machine(path: Path) -> None:
    assert not re.findall(r"/(?:home|Users|root|tmp|work)/\S*", path.read_text())


def test_the_quickstart_leaves_what_is_there_alone_however_often_its_cells_run(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with orch.open(path, secrets="memory") as store:
        mine = store.active = store.configs.upsert("gpt", "openai", model="my-own", temperature=1.1)
        before = mine.to_dict()
    cells = [cell for cell in json.loads(NOTEBOOKS[0].read_text())["cells"] if cell["cell_type"] == "code"]
    with Notebook(environment={"ORCHSTATE_STORE": str(path)}) as kernel:
        for cell in cells:
            first, again = (kernel.run("".join(cell["source"])) for _ in range(2))
            assert first == again or "nbval-ignore-output" in cell["metadata"].get("tags", [])
    with orch.open(path, read_only=True, secrets="memory") as store:
        assert list(store.configs) == ["gpt", "quickstart"]
        assert (store.configs["gpt"].to_dict(), store.active) == (before, store.configs["gpt"])
