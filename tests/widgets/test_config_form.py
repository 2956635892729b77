from __future__ import annotations

import gc
import json
import subprocess
import sys
import weakref
from typing import TYPE_CHECKING, Any, cast

import pytest
from ipywidgets import Widget

from orchstate.opening import open
from orchstate.providers.registry import Registry
from orchstate.widgets.config_form import ConfigForm
from tests.widgets.tree import KEY, all_of, from_page, is_shown, shown, words

if TYPE_CHECKING:
    from pathlib import Path

    from orchstate.config import Config
    from orchstate.store import Store
    from orchstate.widgets.rows import FieldRow


@pytest.fixture
def form(gpt: Config) -> ConfigForm:
    return cast("ConfigForm", gpt.form())


def row(form: ConfigForm, path: str) -> FieldRow:
    """Return the row of a field, unfolded if need be."""
    if path not in form.rows:
        unfold(form)
    return cast("FieldRow", form.rows[path])


def unfold(form: ConfigForm) -> None:
    assert form._fields.fold is not None
    form._fields.fold.turn(is_open=True)


def enter(form: ConfigForm, path: str, value: Any) -> None:
    """Enter a value as a person does."""
    from_page(row(form, path).control.widgets[-1], value=value)


def choose(form: ConfigForm, path: str, label: str) -> None:
    """Choose from a list as a person does."""
    dropdown = row(form, path).control.widgets[0]
    from_page(dropdown, index=[option for option, _ in dropdown.options].index(label))


def note(form: ConfigForm, path: str) -> str:
    return words(row(form, path).box)


def define_lab(folder: Path, *, maximum: int) -> None:
    """Write the definition of a provider with one field."""
    lab = {"format": "orchstate.provider", "version": 1, "id": "lab", "label": "Our lab", "sdk": "openai"}
    field = {"name": "patience", "type": "integer", "label": "Patience", "minimum": 0, "maximum": maximum}
    content = {**lab, "base_url": "http://127.0.0.1:1/v1", "fields": [field]}
    (folder / "lab.json").write_text(json.dumps(content))


def observers(config: Config) -> int:
    return sum(len(kind) for kinds in config._trait_notifiers.values() for kind in kinds.values())


class TestFields:
    def test_every_field_of_the_provider_has_a_row(self, form: ConfigForm, gpt: Config) -> None:
        names = {spec.name for spec in gpt.definition.fields}
        unfold(form)
        assert set(form.rows) == names | {"provider", "name", "system_prompt"}

    def test_a_field_added_to_a_definition_alone_appears(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        define_lab(tmp_path, maximum=9)
        monkeypatch.setenv("ORCHSTATE_PROVIDERS", str(tmp_path))
        with open(":memory:") as store:
            config = store.configs.create("lab", patience=3)
            form = cast("ConfigForm", config.form())
            enter(form, "patience", "5")
            assert config.patience == 5
            assert row(form, "patience").control.widgets[0].description == "Patience"

    def test_a_value_from_before_its_rule_is_shown_with_the_rule(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ORCHSTATE_PROVIDERS", str(tmp_path))
        define_lab(tmp_path, maximum=9)
        with open(tmp_path / "s.db", secrets="memory") as store:
            store.configs.create("lab", patience=8)
        define_lab(tmp_path, maximum=5)
        with open(tmp_path / "s.db", secrets="memory") as store:
            form = cast("ConfigForm", store.configs["lab"].form())
            assert "8 is too large: at most 5 is allowed." in note(form, "patience")
            assert "Not valid: Patience" in words(form)
            assert row(form, "patience").control.read() == 8

    def test_advanced_fields_are_folded_away_until_wanted(self, form: ConfigForm) -> None:
        fold = form._fields.fold
        assert fold is not None
        assert "seed" not in form.rows
        fold.button.click()
        assert form.rows["seed"].box in set(shown(form))
        fold.button.click()
        assert form.rows["seed"].box not in set(shown(form))

    def test_the_fold_says_how_much_is_set_in_it(self, form: ConfigForm, gpt: Config) -> None:
        fold = form._fields.fold
        assert fold is not None
        assert fold.button.description == "▸ Show advanced"
        gpt.update(seed=1, stop="END")
        assert fold.button.description == "▸ Show advanced (2 set)"

    def test_the_default_of_the_definition_is_the_base_url_shown(self, form: ConfigForm) -> None:
        entry = row(form, "base_url").control.widgets[0]
        assert entry.placeholder == "default: https://api.openai.com/v1"

    def test_the_base_url_shown_is_that_of_the_region(self, form: ConfigForm, gpt: Config) -> None:
        entry = row(form, "base_url").control.widgets[0]
        gpt.data_residency = "eu"
        assert entry.placeholder == "default: https://eu.api.openai.com/v1"
        gpt.data_residency = None
        assert entry.placeholder == "default: https://api.openai.com/v1"

    def test_line_breaks_of_a_stop_sequence_are_spelled_out(self, form: ConfigForm, gpt: Config) -> None:
        assert form._fields.fold is not None
        form._fields.fold.turn(is_open=True)
        entry = row(form, "stop").control.widgets[0]
        gpt.stop = "\n\nUser:"
        assert entry.value == r"\n\nUser:"
        entry.value = r" \t\\n"
        assert gpt.stop == " \t\\n"
        entry.value = ""
        assert gpt.stop is None

    def test_a_set_field_can_be_set_back(self, form: ConfigForm, gpt: Config) -> None:
        box = row(form, "temperature").box
        assert "orch-set" in box._dom_classes
        reset = next(child for child in box.children if "orch-reset" in child._dom_classes)
        reset.click()
        assert gpt.temperature is None
        assert "orch-set" not in box._dom_classes

    def test_links_open_beside_the_notebook(self, form: ConfigForm) -> None:
        html = words(form)
        link = '<a href="https://platform.openai.com/api-keys" target="_blank" rel="noopener noreferrer">'
        assert f"{link}Get a key</a>" in html


class TestLive:
    def test_a_cell_a_form_and_another_form_show_the_same(self, form: ConfigForm, gpt: Config) -> None:
        other = cast("ConfigForm", gpt.form())
        enter(form, "temperature", "0.9")
        assert row(other, "temperature").control.read() == gpt.temperature == 0.9
        gpt.temperature = 1.1
        assert [row(one, "temperature").control.read() for one in (form, other)] == [1.1, 1.1]

    def test_undo_and_redo_show_at_once(self, store: Store, form: ConfigForm, gpt: Config) -> None:
        gpt.temperature = 0.9
        store.undo()
        assert row(form, "temperature").control.read() == 0.2
        store.redo()
        assert row(form, "temperature").control.read() == 0.9

    def test_a_block_that_fails_leaves_the_form_as_it_was(
        self, store: Store, form: ConfigForm, gpt: Config
    ) -> None:
        with pytest.raises(RuntimeError, match="on purpose"), store.transaction():
            gpt.temperature = 1.9
            raise RuntimeError("on purpose")
        assert row(form, "temperature").control.read() == 0.2

    def test_a_name_that_is_taken_is_refused_beside_the_name(
        self, store: Store, form: ConfigForm, gpt: Config
    ) -> None:
        store.configs.create("ollama", name="local")
        enter(form, "name", "Local")
        assert "There is a config 'local' already" in note(form, "name")
        assert gpt.name == "gpt"

    @pytest.mark.parametrize("name", ["", "a/b", "x" * 300])
    def test_what_cannot_be_a_name_is_refused(self, form: ConfigForm, gpt: Config, name: str) -> None:
        enter(form, "name", name)
        assert "orch-error" in note(form, "name")
        assert gpt.name == "gpt"

    def test_a_refusal_marks_its_row_and_no_other(self, form: ConfigForm) -> None:
        enter(form, "temperature", "3")
        refused = [path for path in form.rows if "orch-refused" in form.rows[path].box._dom_classes]
        assert refused == ["temperature"]

    def test_a_rule_across_fields_is_shown_where_it_was_broken(self, form: ConfigForm, gpt: Config) -> None:
        gpt.data_residency = "eu"
        enter(form, "base_url", "http://127.0.0.1:1/v1")
        assert "cannot both be set" in note(form, "base_url")
        assert gpt.base_url is None

    def test_what_is_missing_is_asked_for_and_then_not(self, form: ConfigForm, gpt: Config) -> None:
        assert "Needs API key" in words(form)
        assert "Needed before this can be used." in words(form.rows["api_key"].box)
        gpt.api_key = "sk-proj-abcdefghijklmnop0123456789"
        assert "Ready" in words(form)
        assert "Needed" not in words(form.rows["api_key"].box)

    def test_models_that_a_test_has_found_are_suggested(self, form: ConfigForm) -> None:
        form._fields.suggest(["gpt-from-the-list"])
        options = row(form, "model").control.widgets[0].options
        assert options[0] == "gpt-5.5"
        assert options[-1] == "gpt-from-the-list"


class TestProvider:
    def test_another_provider_brings_its_own_fields(self, form: ConfigForm, gpt: Config) -> None:
        choose(form, "provider", "Anthropic")
        assert gpt.provider == "anthropic"
        unfold(form)
        assert "top_k" in form.rows
        assert "seed" not in form.rows

    def test_the_old_values_come_back_with_the_old_provider(self, form: ConfigForm, gpt: Config) -> None:
        gpt.provider = "anthropic"
        gpt.provider = "openai"
        assert row(form, "temperature").control.read() == 0.2

    def test_the_rows_of_the_old_provider_are_closed(self, form: ConfigForm, gpt: Config) -> None:
        seed = row(form, "seed").box
        gpt.provider = "anthropic"
        assert seed.comm is None

    def test_only_the_chosen_way_to_sign_in_shows_its_fields(self, form: ConfigForm, gpt: Config) -> None:
        gpt.provider = "anthropic"
        assert is_shown(form.rows["api_key"].box)
        choose(form, "auth", "Profile")
        assert gpt.auth == "profile"
        ways = ("api_key", "auth_token", "profile")
        assert [is_shown(form.rows[path].box) for path in ways] == [False, False, True]

    def test_a_provider_with_one_way_to_sign_in_does_not_ask(self, form: ConfigForm) -> None:
        assert "auth" not in form.rows

    def test_a_provider_that_takes_no_key_asks_for_none(self, store: Store) -> None:
        local = store.configs.create("ollama", name="local")
        form = cast("ConfigForm", local.form())
        assert not is_shown(form.rows["api_key"].box)
        assert "Ready" in words(form)

    def test_a_provider_that_is_not_defined_here_keeps_its_values(
        self, store: Store, gpt: Config, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Registry, "ids", ("anthropic",))
        monkeypatch.setattr(Registry, "get", Registry.get)
        store.providers._files = {
            name: file for name, file in store.providers._list_packaged().items() if name != "openai"
        }
        store.providers._packaged.clear()
        form = cast("ConfigForm", gpt.form())
        assert "is not defined on this machine" in words(form)
        assert row(form, "provider").control.widgets[0].label == "openai (not known here)"


class TestActions:
    def test_a_duplicate_is_created_without_the_key(self, store: Store, gpt: Config) -> None:
        created: list[Config] = []
        form = ConfigForm(gpt, created=lambda config, message: created.append(config))
        form.duplicate.click()
        assert created == [store.configs["gpt 2"]]
        assert "Created 'gpt 2', without the key." in words(form.status.box)

    def test_deleting_asks_once_more(self, store: Store, form: ConfigForm) -> None:
        form.delete.ask.click()
        assert "Its history stays, its saved key goes." in words(form.delete.box)
        assert {form.delete.ask, form.undo} <= set(shown(form))
        form.delete.no.click()
        assert "gpt" in store.configs
        form.delete.ask.click()
        form.delete.yes.click()
        assert "gpt" not in store.configs

    def test_a_deleted_config_can_be_brought_back_in_its_form(self, store: Store, form: ConfigForm) -> None:
        form.delete.ask.click()
        form.delete.yes.click()
        assert "gpt was deleted." in words(form.status.box)
        assert row(form, "temperature").box not in set(shown(form))
        form.undo.click()
        assert "gpt" in store.configs
        assert row(form, "temperature").box in set(shown(form))
        assert row(form, "temperature").control.read() == 0.2

    def test_undo_says_what_it_did(self, form: ConfigForm, gpt: Config) -> None:
        enter(form, "temperature", "0.9")
        form.undo.click()
        assert gpt.temperature == 0.2
        assert "Undone: temperature of gpt." in words(form.status.box)
        form.redo.click()
        assert "Done again: temperature of gpt." in words(form.status.box)

    def test_nothing_to_do_again_is_said(self, form: ConfigForm) -> None:
        form.redo.click()
        assert "Nothing to do again." in words(form.status.box)

    def test_what_a_closed_store_refuses_is_said_and_not_raised(self, tmp_path: Path) -> None:
        with open(tmp_path / "s.db", secrets="memory") as store:
            form = cast("ConfigForm", store.configs.create("openai", name="gpt", temperature=0.2).form())
        form.delete.ask.click()
        for button in (form.duplicate, form.delete.yes, form.undo):
            form.status.say("")
            button.click()
            assert "This store is closed." in words(form.status.box)
        enter(form, "temperature", "0.9")
        assert "This store is closed." in note(form, "temperature")

    def test_a_form_whose_store_was_closed_says_so_at_the_first_try_and_is_disabled(
        self, tmp_path: Path
    ) -> None:
        with open(tmp_path / "s.db", secrets="memory") as store:
            form = cast("ConfigForm", store.configs.create("openai", name="gpt", temperature=0.2).form())
        enter(form, "temperature", "0.9")
        assert "This store is closed. Open it again" in words(form._banner)
        assert all(widget.disabled for widget in row(form, "temperature").control.widgets)
        assert form.duplicate.disabled

    def test_a_message_goes_with_the_next_change(self, form: ConfigForm, gpt: Config) -> None:
        form.redo.click()
        gpt.temperature = 0.5
        assert "Nothing to do again." not in words(form.status.box)

    def test_a_store_for_reading_is_shown_and_cannot_be_changed(self, tmp_path: Path) -> None:
        with open(tmp_path / "s.db", secrets="memory") as store:
            store.configs.create("openai", name="gpt", temperature=0.2)
        with open(tmp_path / "s.db", secrets="memory", read_only=True) as store:
            form = cast("ConfigForm", store.configs["gpt"].form())
            assert all(widget.disabled for widget in row(form, "temperature").control.widgets)
            assert form.duplicate.disabled and form.undo.disabled
            assert row(form, "temperature").control.read() == 0.2

    def test_a_store_for_reading_cannot_be_changed_after_another_provider_came(self, tmp_path: Path) -> None:
        with open(tmp_path / "s.db", secrets="memory") as store:
            store.configs.create("openai", name="gpt")
        with open(tmp_path / "s.db", secrets="memory", read_only=True) as store:
            form = cast("ConfigForm", store.configs["gpt"].form())
            code = (
                "import sys, orchstate\n"
                "with orchstate.open(sys.argv[1], secrets='memory') as store:\n"
                "    store.configs['gpt'].provider = 'anthropic'\n"
            )
            subprocess.run([sys.executable, "-c", code, str(tmp_path / "s.db")], check=True, timeout=60)
            store.refresh()
            assert "top_k" in [spec.name for spec in form.config.definition.fields]
            assert all(widget.disabled for widget in row(form, "temperature").control.widgets)


def test_the_result_of_a_test_goes_when_the_config_is_deleted(form: ConfigForm, gpt: Config) -> None:
    form.check.result.value = "of the config that was"
    gpt.delete()
    assert form.check.result.value == ""


def test_what_cannot_come_back_with_an_undo_is_said(form: ConfigForm, gpt: Config) -> None:
    gpt.api_key = KEY
    form.delete.ask.click()
    form.delete.yes.click()
    form._state.flush()
    form.undo.click()
    assert "Undone: gpt." in words(form.status.box)
    assert "cannot come back; enter it again" in words(form.status.box)


def test_a_slider_that_is_not_set_says_so_and_what_applies(form: ConfigForm, gpt: Config) -> None:
    assert "Not set" not in note(form, "temperature")
    gpt.temperature = None
    assert "Not set: 1 applies." in note(form, "temperature")


class TestCost:
    def test_opening_and_closing_leaves_no_observer_and_no_widget(self, gpt: Config) -> None:
        from ipywidgets.widgets.widget import _instances

        gpt.form().close()
        before = len(_instances)
        for _ in range(200):
            gpt.form().close()
        assert observers(gpt) == 0
        assert len(_instances) == before

    def test_a_form_has_one_observer(self, form: ConfigForm, gpt: Config) -> None:
        assert observers(gpt) == 1

    def test_a_form_that_is_gone_is_collected(self, gpt: Config) -> None:
        form = weakref.ref(gpt.form())
        Widget.close_all()
        gpt.temperature = 0.9
        gc.collect()
        gpt.temperature = 1.0
        assert form() is None
        assert observers(gpt) == 0

    def test_a_pushed_change_sends_what_has_changed_and_nothing_else(
        self, gpt: Config, sent: list[dict[str, Any]]
    ) -> None:
        form = cast("ConfigForm", gpt.form())
        gpt._state.flush()
        sent.clear()
        gpt.temperature = 0.9
        states = [message["data"]["state"] for message in sent]
        assert {"value": 0.9} in states
        assert {"value": "0.9"} in states
        assert len(sent) == 3, [row(form, "temperature"), states]

    def test_a_form_of_sixteen_fields_takes_few_messages(
        self, gpt: Config, sent: list[dict[str, Any]]
    ) -> None:
        assert len(gpt.definition.fields) == 16
        gpt.form()
        opened = [message for message in sent if message["type"] == "comm_open"]
        assert len(opened) <= 130
        assert len(sent) - len(opened) <= 60


class TestText:
    def test_a_form_is_one_line(self, form: ConfigForm, gpt: Config) -> None:
        assert repr(form) == "<ConfigForm gpt: openai, gpt-5.4-mini, temperature 0.2>"

    def test_without_a_front_end_it_says_what_is_set(self, form: ConfigForm) -> None:
        bundle = form._repr_mimebundle_()
        assert "application/vnd.jupyter.widget-view+json" in bundle
        assert bundle["text/plain"].splitlines()[0] == repr(form)
        assert "Temperature  0.2" in bundle["text/plain"]

    def test_a_deleted_config_is_said_to_be_deleted(self, form: ConfigForm, gpt: Config) -> None:
        gpt.delete()
        assert "Deleted" in form.describe()

    def test_names_are_text_and_never_html(self, form: ConfigForm, gpt: Config) -> None:
        gpt.name = "<img src=x onerror=alert(1)>"
        html = [widget.value for widget in all_of(form) if type(widget).__name__ == "HTML"]
        assert not any("<img" in value for value in html)
        assert any("&lt;img src=x" in value for value in html)

    @pytest.mark.parametrize("name", ["مساعد", "עוזר gpt", "🤖", "日本語モデル"])
    def test_names_in_any_script_are_kept(self, form: ConfigForm, gpt: Config, name: str) -> None:
        enter(form, "name", name)
        assert gpt.name == name
        assert name in words(form)
