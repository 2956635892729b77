"""Another process that runs code line by line, as a kernel does, without what a kernel needs to start.

Run as a script it reads ``{"code": ...}`` lines and answers with ``{"value": ...}`` (the
value of the last expression, as JSON or as its repr) or ``{"error": ...}`` lines.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, Self


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

    def __init__(self, setup: str = "", *, environment: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, **(environment or {})},
        )
        self(setup)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def __call__(self, code: str) -> Any:
        """Run code and return the value of its last expression."""
        self.send(code)
        return self.receive()

    def send(self, code: str) -> None:
        """Have code run, without waiting for it."""
        assert self._process.stdin
        print(json.dumps({"code": code}), file=self._process.stdin, flush=True)

    def receive(self) -> Any:
        """Return the value of what was sent."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise KernelError(f"The process has ended with status {self._process.wait()}.")
        answer = json.loads(line)
        if "error" in answer:
            raise KernelError(answer["error"])
        return answer.get("value")

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.communicate()


def run(code: str, names: dict[str, Any]) -> Any:
    """Run code and return the value of its last expression, None if it ends with something else."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<kernel>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<kernel>", "eval"), names) if last else None


def serve() -> None:
    """Answer line by line until the input ends."""
    warnings.simplefilter("error")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    names: dict[str, Any] = {"__name__": "__kernel__"}
    for line in sys.stdin:
        try:
            answer = {"value": run(json.loads(line)["code"], names)}
            text = json.dumps(answer, default=repr)
        except BaseException as error:
            text = json.dumps({"error": f"{type(error).__name__}: {error}"})
        print(text, file=answers, flush=True)


if __name__ == "__main__":
    serve()
