"""Adoption: what processes that died had accepted is committed by the next one that opens the store."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from orchstate.errors import CorruptStoreError, OrchstateError, StoreError, StoreLockedError
from orchstate.locks import FileLock
from orchstate.models.intent import Intent
from orchstate.state.late import adopted
from orchstate.storage.losses import in_words
from orchstate.storage.outbox import A_MOMENT_S, adopt_all, ids_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from orchstate.state.kinds import Kinds
    from orchstate.storage.outbox import Outbox, Scan
    from orchstate.storage.sqlite import SqliteEngine

logger = logging.getLogger(__name__)

# More than it takes to commit 100,000 edits; who is stopped in the midst of it holds nobody up for longer.
_PATIENCE_S: Final = 10.0


class Adoption:
    """Takes over what dead processes had accepted: as a store is opened, and while it is open.

    Parameters
    ----------
    folder
        Of the outboxes.
    engine
        Where their edits are committed.
    kinds
        The kinds of documents.

    Attributes
    ----------
    error
        Why some of them could not be committed by now; None where none is left.
    """

    def __init__(self, folder: Path, engine: SqliteEngine, kinds: Kinds) -> None:
        self._folder = folder
        self._engine = engine
        self._kinds = kinds
        self.error: OrchstateError | None = None

    def run(self) -> int:
        """Commit what is left in the outboxes of dead processes; returns how many edits that were.

        Where another process is at it, it is waited for: what is made meanwhile must not be on top of less.
        What is damaged in them is logged, named in the engine's damages, and kept.

        Raises
        ------
        StoreLockedError
            If the store is locked; nobody should go on without these edits.
        """
        turn = FileLock(self._folder, must_exist=True)
        try:
            if not turn.acquire(_PATIENCE_S):
                logger.warning(
                    "Another process has been taking over edits of dead ones for %d s.", _PATIENCE_S
                )
        except FileNotFoundError:
            return 0
        except OSError as error:
            logger.warning("%s could not be locked: %s", turn.path, error)
        try:
            return self._run()
        finally:
            turn.release()

    def run_again(self, told: Callable[[], object]) -> bool:
        """Do the same where nothing is in the way; returns whether anything was committed.

        `told` is called when :attr:`error` has changed.
        """
        turn, before = FileLock(self._folder, must_exist=True), self.error
        try:
            return turn.try_acquire() and self._run() > 0
        except (OSError, StoreLockedError):
            # Another time.
            return False
        finally:
            turn.release()
            if self.error is not before:
                told()

    def _run(self) -> int:
        count, problem = 0, None
        for outbox in adopt_all(self._folder, store_id=self._engine.store_id):
            try:
                count += _adopted(outbox, self._engine, self._kinds)
            except StoreLockedError:
                raise
            except (OrchstateError, ValueError) as error:
                problem = StoreError(
                    "What a process that had died had accepted is not seen here yet, and kept in "
                    f"{str(outbox.path)!r}: {error}"
                )
            finally:
                # Whatever happened, the next one can have it; harmless where it was dealt with.
                outbox.close(keep=True)
        if str(problem) != str(self.error):
            self.error = problem
            if problem:
                logger.warning("%s", problem)
        return count


def waiting(folder: Path, engine: SqliteEngine) -> int:
    """Return how many edits of dead processes are accepted and not committed, for who may only read."""
    if not folder.exists():
        return 0
    # Whoever adopts them has to find them, so they are looked through in turn.
    turn = FileLock(folder, must_exist=True)
    try:
        if not turn.acquire(A_MOMENT_S):
            return 0
        return sum(_waiting(outbox, engine) for outbox in adopt_all(folder, store_id=engine.store_id))
    except (OSError, OrchstateError) as error:
        logger.warning("What waits in %s could not be counted: %s", folder, error)
        return 0
    finally:
        turn.release()


def _waiting(outbox: Outbox, engine: SqliteEngine) -> int:
    try:
        return edits_in(outbox.records().records, after=engine.applied(outbox.writer))
    finally:
        outbox.close(keep=True)


def edits_in(records: Sequence[bytes], *, after: int = 0) -> int:
    """Return how many edits with a higher number there are in records of an outbox.

    What only has a revision be kept, since a result names it, is none; what cannot be understood may be one.
    """
    intents, _ = _intents(records)
    unknown = len(records) - len(intents)
    return unknown + sum(intent.n > after and not _is_note(intent) for intent in intents)


def _is_note(intent: Intent) -> bool:
    return all(operation.verb == "pin" for operation in intent.operations)


def _adopted(outbox: Outbox, engine: SqliteEngine, kinds: Kinds) -> int:
    found = outbox.records()
    intents, reason = _intents(found.records)
    if outbox.is_doubtful and not (found.records or found.damaged or engine.applied(outbox.writer)):
        # Its process died before it could accept anything.
        outbox.close(keep=False)
        return 0
    if outbox.is_doubtful and not _knows_some_of(engine, intents):
        _tell(engine, f"cannot be read. It is kept for inspection: {str(outbox.set_aside())!r}.", ())
        return 0
    done = engine.applied(outbox.writer)
    decisions = adopted(intents, engine, kinds, outbox.writer)
    for refused in (decision for decision in decisions if decision.reason):
        message = f"An edit of a process that had died was not committed: {refused.reason}"
        logger.warning("%s", message)
        if engine.damages:
            # What it was about may have been lost.
            engine.damages.add(CorruptStoreError(message))
    if reason:
        raise reason
    if found.damaged or found.torn:
        _tell_of_damage(found, intents, done, outbox, engine)
    outbox.close(keep=False)
    return sum(intent.n > done and not _is_note(intent) for intent in intents)


def _intents(records: Sequence[bytes]) -> tuple[list[Intent], ValueError | None]:
    """Return the intents of an outbox, up to one that cannot be understood, and why."""
    intents: list[Intent] = []
    for record in records:
        try:
            intents.append(Intent.decode(record))
        except ValueError as error:
            return intents, error
    return intents, None


def _knows_some_of(engine: SqliteEngine, intents: Iterable[Intent]) -> bool:
    """Whether intents are about this store's documents, so that their outbox is one of this store."""
    ids = {operation.id for intent in intents for operation in intent.operations}
    return any(engine.name_of(id) for id in ids)


def _tell_of_damage(
    found: Scan, intents: Sequence[Intent], done: int, outbox: Outbox, engine: SqliteEngine
) -> None:
    """Name what may be lost of the edits after those `done` before the adoption."""
    numbers = [intent.n for intent in intents]
    first, last = (numbers[0], numbers[-1]) if numbers else (1, 0)
    lost = sorted(set(range(min(first, done + 1), last)) - set(numbers))
    which = [f"its edits {in_words(lost)}"] * bool(lost) + [f"what it had accepted after its edit {last}"]
    if found.damaged:
        kept = f"The file is kept for inspection: {str(outbox.set_aside())!r}."
        what = f"had {found.damaged_bytes} damaged bytes, which may have been edits. {kept}"
    else:
        what = "ends in the middle of an edit: its process died in accepting it, or the file was cut off."
    _tell(engine, f"{what} Lost may be {' and '.join(which)}.", ids_in(found.damaged + found.torn))


def _tell(engine: SqliteEngine, what: str, ids: tuple[str, ...]) -> None:
    names = (f"{engine.name_of(id)} ({id})" if engine.name_of(id) else id for id in ids)
    concerns = f" It concerns: {', '.join(names)}." if ids else ""
    error = CorruptStoreError(f"The outbox of a process that had died {what}{concerns}", ids=ids)
    logger.error("%s", error)
    engine.damages.add(error)
