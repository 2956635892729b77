from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from ipywidgets.widgets.widget import _instances

from orchstate.opening import open
from orchstate.widgets.config_list import SEARCH_FROM, SHOWN, ConfigList
from tests.widgets.tree import from_page, is_shown, words

if TYPE_CHECKING:
    from orchstate.config import Config
    from orchstate.store import Store


@pytest.fixture
def view(store: Store, gpt: Config) -> ConfigList:
    return ConfigList(store)


def names(view: ConfigList) -> list[str]:
    return [row.button.description for row in view.rows]


def test_each_config_has_a_row_with_provider_model_and_state(view: ConfigList) -> None:
    assert names(view) == ["gpt"]
    assert "OpenAI · gpt-5.4-mini" in words(view)
    assert "Needs API key" in words(view)


def test_what_is_created_renamed_or_deleted_shows(store: Store, view: ConfigList, gpt: Config) -> None:
    local = store.configs.create("ollama", name="local")
    store.flush()
    assert names(view) == ["gpt", "local"]
    local.name = "mine"
    store.flush()
    assert names(view) == ["gpt", "mine"]
    gpt.delete()
    store.flush()
    assert names(view) == ["mine"]


def test_the_active_config_is_marked(store: Store, view: ConfigList, gpt: Config) -> None:
    store.active = gpt
    assert names(view) == ["★ gpt"]
    store.active = None
    assert names(view) == ["gpt"]


def test_a_config_that_is_ready_now_says_so(store: Store, view: ConfigList, gpt: Config) -> None:
    gpt.api_key = "sk-proj-abcdefghijklmnop0123456789"
    store.flush()
    assert "Ready" in words(view)


def test_choosing_a_row_tells_which_config(view: ConfigList, gpt: Config) -> None:
    chosen: list[str] = []
    view.observe(lambda change: chosen.append(change.new), "chosen")
    view.rows[0].button.click()
    assert chosen == [gpt.id]
    assert "orch-chosen" in view.rows[0].box._dom_classes


def test_a_row_goes_on_with_its_widgets_when_others_come(store: Store, view: ConfigList) -> None:
    box = view.rows[0].box
    store.configs.create("ollama", name="local")
    store.flush()
    assert view.rows[0].box is box


def test_few_configs_are_not_searched(store: Store, view: ConfigList) -> None:
    assert not is_shown(view.search)
    for _ in range(SEARCH_FROM - 1):
        store.configs.create("ollama")
    store.flush()
    assert is_shown(view.search)


@pytest.mark.parametrize(("wanted", "found"), [("GPT", ["gpt"]), ("ollama", ["o"]), ("mini openai", ["gpt"])])
def test_a_search_looks_at_name_provider_and_model(
    store: Store, gpt: Config, wanted: str, found: list[str]
) -> None:
    store.configs.create("ollama", name="o", model="llama3.2")
    view = ConfigList(store)
    from_page(view.search, value=wanted)
    assert names(view) == found


def test_a_search_without_result_says_so(view: ConfigList) -> None:
    from_page(view.search, value="nobody")
    assert "Nothing found." in words(view)


def test_a_long_list_is_cut_and_searched(store: Store) -> None:
    with store.transaction():
        for number in range(SHOWN + 5):
            store.configs.create("ollama", name=f"c{number}")
    view = ConfigList(store)
    assert len(view.rows) == SHOWN
    assert "50 of 55 are shown." in words(view)
    from_page(view.search, value="c54")
    assert names(view) == ["c54"]


def test_searching_and_closing_leaves_no_widget(store: Store) -> None:
    with store.transaction():
        for number in range(60):
            store.configs.create("ollama", name=f"c{number}")
    ConfigList(store).close()
    before = len(_instances)
    view = ConfigList(store)
    opened = len(_instances)
    for _ in range(20):
        from_page(view.search, value="c5")
        from_page(view.search, value="")
    assert len(_instances) == opened
    view.close()
    assert len(_instances) == before


def test_a_burst_of_changes_is_shown_once() -> None:
    async def count_updates() -> int:
        with open(":memory:") as store:
            view = ConfigList(store)
            updates: list[Any] = []
            view._box.observe(updates.append, "children")
            with store.transaction():
                for number in range(20):
                    store.configs.create("ollama", name=f"c{number}")
            await store.aflush()
            await asyncio.sleep(0.05)
            assert len(view.rows) == 20
            return len(updates)

    assert asyncio.run(count_updates()) == 1


def test_a_closed_list_hears_nothing_any_more(store: Store, view: ConfigList) -> None:
    listeners = len(store._state._listeners)
    view.close()
    assert len(store._state._listeners) == listeners - 1
    store.configs.create("ollama", name="local")
    store.flush()
    assert names(view) == ["gpt"]


def test_a_list_is_one_line(store: Store, view: ConfigList) -> None:
    assert repr(view) == "<ConfigList 1 config: gpt>"
    for number in range(10):
        store.configs.create("ollama", name=f"c{number}")
    assert repr(view) == "<ConfigList 11 configs: gpt, c0, c1, c2, c3, c4, c5, c6, ...>"
