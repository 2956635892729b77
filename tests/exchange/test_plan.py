"""A plan says what an import would do, for every item, and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import orchstate as orch
from orchstate.exchange.items import Missing, PlanItem
from tests.exchange.samples import openai, setup

if TYPE_CHECKING:
    from pathlib import Path

    from orchstate.exchange.plan import ImportPlan
    from orchstate.store import Store


def _item(plan: ImportPlan, name: str) -> PlanItem:
    (found,) = [item for item in plan.items if item.name == name]
    return found


def test_planning_changes_nothing(store: Store) -> None:
    store.configs.upsert("gpt", "openai")
    before = store.flush()
    store.plan_import(setup(openai(model="m"), openai("other"), settings={"agents.timeout": 5000}))
    assert store.flush() == before and not store.can_redo


def test_what_is_not_here_is_added(store: Store) -> None:
    item = _item(store.plan_import(setup(openai(model="m", temperature=1))), "gpt")
    assert (item.kind, item.action) == ("config", "add")
    assert item.changes == {"provider": (None, "openai"), "model": (None, "m"), "temperature": (None, 1.0)}


def test_a_difference_is_named_field_by_field(store: Store) -> None:
    store.configs.upsert("gpt", "openai", model="m", temperature=0.2, stop="x", tags=["a"])
    item = _item(store.plan_import(setup({**openai(model="m", temperature=0.7), "tags": ["b"]})), "gpt")
    assert item.action == "change"
    assert item.changes == {"temperature": (0.2, 0.7), "stop": ("x", None), "tags": (["a"], ["b"])}


def test_a_whole_number_is_the_same_as_its_float(store: Store) -> None:
    store.configs.upsert("gpt", "openai", temperature=1.0)
    assert _item(store.plan_import(setup(openai(temperature=1))), "gpt").action == "same"


def test_null_is_the_same_as_leaving_out(store: Store) -> None:
    store.configs.upsert("gpt", "openai")
    assert _item(store.plan_import(setup(openai(model=None, headers=None))), "gpt").action == "same"


def test_a_name_in_another_case_is_the_same_config_renamed(store: Store) -> None:
    store.configs.upsert("gpt", "openai")
    item = _item(store.plan_import(setup(openai("GPT"))), "GPT")
    assert (item.action, item.changes) == ("change", {"name": ("gpt", "GPT")})


def test_another_provider_is_a_change_of_all_its_fields(store: Store) -> None:
    store.configs.upsert("gpt", "openai", model="m", seed=1)
    raw = {"name": "gpt", "provider": "anthropic", "values": {"model": "claude"}}
    changes = _item(store.plan_import(setup(raw)), "gpt").changes
    assert changes == {"provider": ("openai", "anthropic"), "model": ("m", "claude"), "seed": (1, None)}


def test_what_is_put_away_is_compared_too(store: Store) -> None:
    store.configs.upsert("gpt", "openai")
    raw = {**openai(), "stash": {"anthropic": {"model": "claude", "temperature": 1}}}
    item = _item(store.plan_import(setup(raw)), "gpt")
    assert item.changes == {"stash.anthropic": (None, {"model": "claude", "temperature": 1.0})}


def test_settings_are_compared_one_by_one(store: Store) -> None:
    store.settings.agents.timeout = 5000
    plan = store.plan_import(setup(settings={"agents.timeout": 6000, "agents.retry_attempts": 3}))
    assert _item(plan, "agents.timeout").action == "change"
    assert _item(plan, "agents.retry_attempts") == PlanItem(
        "setting", "agents.retry_attempts", "add", {"agents.retry_attempts": (2, 3)}
    )


def test_the_active_config_is_an_item(store: Store) -> None:
    gpt = store.configs.upsert("gpt", "openai")
    assert store.plan_import(setup(active="gpt")).items[-1].action == "add"
    store.active = gpt
    assert store.plan_import(setup(active="GPT")).items[-1].action == "same"
    assert store.plan_import(setup(openai("other"), active="other")).items[-1].action == "change"


@pytest.mark.parametrize(
    ("raw", "note"),
    [
        (openai(temperature=3), r"configs\[0\]\.values\.temperature: 3 is too large: at most 2"),
        (openai(temperature="hot"), r"configs\[0\]\.values\.temperature: 'hot' is not a number"),
        (openai(temprature=1), r"configs\[0\]\.values\.temprature: .*Did you mean 'temperature'"),
        (openai(base_url="ftp://x"), r"configs\[0\]\.values\.base_url: .*http:// or https://"),
        (openai(base_url="http://me:pw@x/v1"), r"values\.base_url: a URL must not hold a user name"),
        (openai(name="gpt", provider="x"), r"configs\[0\]\.values\.provider: this has its own place"),
        (openai(tags=["a"]), r"configs\[0\]\.values\.tags: this has its own place"),
        (openai(base_url="http://127.0.0.1/v1", data_residency="eu"), r"configs\[0\]: .*cannot both be set"),
        (openai(headers={"Authorization": "x"}), r"values\.headers: 'Authorization' carries a key"),
        (openai("a/b"), r"configs\[0\]\.name: 'a/b' is not a valid name: slashes"),
        (openai("a\nb"), r"configs\[0\]\.name: .*line breaks"),
        (openai("n" * 300), r"configs\[0\]\.name: .*300 characters, 100 is the limit"),
        (openai(""), r"configs\[0\]\.name: '' is not a valid name: it is empty"),
        ({**openai(), "auth": "magic"}, r"configs\[0\]\.auth: 'magic' is not a way to authenticate"),
        (
            {**openai(), "provider": "opnai"},
            r"configs\[0\]\.provider: the provider 'opnai' is not defined here",
        ),
        ({**openai(), "secrets": {"model": {"source": "asked"}}}, r"secrets\.model: .*Its secrets: api_key"),
        ({**openai(), "stash": {"openai": {}}}, r"stash\.openai: this is the config's own provider"),
        ({**openai(), "stash": {"anthropic": {"top": 1}}}, r"stash\.anthropic\.top: .*no field 'top'"),
        (
            {**openai(), "stash": {"anthropic": {"temperature": 9}}},
            r"stash\.anthropic\.temperature: 9 is too large",
        ),
        ({**openai(), "stash": {"nobody": {"name": "x"}}}, r"stash\.nobody\.name: this cannot be put away"),
    ],
)
def test_a_broken_rule_blocks_its_config_with_the_place(store: Store, raw: dict[str, Any], note: str) -> None:
    plan = store.plan_import(setup(raw, openai("sound")))
    blocked = plan.items[0]
    assert blocked.action == "blocked" and plan.items[1].action == "add"
    with pytest.raises(ValueError, match=note):
        raise ValueError(blocked.note)


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        ({"agents.timeout": 1}, "settings.agents.timeout: 1 is too small"),
        ({"agents.timeout": "1"}, "settings.agents.timeout: '1' is not a whole number"),
        (
            {"agents.timeuot": 5000},
            "settings.agents.timeuot: settings has no field 'agents.timeuot'. Did you mean",
        ),
        ({"agents": {"timeout": 5000}}, "settings.agents: settings has no field 'agents'"),
        ({"name": "x"}, "settings.name: this is no setting"),
    ],
)
def test_a_wrong_setting_is_blocked(store: Store, settings: dict[str, Any], note: str) -> None:
    (item,) = store.plan_import(setup(settings=settings)).items
    assert item.action == "blocked" and item.note.startswith(note)


def test_a_key_in_place_of_a_value_blocks_and_is_not_shown(store: Store) -> None:
    plan = store.plan_import(setup(openai(api_key="sk-secret")))
    assert plan.items[0].action == "blocked"
    assert "no secret belongs into a setup" in plan.items[0].note
    assert "sk-secret" not in f"{plan} {plan!r} {plan._repr_html_()} {plan.to_frame()} {plan.items}"


@pytest.mark.parametrize("provider", ["anthropic", "nobody"])
def test_a_file_cannot_refer_to_a_key_of_this_machine(store: Store, provider: str) -> None:
    stolen = {"api_key": {"source": "keyring", "name": "somebody/api_key/1"}}
    plan = store.plan_import(setup({**openai(), "stash": {provider: stolen}}))
    assert plan.items[0].action == "blocked" and f"stash.{provider}.api_key" in plan.items[0].note


def test_of_two_configs_with_one_name_the_second_is_blocked(store: Store) -> None:
    first, second = store.plan_import(setup(openai(), openai("GPT"))).items
    assert first.action == "add" and second.action == "blocked"
    assert second.note == (
        "configs[1].name: 'GPT' is there twice, also at configs[0] (names are compared in any case)."
    )


def test_the_id_of_a_config_here_is_no_name(store: Store) -> None:
    gpt = store.configs.upsert("gpt", "openai", model="m")
    plan = store.plan_import(setup(openai(gpt.id, model="theirs")))
    assert plan.items[0].action == "blocked" and "is the id of a config here" in plan.items[0].note


def test_an_active_config_that_cannot_be_is_blocked(store: Store) -> None:
    plan = store.plan_import(setup(openai(temperature=9), active="gpt"))
    assert [item.action for item in plan.items] == ["blocked", "blocked"]
    assert plan.items[1].note == (
        "active: 'gpt' cannot be made active: no config of this name is here, and none can be imported."
    )


def test_missing_keys_and_variables_are_listed_with_the_next_step(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    asked = {**openai("my gpt"), "secrets": {"api_key": {"source": "asked"}}}
    variable = {**openai("b"), "secrets": {"api_key": {"source": "env", "name": "NO_SUCH_VARIABLE"}}}
    assert store.plan_import(setup(asked, variable)).missing == (
        Missing(
            "key",
            "api_key",
            "my gpt",
            "OPENAI_API_KEY is set in the environment; use it with "
            "store.configs['my gpt'].api_key = orch.env('OPENAI_API_KEY').",
        ),
        Missing(
            "environment",
            "NO_SUCH_VARIABLE",
            "b",
            "Set it before the kernel starts, or type the API key in the form.",
        ),
    )


def test_a_key_that_the_provider_needs_is_missing_even_if_the_file_does_not_say_so(store: Store) -> None:
    (missing,) = store.plan_import(setup(openai())).missing
    assert (missing.kind, missing.name, missing.config) == ("key", "api_key", "gpt")


def test_nothing_is_missing_when_the_key_is_here(store: Store) -> None:
    store.configs.upsert("gpt", "openai").set_secret("api_key", "sk-0123456789abcdef0123")
    assert store.plan_import(setup(openai(model="m"))).missing == ()


def test_an_unknown_provider_is_missing(store: Store, definitions: Path) -> None:
    plan = store.plan_import(setup({"name": "a", "provider": "lab"}))
    assert [(missing.kind, missing.name) for missing in plan.missing] == [("provider", "lab")]
    assert str(definitions) in plan.missing[0].next_step


def test_a_missing_package_comes_with_its_pip_line(store: Store) -> None:
    raw = {**openai(), "secrets": {"api_key": {"source": "env", "name": "PATH"}}}
    (missing,) = store.plan_import(setup(raw, packages={"openai": ">=9999"})).missing
    assert (missing.kind, missing.name, missing.config) == ("package", "openai>=9999", "gpt")
    assert missing.next_step == 'pip install --upgrade "orchstate[openai]"'


def test_a_package_that_orchstate_does_not_know_gets_no_pip_line(store: Store) -> None:
    (missing,) = store.plan_import(setup(packages={"no-such-package": ""})).missing
    assert missing.name == "no-such-package" and "pip" not in missing.next_step


def test_the_frame_has_fixed_columns_and_dtypes(store: Store) -> None:
    dtypes = {
        "kind": "category",
        "name": "string",
        "action": "category",
        "field": "string",
        "here": "object",
        "there": "object",
        "note": "string",
    }
    for raw in (setup(), setup(openai(model="m"), openai(temperature=3), settings={"agents.timeout": 5000})):
        assert {
            name: str(dtype) for name, dtype in store.plan_import(raw).to_frame().dtypes.items()
        } == dtypes


def test_the_frame_has_a_row_per_change(store: Store) -> None:
    store.configs.upsert("same", "openai")
    frame = store.plan_import(setup(openai(model="m"), openai("same"))).to_frame()
    assert frame[["name", "field"]].fillna("").values.tolist() == [
        ["gpt", "provider"],
        ["gpt", "model"],
        ["same", ""],
    ]


def test_the_repr_is_one_line_of_counts(store: Store) -> None:
    store.configs.upsert("a", "openai")
    plan = store.plan_import(setup(openai("a"), openai("b"), openai(temperature=3)))
    assert repr(plan) == "<ImportPlan the dict: 1 to add, 1 the same, 1 blocked, 2 missing>"
    assert repr(store.plan_import(setup())) == "<ImportPlan the dict: empty>"


def test_html_tells_what_the_text_tells(store: Store) -> None:
    raw = {**openai("<b>", model="m & m"), "secrets": {"api_key": {"source": "env", "name": "NO_SUCH"}}}
    bundle = store.plan_import(setup(raw, openai("bad", temperature=3)))._repr_mimebundle_()
    for fact in ("1 to add", "1 blocked", "m & m", "<b>", "NO_SUCH", "too large"):
        assert fact in bundle["text/plain"]
        assert fact.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in bundle["text/html"]
    assert "<b>" not in bundle["text/html"]


def test_a_long_plan_stays_small_in_a_notebook(store: Store) -> None:
    configs = [openai(f"config {n}", model="m" * 500) for n in range(1000)]
    plan = store.plan_import(setup(*configs, openai("bad", seed="x")))
    bundle = plan._repr_mimebundle_()
    assert len(bundle["text/html"]) < 40_000 and len(bundle["text/plain"]) < 10_000
    assert "1971 more" in bundle["text/plain"] and len(plan.to_frame()) == 2001
    # What cannot be imported is not among what is cut.
    assert "blocked" in bundle["text/plain"].split("\n\n")[1].splitlines()[1]


def test_names_cannot_act_on_a_terminal_or_a_page(store: Store) -> None:
    plan = store.plan_import(setup(openai("\x1b[2J\u202egpt"), active="\x1b]0;title\x07"))
    assert not {"\x1b", "\x07", "\u202e"} & set(f"{plan}{plan._repr_html_()}{plan!r}")


def test_an_edited_file_is_told(store: Store) -> None:
    plan = store.plan_import({**setup(openai()), "digest": f"sha256:{'0' * 64}"})
    assert "It was edited since it was exported" in plan.notes[0] and plan.notes[0] in str(plan)


def test_a_plan_of_a_read_only_store_can_be_looked_at(tmp_path: Path) -> None:
    orch.open(tmp_path / "store.db").close()
    with orch.open(tmp_path / "store.db", read_only=True) as store:
        plan = store.plan_import(setup(openai()))
        assert plan.items[0].action == "add"
        with pytest.raises(orch.ReadOnlyError):
            plan.apply()


def test_what_looks_like_a_key_in_a_setup_is_noted_and_a_certain_one_blocked(store: Store) -> None:
    maybe, sure = "gsk_0123456789abcdef", "sk-proj-0123456789abcdef"
    raw = setup(openai("maybe", headers={"X-Team": maybe}), openai("sure", stop=sure), openai(sure))
    items = store.plan_import(raw).items
    assert [item.action for item in items] == ["add", "blocked", "blocked"]
    assert items[0].note == "What looks like a key would be stored in plain text: headers.X-Team."
    assert items[1].note.startswith("configs[1].values.stop: this is a key")
    assert sure not in "".join(item.note for item in items) and maybe not in items[0].note
