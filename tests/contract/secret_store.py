"""What every writable store of secrets promises, and what no error may give away."""

from __future__ import annotations

import threading
import traceback
from typing import TYPE_CHECKING

import pytest

from orchstate.errors import SecretUnavailableError
from orchstate.secrets import SecretStore
from orchstate.secrets.call import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

VALUES = [
    "sk-1",
    "two words",
    "\"quotes\" 'and' \\backslashes\\ {braces} %s $HOME",
    "ключ 鍵 🔑",
    "e\u0301 is not \u00e9",
    "x" * 2000,
]
NAMES = ["gpt", "gpt/api_key", "ключ 🔑", 'it\'s "quoted"', "a b\\c", "0123456789abcdef" * 8]


class SecretStoreContract:
    """Inherited by the tests of each store, which give the fixture `store`."""

    @pytest.fixture
    def store(self) -> SecretStore:
        raise NotImplementedError("A contract test class needs the fixture `store`.")

    def test_is_a_secret_store(self, store: SecretStore) -> None:
        assert isinstance(store, SecretStore)

    @pytest.mark.parametrize("value", VALUES)
    def test_a_saved_secret_is_read_back(self, store: SecretStore, value: str) -> None:
        store.set("gpt", value)
        assert store.get("gpt") == value

    @pytest.mark.parametrize("name", NAMES)
    def test_any_name_finds_its_own_secret(self, store: SecretStore, name: str) -> None:
        store.set("other", "sk-2")
        store.set(name, "sk-1")
        assert (store.get(name), store.get("other")) == ("sk-1", "sk-2")

    def test_saving_again_replaces(self, store: SecretStore) -> None:
        store.set("gpt", "sk-1")
        store.set("gpt", "sk-2")
        assert store.get("gpt") == "sk-2"

    def test_a_missing_secret_is_unavailable(self, store: SecretStore) -> None:
        with pytest.raises(SecretUnavailableError, match=r"no key 'gpt'.*Type (it|the key) again"):
            store.get("gpt")

    def test_tells_what_it_has(self, store: SecretStore) -> None:
        store.set("gpt", "sk-1")
        assert (store.has("gpt"), store.has("claude")) == (True, False)

    def test_a_deleted_secret_is_gone_and_the_others_stay(self, store: SecretStore) -> None:
        store.set("gpt", "sk-1")
        store.set("claude", "sk-2")
        store.delete("gpt")
        assert (store.has("gpt"), store.get("claude")) == (False, "sk-2")

    def test_a_deleted_secret_can_be_saved_again(self, store: SecretStore) -> None:
        store.set("gpt", "sk-1")
        store.delete("gpt")
        store.set("gpt", "sk-2")
        assert store.get("gpt") == "sk-2"

    def test_deleting_a_missing_secret_is_fine(self, store: SecretStore) -> None:
        store.delete("gpt")
        assert not store.has("gpt")

    def test_threads_keep_each_others_secrets(self, store: SecretStore) -> None:
        names = [f"key-{number}" for number in range(8)]
        threads = [threading.Thread(target=store.set, args=(name, f"sk-{name}")) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [store.get(name) for name in names] == [f"sk-{name}" for name in names]

    def test_the_repr_is_one_line_without_address_or_secret(self, store: SecretStore) -> None:
        store.set("gpt", "sk-hidden")
        shown = repr(store)
        assert "\n" not in shown
        assert " at 0x" not in shown
        assert "sk-hidden" not in shown


def assert_keeps_quiet(error: BaseException, secret: str) -> None:
    """Assert that neither an error, nor what caused it, nor our frames in its traceback hold `secret`."""
    for link in _chain(error):
        said = [str(link), repr(link), repr(link.args), repr(vars(link))]
        frames = [
            frame for frame, _ in traceback.walk_tb(link.__traceback__) if _is_ours(frame.f_code.co_filename)
        ]
        kept = {
            f"{frame.f_code.co_name}: {name}": repr(v)
            for frame in frames
            for name, v in frame.f_locals.items()
        }
        outcomes = [v for frame in frames for v in frame.f_locals.values() if isinstance(v, Outcome)]
        said += [repr((o.value, o.fault, vars(o.fault) if o.fault else None)) for o in outcomes]
        assert not [text for text in said if secret in text]
        assert not [place for place, text in kept.items() if secret in text]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    if error is not None:
        yield error
        yield from _chain(error.__cause__)
        yield from _chain(error.__context__)


def _is_ours(path: str) -> bool:
    return "/orchstate/secrets/" in path.replace("\\", "/") and "/tests/" not in path.replace("\\", "/")
