from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from testbed.network import closed_port, silence

from orchstate.opening import open
from orchstate.widgets.check_panel import CheckPanel
from tests.widgets.tree import shown

if TYPE_CHECKING:
    from testbed.llm import LlmServer

    from orchstate.config import Config
    from orchstate.store import Store


def lab_at(store: Store, url: str) -> Config:
    return store.configs.create("openai_compatible", name="lab", base_url=url, model="tiny-random")


def panel_of(config: Config) -> tuple[CheckPanel, list[str]]:
    models: list[str] = []
    return CheckPanel(config, models.extend), models


@pytest.mark.llm
def test_a_config_that_works_is_praised_and_its_models_are_offered(
    store: Store, llm_server: LlmServer
) -> None:
    lab = lab_at(store, llm_server.base_url)
    lab.api_key = llm_server.api_key
    panel, models = panel_of(lab)
    panel.test.click()
    assert "orch-ok" in panel.result.value
    assert "answers and lists 1 model" in panel.result.value
    assert models == ["tiny-random"]


def test_a_config_that_does_not_work_says_why(store: Store) -> None:
    with closed_port() as url:
        panel, _ = panel_of(lab_at(store, url))
        panel.test.click()
    assert "orch-error" in panel.result.value
    assert panel.test in set(shown(panel.box))


def test_a_config_that_was_deleted_says_so(store: Store) -> None:
    lab = lab_at(store, "http://127.0.0.1:9/v1")
    panel, _ = panel_of(lab)
    lab.delete()
    panel.test.click()
    assert "orch-error" in panel.result.value
    assert "deleted" in panel.result.value


def test_a_result_goes_when_the_config_has_changed(store: Store) -> None:
    with closed_port() as url:
        panel, _ = panel_of(lab_at(store, url))
        panel.test.click()
    panel.outdate()
    assert panel.result.value == ""


def test_a_test_goes_on_beside_the_notebook_and_can_be_cancelled() -> None:
    async def cancel_one(url: str) -> str:
        with open(":memory:") as store:
            panel, _ = panel_of(lab_at(store, url))
            started = time.monotonic()
            panel.test.click()
            assert panel.is_busy
            assert "Testing…" in panel.result.value
            assert panel.test.description == "Cancel"
            panel.test.click()
            assert time.monotonic() - started < 10
            assert not panel.is_busy
            return str(panel.result.value)

    with silence() as url:
        assert "Cancelled." in asyncio.run(cancel_one(url))


def test_a_late_result_of_a_cancelled_test_is_ignored() -> None:
    async def cancel_and_wait(url: str) -> str:
        with open(":memory:") as store:
            store.settings.agents.timeout = 1000
            panel, _ = panel_of(lab_at(store, url))
            panel.test.click()
            panel.test.click()
            await asyncio.sleep(1.5)
            return str(panel.result.value)

    with silence() as url:
        assert "Cancelled." in asyncio.run(cancel_and_wait(url))


def test_a_change_stops_a_test_that_is_going_on() -> None:
    async def change_one(url: str) -> str:
        with open(":memory:") as store:
            lab = lab_at(store, url)
            form = lab.form()
            form.check.test.click()
            lab.temperature = 0.5
            return str(form.check.result.value)

    with silence() as url:
        assert "Stopped, because the config has changed." in asyncio.run(change_one(url))
