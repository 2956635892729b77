"""The store: what a notebook holds, and how one is opened."""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from traitlets import All, HasTraits
from traitlets.traitlets import BaseDescriptor

from orchstate.active import Active, ActiveTrait
from orchstate.cells import CellEnd
from orchstate.config import Config, Services
from orchstate.configs import Configs, config_kind
from orchstate.errors import SetupError, StoreError, UnknownFieldError, ValidationError
from orchstate.history.history import History
from orchstate.loops import in_thread
from orchstate.models.config import ConfigDocument
from orchstate.models.document import defaults, leaves
from orchstate.models.names import name_key
from orchstate.models.profile import ProfileDocument, SnapshotDocument
from orchstate.models.settings import SettingsDocument
from orchstate.models.values import is_same
from orchstate.origin import origin
from orchstate.providers.registry import Registry
from orchstate.state.derivation import derive
from orchstate.state.events import Event
from orchstate.state.kinds import Kinds, plain_kind
from orchstate.state.live import no_field, notify
from orchstate.state.record import Record
from orchstate.state.state import State
from orchstate.state.traits import ComputedTrait
from orchstate.sweeping import Sweeper
from orchstate.tracebacks import forget

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchstate.exchange.plan import ImportPlan
    from orchstate.history.moments import When
    from orchstate.history.past import PastState
    from orchstate.models.document import Document
    from orchstate.secrets.secrets import Mode, Secrets
    from orchstate.secrets.store import SecretStore
    from orchstate.state.undo import Undone
    from orchstate.storage.sqlite import SqliteEngine

logger = logging.getLogger(__name__)

Status = Literal["ready", "saving", "degraded", "read-only", "closed"]
# How long close() waits for an engine that does not answer; what is open then stays in the outbox.
_CLOSE_S: Final = 10.0
_FOLLOWED: Final = ("active", "status", "pending", "error")


@dataclass(frozen=True, slots=True)
class Options:
    """How a store was opened; one target has one set of options per process."""

    read_only: bool
    secrets: Mode | SecretStore
    actor: str


class Settings(Record):
    """The settings of a store: every leaf a trait, such as ``settings.agents.timeout``."""

    def __repr__(self) -> str:
        document = self._state.seen(self._entry.id) or self._told_document
        usual = defaults(self.document_class)
        paths = [path for path in leaves(self.document_class) if path != "name"]
        values = {path: document.at(path) for path in paths}
        changed = [f"{path}={value!r}" for path, value in values.items() if not is_same(value, usual[path])]
        return f"<Settings {', '.join(changed)}>" if changed else "<Settings: all as usual>"


class Store(HasTraits):
    """All state of one store, as this notebook sees and changes it.

    Made by :func:`orchstate.open`.
    """

    active = ActiveTrait(lambda store: store._active.config(), help="The config in use, or None.")
    status = ComputedTrait(
        lambda store: store._status(), help='"ready", "saving", "degraded", "read-only" or "closed".'
    )
    providers: Registry
    secrets: Secrets
    configs: Configs
    history: History

    pending = ComputedTrait(lambda store: store._state.pending, help="Edits accepted and not yet committed.")
    error = ComputedTrait(lambda store: store._state.error, help="The last error, or None.")

    def __init__(self, engine: SqliteEngine, journal: Any, options: Options, secrets: Secrets) -> None:
        super().__init__()
        self._engine = engine
        self._options = options
        self.providers = Registry()
        self.secrets = secrets
        kinds = kinds_of(self.providers)
        self._state = State(
            engine,
            journal,
            kinds,
            record_class=_record_class,
            origin=partial(origin, options.actor),
            changed=self._tell,
        )
        self.configs = Configs(self._state, "config")
        self.history = History(
            engine,
            kinds,
            flush=self._state.flush,
            find=partial(self._state.find, "config"),
            snapshots=self._snapshots,
            last=lambda: self._state.seq,
        )
        self._state.services = Services(
            registry=self.providers,
            secrets=self.secrets,
            history=self.history,
            store_id=engine.store_id,
            settings=self.settings,
            drop_unused=Sweeper(self._state, self.secrets).drop_unused,
        )
        self._active = Active(self._state, self.configs, options.actor)
        self._told = self._followed()
        self._cell_end = CellEnd(self._state.flush)

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

    @property
    def can_undo(self) -> bool:
        """Whether there is a step of this process to undo."""
        return self._state.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone step to do again."""
        return self._state.can_redo

    # -- editing ----------------------------------------------------------------------

    def transaction(self, label: str = "") -> contextlib.AbstractContextManager[None]:
        """Make the edits of a ``with`` block all or nothing, one undo step, one round of notifications.

        Parameters
        ----------
        label
            What the block is called in the history.
        """
        return self._state.transaction(label)

    def undo(self) -> Undone:
        """Take back this process's last step, as far as nobody changed it since."""
        return self._state.undo()

    def redo(self) -> Undone:
        """Do again what was undone last."""
        return self._state.redo()

    # -- following --------------------------------------------------------------------

    def subscribe(
        self, listener: Callable[[Event], object], event: type[Event] | None = None
    ) -> Callable[[], None]:
        """Have `listener` called with every committed event, in seq order.

        Parameters
        ----------
        listener
            Called with the event, in the thread that opened the store.
        event
            Class of events, such as ``orch.Updated``; None for all.

        Returns
        -------
        callable
            Ends the subscription.
        """
        if not callable(listener):
            raise ValidationError(f"{listener!r} cannot be called. Give a function that takes an event.")
        if event is not None and not (isinstance(event, type) and issubclass(event, Event)):
            raise ValidationError(f"{event!r} is no class of events, such as orch.Updated.")
        return self._state.subscribe(listener, event or Event)

    # -- time -------------------------------------------------------------------------

    def at(self, when: When) -> PastState:
        """Return the store as it was: at a seq, a datetime, ISO text, or the name of a snapshot.

        Raises
        ------
        NotFoundError
            If there is no such moment.
        """
        return self.history.at(when)

    def snapshot(self, name: str, note: str = "") -> int:
        """Give this moment a name for :meth:`at`; returns its seq.

        Raises
        ------
        DuplicateNameError
            If there is a snapshot of that name.
        ValidationError
            If the name is not valid.
        StoreError
            If a transaction is still running.
        FlushError
            If edits before it could not be committed.
        """
        if self._state.transaction_here:
            raise StoreError("A transaction is still running. Call snapshot() after the end of its block.")
        seq = self.flush()
        self._state.create("snapshot", name, {"seq": seq, "note": note})
        self.flush()
        return seq

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
        """
        return self._state.flush(timeout)

    async def aflush(self, timeout: float | None = None) -> int:
        """Do what :meth:`flush` does without stopping the event loop."""
        await in_thread(self._state.wait, timeout)
        self._state.catch_up()
        return self._state.seq

    def refresh(self, timeout: float | None = None) -> int:
        """Return the store's seq once everything that others have committed by now is seen here.

        Nobody has to call it, since news arrive by themselves; it helps where one step
        must not begin before.

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
        """Do what :meth:`refresh` does without stopping the event loop."""
        await in_thread(self._state.wait_for_news, timeout)
        self._state.catch_up()
        return self._state.seq

    def close(self) -> None:
        """Commit what is accepted and release everything; harmless when repeated."""
        self._close(_CLOSE_S)

    def _close(self, timeout_s: float) -> None:
        self._cell_end.forget()
        with contextlib.suppress(StoreError):
            # What is active is still to be seen afterwards.
            self._active.config()
        self._state.close(timeout_s)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- sharing ----------------------------------------------------------------------

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Write the set-up to one JSON file without secrets; returns its path.

        Raises
        ------
        SetupError
            If the file cannot be written.
        """
        from orchstate.exchange.export import export

        if not isinstance(path, str | os.PathLike):
            raise SetupError(f"{path!r} is no path. Name the file to write, such as 'setup.json'.")
        return export(self, Path(path))

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
        """
        from orchstate.exchange.plan import plan_import

        try:
            return plan_import(self, source)
        except BaseException as error:
            # It may hold a key that does not belong there.
            del source
            forget(error)
            raise

    # -- views ------------------------------------------------------------------------

    def form(self) -> Any:
        """Return the form of the whole store: the list of configs and the form of the chosen one."""
        from orchstate.widgets.store_form import StoreForm

        return StoreForm(self)

    def __repr__(self) -> str:
        where = str(self.path) if self.path else ":memory:"
        if self._state.closed:
            return f"<Store {where}: closed>"
        known = len(self._state.view.loaded("config"))
        pending = f", {self._state.pending} saving" if self._state.pending else ""
        configs = f"{known} config{'' if known == 1 else 's'}"
        return f"<Store {where}: {self._status()}, {configs} in memory{pending}>"

    def __setattr__(self, name: str, value: Any) -> None:
        is_part = name in Store.__annotations__ and name not in self.__dict__
        if name[0] != "_" and not is_part and not isinstance(getattr(type(self), name, None), BaseDescriptor):
            raise UnknownFieldError(no_field(self, name))
        super().__setattr__(name, value)

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r} is live and cannot be copied. Open it again, or use export().")

    def observe(self, handler: Any, names: Any = All, type: Any = "change") -> None:
        """Have `handler` called with every change of the named traits: active, status, pending, error."""
        for name in [names] if isinstance(names, str) else names if isinstance(names, list | tuple) else ():
            if name is not All and name not in _FOLLOWED:
                raise UnknownFieldError(no_field(self, name))
        super().observe(handler, names, type)
        self._state.delivery.attach()
        self._told = self._followed()

    # -- inside -----------------------------------------------------------------------

    def _catch_up(self) -> None:
        self._state.catch_up()

    def _status(self) -> Status:
        if self._state.closed:
            return "closed"
        if self._options.read_only:
            return "read-only"
        if self._state.failing:
            return "degraded"
        return "saving" if self._state.pending else "ready"

    def _snapshots(self) -> dict[str, int]:
        documents = (self._state.document(id) for id in self._state.ids("snapshot"))
        return {name_key(found.name): found.seq for found in documents if isinstance(found, SnapshotDocument)}

    def _followed(self) -> tuple[Any, ...]:
        return (self._active.config(), self._status(), self._state.pending, self._state.error)

    def _tell(self) -> None:
        """Tell those who observe the store's own traits; costs nothing when nobody does."""
        if not self._trait_notifiers:
            return
        before, self._told = self._told, self._followed()
        for name, old, new in zip(_FOLLOWED, before, self._told, strict=True):
            if old is not new and old != new:
                notify(self, name, old, new, "edit")


def kinds_of(registry: Registry) -> Kinds:
    """Return the kinds of documents in a store, with configs as `registry` defines them."""
    plain: tuple[type[Document], ...] = (SettingsDocument, ProfileDocument, SnapshotDocument)
    kinds = [config_kind(registry), *map(plain_kind, plain)]
    return {kind.name: kind for kind in kinds}


def _record_class(document_class: type[Document]) -> type[Record]:
    if issubclass(document_class, ConfigDocument):
        return derive(document_class, Config)
    return derive(document_class, Settings if issubclass(document_class, SettingsDocument) else Record)
