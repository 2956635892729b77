"""The house: imports go down only, and what is heavy is imported late."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from orchstate import _HOME

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[1] / "orchstate"

# Everything imports only from lines above, but for the modules of CLOSE; docs/design.md draws the same house.
FLOORS: Final = (
    ("errors", "display", "durable", "locks", "loops", "tracebacks"),
    ("models",),
    ("origin", "providers"),
    ("cells", "secrets", "storage"),
    ("state",),
    ("history", "exchange", "clients"),
    (
        *("usable", "keyed", "config", "configs", "conflicts", "active", "sweeping", "kinds"),
        *("following", "pinned", "timed", "shared", "store", "adoption", "opening"),
    ),
    ("widgets",),
    ("testing", "terminal", "arguments"),
    ("findings", "doctor", "lab", "cli", "__main__"),
)
# One thing in several files, which may import each other: what a notebook holds, and the command line.
CLOSE: Final = (FLOORS[6], FLOORS[9])
# Late imports that go up: what shows a config or a store.
DOORS: Final = {("config", "widgets"), ("store", "widgets")}
HEAVY: Final = {
    *(
        "pandas",
        "numpy",
        "ipywidgets",
        "IPython",
        "ipykernel",
        "keyring",
        "cryptography",
        "httpx",
        "jupyterlab",
    ),
    *("openai", "anthropic", "ollama", "litellm", "psycopg", "platformdirs"),
}
# Only ever imported late, and for this.
FRAMES: Final = "history/frames.py"


def home(name: str) -> str:
    """Return the line's word for a module such as ``orchstate.state.view``."""
    return name.split(".")[1]


def sources() -> Iterator[tuple[str, Path, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
        if name != "orchstate":
            yield home(name), path, ast.parse(path.read_text())


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield every imported module with its line, wherever in the file it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "orchstate":
            # The package itself has lazy names, and its version.
            names = (_HOME.get(alias.name, f"orchstate.{alias.name}") for alias in node.names)
            yield from ((name, node.lineno) for name in names if name != "orchstate.__version__")
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), node.lineno


def late_lines(tree: ast.Module) -> set[int]:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {line for node in functions for _, line in imports(node)}


def typing_lines(tree: ast.Module) -> set[int]:
    blocks = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    return {line for node in blocks for _, line in imports(node)}


def floor(word: str) -> int:
    return next(number for number, words in enumerate(FLOORS) if word in words)


def test_every_module_has_its_floor() -> None:
    without = {word for word, _, _ in sources()} - {word for words in FLOORS for word in words}
    assert not without, "put it on its line of FLOORS above"


def test_the_design_page_draws_these_floors() -> None:
    page = (ROOT.parent / "docs" / "design.md").read_text()
    (house,) = re.findall(r"```text\norchstate/\n(.*?)```", page, re.DOTALL)
    drawn = {
        place.removesuffix("/").removesuffix(".py"): int(number)
        for places, number in re.findall(r"^  (\S.*?)  +(\d+)  \S", house, re.MULTILINE)
        for place in places.split(", ")
    }
    assert drawn == {word: number for number, words in enumerate(FLOORS) for word in words}


def test_imports_go_down_only() -> None:
    wrong = []
    for word, path, tree in sources():
        late = late_lines(tree)
        for name, line in imports(tree):
            if not name.startswith("orchstate."):
                continue
            target = home(name)
            is_door = (word, target) in DOORS and line in (late | typing_lines(tree))
            if (
                word != target
                and not is_door
                and floor(target) >= floor(word)
                and not _is_close(word, target)
            ):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert wrong == []


def _is_close(word: str, target: str) -> bool:
    return any(word in words and target in words for words in CLOSE)


def test_no_file_imports_relatively() -> None:
    wrong = [(path.name, name) for _, path, tree in sources() for name, _ in imports(tree) if name[0] == "."]
    assert wrong == []


def test_no_package_is_a_drawer() -> None:
    names = {path.stem for _, path, _ in sources()}
    assert not names & {"utils", "util", "_utils", "helpers", "common", "misc", "tools"}


def test_what_is_heavy_is_imported_where_it_is_used() -> None:
    wrong = []
    for word, path, tree in sources():
        if word == "widgets" or path.match(FRAMES):
            continue
        allowed = late_lines(tree) | typing_lines(tree)
        for name, line in imports(tree):
            if name.split(".")[0] in HEAVY and line not in allowed:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert wrong == []


def test_nothing_imports_a_file_that_imports_pandas_early() -> None:
    wrong = []
    for _, path, tree in sources():
        allowed = late_lines(tree) | typing_lines(tree)
        wrong += [
            f"{path.relative_to(ROOT)}:{line}"
            for name, line in imports(tree)
            if name == "orchstate.history.frames" and line not in allowed
        ]
    assert wrong == []


LOADED = """
import sys, orchstate
{code}
heavy = {heavy!r}
print(sorted(name for name in sys.modules if name.split(".")[0] in heavy))
"""
EDIT = "gpt = orchstate.open(':memory:').configs.upsert('gpt', 'openai', temperature=0.5); gpt.seed = 1"
SETTING = "store = orchstate.open(':memory:'); store.settings.agents.timeout = 5000; repr(store)"


@pytest.mark.parametrize(
    "code",
    ["", "orchstate.open", "orchstate.open(':memory:')", EDIT, SETTING],
    ids=["import", "name", "open", "edit", "settings"],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code: str) -> None:
    # The event loop's library is imported early only in files that are imported late.
    heavy = HEAVY - {"platformdirs"} | {"asyncio"}
    text = LOADED.format(code=code, heavy=heavy)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_core_works_without_the_libraries_of_the_upper_floors() -> None:
    code = """
import sys
for name in ("ipywidgets", "IPython", "keyring", "cryptography", "httpx", "openai"):
    sys.modules[name] = None
import orchstate
with orchstate.open(":memory:") as store:
    gpt = store.configs.upsert("gpt", "openai", temperature=0.5)
    gpt.temperature = 0.7
    store.undo()
    print(store.history.changes()["new"].tolist()[-1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0.5"


def test_modules_and_functions_stay_small() -> None:
    lengths = {
        path.relative_to(ROOT): len(path.read_text().splitlines())
        for ending in ("py", "css")
        for path in ROOT.rglob(f"*.{ending}")
    }
    long = [f"{path} has {lines} lines" for path, lines in lengths.items() if lines > 500]
    for _, path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _code_lines(node) > 60:
                long.append(
                    f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {_code_lines(node)} lines"
                )
    assert long == []


def _code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
    return (node.end_lineno or 0) - first.lineno + 1
