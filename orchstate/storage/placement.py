"""Where a store's file lies, and which journal mode is safe there."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from typing import Final, Literal

JournalMode = Literal["wal", "truncate"]

_NETWORK: Final = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "fuse.sshfs",
    "9p",
    "afs",
    "ceph",
    "glusterfs",
    "lustre",
)


def journal_mode(path: Path, *, version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> JournalMode:
    """Return the fastest journal mode that is safe for a file.

    WAL is used only where the SQLite library has the fix of the WAL-reset bug, which
    could corrupt a file when two connections write and checkpoint at once, and where the
    file system is local, since WAL needs shared memory.

    Parameters
    ----------
    path
        The store's file; need not exist.
    version
        Version of the SQLite library.
    """
    return "wal" if has_wal_fix(version) and not is_network(path) else "truncate"


def has_wal_fix(version: tuple[int, int, int]) -> bool:
    """Whether a SQLite version has the fix of the WAL-reset bug (3.51.3, 3.50.7 and 3.44.6).

    Examples
    --------
    >>> has_wal_fix((3, 50, 6)), has_wal_fix((3, 50, 7)), has_wal_fix((3, 51, 2))
    (False, True, False)
    """
    if version >= (3, 51, 3):
        return True
    return any(version[:2] == fixed[:2] and version >= fixed for fixed in ((3, 50, 7), (3, 44, 6)))


def is_network(path: Path) -> bool:
    """Whether a path lies on a network file system; only Linux can tell, others say no."""
    return sys.platform == "linux" and _mount_type(path) in _NETWORK


def _mount_type(path: Path) -> str:
    real = path.absolute().resolve()
    best, kind = "", ""
    try:
        lines = Path("/proc/self/mounts").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        _, mount, fs_type, *_ = line.split(" ")
        mount = mount.replace("\\040", " ")
        if real.is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, fs_type
    return kind
