"""Fixtures that give tests the real parts of the test bed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING, Protocol

import pytest
from testbed import secret_service as secret_service_bed
from testbed.branch import command
from testbed.chromium import Chromium
from testbed.environment import clean
from testbed.jupyter import Lab
from testbed.llm import LlmServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class LabFactory(Protocol):
    """Starts a JupyterLab whose kernels find `environment`; it ends with those who share it."""

    def __call__(self, environment: Mapping[str, str] | None = None) -> Lab: ...


@pytest.fixture(scope="session")
def llm_server() -> Iterator[LlmServer]:
    """A real LLM server: ``.base_url``, ``.root_url``, ``.api_key``, ``.model``."""
    with LlmServer() as server:
        yield server


@pytest.fixture(scope="session")
def secret_service() -> Iterator[secret_service_bed.SecretService]:
    """A real Secret Service: ``.environment`` for kernels and programs, ``.lookup()``, ``.locked()``."""
    if not secret_service_bed.is_supported():
        pytest.skip("The Secret Service is Linux's keyring; this system cannot have one.")
    missing = secret_service_bed.missing_programs()
    if missing:
        pytest.fail(f"Not installed: {', '.join(missing)}. Run tests/install_system_packages.sh")
    with secret_service_bed.SecretService() as service:
        yield service


@contextlib.contextmanager
def labs_in_one_browser() -> Iterator[LabFactory]:
    """Give a function that starts a JupyterLab; all of them are gone in the end."""
    with contextlib.ExitStack() as labs:
        chromium: list[Chromium] = []

        def start(environment: Mapping[str, str] | None = None) -> Lab:
            if not chromium:
                chromium.append(labs.enter_context(Chromium()))
            return labs.enter_context(Lab(environment, chromium=chromium[0]))

        yield start


# For one module, not for the session: while a browser is there, asyncio.run() does not work.
@pytest.fixture(scope="module")
def lab_factory() -> Iterator[LabFactory]:
    """A function that starts a JupyterLab: ``lab_factory({"ORCHSTATE_STORE": path})``."""
    with labs_in_one_browser() as start:
        yield start


class Run(Protocol):
    """Runs ``orchstate`` with these arguments; the store is ``store.db`` in the test's folder."""

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What the command finds: a home of its own, no keyring, and a store in the test's folder."""
    folder = tmp_path / "definitions"
    folder.mkdir()
    return clean(
        tmp_path / "home",
        ORCHSTATE_STORE=str(tmp_path / "store.db"),
        ORCHSTATE_VAULT=str(tmp_path / "vault.json"),
        ORCHSTATE_PROVIDERS=str(folder),
        PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring",
    )


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str]) -> Run:
    """The command, as a process of its own."""

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        if not any(name.startswith("PYTHON") for name in more):
            return command(arguments, environment | more, tmp_path)
        return subprocess.run(
            [sys.executable, "-m", "orchstate", *arguments],
            env=environment | more,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    """A store with two configs; closed."""
    import orchstate as orch

    path = tmp_path / "store.db"
    with orch.open(path, secrets="memory", actor="me") as store:
        gpt = store.configs.upsert("gpt", "openai", model="m", api_key=orch.env("OPENAI_API_KEY"))
        gpt.temperature = 0.5
        store.configs.upsert("local", "ollama")
    return path
