from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest
from ipywidgets import Widget
from ipywidgets.widgets.widget import _instances

from orchstate.models.secret import SecretRef, env
from orchstate.opening import open
from orchstate.secrets import MemoryStore, VaultStore
from orchstate.widgets.config_form import ConfigForm
from tests.secrets.vaults import PASSPHRASE, quick_kdf
from tests.widgets.tree import KEY, all_of, from_page, shown, words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchstate.config import Config
    from orchstate.store import Store
    from orchstate.widgets.secret_row import SecretRow


def row_of(config: Config) -> SecretRow:
    return cast("SecretRow", config.form().rows["api_key"])


def choose_passphrase(row: SecretRow) -> None:
    from_page(row.vault.passphrase, value=PASSPHRASE)
    from_page(row.vault.repeat, value=PASSPHRASE)


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VaultStore:
    monkeypatch.delenv("ORCHSTATE_VAULT_PASSPHRASE", raising=False)
    monkeypatch.delenv("ORCHSTATE_VAULT_PASSPHRASE_FILE", raising=False)
    return VaultStore(tmp_path / "vault.json", _new_kdf=quick_kdf)


@pytest.fixture
def in_vault(vault: VaultStore) -> Iterator[Config]:
    with open(":memory:", secrets=vault) as store:
        yield store.configs.create("openai", name="gpt")


class TestTyping:
    def test_a_typed_key_is_saved_and_the_place_is_named(self, gpt: Config) -> None:
        row = row_of(gpt)
        from_page(row.entry, value=KEY)
        assert gpt.api_key.get_secret_value() == KEY
        assert "Saved in memory" in words(row.box)

    def test_the_entry_is_gone_while_a_key_is_set(self, gpt: Config) -> None:
        row = row_of(gpt)
        assert {row.entry, row.save} <= set(shown(row.box))
        from_page(row.entry, value=KEY)
        assert not {row.entry, row.save} & set(shown(row.box))
        assert {row.replace, row.remove.ask} <= set(shown(row.box))

    def test_spaces_around_a_key_are_taken_off_and_mentioned(self, gpt: Config) -> None:
        row = row_of(gpt)
        from_page(row.entry, value=f" {KEY} ")
        assert gpt.api_key.get_secret_value() == KEY
        assert "Spaces or line breaks around the key were taken off." in words(row.box)

    def test_an_unusual_key_is_saved_with_a_doubt(self, gpt: Config) -> None:
        row = row_of(gpt)
        from_page(row.entry, value="my-key")
        assert gpt.api_key.is_set
        assert "does not look like the usual API key" in words(row.box)

    def test_what_cannot_be_a_key_is_refused_without_being_shown(self, gpt: Config) -> None:
        row = row_of(gpt)
        from_page(row.entry, value="********")
        assert "This is the mask that stands for a key" in words(row.box)
        assert not gpt.api_key.is_set

    def test_a_refused_key_is_named_as_not_saved(self, gpt: Config) -> None:
        form = cast("ConfigForm", gpt.form())
        from_page(form.rows["api_key"].entry, value="********")  # type: ignore[union-attr]
        assert "Not saved: API key." in words(form.status.box)
        from_page(form.rows["api_key"].entry, value=KEY)  # type: ignore[union-attr]
        assert "Not saved" not in words(form.status.box)

    def test_a_key_that_is_needed_is_asked_for_and_what_it_is_for_is_no_warning(self, gpt: Config) -> None:
        notes = row_of(gpt)._note.value.split("</div>")
        assert ["orch-hint" in notes[0], "orch-warning" in notes[1]] == [True, True]
        assert "Belongs to a project, or to you. It is kept out of the notebook." in notes[0]
        assert "Needed before this can be used." in notes[1]

    def test_a_vault_at_home_is_named_in_short(
        self, in_vault: Config, vault: VaultStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(vault.path.parent))
        monkeypatch.setenv("USERPROFILE", str(vault.path.parent))
        row = row_of(in_vault)
        from_page(row.entry, value=KEY)
        assert "Keys are in the encrypted vault '~/vault.json'." in words(row.box)

    def test_saving_nothing_asks_for_the_key(self, gpt: Config) -> None:
        row = row_of(gpt)
        row.save.click()
        assert "Type the key first." in words(row.box)

    def test_what_was_said_of_an_old_key_goes_with_it(self, gpt: Config) -> None:
        row = row_of(gpt)
        row.save.click()
        gpt.api_key = KEY
        assert "Type the key first." not in words(row.box)
        from_page(row.entry, value="my-key")
        gpt.api_key = f"{KEY}-2"
        assert "does not look like" not in words(row.box)

    def test_the_history_knows_the_form(self, store: Store, gpt: Config) -> None:
        from_page(row_of(gpt).entry, value=KEY)
        store.flush()
        changes = store.history.changes()
        assert (changes["field"].iloc[-1], changes["cell"].iloc[-1]) == ("api_key", "form")

    def test_a_key_is_saved_beside_the_event_loop(self) -> None:
        async def type_it() -> str:
            with open(":memory:") as store:
                config = store.configs.create("openai", name="gpt")
                row = row_of(config)
                from_page(row.entry, value=KEY)
                assert "Saving…" in words(row.box)
                while "Saved in memory" not in words(row.box):
                    await asyncio.sleep(0.005)
                return config.api_key.get_secret_value()

        assert asyncio.run(asyncio.wait_for(type_it(), 10)) == KEY


class TestKeptOut:
    def test_no_state_of_any_widget_has_the_key(self, gpt: Config) -> None:
        form = gpt.form()
        from_page(form.rows["api_key"].entry, value=KEY)
        states = [widget.get_state() for widget in all_of(form)]
        assert len(states) > 50
        assert KEY not in str(states)
        assert KEY not in str(Widget.get_manager_state())

    def test_no_message_to_the_page_has_the_key(self, gpt: Config, sent: list[dict[str, Any]]) -> None:
        form = gpt.form()
        from_page(form.rows["api_key"].entry, value=KEY)
        assert len(sent) > 50
        assert KEY not in str(sent)

    def test_neither_repr_nor_text_nor_log_has_the_key(
        self, gpt: Config, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.DEBUG):
            form = gpt.form()
            from_page(form.rows["api_key"].entry, value=f" {KEY} ")
        assert KEY not in f"{form!r} {form.describe()} {form._repr_mimebundle_()} {caplog.text}"
        assert "API key      in memory" in form.describe()

    def test_a_key_that_waits_for_the_vault_is_masked(self, in_vault: Config) -> None:
        row = row_of(in_vault)
        from_page(row.entry, value=KEY)
        assert row._outcome.waiting is not None
        assert KEY not in f"{vars(row)}"


class SlowStore(MemoryStore):
    """Keeps a key only when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = threading.Event()

    def set(self, name: str, value: str) -> None:
        self.may_go_on.wait(10)
        super().set(name, value)


class TestMeanwhile:
    @pytest.mark.parametrize(
        "change",
        [{"provider": "anthropic"}, {"base_url": "http://127.0.0.1:1/v1"}],
        ids=["provider", "address"],
    )
    def test_a_key_typed_for_one_target_is_not_kept_for_another(self, change: dict[str, str]) -> None:
        async def type_and_change() -> tuple[bool, int]:
            slow = SlowStore()
            with open(":memory:", secrets=slow) as store:
                config = store.configs.create("openai", name="gpt")
                form = cast("ConfigForm", config.form())
                from_page(cast("SecretRow", form.rows["api_key"]).entry, value=KEY)
                config.update(**change)
                slow.may_go_on.set()
                while "so it was not kept. Type the key again." not in words(form):
                    await asyncio.sleep(0.005)
                return config.api_key.is_set, len(slow._values)

        assert asyncio.run(asyncio.wait_for(type_and_change(), 10)) == (False, 0)

    def test_a_key_that_waited_for_its_vault_goes_to_no_other_address(self, in_vault: Config) -> None:
        row = row_of(in_vault)
        from_page(row.entry, value=KEY)
        in_vault.base_url = "http://127.0.0.1:1/v1"
        choose_passphrase(row)
        assert "so it was not kept. Type the key again." in words(row.box)
        assert not in_vault.api_key.is_set
        assert row.entry in set(shown(row.box))

    def test_a_change_of_anything_else_does_not_matter(self, in_vault: Config) -> None:
        row = row_of(in_vault)
        from_page(row.entry, value=KEY)
        in_vault.update(name="mine", model="gpt-5.5")
        choose_passphrase(row)
        assert in_vault.api_key.get_secret_value() == KEY

    def test_a_key_typed_for_a_deleted_config_is_refused(self, gpt: Config) -> None:
        row = row_of(gpt)
        gpt.delete()
        from_page(row.entry, value=KEY)
        assert "was deleted" in words(row.box)


class TestChanging:
    def test_a_key_can_be_replaced(self, gpt: Config) -> None:
        row = row_of(gpt)
        from_page(row.entry, value=KEY)
        row.replace.click()
        from_page(row.entry, value=f"{KEY}-2")
        assert gpt.api_key.get_secret_value() == f"{KEY}-2"
        assert row.entry not in set(shown(row.box))

    def test_replacing_can_be_given_up(self, gpt: Config) -> None:
        row = row_of(gpt)
        from_page(row.entry, value=KEY)
        row.replace.click()
        assert row.entry in set(shown(row.box))
        row.cancel.click()
        assert gpt.api_key.get_secret_value() == KEY
        assert row.replace in set(shown(row.box))

    def test_a_key_is_removed_when_that_is_confirmed(self, gpt: Config) -> None:
        row = row_of(gpt)
        from_page(row.entry, value=KEY)
        row.remove.ask.click()
        assert gpt.api_key.is_set
        row.remove.yes.click()
        assert not gpt.api_key.is_set
        assert row.entry in set(shown(row.box))

    def test_a_key_set_in_a_cell_shows_at_once(self, gpt: Config) -> None:
        row = row_of(gpt)
        gpt.api_key = KEY
        assert "Saved in memory" in words(row.box)

    def test_a_row_of_a_store_for_reading_cannot_be_changed(self, tmp_path: Path) -> None:
        with open(tmp_path / "s.db", secrets="memory") as store:
            store.configs.create("openai", name="gpt")
        with open(tmp_path / "s.db", secrets="memory", read_only=True) as store:
            row = row_of(store.configs["gpt"])
            assert row.entry.disabled and row.save.disabled


class TestEnvironment:
    def test_a_variable_that_is_set_is_offered_and_not_taken(
        self, gpt: Config, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        row = row_of(gpt)
        (offer,) = row.offers.children
        assert offer.description == "Use OPENAI_API_KEY from the environment"
        assert not gpt.api_key.is_set

    def test_an_offer_that_is_taken_refers_to_the_variable(
        self, gpt: Config, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        row = row_of(gpt)
        row.offers.children[0].click()
        assert gpt.api_key == SecretRef(source="env", name="OPENAI_API_KEY")
        assert "From OPENAI_API_KEY (environment)" in words(row.box)

    def test_an_offer_that_is_not_made_any_more_leaves_no_widget(
        self, gpt: Config, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row = row_of(gpt)
        before = len(_instances)
        for _ in range(20):
            monkeypatch.setenv("OPENAI_API_KEY", KEY)
            row.update()
            monkeypatch.delenv("OPENAI_API_KEY")
            row.update()
        assert len(_instances) == before

    def test_nothing_is_offered_when_nothing_is_set(self, gpt: Config) -> None:
        assert row_of(gpt).offers.children == ()

    def test_a_variable_that_is_not_set_any_more_is_said_to_be_missing(
        self, gpt: Config, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        gpt.api_key = env("OPENAI_API_KEY")
        assert "OPENAI_API_KEY is not set in the environment" in words(row_of(gpt).box)


class TestVault:
    def test_a_key_waits_until_the_vault_has_a_passphrase(self, in_vault: Config) -> None:
        row = row_of(in_vault)
        from_page(row.entry, value=KEY)
        assert "Choose a passphrase for it, of at least 8 characters, and repeat it." in words(row.box)
        assert row.entry not in set(shown(row.box))
        assert row.vault.button.description == "Create vault"
        choose_passphrase(row)
        assert in_vault.api_key.get_secret_value() == KEY
        assert "Saved in the vault" in words(row.box)

    def test_a_wrong_passphrase_can_be_mended_and_the_key_is_not_lost(self, in_vault: Config) -> None:
        row = row_of(in_vault)
        from_page(row.entry, value=KEY)
        from_page(row.vault.passphrase, value="short")
        assert "The passphrase has 5 characters; a new vault needs at least 8." in words(row.box)
        choose_passphrase(row)
        assert in_vault.api_key.get_secret_value() == KEY

    def test_a_vault_is_made_only_when_both_passphrases_are_the_same(
        self, in_vault: Config, vault: VaultStore
    ) -> None:
        row = row_of(in_vault)
        from_page(row.entry, value=KEY)
        from_page(row.vault.repeat, value=PASSPHRASE)
        assert "Type the passphrase first, then repeat it." in words(row.box)
        from_page(row.vault.passphrase, value=PASSPHRASE)
        from_page(row.vault.repeat, value=f"{PASSPHRASE}!")
        assert "The two passphrases are not the same, so no vault was made." in words(row.box)
        assert not vault.exists
        choose_passphrase(row)
        assert in_vault.api_key.get_secret_value() == KEY

    def test_creating_with_one_passphrase_asks_for_the_second(self, in_vault: Config) -> None:
        row = row_of(in_vault)
        from_page(row.entry, value=KEY)
        from_page(row.vault.passphrase, value=PASSPHRASE)
        assert row.vault.passphrase.placeholder == "typed; now repeat it below"
        row.vault.button.click()
        assert "Repeat the passphrase first." in words(row.box)

    def test_unlocking_with_nothing_asks_for_the_passphrase(self, in_vault: Config) -> None:
        row = row_of(in_vault)
        from_page(row.entry, value=KEY)
        row.vault.button.click()
        assert "Type the passphrase first." in words(row.box)
        assert row._outcome.waiting is not None

    def test_a_waiting_key_is_named_as_not_saved_until_it_is(self, in_vault: Config) -> None:
        form = cast("ConfigForm", in_vault.form())
        row = cast("SecretRow", form.rows["api_key"])
        in_vault._state.flush()
        from_page(row.entry, value=KEY)
        assert "Not saved: API key." in words(form.status.box)
        from_page(form.rows["temperature"].control.widgets[1], value="9")  # type: ignore[union-attr]
        assert "Not saved: API key, Temperature." in words(form.status.box)
        choose_passphrase(row)
        assert in_vault.api_key.is_set
        in_vault._state.flush()
        assert "Not saved: Temperature." in words(form.status.box)

    def test_a_waiting_key_that_is_dropped_is_not_named_any_more(self, in_vault: Config) -> None:
        form = cast("ConfigForm", in_vault.form())
        row = cast("SecretRow", form.rows["api_key"])
        in_vault._state.flush()
        from_page(row.entry, value=KEY)
        row.cancel.click()
        assert "Saved (revision 1)" in words(form.status.box)

    def test_a_waiting_key_can_be_dropped(self, in_vault: Config) -> None:
        row = row_of(in_vault)
        from_page(row.entry, value=KEY)
        row.cancel.click()
        assert row._outcome.waiting is None
        assert row.entry in set(shown(row.box))

    def test_a_locked_key_asks_for_the_passphrase_of_the_vault(
        self, in_vault: Config, vault: VaultStore
    ) -> None:
        vault.unlock(PASSPHRASE)
        in_vault.api_key = KEY
        vault.lock()
        row = row_of(in_vault)
        assert "Type its passphrase to unlock it." in words(row.box)
        from_page(row.vault.passphrase, value=PASSPHRASE)
        assert not vault.locked
        assert row.vault.passphrase not in set(shown(row.box))

    def test_unlocking_in_one_form_unlocks_all(self, in_vault: Config, vault: VaultStore) -> None:
        vault.unlock(PASSPHRASE)
        in_vault.api_key = KEY
        vault.lock()
        one, other = row_of(in_vault), row_of(in_vault)
        from_page(one.vault.passphrase, value=PASSPHRASE)
        assert "(locked)" not in words(other.box)

    def test_a_passphrase_is_in_no_state(self, in_vault: Config) -> None:
        form = in_vault.form()
        row = cast("SecretRow", form.rows["api_key"])
        in_vault._state.flush()
        from_page(row.entry, value=KEY)
        from_page(row.vault.passphrase, value=PASSPHRASE)
        assert PASSPHRASE not in str([widget.get_state() for widget in all_of(form)])
        from_page(row.vault.repeat, value=PASSPHRASE)
        assert PASSPHRASE not in str([widget.get_state() for widget in all_of(form)])

    def test_the_fallback_to_the_vault_is_announced(
        self, tmp_path: Path, vault: VaultStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ORCHSTATE_VAULT", str(tmp_path / "other.json"))
        monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
        with open(tmp_path / "s.db") as store:
            row = row_of(store.configs.create("openai", name="gpt"))
            from_page(row.entry, value=KEY)
            assert "The keyring of this machine cannot be used" in words(row.box)
            choose_passphrase(row)
            assert "Saved in the vault" in words(row.box)
            assert "Keys go to the encrypted vault" in words(row.box)


def test_a_missing_keyring_is_announced_before_a_key_is_typed(
    tmp_path: Path, vault: VaultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHSTATE_VAULT", str(tmp_path / "other.json"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")

    async def look() -> str:
        with open(tmp_path / "s.db") as store:
            gpt = store.configs.create("openai", name="gpt")
            assert "not used yet" in repr(store.secrets)
            row = row_of(gpt)
            for _ in range(100):
                if "keyring" in words(row.box):
                    break
                await asyncio.sleep(0.05)
            return words(row.box)

    assert "The keyring of this machine cannot be used" in asyncio.run(look())


def test_a_form_is_given_up_with_its_rows(gpt: Config) -> None:
    form = ConfigForm(gpt)
    widgets = list(all_of(form))
    form.close()
    assert all(widget.comm is None for widget in widgets if "orch-stylesheet" not in widget._dom_classes)
