"""The registry: packaged definitions and files of the user's own."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from orchstate.errors import NotFoundError, SetupError
from orchstate.providers.documents import UnknownProviderDocument
from orchstate.providers.registry import Registry
from tests.providers.definitions import lab, lab_text, with_field

if TYPE_CHECKING:
    from pathlib import Path

PACKAGED = ("anthropic", "ollama", "openai", "openai_compatible")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_the_catalog_is_there_without_any_file_of_ones_own():
    registry = Registry([])
    assert registry.ids == PACKAGED
    assert len(registry) == 4
    assert [definition.id for definition in registry] == list(PACKAGED)
    assert "openai" in registry and "nobody" not in registry


def test_an_unknown_id_is_answered_with_the_closest():
    with pytest.raises(NotFoundError, match=r"There is no provider 'opena'. Did you mean 'openai'"):
        Registry([]).get("opena")


def test_a_file_of_ones_own_adds_a_provider(folder: Path):
    write(folder, "lab.json", lab_text())
    assert Registry([folder]).get("lab") == lab()


def test_a_file_of_ones_own_replaces_a_packaged_one_and_says_so(
    folder: Path, caplog: pytest.LogCaptureFixture
):
    write(folder, "mine.json", lab_text(id="openai"))
    with caplog.at_level(logging.INFO, logger="orchstate.providers"):
        assert Registry([folder]).get("openai").label == "Our lab's server"
    assert f"The provider 'openai' is now as defined in {folder}" in caplog.text


def test_the_last_folder_wins(tmp_path: Path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        write(folder, "lab.json", lab_text(label=f"From {folder.name}"))
    assert Registry(folders).get("lab").label == "From b"
    assert len(Registry(folders)) == 5


def test_a_broken_file_stops_nothing_but_its_own_provider(folder: Path, caplog: pytest.LogCaptureFixture):
    file = write(folder, "bad.json", with_field(minimum="1"))
    write(folder, "good.json", lab_text(id="good"))
    registry = Registry([folder])
    assert registry.ids == tuple(sorted([*PACKAGED, "good"]))
    assert [(problem.source, problem.path) for problem in registry.problems] == [
        (str(file), "fields[0].minimum")
    ]
    assert "A provider definition is left out" in caplog.text
    with pytest.raises(SetupError, match=r"bad.json at fields\[0\].minimum: expected a number"):
        registry.get("lab")


def test_a_file_that_is_not_json_stands_for_its_name(folder: Path):
    write(folder, "openai.json", "{")
    registry = Registry([folder])
    assert "openai" not in registry
    with pytest.raises(SetupError, match="the file is not JSON"):
        registry.get("openai")


@pytest.mark.parametrize("content", ["x" * 1_000_001, None], ids=["too large", "a folder"])
def test_what_is_no_readable_file_is_a_problem(folder: Path, content: str | None):
    (folder / "odd.json").mkdir() if content is None else write(folder, "odd.json", content)
    message = "cannot be read" if content is None else "larger than 1,000,000 bytes"
    with pytest.raises(SetupError, match=message):
        Registry([folder]).get("odd")


def test_a_mended_file_counts_after_a_reload(folder: Path):
    write(folder, "lab.json", "{")
    registry = Registry([folder])
    assert "lab" not in registry
    write(folder, "lab.json", lab_text())
    registry.reload()
    assert registry.get("lab") == lab()
    assert registry.problems == ()


def test_hidden_and_other_files_are_left_alone(folder: Path):
    write(folder, ".lab.json", "{")
    write(folder, "notes.txt", "{")
    assert Registry([folder]).problems == ()


def test_a_named_folder_that_is_missing_is_a_problem(tmp_path: Path):
    registry = Registry([tmp_path / "nowhere"])
    assert registry.ids == PACKAGED
    (problem,) = registry.problems
    assert "cannot be read" in str(problem) and problem.source == str(tmp_path / "nowhere")


def test_folders_are_taken_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        write(folder, "x.json", lab_text(id=f"lab-{folder.name}"))
    monkeypatch.setenv("ORCHSTATE_PROVIDERS", os.pathsep.join(map(str, folders)))
    assert {"lab-a", "lab-b"} <= set(Registry().ids)


def test_the_usual_folder_need_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ORCHSTATE_PROVIDERS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert Registry().problems == ()


def test_the_usual_folder_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import platformdirs

    monkeypatch.delenv("ORCHSTATE_PROVIDERS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = platformdirs.user_config_path("orchstate") / "providers"
    folder.mkdir(parents=True)
    write(folder, "lab.json", lab_text())
    assert "lab" in Registry()


def test_documents_of_unknown_and_broken_providers_get_the_class_that_keeps_everything(folder: Path):
    write(folder, "bad.json", "{")
    registry = Registry([folder])
    assert registry.document_class("bad") is registry.document_class("gone") is UnknownProviderDocument
    assert "temperature" in registry.document_class("openai").model_fields


def test_a_packaged_file_is_read_when_it_is_first_asked_for():
    registry = Registry([])
    assert repr(registry) == "<Registry: not read yet>"
    assert registry.get("openai") is registry.get("openai")
    assert repr(registry) == "<Registry: anthropic, ollama, openai, openai_compatible>"


def test_the_repr_counts_problems(folder: Path):
    write(folder, "bad.json", "{")
    registry = Registry([folder])
    assert len(registry) == 4
    assert repr(registry).endswith("openai_compatible; 1 with problems>")


def test_each_packaged_provider_has_a_class_of_its_own():
    classes = [Registry([]).document_class(name) for name in PACKAGED]
    assert len(set(classes)) == 4


def test_importing_it_loads_nothing_heavy():
    heavy = "openai anthropic ollama httpx httpx2 platformdirs keyring pandas ipywidgets".split()
    code = (
        "import sys, orchstate.providers.registry as registry; registry.Registry([]).get('openai'); "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
