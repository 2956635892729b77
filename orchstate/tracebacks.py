"""Tracebacks without what was in them: a key that was on its way when something failed.

A traceback keeps the frames of the functions that it went through, and they their
variables; debuggers and error reporters show those.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any


def forget(error: BaseException) -> None:
    """Empty the frames of everything that has ended with `error`; lines and messages stay.

    The frame that calls this still runs, so it deletes its own variables.
    """
    seen: set[int] = set()
    open_ones: list[BaseException | None] = [error]
    while open_ones:
        link = open_ones.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        traceback.clear_frames(link.__traceback__)
        open_ones += [link.__cause__, link.__context__]


class Forgetting:
    """A ``with`` block whose errors leave no variables behind, apart from those of its own function.

    Parameters
    ----------
    *held
        Mappings of that function, emptied as well.

    Examples
    --------
    >>> values = {"api_key": "sk-1"}
    >>> try:
    ...     with Forgetting(values):
    ...         int("no number")
    ... except ValueError:
    ...     print(values)
    {}
    """

    def __init__(self, *held: dict[str, Any]) -> None:
        self._held = held

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            forget(error)
            for values in self._held:
                values.clear()
