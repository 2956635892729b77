"""The reference: every public name is in it, and whatever their methods return."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orchstate

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (Path(__file__).parents[1] / "docs" / "reference.md").read_text()
ENTRIES = re.findall(r"^::: (\S+)\n(?:    options:\n      members: \[(.*)\]\n)?", PAGE, re.MULTILINE)


def _names() -> Iterator[str]:
    """Yield the whole name of everything that is shown."""
    for entry, members in ENTRIES:
        yield entry
        if members:
            yield from (f"{entry}.{member}" for member in members.split(", "))
        elif inspect.ismodule(_object(entry)):
            yield from (
                f"{entry}.{name}" for name, value in vars(_object(entry)).items() if _is_of(value, entry)
            )


def _is_of(value: object, module: str) -> bool:
    return getattr(value, "__module__", None) == module


def _object(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        home, _, last = name.rpartition(".")
        return getattr(import_module(home), last)


def _returned(entry: type) -> Iterator[str]:
    """Yield the whole names of our classes that its public methods and attributes are annotated with."""
    module = inspect.getmodule(entry)
    assert module is not None
    tree = ast.parse(inspect.getsource(module))
    homes = {
        alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("orchstate.")
        for alias in node.names
    }
    homes |= {
        node.name: f"{module.__name__}.{node.name}" for node in tree.body if isinstance(node, ast.ClassDef)
    }
    (body,) = (
        node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == entry.__name__
    )
    for annotation in filter(None, map(_annotation, body)):
        words = re.findall(r"\b[A-Z]\w+", ast.unparse(annotation))
        yield from (homes[word] for word in words if word in homes and inspect.isclass(_object(homes[word])))


def _annotation(node: ast.stmt) -> ast.expr | None:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
        return node.returns
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id[0] != "_":
        return node.annotation
    return None


def test_every_public_name_is_in_the_reference() -> None:
    public = {f"{home}.{name}" for name, home in orchstate._HOME.items()}
    assert sorted(public - set(_names())) == []


def test_what_they_return_is_in_the_reference() -> None:
    classes = [_object(name) for name in _names() if inspect.isclass(_object(name))]
    returned = {name for entry in classes for name in _returned(entry)}
    assert sorted(returned - set(_names())) == []
