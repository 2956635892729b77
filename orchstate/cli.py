"""The command ``orchstate``: what a terminal can do with a store.

Exit codes: 0 it worked, 1 it failed, or could not read all that there is, and standard error
has one line that says why, 2 the command was not understood. Commands that only read never
make a store.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import queue
import shlex
import sys
import threading
import warnings
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

from orchstate.arguments import count, path, port
from orchstate.display import printable
from orchstate.errors import CorruptStoreError, OrchstateError, OrchstateWarning, StoreError
from orchstate.exchange.disguise import without_keys
from orchstate.terminal import counted, cut_time, fail, print_json, print_table, records

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator, Sequence

    from orchstate.clients.check import CheckResult
    from orchstate.config import Config
    from orchstate.exchange.items import ImportResult
    from orchstate.exchange.plan import ImportPlan
    from orchstate.store import Store

_INTERRUPTED: Final = 130
_CHECKS_AT_ONCE: Final = 16


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, that of this process by default, and return its exit code."""
    own, extra = _split(list(sys.argv[1:] if argv is None else argv))
    options, unknown = _parser().parse_known_args(own)
    if unknown:
        options.parser.error(_unknown(options.run, unknown))
    options.extra, options.damage = extra, None
    logging.basicConfig(format="orchstate: %(message)s")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal without Unicode shows what it can.
            stream.reconfigure(errors="backslashreplace")
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        if options.damage:
            return fail(f"Not all of the store can be read. {options.damage}")
    except OrchstateError as error:
        return fail(str(error))
    except BrokenPipeError:
        # Whoever read our output has seen enough, as in `orchstate history | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


# -- commands -----------------------------------------------------------------------------


def _lab(options: Namespace) -> int:
    from orchstate.lab import lab
    from orchstate.opening import resolve

    environment = dict(os.environ)
    if options.store is not None:
        # The kernels run in other folders.
        environment["ORCHSTATE_STORE"] = str(resolve(options.store) or ":memory:")
    return lab(port=options.port, browser=options.browser, extra=options.extra, environment=environment)


def _list(options: Namespace) -> int:
    with _open(options, read_only=True) as store:
        rows = [_summary(store, config) for config in store.configs.values()]
    if options.json:
        return print_json(rows)
    if not rows:
        return _print_none(options)
    columns = ("name", "provider", "model", "ready", "key")
    return print_table(columns, [[row[name] for name in columns] for row in rows])


def _show(options: Namespace) -> int:
    with _open(options, read_only=True) as store:
        config = store.configs[options.name]
        fields = records(config.explain())
        issues = [str(issue) for issue in config.validation.issues]
        facts = {
            "name": config.name,
            "provider": config.provider,
            "auth": config.auth,
            "tags": list(config.tags),
            "ready": config.validation.ready,
            "revision": config.revision,
            "updated_at": config.updated_at.isoformat(),
            "fingerprint": config.fingerprint,
        }
    if options.json:
        return print_json({**facts, "issues": issues, "fields": fields})
    spoken = facts | {"tags": ", ".join(config.tags), "updated_at": cut_time(facts["updated_at"])}
    print_table(("config", ""), spoken.items())
    print()
    print_table(("field", "value", "source"), [row.values() for row in fields])
    for issue in issues:
        print(f"\n{printable(issue)}")
    return 0


def _history(options: Namespace) -> int:
    with _open(options, read_only=True) as store:
        frame = store.history.changes(
            options.name, field=options.field, since=_moment(options.since), until=_moment(options.until)
        )
    left_out = max(0, len(frame) - options.limit) if options.limit else 0
    rows = records(frame.iloc[left_out:].reset_index())
    if options.json:
        return print_json(rows)
    if not rows:
        print("There are no such changes.")
        return 0
    # An undo, an import and a named block say so there; else it would be an empty column.
    label = ["label"] if any(row["label"] for row in rows) else []
    columns = ("seq", "at", "name", "op", *label, "field", "old", "new", "actor", "notebook", "cell")
    print_table(columns, [[cut_time(row[name]) for name in columns] for row in rows])
    if left_out:
        print(f"Not shown: {counted(left_out, 'earlier change')}. All: --limit 0")
    return 0


def _export(options: Namespace) -> int:
    from orchstate.exchange.export import suspicious_fields

    with _open(options, read_only=True) as store, warnings.catch_warnings():
        # What it warns of is told below.
        warnings.simplefilter("ignore", OrchstateWarning)
        path, count, suspects = store.export(options.path), len(store.configs), suspicious_fields(store)
    if options.json:
        return print_json({"path": str(path), "configs": count, "look_like_keys": suspects})
    are = "is" if count == 1 else "are"
    print(f"{counted(count, 'config')} {are} in {without_keys(repr(str(path)))}. {_key_report(suspects)}")
    return 0


def _key_report(suspects: Sequence[str]) -> str:
    if not suspects:
        return "The keys are left out, and nothing else looks like one."
    shown = printable(", ".join(suspects))
    return f"The keys are left out. Look at this before you share it, since it looks like a key: {shown}."


def _import(options: Namespace) -> int:
    from orchstate.exchange.plan import reasons
    from orchstate.exchange.reading import read_setup

    # Before a store is made for nothing.
    read_setup(options.path)
    if not options.dry_run and not options.yes and (options.json or not sys.stdin.isatty()):
        return fail(
            "Nobody can be asked here whether to import this. "
            "Look at the plan with --dry-run, then import with --yes."
        )
    with _open_or_empty(options) if options.dry_run else _open(options, read_only=False) as store:
        plan = store.plan_import(options.path)
        if not options.yes:
            _print_plan(plan, options)
        if options.dry_run:
            blocked = reasons(plan.items)
            return fail(f"Not all of it can be imported. {blocked}") if blocked else 0
        if not options.yes and not _is_wanted():
            return fail("Nothing was imported.")
        result = plan.apply(options.on_conflict, allow_definitions=options.allow_definitions)
        store.flush()
    return _print_result(plan, result, options)


def _is_wanted() -> bool:
    try:
        return input("\nImport this? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _print_result(plan: ImportPlan, result: ImportResult, options: Namespace) -> int:
    if options.json:
        print_json(asdict(result))
    else:
        done = {"Added": result.added, "Changed": result.changed, "Skipped": result.skipped}
        for verb, names in done.items():
            print(printable(f"{verb}: {', '.join(names) or 'nothing'}"))
        for need in result.missing:
            print(printable(f"Missing: {need.kind} {need.name} {need.config}: {need.next_step}"))
    blocked = {item.name for item in plan.items if item.action == "blocked"}
    # Beside what was chosen to be kept.
    left_out = [name for name in result.skipped if options.on_conflict == "theirs" or name in blocked]
    return fail(f"Not imported: {', '.join(left_out)}. --dry-run says why.") if left_out else 0


def _check(options: Namespace) -> int:
    with _open(options, read_only=True) as store:
        named = dict.fromkeys(store.configs[name] for name in options.names)
        configs = list(named) or list(store.configs.values())
        results = []
        for result in _checked(configs):
            results.append(result)
            if not options.json:
                line = f"{result.config}: {result.reason}, {result.latency_ms} ms. {result.message}"
                print(printable(line), flush=True)
    if options.json:
        names = ("config", "ok", "reason", "status", "latency_ms", "message")
        print_json([{name: getattr(result, name) for name in names} for result in results])
    elif not results:
        _print_none(options)
    return 0 if all(results) else 1


def _doctor(options: Namespace) -> int:
    from orchstate.doctor import examine

    # What it announces is part of the findings.
    logging.disable(logging.WARNING)
    findings = []
    for found in examine(options.store):
        # A path that was given may be a key by mistake.
        finding = replace(found, message=without_keys(found.message), next_step=without_keys(found.next_step))
        findings.append(finding)
        if not options.json:
            step = f" Next: {finding.next_step}" if finding.next_step else ""
            print(printable(f"{finding.level:8} {finding.what:10} {finding.message}{step}"), flush=True)
    if options.json:
        print_json([asdict(finding) for finding in findings])
    return 1 if any(finding.level == "problem" for finding in findings) else 0


def _salvage(options: Namespace) -> int:
    from orchstate.opening import resolve
    from orchstate.storage.sqlite import SqliteEngine

    path = resolve(options.store)
    if path is None or not path.exists():
        raise StoreError(f"There is no store {str(path)!r}. Name another with --store.")
    # What it announces is printed below.
    logging.disable(logging.ERROR)
    with contextlib.closing(SqliteEngine(path)) as engine:
        is_sound = not engine.check()
        done = engine.salvaged or (None if is_sound else engine.salvage())
    if options.json:
        return print_json({"salvaged": done and done.plain()})
    print(printable(without_keys(str(done.error())) if done else "The store is in order. Nothing was done."))
    return 0


# -- what commands share ------------------------------------------------------------------


@contextlib.contextmanager
def _open(options: Namespace, *, read_only: bool) -> Iterator[Store]:
    """Open the store; what turned out to be damaged meanwhile is told at the end."""
    from orchstate.opening import open, resolve

    path = resolve(options.store)
    if path is None:
        raise StoreError("A store in memory ends with its command. Give the path of a file with --store.")
    if read_only and not path.exists():
        step = "Make it with orchstate lab, or name another with --store."
        raise StoreError(f"There is no store {str(path)!r}. {step}")
    with open(options.store, read_only=read_only) as store:
        yield store
        options.damage = store.error if isinstance(store.error, CorruptStoreError) else None


def _open_or_empty(options: Namespace) -> contextlib.AbstractContextManager[Store]:
    """Open the store for reading, or stand in for one that would be made."""
    from orchstate.opening import open, resolve

    path = resolve(options.store)
    return open(":memory:") if path is None or not path.exists() else _open(options, read_only=True)


def _print_none(options: Namespace) -> int:
    """Say that there are no configs, unless nobody knows."""
    if not options.damage:
        print("There are no configs yet. Make one in the form: orchstate lab")
    return 0


def _summary(store: Store, config: Config) -> dict[str, Any]:
    return {
        "name": config.name,
        "provider": config.provider,
        "model": getattr(config, "model", None),
        "ready": config.validation.ready,
        "key": _key_place(store, config),
    }


def _key_place(store: Store, config: Config) -> str:
    try:
        fields = [spec.name for spec in config.definition.fields if spec.type == "secret"]
    except OrchstateError:
        return "provider is not defined here"
    refs = [ref for ref in (getattr(config, name) for name in fields) if ref.is_set]
    return ", ".join(map(store.secrets.describe, refs)) or ("not set" if fields else "not needed")


def _checked(configs: Sequence[Config]) -> Iterator[CheckResult]:
    """Yield the check result of each config as soon as it is there."""
    waiting: queue.SimpleQueue[Config] = queue.SimpleQueue()
    done: queue.SimpleQueue[CheckResult | Exception] = queue.SimpleQueue()

    def check() -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                config = waiting.get_nowait()
                try:
                    done.put(config.check())
                except Exception as error:
                    done.put(error)

    for config in configs:
        waiting.put(config)
    for _ in configs[:_CHECKS_AT_ONCE]:
        # Daemons, so that an interrupt need not wait for servers that do not answer.
        threading.Thread(target=check, daemon=True).start()
    for _ in configs:
        result = done.get()
        if isinstance(result, Exception):
            raise result
        yield result


def _print_plan(plan: ImportPlan, options: Namespace) -> int:
    if options.json:
        return print_json(
            {
                "source": plan.source,
                "notes": plan.notes,
                "items": [asdict(item) for item in plan.items],
                "missing": [asdict(need) for need in plan.missing],
            }
        )
    print(plan)
    return 0


def _moment(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdecimal() else text


# -- the command line ---------------------------------------------------------------------


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return our own arguments, and those behind ``--``, which are JupyterLab's."""
    if arguments[:1] != ["lab"] or "--" not in arguments:
        return arguments, []
    end = arguments.index("--")
    return arguments[:end], arguments[end + 1 :]


def _unknown(run: Callable[[Namespace], int], arguments: list[str]) -> str:
    given = shlex.join(arguments)
    step = f". What is for JupyterLab goes behind two dashes: orchstate lab -- {given}" if run is _lab else ""
    return f"unrecognized arguments: {given}{step}"


class _Parser(argparse.ArgumentParser):
    """A parser whose messages show no key."""

    def error(self, message: str) -> NoReturn:
        super().error(without_keys(message))


def _parser() -> _Parser:
    from orchstate import __version__

    parser = _Parser(
        prog="orchstate",
        description="Live, versioned LLM provider configurations for notebooks.",
        epilog="Example: orchstate lab",
    )
    parser.add_argument("--version", action="version", version=f"orchstate {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_lab(commands)
    _add_reading(commands)
    _add_exchange(commands)
    return parser


def _add_lab(commands: Any) -> None:
    example = "orchstate lab --port 8890"
    lab = _command(commands, "lab", _lab, "open JupyterLab on the quickstart", example, json=False)
    lab.add_argument("--port", type=port, help="where to listen; the first free one from 8888 if not given")
    lab.add_argument("--no-browser", dest="browser", action="store_false", help="open no browser")
    lab.usage = "orchstate lab [-h] [--store TARGET] [--port PORT] [--no-browser] [-- JUPYTERLAB_OPTION ...]"


def _add_reading(commands: Any) -> None:
    _command(commands, "list", _list, "list all configs", "orchstate list --json")
    show = _command(
        commands, "show", _show, "show one config, and where its values come from", "orchstate show gpt"
    )
    show.add_argument("name", help="name or id of a config")
    history = _command(
        commands, "history", _history, "show who changed what", "orchstate history gpt --since 2026-11-01"
    )
    history.add_argument("name", nargs="?", help="name or id of a config; everything if not given")
    history.add_argument("--since", metavar="MOMENT", help="a seq, a time, or the name of a snapshot")
    history.add_argument("--until", metavar="MOMENT", help="as --since")
    history.add_argument("--field", help="one field only, such as temperature")
    history.add_argument(
        "--limit", type=count, default=50, help="the last so many; 0 for all; 50 if not given"
    )
    check = _command(commands, "check", _check, "try configs against their servers", "orchstate check gpt")
    check.description = (
        "Try configs against their servers, each for 10 seconds at most. Ends with 1 if one does not work. "
        "With --json, one array with an object per config, also of a single one."
    )
    check.add_argument("names", nargs="*", metavar="name", help="names or ids; all configs if not given")
    _command(commands, "doctor", _doctor, "look whether everything is in order", "orchstate doctor")
    salvage = _command(commands, "salvage", _salvage, "save what is sound of a store", "orchstate salvage")
    salvage.description = (
        "Begin a new file with all that is sound in a damaged store. The damaged one is kept beside it, and "
        "what is lost is named. A store that is in order is left as it is."
    )


def _add_exchange(commands: Any) -> None:
    export = _command(
        commands,
        "export",
        _export,
        "write the set-up to one file, without secrets",
        "orchstate export setup.json",
    )
    export.add_argument("path", type=path, help="the file to write")
    import_ = _command(
        commands, "import", _import, "take a set-up over from a file", "orchstate import setup.json --dry-run"
    )
    import_.add_argument("path", type=path, help="a setup file")
    import_.add_argument("--dry-run", action="store_true", help="only show what would happen")
    import_.add_argument("--yes", action="store_true", help="do not ask")
    import_.add_argument(
        "--on-conflict",
        choices=("theirs", "ours", "rename"),
        default="theirs",
        help="what is here with other values: take the file's, keep ours, add the file's under a new name",
    )
    import_.add_argument(
        "--allow-definitions",
        action="store_true",
        help="use provider definitions in the file, which say where keys are sent",
    )


def _command(
    commands: Any,
    name: str,
    run: Callable[[Namespace], int],
    help: str,
    example: str,
    *,
    json: bool = True,
) -> _Parser:
    command: _Parser = commands.add_parser(
        name, help=help, description=f"{help[0].upper()}{help[1:]}.", epilog=f"Example: {example}"
    )
    command.add_argument(
        "--store", metavar="TARGET", help="path of the store; $ORCHSTATE_STORE or your own store if not given"
    )
    if json:
        command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=run, parser=command)
    return command
