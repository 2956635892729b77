"""Restoring: a moment comes back as new revisions, in one step, and what cannot come back is told."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

import orchstate
from orchstate.errors import CorruptStoreError, NotFoundError, ReadOnlyError, StoreError, UnknownFieldError
from orchstate.models.secret import SecretRef, env

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchstate.store import Store

KEY = "sk-proj-0123456789abcdef0123"


def set_at(store: Store, seq: int) -> list[list[Any]]:
    """Return what was set at a moment; settings that are as usual are as good as none."""
    frame = store.at(seq).to_frame()
    return frame[frame.field != "name"][["kind", "name", "field", "value"]].values.tolist()


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store) -> Callable[..., None]:
    """Define a provider of one's own, in another way, or not any more."""
    monkeypatch.setenv("ORCHSTATE_PROVIDERS", str(tmp_path))

    def define(*, maximum: int = 10, is_there: bool = True) -> None:
        fields = [
            {"name": "heat", "type": "number", "label": "Heat", "maximum": maximum},
            {"name": "note", "type": "text", "label": "Note"},
        ]
        url = "http://127.0.0.1:8000/v1"
        plain = {"format": "orchstate.provider", "version": 1, "id": "lab", "label": "Lab", "sdk": "openai"}
        plain |= {"base_url": url, "fields": fields}
        (tmp_path / "lab.json").unlink(missing_ok=True)
        if is_there:
            (tmp_path / "lab.json").write_text(json.dumps(plain))
        store.providers.reload()

    return define


def values(store: Store) -> dict[str, dict[str, Any]]:
    """Return everything that a restored moment is compared by."""
    found = {name: config.document().body() for name, config in store.configs.items()}
    return found | {"settings": store.settings.document().body()}


def test_one_config_comes_back_as_a_new_revision(store: Store) -> None:
    gpt = store.configs["gpt"]
    restored = store.at(1).restore("gpt")
    assert (gpt.temperature, gpt.tags) == (0.2, ())
    assert str(restored) == "Restored: tags of gpt, temperature of gpt."
    assert store.flush() == 7
    assert store.history.changes(since=6)["label"].unique().tolist() == ["restore 1"]


def test_a_record_a_document_and_an_id_name_one_as_well(store: Store) -> None:
    gpt, past = store.configs["gpt"], store.at(2)
    for what in (gpt, gpt.id, past.configs["gpt"]):
        gpt.temperature = 1.5
        past.restore(what)
        assert gpt.temperature == 0.5


def test_everything_comes_back_as_it_was_at_every_moment(store: Store) -> None:
    store.configs.create("anthropic", name="new", max_tokens=9)
    store.configs["gpt"].update(name="g", provider="anthropic")
    last = store.flush()
    for seq in range(last, 0, -1):
        store.at(seq).restore()
        assert set_at(store, store.flush()) == set_at(store, seq), seq


def test_it_says_what_was_made_again_and_deleted(store: Store) -> None:
    restored = store.at(4).restore()
    assert (restored.created, restored.deleted) == (("o",), ())
    assert "Made again: o." in str(restored)
    back = store.at(6).restore()
    assert str(back) == "Restored: agents.timeout of settings. Deleted, since it came later: o."
    assert repr(back) == "<Restored settings.agents.timeout, o deleted as of revision 6>"


def test_it_is_one_step_that_can_be_undone_and_done_again(store: Store) -> None:
    before = values(store)
    store.at(4).restore(label="as on Friday")
    after = values(store)
    assert store.undo().label == "as on Friday"
    assert values(store) == before
    store.redo()
    assert values(store) == after


def test_a_preview_changes_nothing(store: Store) -> None:
    before, seq = values(store), store.flush()
    preview = store.at(1).restore(preview=True)
    assert str(preview).startswith("Nothing is done yet. Restored: tags of gpt, temperature of gpt")
    assert repr(preview).startswith("<Preview gpt.tags, gpt.temperature")
    assert (values(store), store.flush(), store.can_undo) == (before, seq, True)
    done = store.at(1).restore()
    assert (done.changed, done.created, done.deleted) == (preview.changed, preview.created, preview.deleted)


def test_nothing_to_restore_is_no_revision(store: Store) -> None:
    seq = store.flush()
    assert str(store.at(seq).restore()) == "Nothing to restore: it is as it was at revision 6."
    assert repr(store.at(seq).restore()) == "<Restored nothing as of revision 6>"
    assert store.flush() == seq


def test_settings_that_were_not_set_are_as_usual_again(store: Store) -> None:
    for what in ("settings", store.settings):
        store.settings.agents.timeout = 7_000
        store.at(1).restore(what)
        assert store.settings.agents.timeout == 60_000
    assert store.at(6).restore("settings").changed == (("settings", "agents.timeout"),)


def test_what_is_ones_own_and_names_for_moments_stay(store: Store) -> None:
    seq = store.snapshot("before")
    store.active = "gpt"
    store.snapshot("later")
    store.at("before").restore()
    assert store.active is store.configs["gpt"]
    assert store.at("later").seq > seq


def test_in_a_transaction_it_joins(store: Store) -> None:
    gpt = store.configs["gpt"]
    with store.transaction("both"):
        store.at(1).restore("gpt")
        gpt.model = "gpt-z"
        assert (gpt.temperature, gpt.model) == (0.2, "gpt-z")
    assert store.undo().label == "both"
    assert gpt.temperature == 0.9
    with pytest.raises(RuntimeError, match="no"), store.transaction():
        store.at(1).restore()
        raise RuntimeError("no")
    assert gpt.temperature == 0.9


def test_a_key_that_is_there_stays_and_one_that_is_gone_is_told(store: Store) -> None:
    gpt = store.configs["gpt"]
    gpt.api_key = KEY
    with_key = store.flush()
    restored = store.at(1).restore("gpt")
    assert gpt.api_key.get_secret_value() == KEY
    assert "A new key is not taken back" in str(restored)
    gpt.api_key = None
    assert "enter it again: api_key of gpt" in str(store.at(with_key).restore("gpt"))
    assert gpt.api_key == SecretRef()
    gpt.delete()
    assert str(store.at(with_key).restore("gpt")) == (
        "Made again: gpt. A key that was removed from where keys are kept cannot come back; "
        "enter it again: api_key of gpt."
    )
    assert store.configs["gpt"].api_key == SecretRef()


def test_a_reference_to_the_environment_comes_back(store: Store) -> None:
    gpt = store.configs["gpt"]
    gpt.api_key = env("LAB_KEY")
    seq = store.flush()
    gpt.api_key = None
    store.at(seq).restore("gpt")
    assert gpt.api_key == env("LAB_KEY")


def test_a_name_that_another_has_by_now_is_left_alone(store: Store) -> None:
    gpt = store.configs["gpt"]
    gpt.name = "old"
    store.configs.create("ollama", name="gpt")
    restored = store.at(1).restore(gpt)
    assert (gpt.name, gpt.temperature) == ("old", 0.2)
    assert "Left alone, since the name is taken by now: name of old." in str(restored)
    store.configs.create("ollama", name="o")
    assert str(store.at(4).restore("o")) == "Left alone, since the name is taken by now: o."


def test_everything_takes_names_back_from_what_came_later(store: Store) -> None:
    store.configs["gpt"].name = "old"
    store.configs.create("ollama", name="gpt")
    restored = store.at(1).restore()
    assert (list(store.configs), store.configs["gpt"].provider) == (["gpt"], "openai")
    assert restored.left == ()


def test_names_that_were_exchanged_are_exchanged_back(store: Store) -> None:
    gpt, other = store.configs["gpt"], store.configs.create("ollama", name="other")
    seq = store.flush()
    with store.transaction():
        gpt.name = "x"
        other.name = "gpt"
        gpt.name = "other"
    store.at(seq).restore()
    assert (gpt.name, other.name) == ("gpt", "other")


def test_a_provider_that_is_not_defined_any_more_is_told(lab: Callable[..., None], store: Store) -> None:
    lab()
    config = store.configs.create("lab", name="l", heat=5)
    seq = store.flush()
    config.delete()
    lab(is_there=False)
    assert str(store.at(seq).restore("l")) == (
        "Left alone, since its provider of then is not defined here; add that first: l."
    )
    assert store.at(seq).restore().created == ()
    lab()
    assert store.at(seq).restore("l").created == ("l",)
    assert store.configs["l"].heat == 5


def test_a_value_that_breaks_a_rule_of_today_is_left_alone(lab: Callable[..., None], store: Store) -> None:
    lab()
    config = store.configs.create("lab", name="l", heat=9, note="a")
    seq = store.flush()
    config.update(heat=1, note="b")
    lab(maximum=5)
    restored = store.at(seq).restore("l")
    assert (config.heat, config.note) == (1, "a")
    assert str(restored) == (
        "Restored: note of l. Left alone, since what it was breaks a rule of today: heat of l."
    )
    config.delete()
    assert store.at(seq).restore("l").created == ("l",)
    assert (store.configs["l"].heat, store.configs["l"].note) == (None, "a")


def test_what_was_damaged_is_neither_restored_nor_deleted(store: Store) -> None:
    store.configs["gpt"].seed = 5
    store.flush()
    with store._engine._write_mutex:
        store._engine._writing.execute("UPDATE rev SET body = '{}' WHERE name = 'gpt'")
    restored = store.at(3).restore()
    assert (store.configs["gpt"].temperature, store.configs["gpt"].seed) == (0.9, 5)
    assert "Left alone, since what it was is damaged; run orchstate doctor: gpt." in str(restored)
    with pytest.raises(CorruptStoreError, match=r"config 'gpt' .* is damaged"):
        store.at(3).restore("gpt")


def test_what_was_not_there_is_not_found(store: Store) -> None:
    for what in ("gtp", "o", store.configs.create("openai", name="late"), 5):
        with pytest.raises(NotFoundError, match=r"There is no config .*\(at revision 1\)"):
            store.at(1).restore(what)


def test_a_moment_has_what_its_kinds_have(store: Store) -> None:
    with pytest.raises(UnknownFieldError, match="A PastState has no 'agents'"):
        store.at(1).agents  # type: ignore[attr-defined]  # noqa: B018
    assert not hasattr(store.at(1), "_x")


def test_nothing_is_restored_into_a_store_that_is_only_read(tmp_path: Path) -> None:
    with orchstate.open(tmp_path / "store.db", secrets="memory") as store:
        store.configs.create("openai", name="gpt", temperature=0.2).temperature = 0.5
    with orchstate.open(tmp_path / "store.db", secrets="memory", read_only=True) as store:
        assert store.at(1).restore(preview=True).changed == (("gpt", "temperature"),)
        with pytest.raises(ReadOnlyError, match="reading only"):
            store.at(1).restore()
        assert store.configs["gpt"].temperature == 0.5


def test_all_of_it_is_one_transaction(store: Store) -> None:
    store.at(1).restore()
    assert store.flush() == 8
    assert store.history.changes(since=6)["txn"].nunique() == 1


def test_the_twin_does_not_stop_the_loop_and_stays_out_of_blocks(store: Store) -> None:
    async def main() -> None:
        restored = await store.at(1).arestore("gpt")
        assert restored.changed
        with store.transaction():
            with pytest.raises(StoreError, match=r"Call restore\(\) in its block"):
                await store.at(2).arestore()

    asyncio.run(main())
    assert store.configs["gpt"].temperature == 0.2


def test_a_look_up_in_vain_does_not_restore_everything(store: Store) -> None:
    seq = store.flush()
    with pytest.raises(NotFoundError, match=r"None is no document\. Leave it out to restore everything\."):
        store.at(1).restore(store.configs.get("gtp"))  # type: ignore[arg-type]
    assert store.flush() == seq
