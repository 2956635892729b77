"""Packages are told from the metadata of orchstate itself, so nothing is declared twice."""

from __future__ import annotations

import tomllib
from pathlib import Path

from orchstate.exchange.packages import core_packages, is_installed, missing_packages, packages_for

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def test_the_oldest_versions_are_those_of_the_project() -> None:
    for sdk in ("openai", "anthropic", "ollama"):
        (requirement,) = PROJECT["optional-dependencies"][sdk]
        assert requirement == f"{sdk}{packages_for([sdk])[sdk]}"


def test_the_core_is_what_the_project_depends_on() -> None:
    assert [f"{name}{oldest}" for name, oldest in sorted(core_packages().items())] == sorted(
        PROJECT["dependencies"]
    )


def test_an_older_version_than_needed_is_missing() -> None:
    assert is_installed("pydantic", ">=2.10") and not is_installed("pydantic", ">=9999.1")


def test_versions_are_compared_as_numbers() -> None:
    assert (
        is_installed("pytest", ">=8.3")
        and is_installed("pytest", "")
        and not is_installed("pytest", ">=1000")
    )


def test_a_newer_orchstate_than_this_one_is_missing() -> None:
    (missing,) = missing_packages({}, {"orchstate": ">=9999"})
    assert missing.next_step == 'pip install --upgrade "orchstate>=9999"'
