"""Where measuring happens: a throw-away folder, stores in it, and nothing of the person who measures."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orchstate as orch
from benchmarks import bare
from benchmarks.filling import fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping

    from orchstate.store import Store

ROOT: Final = Path(__file__).resolve().parent.parent
_FOLDERS: Final = {
    "HOME": "home",
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "XDG_STATE_HOME": "state",
    "IPYTHONDIR": "ipython",
    "JUPYTER_CONFIG_DIR": "jupyter",
    "JUPYTER_DATA_DIR": "jupyter",
    "JUPYTER_RUNTIME_DIR": "runtime",
    "ORCHSTATE_PROVIDERS": "providers",
}


@dataclass(frozen=True)
class Bench:
    """What every area is given.

    Parameters
    ----------
    folder
        For files; removed afterwards.
    is_quick
        Whether to take few samples.
    """

    folder: Path
    is_quick: bool = False
    _filled: dict[str, Path] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def pick(self, full: int, quick: int) -> int:
        """Return how many samples to take."""
        return quick if self.is_quick else full

    @property
    def rounds(self) -> int:
        """How often each side has its turn."""
        return self.pick(5, 3)

    @property
    def many(self) -> int:
        """A large number of configs, or of revisions."""
        return self.pick(10_000, 1_000)

    @property
    def most(self) -> int:
        """The largest number of configs, or of revisions, to measure with."""
        return self.pick(100_000, 2_000)

    def new(self, name: str) -> Path:
        """Return the path of a file that is not there yet, in a folder of its own."""
        folder = self.folder / str(next(self._numbers))
        folder.mkdir()
        return folder / name

    def filled(self, count: int) -> Path:
        """Return the path of a store with so many configs; made once per run."""
        return self._made(f"{count}.db", lambda path: fill(path, count))

    def filled_bare(self, count: int) -> Path:
        """Return the path of a SQLite file with the same documents, written by hand."""
        return self._made(f"bare-{count}.db", lambda path: _fill_bare(path, count))

    def with_history(self, revisions: int) -> Path:
        """Return the path of a store with 100 configs and so many revisions; made once per run."""
        return self._made(f"{revisions}-past.db", lambda path: fill(path, 100, revisions))

    def with_bare_history(self, revisions: int) -> Path:
        """Return the path of a SQLite file with the same history, written by hand."""
        name = f"bare-{revisions}-past.db"
        return self._made(name, lambda path: bare.fill_history(path, self.with_history(revisions)))

    def _made(self, name: str, make: Callable[[Path], None]) -> Path:
        if name not in self._filled:
            path = self._filled[name] = self.new(name)
            make(path)
        return self._filled[name]


def open_store(path: Path) -> Store:
    """Open a store whose keys, of which there are none, would be kept in memory."""
    return orch.open(path, secrets="memory", actor="bench")


def _fill_bare(path: Path, count: int) -> None:
    bare.Sqlite(path, journal_mode="truncate", synchronous="off", count=count).connection.close()


def shelter(environ: MutableMapping[str, str], folder: Path) -> None:
    """Change `environ` so that nothing of the person who measures is read or written.

    Programs that are started from it import what is byte-compiled, as people do.
    """
    for name in list(environ):
        if name.startswith(("ORCHSTATE_", "OPENAI_")) or name == "PYTHONDONTWRITEBYTECODE":
            del environ[name]
    for name, part in _FOLDERS.items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        environ[name] = str(folder / part)
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), environ.get("PYTHONPATH"))))
    environ["ORCHSTATE_STORE"] = str(folder / "own" / "store.db")
    environ["ORCHSTATE_VAULT"] = str(folder / "own" / "vault.json")
