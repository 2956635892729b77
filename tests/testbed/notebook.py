"""A real IPython kernel, run cell by cell without a page: what a notebook is for the code in it."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from jupyter_client.manager import KernelManager

if TYPE_CHECKING:
    from collections.abc import Mapping

_REPLY_SECONDS = 60.0


class Notebook:
    """A kernel of its own.

    Parameters
    ----------
    setup
        Its first cell.
    environment
        What its environment has besides that of this process.
    """

    def __init__(self, setup: str = "", *, environment: Mapping[str, str] | None = None) -> None:
        # Sockets in the file system, in a folder of its own: nothing listens on a port.
        self._folder = tempfile.TemporaryDirectory(prefix="kernel-")
        file = str(Path(self._folder.name, "kernel.json"))
        self._manager = KernelManager(kernel_name="python3", transport="ipc", connection_file=file)
        self._manager.start_kernel(env={**os.environ, **(environment or {})})
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=_REPLY_SECONDS)
        self.run(setup)

    def run(self, code: str) -> str:
        """Run a cell and return what it has written, results and warnings included.

        Raises
        ------
        AssertionError
            If the cell raised; shows the traceback.
        """
        return self.outputs(self.start(code))

    def start(self, code: str) -> str:
        """Begin to run a cell; returns what :meth:`outputs` waits for."""
        # An error must not make the kernel skip the next cell.
        return str(self._client.execute(code, stop_on_error=False))

    def outputs(self, id: str) -> str:
        """Wait for the end of a cell and return what it has written."""
        deadline, texts = time.monotonic() + _REPLY_SECONDS, []
        while time.monotonic() < deadline:
            message = self._client.get_iopub_msg(timeout=_REPLY_SECONDS)
            if message["parent_header"].get("msg_id") != id:
                continue
            kind, content = message["msg_type"], message["content"]
            assert kind != "error", "\n".join(content["traceback"])
            if kind == "stream":
                texts.append(content["text"])
            elif kind == "execute_result":
                texts.append(content["data"]["text/plain"])
            elif kind == "status" and content["execution_state"] == "idle":
                return "".join(texts).strip()
        raise TimeoutError(f"The cell did not end: {''.join(texts)}")

    def interrupt(self) -> None:
        """Press the stop button."""
        self._manager.interrupt_kernel()

    def close(self) -> None:
        """End the kernel at once."""
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
