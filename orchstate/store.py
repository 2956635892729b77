"""The store: what a notebook holds, and how one is opened."""

from __future__ import annotations

import contextlib
import logging
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from orchstate.active import Active
from orchstate.cells import CellEnd
from orchstate.configs import Configs
from orchstate.conflicts import Conflicts
from orchstate.errors import CorruptStoreError, OrchstateError, StoreError
from orchstate.history.history import History
from orchstate.keyed import Services
from orchstate.kinds import Settings, kinds_of, record_class
from orchstate.loops import in_thread
from orchstate.models.conflict import ConflictDocument
from orchstate.models.names import check_label
from orchstate.models.profile import ProfileDocument
from orchstate.models.settings import SettingsDocument
from orchstate.origin import origin
from orchstate.providers.registry import Registry
from orchstate.shared import Shared
from orchstate.state.state import State
from orchstate.sweeping import Sweeper
from orchstate.timed import Timed
from orchstate.tracebacks import forget

if TYPE_CHECKING:
    from pathlib import Path

    from orchstate.adoption import Adoption
    from orchstate.following import Options
    from orchstate.secrets.secrets import Secrets
    from orchstate.storage.sqlite import SqliteEngine

logger = logging.getLogger(__name__)

# How long close() waits for an engine that does not answer; what is open then stays in the outbox.
_CLOSE_S: Final = 10.0


class Store(Timed, Shared):
    """All state of one store, as this notebook sees and changes it.

    Made by :func:`orchstate.open`. After :meth:`close`, and in a forked child, what was read before can
    still be looked at; every method raises ``ClosedError`` or ``ForkedStoreError``.

    Examples
    --------
    >>> import orchstate as orch
    >>> with orch.open(":memory:") as store:
    ...     gpt = store.configs.upsert("gpt", "openai", model="gpt-5.4-mini")
    ...     gpt.temperature = 0.7
    ...     store.flush()
    2
    """

    providers: Registry
    secrets: Secrets
    configs: Configs
    conflicts: Conflicts
    history: History

    def __init__(
        self,
        engine: SqliteEngine,
        journal: Any,
        options: Options,
        secrets: Secrets,
        adoption: Adoption | None = None,
    ) -> None:
        super().__init__()
        self._engine = engine
        self._adoption = adoption
        self._options = options
        self.providers = Registry()
        self.secrets = secrets
        kinds = kinds_of(self.providers)
        self._state = State(
            engine,
            journal,
            kinds,
            record_class=record_class,
            origin=partial(origin, options.actor),
            changed=self._tell,
            care=partial(adoption.run_again, lambda: self._state.look_again()) if adoption else None,
        )
        self.configs = Configs(self._state, "config")
        self.conflicts = Conflicts(self._state)
        self.history = History(
            engine, self._state, snapshots=self._snapshots, origin=partial(origin, options.actor)
        )
        self._state.services = Services(
            registry=self.providers,
            secrets=self.secrets,
            history=self.history,
            store_id=engine.store_id,
            settings=lambda: self.settings,
            drop_unused=Sweeper(self._state, self.secrets, lambda: engine.places).drop_unused,
            place=engine.place,
        )
        self._active = Active(self._state, self.configs, options.actor)
        self._told = ()
        self._cell_end = CellEnd(self._state.flush)
        if not self._is_loading:
            self._begin()

    def _begin(self) -> None:
        """Take up work, now that what is stored may be read."""
        self._state.go()
        # What everybody asks for, so that it can be looked at after close(), too.
        for kind in (SettingsDocument.kind, ProfileDocument.kind, ConflictDocument.kind):
            self._state.fetch_all(kind)

    def _failed_to_load(self, error: OrchstateError) -> None:
        if isinstance(error, CorruptStoreError):
            self._engine.damages.add(error)
        else:
            self._state.error = error

    # -- state ------------------------------------------------------------------------

    @property
    def path(self) -> Path | None:
        """The store's file; None for a store in memory."""
        return self._engine.path

    @property
    def id(self) -> str:
        """The store's id, the same for everybody who opens it."""
        return self._engine.store_id

    @property
    def actor(self) -> str:
        """Who edits here, as the history shows it."""
        return self._options.actor

    @property
    def settings(self) -> Settings:
        """The settings: one record with nested ones; made with the first change."""
        id = str(uuid.uuid5(uuid.UUID(self.id), "settings:settings:0"))
        return cast("Settings", self._state.singleton(id, SettingsDocument.initial(id)))

    # -- editing ----------------------------------------------------------------------

    def transaction(self, label: str = "") -> contextlib.AbstractContextManager[None]:
        """Make the edits of a ``with`` block all or nothing, one undo step, one round of notifications.

        Parameters
        ----------
        label
            What the block is called in the history.

        Examples
        --------
        >>> with store.transaction("tuning"):
        ...     gpt.temperature = 0.3
        ...     gpt.top_p = 0.9
        >>> store.undo()
        <Undone gpt.temperature, gpt.top_p of 'tuning'>
        """
        self._state.check_usable()
        try:
            return self._state.transaction(check_label(label))
        except BaseException as error:
            del label
            forget(error)
            raise

    # -- outcomes ---------------------------------------------------------------------

    def flush(self, timeout: float | None = None) -> int:
        """Return the store's seq once everything accepted before is committed and on disk.

        Parameters
        ----------
        timeout
            Seconds to wait at most; None waits as long as there is progress.

        Raises
        ------
        FlushError
            If it is not; the edits stay in the outbox and are not lost.
        StoreError
            If a transaction is still running, whose edits are not accepted yet.

        Examples
        --------
        >>> gpt.temperature = 0.9
        >>> store.flush(timeout=5)
        2
        """
        self._check_no_transaction("flush")
        return self._state.flush(timeout)

    async def aflush(self, timeout: float | None = None) -> int:
        """Do what :meth:`flush` does without stopping the event loop.

        Parameters
        ----------
        timeout
            Seconds to wait at most; None waits as long as there is progress.
        """
        self._check_no_transaction("aflush")
        await in_thread(self._state.wait, timeout)
        self._state.catch_up()
        return self._state.seq

    def refresh(self, timeout: float | None = None) -> int:
        """Return the store's seq once everything that others have committed by now is seen here.

        Nobody has to call it, since news arrive by themselves; it helps where one step
        must not begin before. What is stored is verified again: damage that can be mended
        is, other damage is in :attr:`error` afterwards; if none is left, the status is no
        longer degraded by it. Own edits that are on their way stay.

        Parameters
        ----------
        timeout
            Seconds to wait at most; None waits as long as there is progress.

        Raises
        ------
        StoreError
            If it could not be read in time.
        """
        return self._state.refresh(timeout)

    async def arefresh(self, timeout: float | None = None) -> int:
        """Do what :meth:`refresh` does without stopping the event loop.

        Parameters
        ----------
        timeout
            Seconds to wait at most; None waits as long as there is progress.
        """
        await in_thread(self._state.wait_for_news, timeout)
        self._state.catch_up()
        return self._state.seq

    def close(self) -> None:
        """Commit what is accepted and release everything; harmless when repeated.

        Raises
        ------
        StoreError
            If a transaction is still running, whose edits would be lost.
        """
        self._check_no_transaction("close")
        self._close(_CLOSE_S)

    async def aclose(self) -> None:
        """Do what :meth:`close` does without stopping the event loop."""
        await self._in_thread(self.close)

    def _close(self, timeout_s: float) -> None:
        self._cell_end.forget()
        if self._engine.loading.wait(timeout_s):
            with contextlib.suppress(StoreError):
                # What is active is still to be seen afterwards.
                self._active.config()
        is_open = not self._state.unusable
        self._state.close(timeout_s)
        if is_open:
            logger.info("Closed %s at revision %d", self._where, self._state.seq)

    def __enter__(self) -> Store:
        self._state.check_usable()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Store:
        return self.__enter__()

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    # -- views ------------------------------------------------------------------------

    def form(self) -> Any:
        """Return the form of the whole store: the list of configs and the form of the chosen one."""
        from orchstate.widgets.store_form import StoreForm

        self._state.check_usable()
        return StoreForm(self)

    def __repr__(self) -> str:
        self._state.catch_up_quietly()
        if self._state.unusable:
            return f"<Store {self._where}: {self._status()}>"
        pending = f", {self._state.pending} saving" if self._state.pending else ""
        asked = len(self._state.view.loaded(ConflictDocument.kind))
        conflicts = f", {asked} conflict{'' if asked == 1 else 's'}" if asked else ""
        return f"<Store {self._where}: {self._status()}, {self._known()}{pending}{conflicts}>"

    # -- inside -----------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return str(self.path) if self.path else ":memory:"

    def _known(self) -> str:
        """Return how many configs there are, as far as that is known without reading the disk."""
        view = self._state.view
        known = len(view.loaded("config"))
        if not known and not view.is_complete("config") and self._state.seq:
            return "configs not read yet"
        return f"{known} config{'' if known == 1 else 's'} in memory"
