"""A setup file is replaced whole or not at all, also when its writer dies."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from testbed.disk import small_files

from orchstate.errors import SetupError
from orchstate.exchange.reading import read_setup
from orchstate.exchange.writing import replace_file, setup_text

if TYPE_CHECKING:
    from pathlib import Path


def test_every_field_has_a_line_of_its_own() -> None:
    text = setup_text({"configs": [{"name": "gpt", "values": {"model": "m", "stop": None}}]})
    assert [line.strip(" ,") for line in text.splitlines() if ":" in line] == [
        '"configs": [',
        '"name": "gpt"',
        '"values": {',
        '"model": "m"',
        '"stop": null',
    ]


def test_a_value_stays_on_its_line_as_long_as_it_fits() -> None:
    headers = {f"X-{n}": "value" for n in range(30)}
    text = setup_text({"configs": [{"values": {"headers": headers, "tags": {"a": "b"}}}]})
    assert '"tags": {"a": "b"}' in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("value", [{}, [], {"a": []}, {"ü": "😀 \u2028"}, {"a": [{"b": [1, [2, {}]]}]}])
def test_the_text_is_the_value(value: object) -> None:
    assert json.loads(setup_text(value)) == value


def test_an_existing_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "setup.json"
    path.write_text("old")
    path.chmod(0o640)
    replace_file(path, b"new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o640)


def test_a_new_file_has_the_usual_mode(tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.touch()
    replace_file(tmp_path / "setup.json", b"new")
    assert (tmp_path / "setup.json").stat().st_mode == usual.stat().st_mode


def test_a_link_goes_on_pointing_to_its_file(tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)
    replace_file(link, b"new")
    assert link.is_symlink() and target.read_text() == "new"


def test_nothing_is_left_beside_the_file(tmp_path: Path) -> None:
    replace_file(tmp_path / "setup.json", b"new")
    assert os.listdir(tmp_path) == ["setup.json"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"nowhere: there is no such folder\. Make it first\.") as caught:
        replace_file(tmp_path / "nowhere" / "setup.json", b"new")
    assert caught.value.source == str(tmp_path / "nowhere")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="it is a folder; name a file in it"):
        replace_file(tmp_path, b"new")


def test_a_write_protected_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "setup.json"
    path.write_text("old")
    path.chmod(0o444)
    with pytest.raises(SetupError, match="it is write-protected"):
        replace_file(path, b"new")
    assert path.read_text() == "old"


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(SetupError, match="it is not an ordinary file"):
        replace_file(pipe, b"new")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_path_that_no_system_takes_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot be written"):
        replace_file(tmp_path / "a\0b", b"new")
    with pytest.raises(SetupError, match="File name too long"):
        replace_file(tmp_path / ("a" * 300), b"new")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "setup.json"
    path.write_text("old")
    with small_files(), pytest.raises(SetupError, match=r"the file cannot be written \(File too large\)"):
        replace_file(path, b"x" * 10_000)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["setup.json"]


# Exports two set-ups in turn, for ever; each is a megabyte, so that a kill finds it in the middle.
_EXPORTER = """
import sys
from pathlib import Path
from orchstate.testing import memory_store

with memory_store() as store:
    with store.transaction():
        for n in range(800):
            store.configs.create("openai", name=f"config {n}", model="m" * 1000)
    gpt = store.configs["config 0"]
    while True:
        gpt.temperature = 1.0 - (gpt.temperature or 0.0)
        store.export(sys.argv[1])
        print("exported", flush=True)
"""


@pytest.mark.parametrize(
    "delay_s", [0.0, 0.02, *(pytest.param(ms / 1000, marks=pytest.mark.long) for ms in range(2, 60, 4))]
)
def test_a_kill_in_mid_export_leaves_a_whole_file(tmp_path: Path, delay_s: float) -> None:
    path = tmp_path / "setup.json"
    command = [sys.executable, "-c", _EXPORTER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as exporter:
        assert exporter.stdout is not None
        exporter.stdout.readline()
        time.sleep(delay_s)
        exporter.kill()
    reading = read_setup(path)
    assert len(reading.setup.configs) == 800 and not reading.notes
