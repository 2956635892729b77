"""What happens to open stores when the process forks.

Without this, a child would inherit a writer thread that does not run, half-done
statements, and locks that count as its own. What is guarded here waits for its statements
before the fork, goes on in the parent, and is disabled in the child.
"""

from __future__ import annotations

import os
import weakref
from functools import cache
from typing import Final, Protocol


class Guarded(Protocol):
    """Something that has to know of forks."""

    def before_fork(self) -> None:
        """Come to rest."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Become unusable, without effect on the parent."""


_guarded: Final[weakref.WeakSet[Guarded]] = weakref.WeakSet()
# Everyone who came to rest before a running fork: the set itself may change meanwhile.
_resting: Final[list[Guarded]] = []


def guard(thing: Guarded) -> None:
    """Have `thing` told of every fork for as long as it lives."""
    _register()
    _guarded.add(thing)


@cache
def _register() -> None:
    # Once per process, and at first use: importing changes nothing.
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


def _before() -> None:
    _resting.extend(_guarded)
    for thing in _resting:
        thing.before_fork()


def _in_parent() -> None:
    for thing in _resting:
        thing.after_fork_in_parent()
    _resting.clear()


def _in_child() -> None:
    for thing in _resting:
        thing.after_fork_in_child()
    _resting.clear()
    _guarded.clear()
