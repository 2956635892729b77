"""What goes out of a store for others, and what comes in from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from orchstate.errors import SetupError, quoted
from orchstate.following import Followed
from orchstate.models.config import ConfigDocument
from orchstate.models.settings import SettingsDocument
from orchstate.tracebacks import forget

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from orchstate.exchange.holder import Holder
    from orchstate.exchange.plan import ImportPlan


class Shared(Followed):
    """What a store can do for others."""

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Write the set-up to one JSON file without secrets; returns its path.

        Raises
        ------
        SetupError
            If the file cannot be written.
        CorruptStoreError
            If a config or the settings are damaged, so that it would not be all; nothing is written.
        StoreError
            If a transaction is still running: what it has done may never be.

        Parameters
        ----------
        path
            The file, replaced if it exists.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> store.export(pathlib.Path(tempfile.mkdtemp()) / "setup.json").name
        'setup.json'
        """
        from orchstate.exchange.export import export

        self._state.check_usable()
        self._check_no_transaction("export")
        if not isinstance(path, str | os.PathLike):
            raise SetupError(f"{quoted(path)} is no path. Name the file to write, such as 'setup.json'.")
        for kind in (ConfigDocument.kind, SettingsDocument.kind):
            self._state.fetch_all(kind)
            self._engine.damages.check_kind(kind, lambda *name: self._state.view.find(*name) is not None)
        return export(cast("Holder", self), Path(path))

    def aexport(self, path: str | os.PathLike[str]) -> Coroutine[Any, Any, Path]:
        """Do what :meth:`export` does without stopping the event loop."""
        return self._in_thread(self.export, path)

    def plan_import(self, source: Any) -> ImportPlan:
        """Return what importing a set-up would do here; nothing is changed by it.

        Parameters
        ----------
        source
            Path of a setup file, or its content as text, bytes or dict.

        Raises
        ------
        SetupError
            If it is no setup that this version can read; says where and why.
        NewerSchemaError
            If a newer version wrote it.

        Examples
        --------
        >>> new = {"name": "new", "provider": "openai"}
        >>> plan = store.plan_import({"format": "orchstate.setup", "version": 1, "configs": [new]})
        >>> plan.apply()
        <ImportResult 1 added (new), 0 changed, 0 skipped; 1 missing>
        """
        from orchstate.exchange.plan import plan_import

        self._state.check_usable()
        try:
            return plan_import(cast("Holder", self), source)
        except BaseException as error:
            # It may be a key, or hold one that does not belong there.
            del source
            forget(error)
            raise

    def aplan_import(self, source: Any) -> Coroutine[Any, Any, ImportPlan]:
        """Do what :meth:`plan_import` does without stopping the event loop."""
        return self._in_thread(self.plan_import, source)
