"""Another process that runs code line by line, as a kernel does, without what a kernel needs to start.

It is sent code, and answers with the value of its last expression, as JSON or as its repr,
or with the words of its error.
"""

from __future__ import annotations

import ast
import json
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from testbed.branch import branched, pipe, settle

if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.connection import Connection


class KernelError(RuntimeError):
    """The code raised; the message has the class and the words of its error."""


class Kernel:
    """A Python process of its own, with the names that its code has made.

    Examples
    --------
    >>> with Kernel() as kernel:
    ...     kernel("x = 20")
    ...     kernel("x + 1")
    21
    """

    def __init__(self, setup: str = "", *, environment: Mapping[str, str] | None = None) -> None:
        self._line, theirs = pipe()
        folder = Path(__file__).parents[2]
        self._process = branched(serve, theirs, {**os.environ, **(environment or {})}, folder)
        # Now it is closed when the process ends.
        theirs.close()
        self(setup)

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid
        return self._process.pid

    def __call__(self, code: str) -> Any:
        """Run code and return the value of its last expression."""
        self.send(code)
        return self.receive()

    def send(self, code: str) -> None:
        """Have code run, without waiting for it."""
        self._line.send_bytes(code.encode())

    def receive(self) -> Any:
        """Return the value of what was sent."""
        try:
            answer = json.loads(self._line.recv_bytes())
        except (EOFError, ConnectionError):
            self._process.join()
            raise KernelError(f"The process has ended with status {self._process.exitcode}.") from None
        if "error" in answer:
            raise KernelError(answer["error"])
        return answer.get("value")

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        self._process.kill()
        self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        self._line.close()


def run(code: str, names: dict[str, Any]) -> Any:
    """Run code and return the value of its last expression, None if it ends with something else."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<kernel>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<kernel>", "eval"), names) if last else None


def serve(line: Connection, environment: dict[str, str], folder: Path) -> None:
    """Answer until the other end is closed."""
    settle(environment, folder)
    warnings.simplefilter("error")
    names: dict[str, Any] = {"__name__": "__kernel__"}
    while True:
        try:
            code = line.recv_bytes().decode()
        except EOFError:
            return
        try:
            text = json.dumps({"value": run(code, names)}, default=repr)
        except BaseException as error:
            text = json.dumps({"error": f"{type(error).__name__}: {error}"})
        line.send_bytes(text.encode())
