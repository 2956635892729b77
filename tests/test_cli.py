"""The command line, as real processes: what it prints, how it ends, and what it leaves alone."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from testbed.network import black_hole, closed_port, dripping

import orchstate as orch
from tests.exchange.samples import LAB, openai, setup

if TYPE_CHECKING:
    from pathlib import Path

    from testbed.llm import LlmServer

    from tests.conftest import Run

KEY = "sk-0123456789abcdef0123456789"


def _write(path: Path, raw: dict[str, Any]) -> str:
    path.write_text(json.dumps(raw))
    return str(path)


# -- the command itself -------------------------------------------------------------------


def test_the_version_is_that_of_the_package(run: Run) -> None:
    assert run("--version").stdout == f"orchstate {orch.__version__}\n"


@pytest.mark.parametrize(
    "command", ["lab", "list", "show", "history", "export", "import", "check", "doctor", "salvage"]
)
def test_every_command_has_help_with_an_example(run: Run, command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0 and f"Example: orchstate {command}" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["nonsense"], ["show"], ["history", "--limit", "-1"], ["import", "a", "--on-conflict", "mine"]),
        *(["export", ""], ["import", ""]),
        *(["lab", "--port", port] for port in ("65536", "-1", "x")),
        # What it prints is JupyterLab's.
        ["lab", "--json"],
    ],
    ids=" ".join,
)
def test_what_is_not_understood_ends_with_2(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2 and done.stderr.startswith("usage: orchstate") and not done.stdout


@pytest.mark.parametrize(
    "arguments", [["list"], ["show", "gpt"], ["history"], ["export", "setup.json"], ["check"]]
)
def test_a_reading_command_makes_no_store(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr == (
        f"orchstate: There is no store {str(tmp_path / 'store.db')!r}. "
        "Make it with orchstate lab, or name another with --store.\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["definitions", "home"]


@pytest.mark.parametrize("arguments", [["list"], ["show", "gpt"], ["history"], ["export", "out.json"]])
def test_a_reading_command_changes_nothing(run: Run, store_path: Path, arguments: list[str]) -> None:
    before = store_path.read_bytes()
    assert run(*arguments).returncode == 0
    assert store_path.read_bytes() == before


def test_a_store_can_be_named(run: Run, store_path: Path, tmp_path: Path) -> None:
    other = store_path.rename(tmp_path / "other.db")
    assert "gpt" in run("list", "--store", str(other)).stdout


def test_a_store_that_is_none_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"not a database at all, but long enough to look at" * 50)
    done = run("list")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "is not a database" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["list", "--store", "x" * 300], ["export", "x" * 300], ["import", "x" * 300, "--dry-run"]],
    ids=lambda arguments: arguments[0],
)
def test_a_name_that_is_too_long_for_a_file_is_one_line(
    run: Run, store_path: Path, arguments: list[str]
) -> None:
    done = run(*arguments)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("orchstate: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["show", "check"])
def test_what_stands_behind_two_dashes_is_a_name(run: Run, store_path: Path, command: str) -> None:
    done = run(command, "--", "lab")
    assert done.returncode == 1 and done.stderr.startswith("orchstate: There is no config 'lab'.")


def test_a_reader_that_has_seen_enough_is_no_error(store_path: Path, environment: dict[str, str]) -> None:
    command = f"{sys.executable} -m orchstate history --limit 0 | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_without_unicode_shows_what_it_can(run: Run, tmp_path: Path) -> None:
    with orch.open(tmp_path / "store.db", secrets="memory") as store:
        store.configs.upsert("müller 😀", "ollama")
    done = run("list", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and r"m\xfcller \U0001f600" in done.stdout


# -- reading ------------------------------------------------------------------------------


def test_list_has_a_line_per_config(run: Run, store_path: Path) -> None:
    lines = [line.split() for line in run("list").stdout.splitlines()]
    assert lines[0] == ["name", "provider", "model", "ready", "key"]
    assert [line[:2] for line in lines[1:]] == [["gpt", "openai"], ["local", "ollama"]]


def test_list_as_json_says_where_keys_are(run: Run, store_path: Path) -> None:
    gpt, local = json.loads(run("list", "--json", OPENAI_API_KEY=KEY).stdout)
    assert gpt == {
        "name": "gpt",
        "provider": "openai",
        "model": "m",
        "ready": True,
        "key": "from OPENAI_API_KEY",
    }
    assert local["key"] == "not set"


def test_an_empty_store_says_what_to_do(run: Run, tmp_path: Path) -> None:
    orch.open(tmp_path / "store.db", secrets="memory").close()
    assert run("list").stdout == "There are no configs yet. Make one in the form: orchstate lab\n"
    assert json.loads(run("list", "--json").stdout) == []


def test_show_says_where_each_value_comes_from(run: Run, store_path: Path) -> None:
    found = json.loads(run("show", "GPT", "--json").stdout)
    fields = {row["field"]: (row["value"], row["source"]) for row in found["fields"]}
    assert fields["temperature"] == (0.5, "config")
    assert fields["base_url"] == ("https://api.openai.com/v1", "provider default")
    assert fields["api_key"][1] == "OPENAI_API_KEY is not set"
    assert "temperature        0.5" in run("show", "gpt").stdout


def test_show_is_for_people(run: Run, store_path: Path) -> None:
    with orch.open(store_path, secrets="memory") as store:
        store.configs["gpt"].tags = ("fast", "cheap")
        fingerprint = store.configs["gpt"].fingerprint
    shown = dict(
        line.split(maxsplit=1) for line in run("show", "gpt").stdout.splitlines()[1:9] if " " in line
    )
    assert (shown["tags"], shown["fingerprint"]) == ("fast, cheap", fingerprint)
    assert shown["updated_at"].endswith(" UTC")


def test_one_thing_is_not_spoken_of_as_many(run: Run, store_path: Path) -> None:
    with orch.open(store_path, secrets="memory") as store:
        store.configs["local"].delete()
    assert (
        run("export", "setup.json").stdout
        == "1 config is in 'setup.json'. The keys are left out, and nothing else looks like one.\n"
    )
    assert any("1 config, " in one["message"] for one in json.loads(run("doctor", "--json").stdout))


def test_show_names_the_closest_config(run: Run, store_path: Path) -> None:
    done = run("show", "gtp")
    assert (done.returncode, done.stderr) == (1, "orchstate: There is no config 'gtp'. Did you mean 'gpt'?\n")


def test_history_says_who_changed_what(run: Run, store_path: Path) -> None:
    (row,) = [row for row in json.loads(run("history", "gpt", "--json").stdout) if row["op"] == "update"]
    assert (row["field"], row["old"], row["new"], row["actor"]) == ("temperature", None, 0.5, "me")
    assert row["at"].endswith("+00:00")


def test_history_has_labels_where_there_are_some(run: Run, store_path: Path) -> None:
    assert "label" not in run("history").stdout.splitlines()[0].split()
    with orch.open(store_path, secrets="memory") as store:
        store.configs["gpt"].temperature = 0.7
        store.undo()
    head, *_, last = run("history").stdout.splitlines()
    assert "label" in head.split() and "undo" in last


def test_history_can_be_narrowed(run: Run, store_path: Path) -> None:
    def fields(*arguments: str) -> list[str]:
        return [row["field"] for row in json.loads(run("history", "gpt", "--json", *arguments).stdout)]

    assert fields("--since", "1") == ["temperature"]
    assert "temperature" not in fields("--until", "1")
    assert fields("--field", "model") == ["model"]
    assert fields("--limit", "1") == ["temperature"]
    assert len(fields("--limit", "0")) > 4


def test_no_change_is_said_and_no_empty_table_shown(run: Run, store_path: Path) -> None:
    arguments = ["history", "--since", "2026-01-02", "--until", "2026-01-01"]
    assert run(*arguments).stdout == "There are no such changes.\n"
    assert json.loads(run(*arguments, "--json").stdout) == []


def test_history_says_what_it_does_not_show(run: Run, store_path: Path) -> None:
    assert "earlier changes. All: --limit 0\n" in run("history", "--limit", "1").stdout


def test_an_unknown_moment_is_one_line(run: Run, store_path: Path) -> None:
    done = run("history", "--since", "yesterday")
    assert done.returncode == 1 and "There is no snapshot 'yesterday'" in done.stderr


# -- setups -------------------------------------------------------------------------------


def test_export_writes_what_the_store_exports(run: Run, store_path: Path, tmp_path: Path) -> None:
    done = run("export", "setup.json")
    assert (
        done.stdout
        == "2 configs are in 'setup.json'. The keys are left out, and nothing else looks like one.\n"
    )
    with orch.open(store_path, read_only=True, secrets="memory") as store:
        assert store.export(tmp_path / "same.json").read_bytes() == (tmp_path / "setup.json").read_bytes()


def test_export_names_what_looks_like_a_key(run: Run, store_path: Path) -> None:
    with orch.open(store_path, secrets="memory") as store:
        store.configs["gpt"].stop = "sk-own-0123456789"
    done = run("export", "setup.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("before you share it, since it looks like a key: gpt.stop.\n")
    assert json.loads(run("export", "setup.json", "--json").stdout)["look_like_keys"] == ["gpt.stop"]


def test_an_export_that_cannot_be_is_one_line(run: Run, store_path: Path) -> None:
    done = run("export", "nowhere/setup.json")
    assert (done.returncode, done.stderr) == (
        1,
        "orchstate: nowhere: there is no such folder. Make it first.\n",
    )


def test_a_dry_run_shows_the_plan_and_makes_no_store(run: Run, tmp_path: Path) -> None:
    done = run("import", _write(tmp_path / "setup.json", setup(openai(model="m"))), "--dry-run")
    assert done.returncode == 0 and "Import of setup.json: 1 to add" in done.stdout
    assert not (tmp_path / "store.db").exists()


def test_a_dry_run_compares_with_the_store(run: Run, store_path: Path, tmp_path: Path) -> None:
    path = _write(tmp_path / "setup.json", setup(openai(model="other")))
    plan = json.loads(run("import", path, "--dry-run", "--json").stdout)
    assert [(item["action"], item["changes"]["model"]) for item in plan["items"]] == [
        ("change", ["m", "other"])
    ]


def test_without_a_terminal_an_import_needs_yes(run: Run, store_path: Path, tmp_path: Path) -> None:
    done = run("import", _write(tmp_path / "setup.json", setup(openai())))
    assert done.returncode == 1 and "import with --yes" in done.stderr and not done.stdout


def test_an_import_says_what_it_did_and_what_is_missing(run: Run, tmp_path: Path) -> None:
    done = run("import", _write(tmp_path / "setup.json", setup(openai(model="m"))), "--yes")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "Added: gpt",
        "Changed: nothing",
        "Skipped: nothing",
        "Missing: key api_key gpt: Type it in the form, or assign gpt.api_key.",
    ]
    assert json.loads(run("list", "--json").stdout)[0]["model"] == "m"


def test_an_import_is_in_the_history_with_its_label(run: Run, tmp_path: Path) -> None:
    run("import", _write(tmp_path / "team.json", setup(openai())), "--yes")
    assert {row["label"] for row in json.loads(run("history", "--json").stdout)} == {"import team.json"}


def test_an_import_that_leaves_something_out_ends_with_1(run: Run, tmp_path: Path) -> None:
    path = _write(tmp_path / "setup.json", setup(openai("bad", seed="x"), openai("sound")))
    done = run("import", path, "--yes", "--json")
    assert done.returncode == 1 and done.stderr == "orchstate: Not imported: bad. --dry-run says why.\n"
    assert json.loads(done.stdout)["added"] == ["sound"]


@pytest.mark.parametrize(("on_conflict", "names"), [("ours", ["gpt"]), ("rename", ["gpt", "gpt 2"])])
def test_an_import_can_keep_what_is_here(
    run: Run, store_path: Path, tmp_path: Path, on_conflict: str, names: list[str]
) -> None:
    path = _write(tmp_path / "setup.json", setup(openai(model="other")))
    assert run("import", path, "--yes", "--on-conflict", on_conflict).returncode == 0
    found = json.loads(run("list", "--json").stdout)
    assert [config["name"] for config in found if config["provider"] == "openai"] == names
    assert found[0]["model"] == "m"


@pytest.mark.parametrize("how", [["--dry-run"], ["--yes"], ["--dry-run", "--json"]], ids=" ".join)
def test_a_setup_of_which_nothing_can_be_imported_ends_with_1_and_the_reason(
    run: Run, tmp_path: Path, how: list[str]
) -> None:
    path = _write(tmp_path / "setup.json", setup(openai("bad", seed="x")))
    done = run("import", path, *how)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "bad: configs[0].values.seed: 'x' is not a whole number" in done.stderr


def test_a_dry_run_ends_as_the_import_would(run: Run, tmp_path: Path) -> None:
    path = _write(tmp_path / "setup.json", setup(openai("bad", seed="x"), openai("sound")))
    assert (run("import", path, "--dry-run").returncode, run("import", path, "--yes").returncode) == (1, 1)


def test_a_file_that_is_not_there_is_told_before_anything_is_asked(run: Run, tmp_path: Path) -> None:
    done = run("import", "nope.json")
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("orchstate: nope.json: there is no such file. Give the path of a setup")


def test_what_an_import_is_given_is_a_path_whatever_it_looks_like(run: Run) -> None:
    done = run("import", '{"format": "orchstate.setup", "version": 1}', "--dry-run")
    assert done.returncode == 1 and "there is no such file" in done.stderr


@pytest.mark.parametrize("command", [["list"], ["check"], ["import", "setup.json", "--yes"]], ids=" ".join)
def test_a_store_in_memory_is_no_use_to_a_command(run: Run, tmp_path: Path, command: list[str]) -> None:
    _write(tmp_path / "setup.json", setup(openai()))
    done = run(*command, "--store", ":memory:")
    assert done.returncode == 1 and "Give the path of a file with --store" in done.stderr


def test_definitions_need_to_be_allowed(run: Run, tmp_path: Path) -> None:
    path = _write(tmp_path / "setup.json", setup({"name": "a", "provider": "lab"}, definitions=[LAB]))
    assert "Not imported: lab, a." in run("import", path, "--yes").stderr
    assert run("import", path, "--yes", "--allow-definitions").returncode == 0
    assert (tmp_path / "definitions" / "lab.json").is_file()


def test_a_bad_setup_makes_no_store(run: Run, tmp_path: Path) -> None:
    (tmp_path / "setup.json").write_text('{"format": "orchstate.setup", "version": 1, "configs": [')
    done = run("import", "setup.json", "--yes")
    assert done.returncode == 1 and "setup.json: it is not JSON" in done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "store.db").exists()


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("\x04", 1)])
def test_on_a_terminal_it_asks(tmp_path: Path, environment: dict[str, str], answer: str, code: int) -> None:
    path = _write(tmp_path / "setup.json", setup(openai()))
    ours, theirs = pty.openpty()
    try:
        command = [sys.executable, "-m", "orchstate", "import", path]
        with subprocess.Popen(
            command, env=environment, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as asking:
            os.write(ours, answer.encode())
            shown, _ = asking.communicate(timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    assert asking.returncode == code and "1 to add" in shown and "Import this? [y/N]" in shown
    with orch.open(tmp_path / "store.db", read_only=True, secrets="memory") as store:
        assert len(store.configs) == (code == 0)


# -- check --------------------------------------------------------------------------------


def _servers(path: Path, timeout_ms: int = 60_000, **urls: str) -> None:
    with orch.open(path, secrets="memory") as store:
        store.settings.agents.timeout = timeout_ms
        for name, url in urls.items():
            store.configs.upsert(name, "openai_compatible", base_url=url)


def test_check_ends_with_1_if_one_fails(run: Run, tmp_path: Path) -> None:
    with closed_port() as url:
        _servers(tmp_path / "store.db", dead=url)
        done = run("check")
    assert done.returncode == 1 and done.stdout.startswith("dead: unreachable, ")


def test_checks_run_beside_each_other_and_the_first_to_finish_is_shown_first(
    run: Run, tmp_path: Path
) -> None:
    with closed_port() as dead, black_hole() as hanging:
        hanging_ones = {f"a hanging one {n}": hanging for n in range(3)}
        _servers(tmp_path / "store.db", 2_000, **hanging_ones, dead=dead)
        lines = run("check").stdout.splitlines()
    # One after another, it would be the last.
    assert lines[0].startswith("dead: ") and len(lines) == 4
    assert {line.split(": ")[1].split(",")[0] for line in lines[1:]} <= {"timeout", "unreachable"}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_check_as_json_is_one_array(run: Run, tmp_path: Path, count: int) -> None:
    with closed_port() as url:
        _servers(tmp_path / "store.db", **{f"dead {n}": url for n in range(count)})
        done = run("check", "--json")
    found = json.loads(done.stdout)
    assert {one["config"] for one in found} == {f"dead {n}" for n in range(count)}
    assert all((one["ok"], one["reason"], one["status"]) == (False, "unreachable", None) for one in found)
    assert "With --json, one array" in " ".join(run("check", "--help").stdout.split())


def test_a_config_that_is_named_twice_is_checked_once(run: Run, tmp_path: Path) -> None:
    with closed_port() as url:
        _servers(tmp_path / "store.db", dead=url)
        assert len(run("check", "dead", "DEAD").stdout.splitlines()) == 1


def test_check_of_a_config_without_a_provider_is_a_line_too(run: Run, tmp_path: Path) -> None:
    (tmp_path / "definitions" / "lab.json").write_text(json.dumps(LAB))
    path = _write(tmp_path / "setup.json", setup({"name": "a", "provider": "lab"}))
    assert run("import", path, "--yes").returncode == 0
    (tmp_path / "definitions" / "lab.json").unlink()
    done = run("check", "a")
    assert done.returncode == 1 and done.stdout.startswith("a: unexpected, 0 ms. There is no provider 'lab'.")
    assert "provider is not defined here" in run("list").stdout


def test_an_interrupt_ends_a_check_at_once(tmp_path: Path, environment: dict[str, str]) -> None:
    with black_hole() as url, closed_port() as dead:
        _servers(tmp_path / "store.db", hanging=url, dead=dead)
        with subprocess.Popen(
            [sys.executable, "-m", "orchstate", "check"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Whoever is started in the background of a shell ignores an interrupt, and so would we.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as checking:
            assert checking.stdout is not None and checking.stdout.readline().startswith("dead")
            checking.send_signal(signal.SIGINT)
            _, complaint = checking.communicate(timeout=15)
    assert (checking.returncode, complaint) == (130, "")


def test_no_more_than_16_servers_are_asked_at_once(tmp_path: Path, environment: dict[str, str]) -> None:
    with dripping() as server:
        _servers(tmp_path / "store.db", **{f"slow {n}": server.url for n in range(20)})
        with subprocess.Popen(
            [sys.executable, "-m", "orchstate", "check"],
            env=environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as checking:
            deadline = time.monotonic() + 30
            while len(server.requests) < 16 and time.monotonic() < deadline:
                time.sleep(0.05)
            # Were there others, they would have asked by now.
            time.sleep(0.5)
            checking.send_signal(signal.SIGINT)
        assert len(server.requests) == 16


@pytest.mark.llm
def test_check_asks_a_real_server(run: Run, tmp_path: Path, llm_server: LlmServer) -> None:
    with orch.open(tmp_path / "store.db", secrets="memory") as store:
        for name in ("RIGHT", "WRONG"):
            values = {"base_url": llm_server.base_url, "api_key": orch.env(f"{name}_KEY")}
            store.configs.upsert(name, "openai_compatible", **values)
    keys = {"RIGHT_KEY": llm_server.api_key, "WRONG_KEY": "wrong-key-0123456789"}
    assert run("check", "RIGHT", **keys).returncode == 0
    done = run("check", **keys)
    assert done.returncode == 1
    assert {line.split(",")[0] for line in done.stdout.splitlines()} == {"RIGHT: ok", "WRONG: unauthorized"}
    assert not any(key in done.stdout + done.stderr for key in keys.values())
