"""What users install: a wheel with all that it needs and nothing else, and sources that can be tested."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from testbed.environment import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[1]
QUICKSTART = "orchstate/notebooks/01_quickstart.ipynb"


def _build(kind: str, source: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sources")
    with tarfile.open(_build("sdist", ROOT, folder / "built")) as packed:
        packed.extractall(folder, filter="data")
    (unpacked,) = folder.glob("orchstate-*")
    return unpacked


class Installation:
    """An environment with the wheel and the packages that its core needs; no other is there."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        venv.create(folder / "venv", symlinks=True, with_pip=False)
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        # Those that are here already, so that nothing is downloaded.
        for distribution in _needed(_core(wheel)):
            _link(distribution, site)
        pip = [sys.executable, "-m", "pip", "--python", str(self.python)]
        self._run([*pip, "install", "--no-index", "--no-deps", "--quiet", str(wheel)])

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run ``orchstate`` and return what it prints."""
        return self._run([str(self.python.with_name("orchstate")), *arguments], code)

    def python_code(self, text: str) -> str:
        """Run Python and return what it prints; a warning is an error."""
        return self._run([str(self.python), "-W", "error", "-c", text])

    def _run(self, command: list[str], code: int = 0) -> str:
        environment = clean(
            self.folder / "home",
            ORCHSTATE_STORE=str(self.folder / "store.db"),
            ORCHSTATE_VAULT=str(self.folder / "vault.json"),
            PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring",
        )
        done = subprocess.run(
            command, env=environment, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr


def _core(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as content:
        (name,) = (name for name in content.namelist() if name.endswith(".dist-info/METADATA"))
        lines = content.read(name).decode().splitlines()
    needed = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    return [line for line in needed if "extra ==" not in line]


def _needed(requirements: Iterable[str]) -> list[metadata.Distribution]:
    """Return the distributions that these requirements stand for, and what they need in their turn."""
    found: dict[str, metadata.Distribution] = {}
    open_ones = list(requirements)
    while open_ones:
        requirement = open_ones.pop()
        name = re.match(r"[\w.-]+", requirement)
        assert name is not None, requirement
        key = re.sub(r"[-_.]+", "-", name[0]).lower()
        if key in found or "extra ==" in requirement:
            continue
        try:
            found[key] = metadata.distribution(key)
        except metadata.PackageNotFoundError:
            # Of another system, or of another Python: pip would have brought it here.
            assert ";" in requirement, requirement
            continue
        open_ones += found[key].requires or []
    return list(found.values())


def _link(distribution: metadata.Distribution, site: Path) -> None:
    for top in {Path(file).parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
        target = Path(str(distribution.locate_file(top)))
        if not (site / top).exists():
            (site / top).symlink_to(target)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Installation:
    return Installation(tmp_path_factory.mktemp("installation"), wheel)


def _files(folder: Path) -> set[str]:
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {f"{folder.name}/{file.as_posix()}" for file in files if not any(map(_is_cache, file.parts))}


def _is_cache(name: str) -> bool:
    return name == "__pycache__" or name.startswith(".")


def test_the_wheel_is_the_package_and_the_quickstart(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        names = {name for name in content.namelist() if ".dist-info/" not in name}
        assert json.loads(content.read(QUICKSTART))["cells"]
    assert names == _files(ROOT / "orchstate") | {QUICKSTART}
    assert {"orchstate/py.typed", "orchstate/providers/catalog/openai.json"} <= names


def test_it_works_with_its_core_packages_alone(installation: Installation) -> None:
    absent = ("pytest", "jupyterlab", "openai", "anthropic", "ollama", "httpx", "ruff", "mypy")
    text = f"""
import importlib.util
import orchstate as orch
assert not [name for name in {absent} if importlib.util.find_spec(name)]
store = orch.open()
gpt = store.configs.upsert("gpt", "openai", model="m", temperature=0.2)
gpt.temperature = 0.7
store.flush()
print(store.history.changes("gpt")["new"].tolist()[-1], type(gpt.form()).__name__)
"""
    assert installation.python_code(text).split() == ["0.7", "ConfigForm"]
    assert re.search(r"^gpt +openai +m ", installation.run("list"), re.MULTILINE)


def test_its_doctor_finds_no_problem(installation: Installation) -> None:
    findings = json.loads(installation.run("doctor", "--json"))
    assert not [finding for finding in findings if finding["level"] == "problem"]
    assert "anthropic, ollama, openai, openai_compatible" in {finding["message"] for finding in findings}


def test_its_quickstart_is_the_projects(installation: Installation) -> None:
    text = "from orchstate.lab import quickstart; import pathlib; print(quickstart(pathlib.Path.cwd()))"
    copy = installation.folder / installation.python_code(text).strip()
    assert copy.read_bytes() == (ROOT / "notebooks" / "01_quickstart.ipynb").read_bytes()


def test_without_its_extra_the_lab_says_what_to_install(installation: Installation) -> None:
    assert 'pip install "orchstate[lab]"' in installation.run("lab", code=1)


def test_the_sources_make_the_same_wheel(sources: Path, wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(_build("wheel", sources, tmp_path)) as again, zipfile.ZipFile(wheel) as content:
        assert {(file.filename, file.CRC) for file in again.infolist()} == {
            (file.filename, file.CRC) for file in content.infolist()
        }


@pytest.mark.parametrize("folder", [".ci", "benchmarks", "binder", "docs", "notebooks", "tests"])
def test_the_sources_have_every_folder_whole(sources: Path, folder: str) -> None:
    assert _files(sources / folder) == _files(ROOT / folder)


def test_the_sources_have_what_builds_and_tests_them_and_no_build(sources: Path) -> None:
    names = {path.name for path in sources.iterdir()}
    assert names > {
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        "README.md",
        "conftest.py",
        "mkdocs.yml",
    }
    assert not names & {".git", ".venv", ".venv-3.13", "artifacts", "dist", "site"}
