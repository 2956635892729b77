"""Two kernels that change one field at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.kernel import Kernel

    from orchstate.conflicts import Conflict
    from orchstate.store import Store


def overlap(store: Store, other: Kernel, let_go: Callable[[], None], **values: Any) -> Conflict:
    """Have both sides change the temperature, and return the conflict."""
    store.configs["gpt"].update(temperature=0.9, **values)
    other("gpt.update(temperature=1.5, top_p=0.5); store.flush()")
    let_go()
    store.flush()
    store.refresh()
    (conflict,) = store.conflicts.values()
    return conflict
