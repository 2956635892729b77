"""A password field that hands over what was typed once, and keeps nothing.

The value of a plain password field is part of the widget's state: it is sent to every
page that shows it, and saved with the notebook. Ours is emptied before anybody else gets
to see it, its state is empty at any time, and what one page sends is not repeated to others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipywidgets import Password
from pydantic import SecretStr
from traitlets import Unicode

if TYPE_CHECKING:
    from collections.abc import Callable


class KeyEntry(Password):  # type: ignore[misc]
    """A password field; Enter, or leaving it, hands over what was typed."""

    value = Unicode(help="Always empty, but for the moment in which it is taken.").tag(
        sync=True, echo_update=False, to_json=lambda value, widget: ""
    )

    def __init__(self, **traits: Any) -> None:
        self._taker: Callable[[SecretStr], object] = lambda secret: None
        super().__init__(continuous_update=False, **traits)
        self.observe(self._take, "value")

    def on_typed(self, taker: Callable[[SecretStr], object]) -> None:
        """Have `taker` called with what was typed."""
        self._taker = taker

    def _take(self, change: Any) -> None:
        if change.new:
            typed = SecretStr(change.new)
            change.new = change.old = ""
            self.value = ""
            self._taker(typed)
