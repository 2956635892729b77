"""A store that is open while its file is damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import orchstate
from tests.damage.harming import filled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchstate.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of three configs, each with two revisions; closed until `store` opens it."""
    return filled(tmp_path)


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """The same, open."""
    with orchstate.open(path, secrets="memory") as store:
        yield store
