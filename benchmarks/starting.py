"""Start-up as people meet it: a fresh kernel, from its start to the first value that a cell reads."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Final

from benchmarks.measuring import NS_PER_MS, Figure, Limit, interleave

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.places import Bench

_CEILING: Final = Limit("p99", 500)
_OURS: Final = """
import orchstate as orch
orch.open({path!r}, secrets="memory").configs["config 50"].temperature
"""
_BASES: Final = """
import traitlets
from pydantic import BaseModel
class Model(BaseModel):
    name: str
Model(name="gpt")
"""


def figures(bench: Bench) -> Iterator[Figure]:
    """Measure all of this area."""
    code = _OURS.format(path=str(bench.filled(100)))
    ours, bases = interleave(bench.pick(5, 2), lambda: [_kernel_ms(code)], lambda: [_kernel_ms(_BASES)])
    yield Figure("kernel started, one value read", "ms", ours, "kernel, traitlets + pydantic", bases)
    yield Figure("what orchstate adds to it", "ms", ours.above(bases), ceiling=_CEILING)


def _kernel_ms(code: str) -> float:
    """Return the milliseconds from starting a kernel until a cell of it has run."""
    from jupyter_client.manager import KernelManager

    begin = perf_counter_ns()
    manager = KernelManager(kernel_name="python3", transport="ipc")
    manager.start_kernel()
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        reply = client.execute_interactive(code, store_history=False, timeout=60, output_hook=lambda _: None)
        took = perf_counter_ns() - begin
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    if reply["content"]["status"] != "ok":
        raise RuntimeError(f"The kernel could not run the cell: {reply['content']}")
    return took / NS_PER_MS
