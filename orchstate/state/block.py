"""The block of a transaction: what happens at its beginning and at its end.

Python calls the end of a ``with`` block, and an interrupt may come just then: the block is
left and its end has not run. A transaction that stayed open in this way would swallow
every edit that follows, so it is given up before the interrupt goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orchstate.state.interrupts import Ends

if TYPE_CHECKING:
    from orchstate.state.acceptance import Acceptance
    from orchstate.state.transaction import Mark, Transaction


class Block:
    """One ``with store.transaction():``; a nested one joins the transaction that it is in.

    Parameters
    ----------
    state
        Whose edits it holds.
    label
        What it is called in the history.
    """

    _transaction: Transaction | None = None
    _outer: tuple[Transaction, Mark] | None = None

    def __init__(self, state: Acceptance, label: str) -> None:
        self._state = state
        self._label = label

    def __enter__(self) -> None:
        _ends.watch(self)
        outer = self._state.transaction_here
        if outer:
            self._outer = outer, outer.mark()
            return
        # In the block nothing new is shown, so it begins with what there is.
        self._state.catch_up()
        try:
            # Known before it begins, so that an interrupt in between finds it.
            self._transaction = self._state.new_transaction(self._label)
            self._state.begin(self._transaction)
        except BaseException as error:
            self.give_up(error)
            raise

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            if error is None and self._transaction:
                self._state.accept(self._transaction)
        except BaseException as failure:
            self.give_up(failure)
            raise
        if error is None:
            self._end()
        else:
            self.give_up(error)

    def __del__(self) -> None:
        # Entered by hand, or by a generator that nobody ends.
        if self._transaction:
            self.give_up(GeneratorExit())

    def give_up(self, error: BaseException) -> None:
        """Undo what the block did, unless it was accepted already; harmless when repeated."""
        if self._outer:
            outer, mark = self._outer
            outer.go_back(mark)
        if self._transaction:
            self._state.give_up(self._transaction, error)
        self._end()

    def _end(self) -> None:
        _ends.forget(self)
        transaction, self._transaction, self._outer = self._transaction, None, None
        while transaction and transaction.afterwards:
            transaction.afterwards.pop(0)()


_ends: Final = Ends(Block.__enter__.__code__, Block.__exit__.__code__)
