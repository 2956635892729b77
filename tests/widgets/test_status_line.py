from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from orchstate.opening import open
from tests.widgets.tree import shown, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchstate.config import Config
    from orchstate.store import Store
    from orchstate.widgets.config_form import ConfigForm


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def disk(path: Path) -> Iterator[Store]:
    with open(path, secrets="memory") as store:
        store.configs.create("openai", name="gpt", temperature=0.2)
        store.flush()
        yield store


# What cannot be together with a place where data are kept.
CLASH = "gpt.base_url = 'http://127.0.0.1:1/v1'"


def elsewhere(path: Path, code: str) -> None:
    """Have another process edit the store."""
    script = (
        "import sys, orchstate as orch\n"
        "with orch.open(sys.argv[1], secrets='memory', actor='other') as store:\n"
        f"    gpt = store.configs['gpt']; {code}; store.flush()\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, timeout=60)


@pytest.fixture
def meanwhile(
    disk: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[], object], str], None]:
    """A function that edits here, and lets another process commit its own edit first."""
    commit = disk._engine.commit

    def edit(here: Callable[[], object], there: str) -> None:
        gate = threading.Event()

        def wait_and_commit(*arguments: Any) -> Any:
            gate.wait(60)
            return commit(*arguments)

        monkeypatch.setattr(disk._engine, "commit", wait_and_commit)
        here()
        elsewhere(path, there)
        gate.set()
        disk.flush()

    return edit


def form_of(store: Store) -> ConfigForm:
    form: ConfigForm = store.configs["gpt"].form()
    return form


def test_it_says_which_revision_is_saved(disk: Store) -> None:
    form = form_of(disk)
    assert "Saved (revision 1)" in words(form.status.box)
    form.config.temperature = 0.7
    disk.flush()
    assert "Saved (revision 2)" in words(form.status.box)


def test_it_says_saving_until_then(gpt: Config) -> None:
    form = gpt.form()
    seen: list[str] = []
    form.status.box.children[0].observe(lambda change: seen.append(change.new), "value")
    gpt.temperature = 0.7
    gpt._state.flush()
    assert ["Saving…" in seen[0], "Saved (revision 2)" in seen[-1]] == [True, True]


def test_an_edit_in_conflict_can_be_made_after_all(disk: Store, meanwhile: Any) -> None:
    form = form_of(disk)
    gpt = form.config
    meanwhile(lambda: gpt.update(data_residency="eu"), CLASH)
    assert "Conflict: Together with another change" in words(form.status.box)
    assert (form.status.retry.description, form.status.discard.description) == (
        "Use what was wanted",
        "Keep what is saved",
    )
    elsewhere(disk.path, "gpt.base_url = None")
    disk.refresh()
    assert gpt.data_residency is None
    form.status.retry.click()
    assert gpt.data_residency == "eu"
    disk.flush()
    assert "Saved (revision" in words(form.status.box)


def test_a_conflict_shows_both_sides_and_stays_until_somebody_decides(disk: Store, meanwhile: Any) -> None:
    disk.settings.sync.conflict_resolution = "prompt"
    form = form_of(disk)
    gpt = form.config
    meanwhile(lambda: gpt.update(temperature=0.9), "gpt.temperature = 1.5")
    gpt.seed = 5
    disk.flush()
    assert "temperature: 1.5 is saved, 0.9 was wanted here." in words(form.status.box)
    assert (form.status.retry.description, form.status.discard.description) == ("Use 0.9", "Keep 1.5")
    gpt.temperature = 1.0
    disk.flush()
    assert "temperature: 1.0 is saved, 0.9 was wanted here." in words(form.status.box)
    assert form.status.discard.description == "Keep 1.0"
    form.status.discard.click()
    disk.flush()
    assert (gpt.temperature, len(disk.conflicts)) == (1.0, 0)
    assert "Saved (revision" in words(form.status.box)


def test_a_conflict_that_somebody_else_has_shows_and_ends_here_too(disk: Store, meanwhile: Any) -> None:
    disk.settings.sync.conflict_resolution = "prompt"
    gpt = disk.configs["gpt"]
    meanwhile(lambda: gpt.update(temperature=0.9), "gpt.temperature = 1.5")
    form = form_of(disk)
    assert "temperature: 1.5 is saved, 0.9" in words(form.status.box)
    elsewhere(disk.path, "store.conflicts[0].resolve('theirs')")
    disk.refresh()
    assert "Saved (revision" in words(form.status.box)


def test_an_edit_in_conflict_can_be_let_be(disk: Store, meanwhile: Any) -> None:
    form = form_of(disk)
    gpt = form.config
    meanwhile(lambda: gpt.update(data_residency="eu"), CLASH)
    assert {form.status.retry, form.status.discard} <= set(shown(form.status.box))
    form.status.discard.click()
    assert "Saved (revision 2)" in words(form.status.box)
    assert not {form.status.retry, form.status.discard} & set(shown(form.status.box))


@pytest.mark.parametrize("button", ["retry", "discard"])
def test_the_keyboard_goes_on_to_undo_when_the_buttons_go(
    disk: Store, meanwhile: Any, sent: list[dict[str, Any]], button: str
) -> None:
    form = form_of(disk)
    meanwhile(lambda: form.config.update(data_residency="eu"), CLASH)
    elsewhere(disk.path, "gpt.base_url = None")
    disk.refresh()
    sent.clear()
    getattr(form.status, button).click()
    assert {"method": "custom", "content": {"do": "focus"}} in [
        message["data"] for message in sent if message["comm"] == form.undo.comm.comm_id
    ]


def test_a_retry_that_is_still_impossible_says_why(disk: Store, meanwhile: Any) -> None:
    form = form_of(disk)
    gpt = form.config
    meanwhile(lambda: gpt.update(data_residency="eu"), CLASH)
    form.status.retry.click()
    assert "Not possible: config" in words(form.status.box)


def test_a_refused_value_leaves_its_control(disk: Store, meanwhile: Any) -> None:
    form = form_of(disk)
    meanwhile(lambda: form.config.update(data_residency="eu"), CLASH)
    assert form._fields.fold is not None
    form._fields.fold.turn(is_open=True)
    shown_values = [form.rows[path].control.read() for path in ("data_residency", "base_url")]  # type: ignore[union-attr]
    assert shown_values == [None, "http://127.0.0.1:1/v1"]


def test_a_deletion_that_is_not_committed_brings_the_form_back(disk: Store, meanwhile: Any) -> None:
    form = form_of(disk)
    form.delete.ask.click()
    meanwhile(form.delete.yes.click, "gpt.temperature = 1.5")
    assert "It was changed while deleting it was wanted here" in words(form.status.box)
    assert form.rows["temperature"].control.read() == 1.5
    assert "Temperature" in [getattr(widget, "description", "") for widget in shown(form)]


def test_a_store_that_cannot_commit_says_so_until_it_can(
    disk: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = form_of(disk)
    disk._state.failing = True
    disk._state.error = OSError("No space left on device")  # type: ignore[assignment]
    gate = threading.Event()
    commit = disk._engine.commit
    monkeypatch.setattr(disk._engine, "commit", lambda *given: gate.wait(60) and commit(*given))
    form.config.temperature = 0.7
    assert "Not saved yet, and tried again until it is: No space left" in words(form.status.box)
    gate.set()
    disk.flush()
    assert "Saved (revision 2)" in words(form.status.box)
