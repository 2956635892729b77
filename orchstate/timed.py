"""A store's time: back and forth by steps, any moment of the past, and names for moments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchstate.following import Followed
from orchstate.history.moments import check_snapshot_name
from orchstate.models.names import name_key
from orchstate.models.profile import SnapshotDocument
from orchstate.pinned import resolve
from orchstate.tracebacks import forget

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from orchstate.history.history import History
    from orchstate.history.moments import When
    from orchstate.history.past import PastState
    from orchstate.pinned import PinnedConfig
    from orchstate.state.undo import Undone


class Timed(Followed):
    """What a store can do with its time."""

    if TYPE_CHECKING:
        # The store sets it.
        history: History

    # -- steps ------------------------------------------------------------------------

    @property
    def can_undo(self) -> bool:
        """Whether there is a step of this process to undo."""
        return self._state.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone step to do again."""
        return self._state.can_redo

    def undo(self) -> Undone:
        """Take back this process's last step, as far as nobody changed it since.

        Returns
        -------
        Undone
            What was put back, and what was left alone.

        Raises
        ------
        StoreError
            If a transaction is still running.

        Examples
        --------
        >>> gpt.temperature = 0.9
        >>> store.undo()
        <Undone gpt.temperature>
        >>> gpt.temperature
        0.2
        """
        return self._state.undo()

    def redo(self) -> Undone:
        """Do again what was undone last.

        Returns
        -------
        Undone
            What was done again, and what was left alone.

        Raises
        ------
        StoreError
            If a transaction is still running.

        Examples
        --------
        >>> gpt.temperature = 0.9
        >>> store.undo(), store.redo()
        (<Undone gpt.temperature>, <Redone gpt.temperature>)
        >>> gpt.temperature
        0.9
        """
        return self._state.redo()

    # -- moments ----------------------------------------------------------------------

    def at(self, when: When) -> PastState:
        """Return the store as it was: at a seq, a datetime, ISO text, or the name of a snapshot.

        Raises
        ------
        NotFoundError
            If there is no such moment.
        ValidationError
            If `when` is no moment at all.

        Examples
        --------
        >>> seq = store.snapshot("before-tuning")
        >>> gpt.temperature = 0.9
        >>> store.at("before-tuning").configs["gpt"].temperature
        0.2
        """
        try:
            return self.history.at(when)
        except BaseException as error:
            del when
            forget(error)
            raise

    def aat(self, when: When) -> Coroutine[Any, Any, PastState]:
        """Do what :meth:`at` does without stopping the event loop."""
        return self._in_thread(self.at, when)

    def snapshot(self, name: str, note: str = "") -> int:
        """Give this moment a name for :meth:`at`; returns its seq.

        Raises
        ------
        DuplicateNameError
            If there is a snapshot of that name.
        ValidationError
            If the name is not valid, or reads as a seq or a time.
        StoreError
            If a transaction is still running.
        FlushError
            If edits before it could not be committed.

        Examples
        --------
        >>> store.snapshot("before-tuning", note="as in the paper")
        1
        """
        self._state.check_usable()
        try:
            check_snapshot_name(name)
            self._check_no_transaction("snapshot")
            seq = self._state.flush()
            _, receipt = self._state.create("snapshot", name, {"seq": seq, "note": note})
        except BaseException as error:
            del name, note
            forget(error)
            raise
        self._state.flush()
        if receipt.error:
            # Somebody else was faster with the name.
            raise receipt.error
        return seq

    def asnapshot(self, name: str, note: str = "") -> Coroutine[Any, Any, int]:
        """Do what :meth:`snapshot` does without stopping the event loop."""
        return self._in_thread(self.snapshot, name, note)

    def resolve(self, stamp: Any) -> PinnedConfig:
        """Return the exact config behind a result, to be read and used, and not changed.

        Parameters
        ----------
        stamp
            What ``stamp()`` of a config returned, or anything that has a stamp, such as an answer.

        Returns
        -------
        PinnedConfig
            Its fingerprint has been compared with that of the stamp.

        Raises
        ------
        ValidationError
            If it is no stamp, of another store, of an edit that was not committed, or if its
            fingerprint is not that of the revision.
        NotFoundError
            If there is no such config or revision.

        Examples
        --------
        >>> stamp = gpt.stamp()
        >>> gpt.model = "gpt-5.4"
        >>> store.resolve(stamp).model
        'gpt-5.4-mini'
        """
        self._state.check_usable()
        try:
            return resolve(stamp, self._state)
        except BaseException as error:
            # It may be a key.
            del stamp
            forget(error)
            raise

    def aresolve(self, stamp: Any) -> Coroutine[Any, Any, PinnedConfig]:
        """Do what :meth:`resolve` does without stopping the event loop."""
        return self._in_thread(self.resolve, stamp)

    # -- inside -----------------------------------------------------------------------

    def _snapshots(self) -> dict[str, int]:
        documents = (self._state.document(id) for id in self._state.ids("snapshot"))
        return {name_key(found.name): found.seq for found in documents if isinstance(found, SnapshotDocument)}
