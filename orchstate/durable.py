"""Durable: what was written survives a power failure, too."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def durable(path: Path) -> None:
    """Have what was written to a file, or the names in a folder, survive a power failure.

    Not for the file of an open store: closing a handle would drop this process's locks on it.

    Raises
    ------
    OSError
        If it is not there, or the disk fails.

    Examples
    --------
    >>> from pathlib import Path
    >>> durable(Path("."))
    """
    # Windows opens no folders.
    if os.name == "posix" or not path.is_dir():
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
