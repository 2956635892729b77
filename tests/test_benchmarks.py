from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import orchstate
from benchmarks.__main__ import AREAS
from benchmarks.filling import fill
from benchmarks.measuring import Figure, Limit, Samples, interleave
from benchmarks.table import number, plain, table

ROOT = Path(__file__).parents[1]
OURS = Samples(((2.0, 3.0, 4.0), (4.0, 6.0, 8.0)))
BARE = Samples(((1.0, 1.5, 2.0), (2.0, 2.0, 2.0)))


def test_a_ratio_is_taken_within_each_round() -> None:
    assert Figure("edit", "us", OURS, "sqlite3", BARE).ratios == (2.0, 3.0)


def test_p99_of_few_samples_is_the_largest() -> None:
    assert (OURS.p99, Samples((tuple(map(float, range(200))),)).p99) == (8.0, 197.0)


def test_every_side_begins_a_round_in_its_turn() -> None:
    order: list[str] = []

    def side(name: str) -> list[float]:
        order.append(name)
        return [1.0]

    interleave(2, lambda: side("a"), lambda: side("b"))
    assert order == ["a", "b", "b", "a"]


@pytest.mark.parametrize(
    ("limit", "is_over"),
    [
        (Limit("p99", 7.9), True),
        (Limit("p99", 8.0), False),
        (Limit("median", 4.0), False),
        (Limit("max", 7.9), True),
        (Limit("max", 8.0), False),
    ],
)
def test_a_ceiling_is_exceeded_above_it(limit: Limit, is_over: bool) -> None:
    assert Figure("edit", "us", OURS, ceiling=limit).is_over is is_over


def test_a_missed_goal_is_shown_and_is_no_failure() -> None:
    figure = Figure("edit", "us", OURS, "sqlite3", BARE, goals=(Limit("ratio", 1.0),))
    assert "<= 1x MISSED" in table({"edits": [figure]})
    assert not figure.is_over


def test_a_ratio_that_cannot_be_measured_keeps_no_limit() -> None:
    figure = Figure("edit", "us", OURS, "nothing", Samples(((0.0,), (0.0,))))
    assert not figure.keeps(Limit("ratio", 1.0))


def test_figures_become_json() -> None:
    (found,) = plain({"edits": [Figure("edit", "us", OURS, "sqlite3", BARE)]})
    assert json.loads(json.dumps(found))["rounds"] == [3.0, 6.0]


@pytest.mark.parametrize(("value", "text"), [(-0.5, "-0.500"), (99.96, "100.0"), (1e6, "1,000,000")])
def test_numbers_keep_the_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text


def test_one_area_can_be_measured_alone(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "benchmarks", "reads", "--quick", "--json", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    # A busy machine exceeds ceilings; then it has to end with 1.
    is_over = "Ceilings exceeded: none." not in done.stdout
    assert done.returncode == is_over, done.stdout + done.stderr
    assert {figure["area"] for figure in json.loads(report.read_text())["figures"]} == {"reads"}


def test_a_store_that_is_filled_for_measuring_is_a_sound_one(tmp_path: Path) -> None:
    fill(tmp_path / "store.db", 3, 10)
    with orchstate.open(tmp_path / "store.db", secrets="memory") as store:
        assert store._engine.check() == []
        assert list(store.configs) == ["config 0", "config 1", "config 2"]
        changes = store.history.changes("config 1", field="temperature")
        assert changes["old"].tolist()[1:] == changes["new"].tolist()[:-1]
        store.configs["config 1"].temperature = 0.9
        store.configs.create("openai", name="new")
        store.flush()
        assert (store.status, len(store.history), store.at(3).configs["config 1"].at("temperature")) == (
            "ready",
            12,
            0.5,
        )


def test_an_unknown_area_is_named_with_those_that_are_there() -> None:
    command = [sys.executable, "-m", "benchmarks", "nowhere"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert all(area in done.stderr for area in ("nowhere", *AREAS))
