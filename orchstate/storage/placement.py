"""Where a store's file lies: what the path may be, and which journal mode is safe there."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from orchstate.errors import ReadOnlyError, StoreError, StoreWriteError

if TYPE_CHECKING:
    from collections.abc import Sequence

JournalMode = Literal["wal", "truncate"]

# Where other machines may have the file open too, or the host of this one: WAL needs memory that all share.
_NETWORK: Final = frozenset(
    "9p afs beegfs ceph cifs drvfs glusterfs gpfs lustre ncpfs nfs nfs4 orangefs prl_fs smb3 smbfs vboxsf "
    "virtiofs vmhgfs".split()
)
# File systems of programs: most are far away, and few share memory. These are disks.
_FUSE, _LOCAL_FUSE = "fuse", frozenset(("fuseblk", "fuse.mergerfs", "fuse.fuse-overlayfs", "fuse.bindfs"))

# Below it there is a warning: some thousand edits more, or one large one, and the disk is full.
LITTLE_SPACE_BYTES: Final = 10 * 1024 * 1024


def prepare(path: Path, *, read_only: bool) -> tuple[Path, ...]:
    """Make a missing file, private to its owner; refuse what can be no store.

    Returns
    -------
    tuple of Path
        The folders and the file that were made, for :func:`discard`.

    Raises
    ------
    StoreError
        If the path is a folder or a device, may not be read, or is missing and `read_only` is set.
    ReadOnlyError
        If the file or its folder may not be written and `read_only` is not set.
    StoreWriteError
        If it cannot be made.
    """
    if path.is_dir():
        raise StoreError(f"{str(path)!r} is a folder. Name a file in it, such as {str(path / 'store.db')!r}.")
    if not path.exists():
        if read_only:
            raise StoreError(
                f"{str(path)!r} does not exist, so it cannot be opened for reading. Check the path, or open "
                "it without read_only=True to make it."
            )
        return _make(path)
    if not path.is_file():
        raise StoreError(f"{str(path)!r} is no file but a device or a pipe. Choose another path.")
    elif not _may(path, os.R_OK):
        raise StoreError(f"{str(path)!r} may not be read. Make it readable for you, or choose another path.")
    elif not read_only:
        _check_writable(path)
    return ()


def discard(made: Sequence[Path]) -> None:
    """Remove what :func:`prepare` made, and what was put beside it, unless something is in it by now."""
    for path in reversed(made):
        with contextlib.suppress(OSError):
            if path.is_dir():
                path.rmdir()
            elif not path.stat().st_size:
                for suffix in ("-journal", "-wal", "-shm", ".lock", ".lock.gate", ""):
                    path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)


def beside(path: Path, suffix: str) -> Path:
    """Return the path of what SQLite, or a salvage, keeps beside a file."""
    return path.with_name(path.name + suffix)


def _make(path: Path) -> tuple[Path, ...]:
    made: list[Path] = []
    try:
        made += [folder for folder in reversed(path.parents) if not folder.exists()]
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Another process may be faster; and closing a handle on a file that nobody has open drops no locks.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            made.append(path)
        return tuple(made)
    except OSError as error:
        discard(made)
        raise StoreWriteError(
            f"Cannot make {str(path)!r}: {error}. Choose a folder you may write in."
        ) from error


def _check_writable(path: Path) -> None:
    # A file without any write permission is meant to be left alone, even by root.
    has_permission = path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    if not has_permission or not _may(path, os.W_OK):
        raise ReadOnlyError(
            f"{str(path)!r} may not be written. Open it with read_only=True, or make it writable."
        )
    if not _may(path.parent, os.W_OK):
        raise ReadOnlyError(
            f"The folder of {str(path)!r} may not be written, and a store needs files beside its own. "
            "Open it with read_only=True, or make the folder writable."
        )


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


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
    return sys.platform == "linux" and is_remote(mount_type(path))


def is_remote(kind: str) -> bool:
    """Whether a type of file system is one that others than the processes of this machine may use.

    Examples
    --------
    >>> is_remote("ext4"), is_remote("nfs4"), is_remote("fuse.sshfs"), is_remote("fuseblk")
    (False, True, True, False)
    """
    return kind in _NETWORK or (kind.startswith(_FUSE) and kind not in _LOCAL_FUSE)


def mount_type(path: Path) -> str:
    """Return the type of the file system that a path lies on, ``""`` if that cannot be seen."""
    real = path.absolute().resolve()
    best, kind = "", ""
    try:
        lines = Path("/proc/self/mounts").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        _, mount, fs_type, *_ = line.split(" ")
        # Spaces, tabs, line breaks and backslashes stand there in octal.
        mount = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), mount)
        if real.is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, fs_type
    return kind
