"""What continuous integration would run, as make tells it without running it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from testbed.environment import clean

ROOT = Path(__file__).parents[1]


def _told(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    # Make, told not to run anything, says what it would run.
    own = {"PYENV_ROOT": os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv")), "MAKEFLAGS": "n"}
    return subprocess.run(
        [ROOT / ".ci" / "run"],
        env=clean(folder / "home", **(own | environment)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _with_both_pythons(folder: Path) -> str:
    done = _told(folder)
    if "Continuous integration needs Python" in done.stderr:
        pytest.skip("Python 3.11 and 3.13 are not both here.")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "step",
    [
        "/ruff check",
        "/ruff format --check",
        "/mypy",
        "/mkdocs build --strict",
        "nice .venv/bin/python -m pytest -n 3 --dist worksteal -o cache_dir=.pytest_cache/beside "
        '-m "not browser and not keyring and not llm and not long"',
        ".venv/bin/python -m pytest --nbval --nbval-current-env "
        "--nbval-cell-timeout=120 --nbval-sanitize-with=tests/nbval_sanitize.cfg "
        '-m "(browser or keyring or llm or notebook) and not long"',
    ],
)
def test_it_runs_every_step_once(tmp_path: Path, step: str) -> None:
    assert _with_both_pythons(tmp_path).count(step) == 1


def test_the_fast_tests_run_on_the_newest_python_alone(tmp_path: Path) -> None:
    told = _with_both_pythons(tmp_path)
    fast = [line for line in told.splitlines() if "pytest" in line and "not crash" in line]
    assert len(fast) == 1 and fast[0].startswith("nice .venv-3.13/bin/python -m pytest -n 3")


def test_a_python_that_is_not_there_is_said(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "env", "dirname", "make"):
        (programs / name).symlink_to(str(shutil.which(name)))
    done = _told(tmp_path, PATH=str(programs), PYENV_ROOT=str(tmp_path))
    assert done.returncode == 1 and not done.stdout
    assert "Continuous integration needs Python 3.11, which is neither here nor can be" in done.stderr
