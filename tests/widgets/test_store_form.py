from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest
from ipywidgets import Button, Dropdown, Text

from orchstate.models.secret import SecretRef
from orchstate.opening import open
from orchstate.widgets import new_config
from tests.widgets.tree import from_page, is_shown, shown, typed, words

if TYPE_CHECKING:
    from pathlib import Path

    from orchstate.config import Config
    from orchstate.store import Store
    from orchstate.widgets.store_form import StoreForm


# What can be pressed where nothing can be changed.
LOOKING = ["Show advanced", "Test"]


@pytest.fixture
def empty(store: Store) -> StoreForm:
    return cast("StoreForm", store.form())


def press_enter(form: StoreForm) -> None:
    form.new.name._handle_custom_msg({"event": "submit"}, [])


class TestEmpty:
    def test_it_says_what_this_is_and_helps_to_begin(self, empty: StoreForm) -> None:
        assert "orchstate keeps your configurations of LLM providers" in words(empty)
        assert "Create your first configuration" in words(empty)
        assert {empty.new.provider, empty.new.name, empty.new.create} <= set(shown(empty))
        assert not is_shown(empty.list)

    def test_the_first_config_is_created_and_shown(self, store: Store, empty: StoreForm) -> None:
        from_page(empty.new.provider, index=2)
        from_page(empty.new.name, value="gpt")
        empty.new.create.click()
        assert store.configs["gpt"].provider == "openai"
        assert empty.form is not None
        assert empty.form.config is store.configs["gpt"]
        assert "Create your first" not in words(empty)
        assert is_shown(empty.list)

    def test_without_a_name_it_takes_the_one_it_suggests(self, store: Store, empty: StoreForm) -> None:
        assert "Without a name it is called 'anthropic'." in words(empty)
        empty.new.create.click()
        assert list(store.configs) == ["anthropic"]

    def test_enter_creates_too(self, store: Store, empty: StoreForm) -> None:
        from_page(empty.new.name, value="claude")
        press_enter(empty)
        assert list(store.configs) == ["claude"]

    def test_what_was_typed_may_arrive_after_enter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(new_config, "_WAIT_FOR_TEXT_S", 0.05)

        async def type_quickly() -> list[str]:
            with open(":memory:") as store:
                form = cast("StoreForm", store.form())
                press_enter(form)
                from_page(form.new.name, value="claude")
                # What waited for the text finds it done.
                await asyncio.sleep(0.2)
                return list(store.configs)

        assert asyncio.run(type_quickly()) == ["claude"]

    def test_enter_without_a_name_takes_the_usual_one(self) -> None:
        async def press_only() -> list[str]:
            with open(":memory:") as store:
                press_enter(cast("StoreForm", store.form()))
                while not store.configs:
                    await asyncio.sleep(0.05)
                return list(store.configs)

        assert asyncio.run(press_only()) == ["anthropic"]

    def test_what_cannot_be_a_name_is_refused_where_it_was_typed(
        self, store: Store, empty: StoreForm
    ) -> None:
        from_page(empty.new.name, value="a/b")
        empty.new.create.click()
        assert "slashes are not allowed" in words(empty.new.box)
        assert len(store.configs) == 0
        assert empty.new.name.value == "a/b"

    def test_keys_of_the_environment_are_offered_and_not_taken(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
        form = cast("StoreForm", store.form())
        (offer,) = form.new.offers.children
        assert offer.description == "OpenAI, with OPENAI_API_KEY from the environment"
        assert len(store.configs) == 0
        offer.click()
        assert store.configs["openai"].api_key == SecretRef(source="env", name="OPENAI_API_KEY")

    def test_a_config_created_elsewhere_shows_without_taking_over(
        self, store: Store, empty: StoreForm
    ) -> None:
        from_page(empty.new.name, value="being typed")
        store.configs.create("ollama", name="local")
        store.flush()
        assert [row.button.description for row in empty.list.rows] == ["local"]
        assert is_shown(empty.list)
        assert is_shown(empty.new.box)
        assert empty.new.name.value == "being typed"

    def test_a_provider_file_that_cannot_be_used_is_reported(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "lab.json").write_text("{")
        monkeypatch.setenv("ORCHSTATE_PROVIDERS", str(tmp_path))
        with open(":memory:") as store:
            assert "lab.json" in words(store.form())


class TestBrowsing:
    def test_the_active_config_is_shown_first(self, store: Store, gpt: Config) -> None:
        local = store.configs.create("ollama", name="local")
        store.active = local
        form = cast("StoreForm", store.form())
        assert form.form is not None
        assert form.form.config is local
        assert form.use.description == "★ Active"

    def test_choosing_a_row_shows_its_form(self, store: Store, gpt: Config) -> None:
        store.configs.create("ollama", name="local")
        form = cast("StoreForm", store.form())
        first = form.form
        form.list.rows[1].button.click()
        assert form.form is not None
        assert form.form.config is store.configs["local"]
        assert first is not None
        assert first.comm is None

    def test_going_to_another_config_saves_what_was_typed_and_says_what_it_could_not(
        self, store: Store, gpt: Config
    ) -> None:
        store.configs.create("ollama", name="local")
        form = cast("StoreForm", store.form())
        assert form.form is not None
        rows = form.form.rows
        typed(rows["base_url"].control.widgets[0], "http://127.0.0.1:9/v1")  # type: ignore[union-attr]
        typed(rows["model"].control.widgets[0], "mine")  # type: ignore[union-attr]
        gpt.model = "theirs"
        form.list.rows[1].button.click()
        assert (gpt.base_url, gpt.model) == ("http://127.0.0.1:9/v1", "theirs")
        assert "Not saved in gpt: 'mine' in Model." in words(form)

    def test_a_config_is_made_active_in_the_form(self, store: Store, gpt: Config) -> None:
        form = cast("StoreForm", store.form())
        form.use.click()
        assert store.active is gpt
        assert form.use.description == "★ Active"
        form.use.click()
        assert store.active is gpt
        store.flush()
        assert store.history.changes()["cell"].iloc[-1] == "form"

    def test_what_a_closed_store_refuses_is_said_and_not_raised(self, tmp_path: Path) -> None:
        with open(tmp_path / "s.db", secrets="memory") as store:
            store.configs.create("openai", name="gpt")
            form = cast("StoreForm", store.form())
        form.use.click()
        assert "This store is closed." in words(form)

    def test_a_closed_store_says_so_at_the_top_and_all_is_disabled(self, tmp_path: Path) -> None:
        with open(tmp_path / "s.db", secrets="memory") as store:
            store.configs.create("openai", name="gpt")
            form = cast("StoreForm", store.form())
            assert "closed" not in words(form)
        assert "This store is closed. Open it again" in words(form._banner)
        assert form.form is not None
        entry = form.form.rows["name"].control.widgets[0]  # type: ignore[union-attr]
        assert all(part.disabled for part in (entry, form.new.create, form.list.new, form.use))
        assert form.form.check.test.disabled
        assert "Saved" not in words(form.form.status.box)
        assert "Not followed any more, since revision 1." in words(form.form.status.box)

    def test_new_asks_for_a_provider_and_going_back_does_not(self, store: Store, gpt: Config) -> None:
        form = cast("StoreForm", store.form())
        form.list.new.click()
        assert is_shown(form.new.box)
        form.list.rows[0].button.click()
        assert not is_shown(form.new.box)
        assert form.form is not None
        assert form.form.config is gpt

    def test_a_duplicate_is_shown(self, store: Store, gpt: Config) -> None:
        form = cast("StoreForm", store.form())
        assert form.form is not None
        form.form.duplicate.click()
        assert form.form.config is store.configs["gpt 2"]
        assert "Created 'gpt 2', without the key." in words(form)

    def test_the_last_config_can_be_brought_back_after_its_deletion(self, store: Store, gpt: Config) -> None:
        form = cast("StoreForm", store.form())
        assert form.form is not None
        form.form.delete.ask.click()
        form.form.delete.yes.click()
        store.flush()
        assert form.list.rows == []
        form.form.undo.click()
        store.flush()
        assert [row.button.description for row in form.list.rows] == ["gpt"]

    def test_undoing_the_choice_of_the_active_config_says_so(self, store: Store, gpt: Config) -> None:
        local = store.configs.create("ollama", name=store.actor)
        form = cast("StoreForm", store.form())
        assert form.form is not None
        form.use.click()
        form.form.undo.click()
        assert "Undone: the active config." in words(form)
        store.active = gpt
        store.active = local
        form.form.undo.click()
        assert "Undone: the active config." in words(form)
        form.form.redo.click()
        assert "Done again: the active config." in words(form)
        local.temperature = 0.5
        form.form.undo.click()
        assert f"Undone: temperature of {store.actor}." in words(form)

    def test_two_forms_of_a_store_show_the_same(self, store: Store, gpt: Config) -> None:
        one, other = cast("StoreForm", store.form()), cast("StoreForm", store.form())
        store.configs.create("ollama", name="local")
        store.flush()
        labels = [[row.button.description for row in form.list.rows] for form in (one, other)]
        assert labels == [["gpt", "local"], ["gpt", "local"]]


class TestStatus:
    def test_a_store_for_reading_says_so(self, tmp_path: Path) -> None:
        with open(tmp_path / "s.db", secrets="memory") as store:
            store.configs.create("openai", name="gpt")
        with open(tmp_path / "s.db", secrets="memory", read_only=True) as store:
            assert "This store is open for reading only." in words(store.form())

    @pytest.mark.parametrize("names", [[], ["gpt"]], ids=["empty", "filled"])
    def test_a_store_for_reading_lets_nothing_be_pressed_that_it_refuses(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
        with open(tmp_path / "s.db", secrets="memory") as store:
            for name in names:
                store.configs.create("openai", name=name)
        with open(tmp_path / "s.db", secrets="memory", read_only=True) as store:
            form = cast("StoreForm", store.form())
            choosable = [widget for widget in shown(form) if isinstance(widget, Button | Text | Dropdown)]
            enabled = [widget.description for widget in choosable if not widget.disabled]
            assert len(choosable) > 3
            assert [label.lstrip("▸▾ ") for label in enabled] == ([*names, *LOOKING] if names else [])

    def test_closing_ends_everything_it_follows(self, store: Store, gpt: Config) -> None:
        before = len(store._state._listeners)
        form = cast("StoreForm", store.form())
        form.close()
        assert len(store._state._listeners) == before
        assert not any(kind for kinds in gpt._trait_notifiers.values() for kind in kinds.values())

    def test_without_a_front_end_it_lists_the_configs(self, store: Store, gpt: Config) -> None:
        text = store.form()._repr_mimebundle_()["text/plain"]
        assert text.splitlines()[0] == f"<StoreForm of {store!r}>"
        assert "gpt   openai    gpt-5.4-mini  Needs API key" in text
