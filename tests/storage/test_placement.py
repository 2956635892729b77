"""Where a store may lie, and which journal mode is safe there."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from orchstate.errors import ReadOnlyError, StoreError, StoreWriteError
from orchstate.storage import placement
from orchstate.storage.placement import has_wal_fix, is_network, journal_mode, prepare


@pytest.mark.parametrize(
    ("version", "is_fixed"),
    [
        ((3, 7, 0), False),
        ((3, 34, 1), False),
        ((3, 37, 2), False),
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 44, 9), True),
        ((3, 45, 1), False),
        ((3, 45, 3), False),
        ((3, 46, 1), False),
        ((3, 49, 1), False),
        ((3, 50, 0), False),
        ((3, 50, 4), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 50, 8), True),
        ((3, 51, 0), False),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
        ((4, 0, 0), True),
    ],
)
def test_wal_is_used_only_where_its_reset_is_safe(
    version: tuple[int, int, int], is_fixed: bool, tmp_path: Path
) -> None:
    assert has_wal_fix(version) is is_fixed
    assert journal_mode(tmp_path / "store.db", version=version) == ("wal" if is_fixed else "truncate")


@pytest.mark.parametrize("fs_type", ["nfs4", "nfs", "cifs", "fuse.sshfs", "fuse.rclone", "virtiofs", "9p"])
def test_wal_is_not_used_on_a_network(fs_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = (
        f"/dev/vda / ext4 rw 0 0\nserver:/home /home {fs_type} rw 0 0\n/dev/vdb /home/local ext4 rw 0 0\n"
    )
    monkeypatch.setattr(Path, "read_text", lambda self, **options: mounts)
    assert is_network(Path("/home/me/store.db"))
    assert not is_network(Path("/home/local/store.db"))
    assert not is_network(Path("/homestead/store.db"))
    assert journal_mode(Path("/home/me/store.db"), version=(3, 52, 0)) == "truncate"


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "zfs", "fuseblk"])
def test_disks_count_as_local(fs_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self, **options: f"x /files {fs_type} rw 0 0\n")
    assert not is_network(Path("/files/store.db"))


def test_a_mount_with_a_space_in_its_name_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self, **options: "x /my\\040files nfs rw 0 0\n")
    assert is_network(Path("/my files/store.db"))


def test_without_a_list_of_mounts_every_file_counts_as_local(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, **options: object) -> str:
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", refuse)
    assert not is_network(Path("/home/me/store.db"))


def test_a_missing_file_is_made_private_with_its_folders(tmp_path: Path) -> None:
    prepare(tmp_path / "a" / "b" / "store.db", read_only=False)
    assert stat.S_IMODE((tmp_path / "a" / "b" / "store.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_an_existing_file_keeps_its_bytes_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_text("kept")
    path.chmod(0o640)
    prepare(path, read_only=False)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("kept", 0o640)


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is a folder. Name a file in it, such as '.*store.db'"):
        prepare(tmp_path, read_only=False)


def test_a_pipe_and_a_device_are_no_store(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    for path in (tmp_path / "pipe", tmp_path / "socket", Path("/dev/null")):
        with pytest.raises(StoreError, match="is no file but a device or a pipe"):
            prepare(path, read_only=False)
    server.close()


def test_reading_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist, so it cannot be opened for reading"):
        prepare(tmp_path / "store.db", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_write_permission_is_left_alone_even_by_root(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch(0o444)
    with pytest.raises(ReadOnlyError, match="Open it with read_only=True, or make it writable"):
        prepare(path, read_only=False)
    prepare(path, read_only=True)


@pytest.mark.parametrize("target", ["file/store.db", "/proc/store.db"])
def test_a_place_that_takes_no_file_is_an_error_with_the_next_step(target: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        StoreWriteError, match=r"Cannot make '.*store.db': .*Choose a folder you may write in"
    ):
        prepare(tmp_path / target, read_only=False)


def test_somebody_faster_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.db"
    path.write_text("theirs")
    placement._make(path)
    assert path.read_text() == "theirs"
