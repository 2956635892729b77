"""For your own tests: a store that lives in memory and vanishes with its block."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchstate.store import Store


@contextlib.contextmanager
def memory_store(*, actor: str = "tester") -> Iterator[Store]:
    """Open an empty store in memory, with keys in memory too, and close it afterwards.

    Nothing touches the disk, the keyring or the user's own store. As a pytest fixture::

        @pytest.fixture
        def store():
            with memory_store() as store:
                yield store

    Parameters
    ----------
    actor
        Who edits, as the history shows it.

    Examples
    --------
    >>> with memory_store() as store:
    ...     claude = store.configs.create("anthropic", name="claude", temperature=0.5)
    ...     claude.temperature
    0.5
    """
    from orchstate.opening import open

    with open(":memory:", actor=actor) as store:
        yield store
