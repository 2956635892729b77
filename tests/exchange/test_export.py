"""An exported setup has everything that is needed elsewhere, and no secret."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import orchstate as orch
from orchstate.errors import OrchstateWarning, SetupError
from orchstate.exchange.definitions import plan_definitions
from orchstate.exchange.export import setup_of
from orchstate.exchange.reading import read_setup
from orchstate.models.secret import SecretRef
from tests.exchange.samples import LAB

if TYPE_CHECKING:
    from pathlib import Path

    from orchstate.store import Store

KEY = "sk-0123456789abcdef0123456789"


def _exported(store: Store, tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(store.export(tmp_path / "setup.json").read_text())
    return found


def _config(store: Store, tmp_path: Path, name: str = "gpt") -> dict[str, Any]:
    configs = _exported(store, tmp_path)["configs"]
    return next(config for config in configs if config["name"] == name)


def test_an_empty_store_gives_a_setup_that_can_be_read(store: Store, tmp_path: Path) -> None:
    reading = read_setup(store.export(tmp_path / "setup.json"))
    assert reading.setup.configs == () and reading.notes == ()


def test_the_path_of_the_file_is_returned(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store.export("~/any.ending") == tmp_path / "any.ending"


def test_a_key_is_in_no_file(store: Store, tmp_path: Path) -> None:
    gpt = store.configs.upsert("gpt", "openai")
    gpt.api_key = KEY
    name = gpt.document().api_key.name
    text = store.export(tmp_path / "setup.json").read_text()
    assert KEY not in text and name not in text and gpt.id not in text
    assert _config(store, tmp_path)["secrets"] == {"api_key": {"source": "asked"}}


def test_the_name_of_a_variable_goes_along(store: Store, tmp_path: Path) -> None:
    store.configs.upsert("gpt", "openai", api_key=orch.env("OPENAI_API_KEY"))
    secrets = _config(store, tmp_path)["secrets"]
    assert secrets == {"api_key": {"source": "env", "name": "OPENAI_API_KEY"}}


def test_whether_a_key_is_stored_here_makes_no_difference(store: Store, tmp_path: Path) -> None:
    gpt = store.configs.upsert("gpt", "openai", model="m")
    without = store.export(tmp_path / "without.json").read_bytes()
    gpt.api_key = KEY
    assert store.export(tmp_path / "with.json").read_bytes() == without


def test_the_way_to_authenticate_is_said_where_only_the_key_tells_it(store: Store, tmp_path: Path) -> None:
    claude = store.configs.upsert("claude", "anthropic")
    assert "auth" not in _config(store, tmp_path, "claude")
    claude.auth_token = KEY
    exported = _config(store, tmp_path, "claude")
    assert (exported["auth"], exported["secrets"]) == ("auth_token", {"auth_token": {"source": "asked"}})


def test_a_config_that_is_deleted_meanwhile_is_left_out(store: Store) -> None:
    for name in ("a", "b", "c"):
        store.configs.create("ollama", name=name)
    seen = Seen(store, dict(store.configs))
    store.configs["b"].delete()
    assert [config["name"] for config in setup_of(seen)["configs"]] == ["a", "c"]
    assert plan_definitions([LAB], seen)[0][0].action == "add"


@dataclass
class Seen:
    """A store whose configs are listed as they were before somebody deleted one of them."""

    store: Store
    configs: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


def test_a_key_that_stands_for_a_name_is_not_exported(store: Store, tmp_path: Path) -> None:
    leak = "gsk_LEAK0123456789"
    gpt = store.configs.upsert("gpt", "openai")
    # As an older version may have stored it.
    store._state.update(gpt.id, {"api_key": SecretRef(source="env", name=leak)})
    assert _config(store, tmp_path)["secrets"] == {"api_key": {"source": "asked"}}


def test_no_key_is_asked_for_where_none_is_used(store: Store, tmp_path: Path) -> None:
    store.configs.upsert("local", "ollama")
    assert "secrets" not in _config(store, tmp_path, "local")


def test_only_what_is_set_is_written(store: Store, tmp_path: Path) -> None:
    store.configs.upsert("gpt", "openai", model="m", temperature=0.0, headers={})
    exported = _config(store, tmp_path)
    assert exported.keys() == {"name", "provider", "values", "secrets"}
    assert exported["values"] == {"model": "m", "temperature": 0.0}


def test_what_another_provider_had_goes_along_without_its_key(store: Store, tmp_path: Path) -> None:
    gpt = store.configs.upsert("gpt", "anthropic", model="claude", api_key=orch.env("ANTHROPIC_API_KEY"))
    gpt.provider = "openai"
    assert _config(store, tmp_path)["stash"] == {"anthropic": {"model": "claude"}}


def test_a_config_of_an_unknown_provider_goes_along_without_its_key(
    store: Store, tmp_path: Path, definitions: Path
) -> None:
    (definitions / "lab.json").write_text(json.dumps(LAB))
    store.providers.reload()
    lab = store.configs.upsert("lab", "lab", model="m")
    lab.token = KEY
    file = tmp_path / "store.db"
    _copy_to_file(store, file, KEY)
    (definitions / "lab.json").unlink()
    with orch.open(file, secrets="memory") as reopened:
        exported = _config(reopened, tmp_path, "lab")
        reopened_text = (tmp_path / "setup.json").read_text()
    assert exported["values"] == {"model": "m"} and exported["secrets"] == {"token": {"source": "asked"}}
    assert lab.id not in reopened_text


def _copy_to_file(store: Store, file: Path, key: str) -> None:
    setup = store.export(file.with_suffix(".json"))
    with orch.open(file, secrets="memory") as copy:
        copy.plan_import(setup).apply()
        copy.configs["lab"].set_secret("token", key)


def test_settings_that_differ_are_written_by_path(store: Store, tmp_path: Path) -> None:
    assert "settings" not in _exported(store, tmp_path)
    store.settings.agents.timeout = 5000
    assert _exported(store, tmp_path)["settings"] == {"agents.timeout": 5000}


def test_the_active_config_is_named(store: Store, tmp_path: Path) -> None:
    store.active = store.configs.upsert("gpt", "openai")
    assert _exported(store, tmp_path)["active"] == "gpt"


def test_configs_stand_in_the_order_of_their_names(store: Store, tmp_path: Path) -> None:
    for name in ("b", "C", "a"):
        store.configs.create("openai", name=name)
    assert [config["name"] for config in _exported(store, tmp_path)["configs"]] == ["a", "b", "C"]


def test_the_packages_are_those_of_the_providers_in_use(store: Store, tmp_path: Path) -> None:
    store.configs.upsert("claude", "anthropic")
    assert _exported(store, tmp_path)["packages"].keys() == {"orchstate", "anthropic"}


def test_a_definition_goes_along_only_if_it_is_used_and_ones_own(
    store: Store, tmp_path: Path, definitions: Path
) -> None:
    for id in ("lab", "unused"):
        (definitions / f"{id}.json").write_text(json.dumps({**LAB, "id": id}))
    store.providers.reload()
    store.configs.upsert("gpt", "openai")
    assert "definitions" not in _exported(store, tmp_path)
    store.configs.upsert("ours", "lab")
    assert _exported(store, tmp_path)["definitions"] == [LAB]


def test_a_packaged_provider_that_was_changed_goes_along(
    store: Store, tmp_path: Path, definitions: Path
) -> None:
    changed = {**LAB, "id": "ollama", "label": "Our Ollama"}
    (definitions / "ollama.json").write_text(json.dumps(changed))
    store.providers.reload()
    store.configs.upsert("local", "ollama")
    assert _exported(store, tmp_path)["definitions"] == [changed]


def test_no_setup_is_written_that_could_not_be_read(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchstate.exchange.export.MAX_BYTES", 2_000_000)
    for number in range(250):
        store.configs.create("openai", name=f"gpt {number}", stop="x" * 10_000)
    with pytest.raises(SetupError, match=r"would have 2 MB, and a setup that is larger than 2 MB is"):
        store.export(tmp_path / "setup.json")
    assert list(tmp_path.glob("*.json")) == []


def test_a_failing_export_leaves_the_old_file(store: Store, tmp_path: Path) -> None:
    path = store.export(tmp_path / "setup.json")
    before = path.read_bytes()
    store.configs.upsert("gpt", "openai")
    path.chmod(0o444)
    with pytest.raises(SetupError, match="it is write-protected"):
        store.export(path)
    assert path.read_bytes() == before


def test_exporting_changes_nothing_in_the_store(store: Store, tmp_path: Path) -> None:
    store.configs.upsert("gpt", "openai")
    before = store.flush()
    store.export(tmp_path / "setup.json")
    assert store.flush() == before


def test_a_setup_replaces_a_setup_or_nothing_else(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "setup.json"
    path.touch()
    for _ in range(2):
        assert store.export(path) == path
    for content in (b"{", b"[1]", b'{"format": "nbformat"}', b"\x00\xff", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(SetupError, match=r"is no setup, so it is not overwritten\. Choose another name"):
            store.export(path)
        assert path.read_bytes() == content


@pytest.mark.parametrize("is_link", [False, True])
def test_a_store_is_never_overwritten(is_link: bool, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with orch.open(path, secrets="memory") as store, orch.open(tmp_path / "other.db") as other:
        store.configs.create("openai", name="gpt")
        target = tmp_path / "link.json" if is_link else path
        if is_link:
            target.hardlink_to(path)
        for holder in (store, other)[: 1 if is_link else 2]:
            with pytest.raises(SetupError, match="so it is not overwritten"):
                holder.export(target)
        assert store.flush() == 1
    with orch.open(path, secrets="memory") as store:
        assert list(store.configs) == ["gpt"]


def test_what_looks_like_a_key_in_clear_is_named_in_a_warning(store: Store, tmp_path: Path) -> None:
    store.configs.upsert(
        "gpt", "openai", model="sk-own-0123456789", headers={"X-Team": "gsk_0123456789abcdef"}
    )
    store.configs.upsert("gpt", "anthropic")
    with pytest.warns(
        OrchstateWarning, match=r"^gpt\.stash\.openai\.headers\.X-Team, gpt\.stash\.openai\.model of"
    ):
        store.export(tmp_path / "setup.json")
    store.configs.upsert("gpt", "openai", model="m", headers={})
    store.export(tmp_path / "setup.json")
