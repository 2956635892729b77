"""An import never takes a key to a new address, and never loses one without saying so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import orchstate as orch
from orchstate.exchange.keys import AGAIN
from tests.exchange.samples import LAB, openai, setup

if TYPE_CHECKING:
    from pathlib import Path

    from orchstate.config import Config
    from orchstate.store import Store

KEY = "sk-0123456789abcdef0123456789"
ELSEWHERE = "https://elsewhere.invalid/v1"
ASKED = {"api_key": {"source": "asked"}}


def _env(name: str) -> dict[str, Any]:
    return {"api_key": {"source": "env", "name": name}}


@pytest.fixture
def gpt(store: Store) -> Config:
    config = store.configs.upsert("gpt", "openai", model="m")
    config.set_secret("api_key", KEY)
    return config


@pytest.mark.parametrize("secrets", [{}, ASKED, _env("OPENAI_API_KEY")])
def test_a_key_here_is_kept_by_an_import_to_the_same_address(
    store: Store, gpt: Config, secrets: dict[str, Any]
) -> None:
    store.plan_import(setup({**openai(model="new"), "secrets": secrets})).apply()
    assert gpt.model == "new" and gpt.api_key.get_secret_value() == KEY


@pytest.mark.parametrize("url", ["https://api.openai.com/other", "https://API.openai.com:443/v1"])
def test_another_path_on_the_same_server_keeps_the_key(store: Store, gpt: Config, url: str) -> None:
    store.plan_import(setup(openai(base_url=url))).apply()
    assert gpt.base_url == url and gpt.api_key.is_set


@pytest.mark.parametrize("secrets", [{}, ASKED, _env("OPENAI_API_KEY")])
@pytest.mark.parametrize(
    "values",
    [
        {"base_url": ELSEWHERE},
        {"base_url": "http://api.openai.com/v1"},
        {"base_url": "https://api.openai.com:444/v1"},
        {"base_url": "https://api.openai.com.elsewhere.invalid/v1"},
        {"data_residency": "eu"},
    ],
)
def test_a_key_does_not_go_to_a_new_address(
    store: Store, gpt: Config, values: dict[str, Any], secrets: dict[str, Any]
) -> None:
    plan = store.plan_import(setup({**openai(model="m", **values), "secrets": secrets}))
    assert AGAIN in plan.items[0].note and AGAIN in str(plan)
    assert plan.items[0].changes["api_key"] == ("memory: ********", None)
    result = plan.apply()
    assert not gpt.api_key.is_set
    assert [(missing.kind, missing.name) for missing in result.missing] == [("key", "api_key")]
    assert AGAIN in result.missing[0].next_step


@pytest.mark.parametrize("secrets", [{}, ASKED, _env("OPENAI_API_KEY"), _env("OTHER")])
def test_a_variable_does_not_go_to_a_new_address_either(store: Store, secrets: dict[str, Any]) -> None:
    gpt = store.configs.upsert("gpt", "openai", api_key=orch.env("OPENAI_API_KEY"))
    plan = store.plan_import(setup({**openai(base_url=ELSEWHERE), "secrets": secrets}))
    assert plan.items[0].changes["api_key"] == ("env: OPENAI_API_KEY", None)
    assert [(missing.kind, missing.name) for missing in plan.missing] == [("key", "api_key")]
    plan.apply()
    assert not gpt.api_key.is_set


def test_a_key_comes_back_to_its_address_by_typing_only(store: Store, gpt: Config) -> None:
    store.plan_import(setup(openai(base_url=ELSEWHERE))).apply()
    store.plan_import(setup(openai())).apply()
    assert gpt.base_url is None and not gpt.api_key.is_set


def test_undoing_an_import_does_not_bring_the_key_to_the_new_address(store: Store, gpt: Config) -> None:
    store.plan_import(setup(openai(base_url=ELSEWHERE))).apply()
    store.undo()
    assert gpt.base_url is None and not gpt.api_key.is_set
    store.redo()
    assert gpt.base_url == ELSEWHERE and not gpt.api_key.is_set


def test_the_address_and_the_key_change_in_one_revision(store: Store, gpt: Config) -> None:
    store.flush()
    before = gpt.revision
    store.plan_import(setup(openai(base_url=ELSEWHERE))).apply()
    store.flush()
    assert gpt.revision == before + 1
    assert {"base_url", "api_key"} <= set(store.history.changes("gpt").loc[store.flush()].field)


def test_a_key_does_not_go_to_another_provider(store: Store, gpt: Config) -> None:
    raw = {
        "name": "gpt",
        "provider": "openai_compatible",
        "values": {"base_url": ELSEWHERE},
        "secrets": ASKED,
    }
    plan = store.plan_import(setup(raw))
    assert AGAIN in plan.items[0].note and plan.missing[0].name == "api_key"
    plan.apply()
    assert (gpt.provider, gpt.base_url, gpt.api_key.is_set) == ("openai_compatible", ELSEWHERE, False)


def test_a_variable_does_not_go_to_another_provider(store: Store) -> None:
    gpt = store.configs.upsert("gpt", "openai", api_key=orch.env("OPENAI_API_KEY"))
    raw = {
        "provider": "openai_compatible",
        "values": {"base_url": ELSEWHERE},
        "secrets": _env("OPENAI_API_KEY"),
    }
    store.plan_import(setup({"name": "gpt", **raw})).apply()
    assert gpt.provider == "openai_compatible" and not gpt.api_key.is_set


def test_the_key_of_the_old_provider_comes_back_with_it(store: Store, gpt: Config) -> None:
    store.plan_import(setup({"name": "gpt", "provider": "anthropic"})).apply()
    gpt.provider = "openai"
    assert gpt.api_key.get_secret_value() == KEY and gpt.base_url is None


def test_a_key_that_is_put_away_comes_back_to_its_own_address_only(store: Store, gpt: Config) -> None:
    gpt.provider = "anthropic"
    store.plan_import(setup(openai(base_url=ELSEWHERE))).apply()
    assert (gpt.provider, gpt.base_url, gpt.api_key.is_set) == ("openai", ELSEWHERE, False)


def test_a_key_that_is_put_away_comes_back_with_its_provider_and_address(store: Store, gpt: Config) -> None:
    gpt.provider = "anthropic"
    store.plan_import(setup(openai(model="new"))).apply()
    assert gpt.model == "new" and gpt.api_key.get_secret_value() == KEY


def test_a_file_cannot_change_the_address_of_a_key_that_is_put_away(store: Store, gpt: Config) -> None:
    gpt.provider = "anthropic"
    raw = {"name": "gpt", "provider": "anthropic", "stash": {"openai": {"model": "m", "base_url": ELSEWHERE}}}
    plan = store.plan_import(setup(raw))
    assert "Its key for openai has to be typed again" in plan.items[0].note
    plan.apply()
    gpt.provider = "openai"
    assert gpt.base_url == ELSEWHERE and not gpt.api_key.is_set


def test_a_key_that_is_put_away_stays_with_its_address(store: Store, gpt: Config) -> None:
    gpt.provider = "anthropic"
    raw = {"name": "gpt", "provider": "anthropic", "stash": {"openai": {"model": "theirs"}}}
    store.plan_import(setup(raw)).apply()
    gpt.provider = "openai"
    assert gpt.model == "theirs" and gpt.api_key.get_secret_value() == KEY


def test_a_key_in_use_is_not_moved_by_putting_it_away(store: Store, gpt: Config) -> None:
    raw = {"name": "gpt", "provider": "anthropic", "stash": {"openai": {"model": "m", "base_url": ELSEWHERE}}}
    store.plan_import(setup(raw)).apply()
    gpt.provider = "openai"
    assert gpt.base_url == ELSEWHERE and not gpt.api_key.is_set


def test_a_variable_of_the_file_is_taken_where_no_key_is(store: Store) -> None:
    store.configs.upsert("here", "openai")
    raw = setup({**openai("here"), "secrets": _env("A")}, {**openai("new"), "secrets": _env("B")})
    plan = store.plan_import(raw)
    assert plan.items[0].changes == {"api_key": (None, "env: A")} and not plan.items[0].note
    plan.apply()
    assert [store.configs[name].api_key for name in ("here", "new")] == [orch.env("A"), orch.env("B")]


def test_another_variable_is_a_change(store: Store) -> None:
    gpt = store.configs.upsert("gpt", "openai", api_key=orch.env("OURS"))
    plan = store.plan_import(setup({**openai(), "secrets": _env("THEIRS")}))
    assert plan.items[0].changes == {"api_key": ("env: OURS", "env: THEIRS")}
    plan.apply()
    assert gpt.api_key == orch.env("THEIRS")


def test_where_the_value_of_a_variable_would_be_sent_is_said(store: Store) -> None:
    raw = {"name": "lab", "provider": "openai_compatible", "values": {"base_url": ELSEWHERE}}
    plan = store.plan_import(setup({**raw, "secrets": _env("LAB_KEY")}))
    assert plan.items[0].note == "The value of LAB_KEY is sent to https://elsewhere.invalid."


def test_keeping_ones_own_key_instead_of_the_variable_is_said(store: Store, gpt: Config) -> None:
    plan = store.plan_import(setup({**openai(model="m"), "secrets": _env("OPENAI_API_KEY")}))
    assert (plan.items[0].action, plan.items[0].note) == ("same", "It keeps its own API key.")


def test_a_key_that_decides_how_to_authenticate_goes_on_doing_so(store: Store) -> None:
    claude = store.configs.upsert("claude", "anthropic")
    claude.set_secret("auth_token", KEY)
    assert store.plan_import(setup({"name": "claude", "provider": "anthropic"})).items[0].action == "same"
    store.plan_import(setup({"name": "claude", "provider": "anthropic", "values": {"model": "m"}})).apply()
    assert claude.auth_token.get_secret_value() == KEY and claude.validation.ready


@pytest.mark.parametrize("on_conflict", ["ours", "rename"])
def test_a_config_that_is_kept_keeps_its_key(store: Store, gpt: Config, on_conflict: Any) -> None:
    store.plan_import(setup(openai(base_url=ELSEWHERE))).apply(on_conflict)
    assert gpt.base_url is None and gpt.api_key.get_secret_value() == KEY


def _of_a_provider_that_is_gone(store: Store, definitions: Path, *, broken: bool) -> Config:
    """A config that had the provider lab, with a key, before lab's definition went away."""
    (definitions / "lab.json").write_text(json.dumps(LAB))
    store.providers.reload()
    ours = store.configs.upsert("ours", "lab", model="m")
    ours.set_secret("token", KEY)
    if broken:
        (definitions / "lab.json").write_text("{")
    else:
        ours.provider = "openai"
        (definitions / "lab.json").unlink()
    store.providers.reload()
    return ours


@pytest.mark.parametrize(("put_away", "stays"), [({"model": "m"}, True), ({"base_url": ELSEWHERE}, False)])
def test_a_key_of_a_provider_that_is_gone_stays_only_if_nothing_changes(
    store: Store, definitions: Path, put_away: dict[str, str], stays: bool
) -> None:
    ours = _of_a_provider_that_is_gone(store, definitions, broken=False)
    store.plan_import(setup({**openai("ours", model="new"), "stash": {"lab": put_away}})).apply()
    assert ours.model == "new" and ("token" in ours.stash["lab"]) == stays


def test_a_config_whose_definition_is_broken_can_become_another(store: Store, definitions: Path) -> None:
    ours = _of_a_provider_that_is_gone(store, definitions, broken=True)
    plan = store.plan_import(setup(openai("ours", base_url=ELSEWHERE)))
    assert plan.items[0].action == "change" and AGAIN in plan.items[0].note
    plan.apply()
    assert ours.base_url == ELSEWHERE and not ours.api_key.is_set
