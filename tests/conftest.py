"""Fixtures that give tests the real parts of the test bed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

import pytest
from testbed import secret_service as secret_service_bed
from testbed.chromium import Chromium
from testbed.jupyter import Lab
from testbed.llm import LlmServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class LabFactory(Protocol):
    """Starts a JupyterLab whose kernels find `environment`; it ends with the test module."""

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


# For one module, not for the session: while a browser is there, asyncio.run() does not work.
@pytest.fixture(scope="module")
def lab_factory() -> Iterator[LabFactory]:
    """A function that starts a JupyterLab: ``lab_factory({"ORCHSTATE_STORE": path})``."""
    with contextlib.ExitStack() as labs:
        chromium: list[Chromium] = []

        def start(environment: Mapping[str, str] | None = None) -> Lab:
            if not chromium:
                chromium.append(labs.enter_context(Chromium()))
            return labs.enter_context(Lab(environment, chromium=chromium[0]))

        yield start
