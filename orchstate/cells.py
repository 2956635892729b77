"""The end of a notebook cell: what the cell edited is committed before the next one runs.

It takes a second at most. What is still open then is reported, and neither raised nor
lost: it stays in the outbox.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from orchstate.errors import StoreError
from orchstate.origin import shell

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

# Long enough for any commit on a healthy disk, short enough not to be noticed.
CELL_FLUSH_S: Final = 1.0


class CellEnd:
    """Settles a store whenever a cell of this notebook has run; outside IPython it does nothing.

    Parameters
    ----------
    flush
        Called after each cell with a limit in seconds.
    """

    def __init__(self, flush: Callable[[float], object]) -> None:
        self._flush = flush
        self._events: Any = None
        running = shell()
        if running is not None:
            self._events = running.events
            self._events.register("post_run_cell", self._settle)

    def forget(self) -> None:
        """Do nothing after later cells; harmless when repeated."""
        events, self._events = self._events, None
        if events is not None and self._settle in events.callbacks["post_run_cell"]:
            events.unregister("post_run_cell", self._settle)

    def _settle(self, result: object = None) -> None:
        try:
            self._flush(CELL_FLUSH_S)
        except StoreError as error:
            logger.warning("%s", error)
        except KeyboardInterrupt:
            # IPython would show it as an error of ours.
            logger.warning("This cell's edits are still being committed; that goes on by itself.")
