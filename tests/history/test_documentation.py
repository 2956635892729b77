"""What docs/time-travel.md says is so."""

from __future__ import annotations

import re
from pathlib import Path

import orchstate
from orchstate.state.undo import Reason

PAGE = (Path(__file__).parents[2] / "docs" / "time-travel.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_code_of_the_page_runs_and_does_what_it_says() -> None:
    with orchstate.open(":memory:") as store:
        gpt = store.configs.create("openai", name="gpt", temperature=0.2)
        names = {"store": store, "gpt": gpt}
        values = []
        for block in BLOCKS:
            exec(block, names)
            values.append(gpt.temperature)
        assert values == [0.9, 0.2, 1.5, 1.5]
        assert names["then"].temperature == 0.2
        assert names["label"].value == "hot"


def test_the_page_has_every_reason_why_something_is_left_alone() -> None:
    told = set(re.findall(r"^\| `\"(.*?)\"`", PAGE, re.MULTILINE))
    assert told == {*Reason.__args__} - {"changed", "deleted"}
