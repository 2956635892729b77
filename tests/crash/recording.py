"""What a process does to its files, step by step, so that the state after each step can be made again."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchstate.durable import durable
from orchstate.storage import outbox
from orchstate.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

Files = dict[str, bytes]
Verb = Literal["write", "cut", "unlink", "rename", "sync", "database", "about", "done"]


@dataclass(frozen=True)
class Step:
    """One thing that happened.

    Parameters
    ----------
    verb
        A ``write`` appends; ``database`` is the whole file after a commit; ``about`` and
        ``done`` are what the recorded program says of its edits.
    name
        Of the file, relative to the folder.
    what
        The bytes, the size, the new name, or the edit.
    """

    verb: Verb
    name: str = ""
    what: Any = None

    def on(self, files: Files) -> None:
        """Do it to files."""
        if self.verb == "write":
            files[self.name] = files.get(self.name, b"") + self.what
        elif self.verb == "cut":
            files[self.name] = files[self.name][: self.what]
        elif self.verb == "database":
            files[self.name] = self.what
        elif self.verb == "unlink":
            files.pop(self.name, None)
        elif self.verb == "rename":
            files[self.what] = files.pop(self.name)


@dataclass
class Recording:
    """All steps in one folder, in order.

    Parameters
    ----------
    folder
        What lies elsewhere is not recorded.
    steps
        What happened.
    """

    folder: Path
    steps: list[Step] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.Lock)

    def add(self, verb: Verb, path: Path | None = None, what: Any = None) -> None:
        """Note a step."""
        if path is not None and not path.is_relative_to(self.folder):
            return
        name = str(path.relative_to(self.folder)) if path else ""
        with self._lock:
            self.steps.append(Step(verb, name, what))

    def start(self, patch: pytest.MonkeyPatch) -> None:
        """Record what the outbox, a backup and the engine do from now on."""
        patch.setattr(outbox, "os", _Os(self))
        unlink, rename, commit = Path.unlink, Path.rename, SqliteEngine.commit

        def recorded_unlink(path: Path, missing_ok: bool = False) -> None:
            unlink(path, missing_ok)
            self.add("unlink", path)

        def recorded_rename(path: Path, target: Path) -> Path:
            renamed = rename(path, target)
            self.add("rename", path, str(target.relative_to(self.folder)))
            return renamed

        def recorded_commit(engine: SqliteEngine, *args: Any) -> Any:
            done = commit(engine, *args)
            # In this mode, and with nobody else there, the file is all there is after a commit.
            assert engine.path and engine.journal_mode == "truncate"
            self.add("database", engine.path, engine.path.read_bytes())
            return done

        def recorded_durable(path: Path) -> None:
            durable(path)
            self.add("sync", path)

        patch.setattr(Path, "unlink", recorded_unlink)
        patch.setattr(Path, "rename", recorded_rename)
        patch.setattr(SqliteEngine, "commit", recorded_commit)
        patch.setattr("orchstate.storage.sqlite.durable", recorded_durable)

    def states(self, before: Files) -> Iterator[tuple[Files, list[Step]]]:
        """Yield the files after each step, and with its write torn, and the steps up to there."""
        files = dict(before)
        yield files, []
        for number, step in enumerate(self.steps, 1):
            past = self.steps[:number]
            if step.verb == "write":
                for size in sorted({1, 7, 8, len(step.what) // 2, len(step.what) - 1}):
                    torn = dict(files)
                    Step("write", step.name, step.what[:size]).on(torn)
                    yield torn, past
            step.on(files)
            if step.verb not in ("about", "sync"):
                yield dict(files), past


class _Os:
    """The module `os` for the outbox, which notes what it does to files."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def write(self, fd: int, data: bytes) -> int:
        written = os.write(fd, data)
        self._recording.add("write", _path_of(fd), data[:written])
        return written

    def ftruncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)
        self._recording.add("cut", _path_of(fd), size)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def _path_of(fd: int) -> Path:
    """Return the path of a file of this process by its number among the open ones."""
    import psutil

    found = os.fstat(fd)
    files = (Path(file.path) for file in psutil.Process().open_files() if file.fd == fd)
    return next(path for path in files if os.path.samestat(os.stat(path), found))
