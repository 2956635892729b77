"""``orchstate doctor``, as a real process: what it finds, what it advises, and that it changes nothing."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import orchstate as orch

if TYPE_CHECKING:
    from pathlib import Path

    from testbed.secret_service import SecretService

    from tests.conftest import Run

KEY = "sk-0123456789abcdef0123456789"


def _findings(run: Run, **environment: str) -> tuple[int, list[dict[str, str]]]:
    done = run("doctor", "--json", **environment)
    return done.returncode, json.loads(done.stdout)


def test_a_machine_in_order_has_no_problem(run: Run, store_path: Path) -> None:
    code, findings = _findings(run)
    assert code == 0 and not [one for one in findings if one["level"] == "problem"]
    assert {"orchstate", "package", "providers", "keys", "store", "sqlite"} <= {
        one["what"] for one in findings
    }
    assert any("2 configs, " in one["message"] for one in findings)


def test_doctor_makes_no_store(run: Run, tmp_path: Path) -> None:
    code, findings = _findings(run)
    assert code == 0 and "it is made on first use" in findings[-1]["message"]
    assert not (tmp_path / "store.db").exists()


def test_every_finding_has_a_line(run: Run, store_path: Path) -> None:
    _, findings = _findings(run)
    lines = run("doctor").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [[one["level"], one["what"]] for one in findings]


def test_no_keyring_is_a_warning_with_the_next_step(run: Run, tmp_path: Path) -> None:
    (warning,) = [one for one in _findings(run)[1] if one["what"] == "keys"]
    assert warning["level"] == "warning" and str(tmp_path / "vault.json") in warning["message"]
    assert "ORCHSTATE_VAULT_PASSPHRASE" in warning["next_step"]


@pytest.mark.keyring
def test_a_keyring_is_ok(run: Run, secret_service: SecretService) -> None:
    backend = {"PYTHON_KEYRING_BACKEND": "keyring.backends.SecretService.Keyring"}
    _, findings = _findings(run, **secret_service.environment, **backend)
    (found,) = [one for one in findings if one["what"] == "keys"]
    assert (found["level"], found["message"]) == ("ok", "They go to the keyring of this machine.")


def test_a_damaged_row_is_a_problem(run: Run, store_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(store_path)) as connection:
        connection.execute("UPDATE rev SET body = replace(body, 'openai', 'openay') WHERE seq = 1")
        connection.commit()
    code, findings = _findings(run)
    damages = [one for one in findings if one["what"] == "damage"]
    assert code == 1 and len(damages) == 1 and "damaged" in damages[0]["message"] and damages[0]["next_step"]


def test_a_broken_definition_is_a_problem(run: Run, tmp_path: Path) -> None:
    (tmp_path / "definitions" / "lab.json").write_text("{")
    code, findings = _findings(run)
    (problem,) = [one for one in findings if one["level"] == "problem"]
    assert code == 1 and problem["what"] == "providers" and "lab.json" in problem["message"]


def test_a_store_that_others_may_read_is_a_warning(run: Run, store_path: Path) -> None:
    store_path.chmod(0o644)
    code, findings = _findings(run)
    assert code == 0
    assert any(one["next_step"] == f"chmod 600 {str(store_path)!r}" for one in findings)


def test_a_second_name_of_the_file_is_a_warning(run: Run, store_path: Path, tmp_path: Path) -> None:
    (tmp_path / "second.db").hardlink_to(store_path)
    (warning,) = [one for one in _findings(run)[1] if "It has 2 names" in one["message"]]
    assert warning["level"] == "warning" and "Open it by one name alone" in warning["next_step"]


def test_a_store_that_is_none_is_a_problem(run: Run, tmp_path: Path) -> None:
    (tmp_path / "store.db").mkdir()
    code, findings = _findings(run)
    assert code == 1 and "is a folder" in findings[-1]["message"]


@pytest.mark.parametrize("content", [b"root:x:0:0\n" * 500, b"", None], ids=["text", "empty", "sqlite"])
def test_about_a_file_that_is_no_store_nothing_is_advised(
    run: Run, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "store.db"
    if content is None:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE places (url)")
    else:
        path.write_bytes(content)
    path.chmod(0o644)
    code, findings = _findings(run)
    (found,) = [one for one in findings if one["what"] in ("store", "sqlite")]
    assert (code, found["level"], found["next_step"]) == (1, "problem", "")


def test_a_key_in_place_of_a_store_is_not_shown(run: Run, tmp_path: Path) -> None:
    path = tmp_path / f"sk-proj-{'zQ3dE5fG7hW9' * 9}"
    for arguments in (["doctor"], ["doctor", "--json"]):
        assert "zQ3dE5" not in run(*arguments, "--store", str(path)).stdout


def test_a_key_that_is_not_there_is_a_warning(run: Run, store_path: Path) -> None:
    warnings = [one["message"] for one in _findings(run)[1] if one["what"] == "key"]
    assert warnings == ["gpt: its api_key is not there (OPENAI_API_KEY is not set)."]
    assert not [one for one in _findings(run, OPENAI_API_KEY=KEY)[1] if one["what"] == "key"]


# Accepts edits that never get into the store, because another program has it locked, and is killed.
_DIES = """
import os, signal, sqlite3, sys
import orchstate as orch

store = orch.open(sys.argv[1], secrets="memory")
gpt = store.configs["gpt"]
store.flush()
blocker = sqlite3.connect(sys.argv[1], isolation_level=None)
blocker.execute("BEGIN EXCLUSIVE")
gpt.temperature = 0.7
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_edits_for_a_store_that_was_replaced_are_told_with_the_way_back(
    run: Run, store_path: Path, tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-c", _DIES, str(store_path)], check=False, timeout=60)
    store_path.rename(tmp_path / "moved.db")
    code, findings = _findings(run)
    assert code == 1 and any("was removed or moved away" in one["message"] for one in findings)
    with orch.open(store_path, secrets="memory"):
        pass
    (told,) = [one for one in _findings(run)[1] if one["what"] == "outbox"]
    assert (
        f"1 edit of one that no longer has it open, for another store, which was at {str(store_path)!r}"
        in told["message"]
    )
    assert "Put that store's file back" in told["next_step"]
    (tmp_path / "moved.db").replace(store_path)
    with orch.open(store_path, secrets="memory") as store:
        assert store.configs["gpt"].temperature == 0.7


def test_a_notebook_whose_file_was_removed_is_told_to_save_what_it_sees(run: Run, store_path: Path) -> None:
    with orch.open(store_path, secrets="memory") as store:
        store.configs["gpt"].temperature = 0.7
        store.flush()
        store_path.unlink()
        told = [one for one in _findings(run)[1] if one["what"] in ("store", "outbox")]
        store._close(0.0)
    assert [one["level"] for one in told] == ["problem", "problem"]
    assert "of a notebook that still has it open" in told[1]["message"]
    assert "store.export('setup.json')" in told[1]["next_step"]


def test_edits_of_a_dead_process_are_told_and_stay(run: Run, store_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _DIES, str(store_path)], check=False, timeout=60)
    for _ in range(2):
        (waiting,) = [one for one in _findings(run)[1] if one["what"] == "outbox"]
        assert "has 1 edit that is not committed. Whoever made them no longer has" in waiting["message"]
    with orch.open(store_path, secrets="memory") as store:
        assert store.configs["gpt"].temperature == 0.7
    assert not [one for one in _findings(run)[1] if one["what"] == "outbox"]


def _lose_a_page(path: Path, table: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        ((root,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table])
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xaa" * 4096)


def test_the_disk_and_its_file_system_are_told(run: Run, store_path: Path) -> None:
    places = [one for one in _findings(run)[1] if one["what"] == "place"]
    assert (
        places[0]["message"].startswith("File system: ") and "MB are free on its disk" in places[1]["message"]
    )


def test_a_damaged_file_is_a_problem_and_salvage_is_the_next_step(run: Run, store_path: Path) -> None:
    _lose_a_page(store_path, "doc")
    before = store_path.read_bytes()
    code, findings = _findings(run)
    damages = [one for one in findings if one["what"] == "damage"]
    assert code == 1 and damages and "orchstate salvage" in damages[0]["next_step"]
    assert any("2 configs, " in one["message"] for one in findings)
    assert store_path.read_bytes() == before


def test_salvage_saves_what_is_sound_and_the_doctor_tells_of_what_was_kept(
    run: Run, store_path: Path
) -> None:
    _lose_a_page(store_path, "doc")
    done = run("salvage", "--json")
    told = json.loads(done.stdout)["salvaged"]
    assert (done.returncode, told["documents"], told["losses"]) == (0, 2, [])
    code, findings = _findings(run)
    (kept,) = [one for one in findings if one["what"] == "kept"]
    assert (code, kept["level"]) == (0, "warning") and told["kept"] in kept["message"]
    assert run("list", "--json").returncode == 0


def test_salvage_goes_back_to_what_is_sound_of_a_damaged_record(run: Run, store_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(store_path)) as connection:
        ((name, seq),) = connection.execute(
            "SELECT name, seq FROM doc WHERE kind = 'config' AND revision > 1 LIMIT 1"
        )
        for table in ("doc", "rev"):
            connection.execute(f"UPDATE {table} SET body = body || ' ' WHERE seq = {seq}")
        connection.commit()
    done = run("salvage")
    assert done.returncode == 0 and f"config '{name}' is as it was at" in done.stdout
    code, findings = _findings(run)
    assert code == 0 and any(one["what"] == "lost" and name in one["message"] for one in findings)


def test_salvage_leaves_a_store_that_is_in_order(run: Run, store_path: Path) -> None:
    before = store_path.read_bytes()
    assert run("salvage").stdout == "The store is in order. Nothing was done.\n"
    assert json.loads(run("salvage", "--json").stdout) == {"salvaged": None}
    assert store_path.read_bytes() == before


def test_salvage_needs_a_store(run: Run, tmp_path: Path) -> None:
    done = run("salvage", "--store", str(tmp_path / "none.db"))
    assert done.returncode == 1 and "There is no store" in done.stderr
