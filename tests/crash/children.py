"""What a child process does; in a module of its own, since a spawned one imports it."""

from __future__ import annotations

import os

import orchstate


def add_one(path: str) -> int:
    """Open the store by its path, edit, and return the process id, which is the new value."""
    with orchstate.open(path, secrets="memory") as store:
        store.configs[f"child {os.getpid() % 4}"].update(seed=os.getpid()).wait(60)
    return os.getpid()
