"""Results are pinned to exactly what made them, whatever is edited meanwhile."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import orchstate
from orchstate.errors import ClosedError, ConflictError, NotFoundError, ValidationError
from orchstate.models.config import config_fingerprint
from orchstate.models.secret import env
from orchstate.secrets.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchstate.config import Config
    from orchstate.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with orchstate.open(tmp_path / "store.db", secrets="memory") as store:
        yield store


@pytest.fixture
def gpt(store: Store) -> Config:
    return store.configs.create("openai", name="gpt", model="gpt-y", temperature=0.2)


def fingerprint_of(store: Store, revision: int) -> str:
    """Return the fingerprint of what the history says that a revision of ``gpt`` was."""
    seq = store.history.revisions("gpt")["seq"][revision]
    return str(config_fingerprint(store.at(int(seq)).configs["gpt"]))


def test_a_stamp_names_the_revision_that_has_its_values(store: Store, gpt: Config) -> None:
    stamps = []
    for number in range(20):
        gpt.temperature = number / 10
        stamps.append(gpt.stamp())
    assert [stamp["revision"] for stamp in stamps] == list(range(2, 22))
    assert [stamp["fingerprint"] for stamp in stamps] == [
        fingerprint_of(store, stamp["revision"]) for stamp in stamps
    ]


def test_what_is_no_revision_yet_has_no_number(store: Store, gpt: Config) -> None:
    store.flush()
    mutex = store._engine._write_mutex
    with mutex:
        gpt.temperature = 0.9
        assert gpt.stamp()["revision"] is None
    assert gpt.stamp()["revision"] == 2
    with store.transaction():
        gpt.temperature = 0.5
        assert gpt.stamp()["revision"] is None
        assert gpt.stamp()["fingerprint"] == gpt.fingerprint


def test_stamps_from_another_thread_are_exact_too(store: Store, gpt: Config) -> None:
    found: list[int | None] = []
    gpt.temperature = 0.9
    thread = threading.Thread(target=lambda: found.append(gpt.stamp()["revision"]))
    thread.start()
    thread.join()
    assert found == [2]


class Gap:
    """A lock after each of whose releases, by the thread that made it, something happens."""

    def __init__(self, lock: Any, happen: Callable[[], None]) -> None:
        self._lock = lock
        self._happen = happen
        self._depth = 0
        self._thread = threading.get_ident()

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += threading.get_ident() == self._thread

    def __exit__(self, *exc: object) -> None:
        self._lock.release()
        if threading.get_ident() == self._thread:
            self._depth -= 1
            if not self._depth:
                self._happen()


def test_an_edit_between_two_looks_does_not_mix_revisions(
    store: Store, gpt: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edit() -> None:
        gpt.temperature += 0.1
        state.wait(5)
        state._take_in()

    def edit_elsewhere() -> None:
        thread = threading.Thread(target=edit)
        thread.start()
        thread.join()

    state = store._state
    store.flush()
    monkeypatch.setattr(state, "lock", Gap(state.lock, edit_elsewhere))
    document, revision = state.pinned(gpt.id)
    monkeypatch.undo()
    assert document is not None and revision is not None and revision > 1
    assert config_fingerprint(document) == fingerprint_of(store, revision)


def test_a_call_never_mixes_two_providers(gpt: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person changes the provider in the midst of a call's preparation."""
    settings = type(gpt._services.settings())
    usual = gpt._services.settings().agents

    def agents(_: object) -> object:
        gpt.provider = "anthropic"
        return usual

    monkeypatch.setattr(settings, "agents", property(agents))
    connection = gpt._connection()
    assert (connection.definition.id, connection.document.provider) == ("openai", "openai")
    assert connection.base_url == "https://api.openai.com/v1"
    assert connection.stamp["fingerprint"] == config_fingerprint(connection.document)
    assert gpt.provider == "anthropic"


# -- keys and what they are for --------------------------------------------------------------


class Slow(MemoryStore):
    """A place for keys during whose work something happens."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], object] = lambda: None

    def set(self, name: str, value: str) -> None:
        super().set(name, value)
        self.meanwhile()


@pytest.mark.parametrize(
    "changes", [{"provider": "anthropic"}, {"base_url": "http://127.0.0.1:1/v1"}, {"data_residency": "eu"}]
)
def test_a_key_for_one_address_is_not_kept_for_another(changes: dict[str, str]) -> None:
    place = Slow()
    with orchstate.open(":memory:", secrets=place) as store:
        gpt = store.configs.create("openai", name="gpt")
        place.meanwhile = lambda: gpt.update(**changes)
        with pytest.raises(ConflictError, match=r"changed while the key was on its way.* Type the key again"):
            gpt.set_secret("api_key", "sk-1", meant_for=gpt.document())  # type: ignore[arg-type]
        assert not gpt.api_key.is_set


def test_a_key_is_kept_when_something_else_is_changed_meanwhile() -> None:
    place = Slow()
    with orchstate.open(":memory:", secrets=place) as store:
        gpt = store.configs.create("openai", name="gpt")
        place.meanwhile = lambda: gpt.update(temperature=0.5, name="other")
        gpt.set_secret("api_key", "sk-1", meant_for=gpt.document())  # type: ignore[arg-type]
        assert gpt.api_key.get_secret_value() == "sk-1"


@pytest.mark.parametrize("field", ["model", "temperature", "headers", "nonsense"])
def test_a_key_is_put_into_no_other_kind_of_field(field: str, gpt: Config) -> None:
    with pytest.raises(ValidationError, match=f"'{field}' is not a secret field of 'gpt'") as caught:
        gpt.set_secret(field, "sk-hidden")
    assert "sk-hidden" not in str(caught.value)
    assert gpt.model == "gpt-y"


# -- what is said of a config ------------------------------------------------------------------


def test_a_key_is_explained_in_words(gpt: Config) -> None:
    def explained() -> list[object]:
        return gpt.explain().set_index("field").loc["api_key"].tolist()

    gpt.api_key = None
    assert explained() == [None, "not set"]
    gpt.set_secret("api_key", "sk-hidden")
    assert explained() == ["memory: ********", "in memory"]
    gpt.api_key = env("NO_SUCH_KEY")
    assert explained() == ["env: NO_SUCH_KEY", "NO_SUCH_KEY is not set"]


def test_the_address_is_that_of_the_region(gpt: Config) -> None:
    def explained() -> list[str]:
        frame = gpt.explain().set_index("field")
        return [frame.loc["base_url", "value"], frame.loc["base_url", "source"]]

    assert explained() == ["https://api.openai.com/v1", "provider default"]
    gpt.data_residency = "eu"
    assert explained() == [gpt._connection().base_url, "region"]
    assert gpt._connection().base_url == "https://eu.api.openai.com/v1"
    gpt.update(data_residency=None, base_url="http://127.0.0.1:1/v1")
    assert explained() == ["http://127.0.0.1:1/v1", "config"]


def test_a_check_of_what_cannot_be_checked_says_so(store: Store, gpt: Config) -> None:
    gpt.delete()
    result = gpt.check()
    assert (result.ok, result.reason, result.config) == (False, "unexpected", "gpt")
    assert "'gpt' was deleted" in result.message
    with pytest.raises(NotFoundError, match="was deleted"):
        gpt.ask("Is it?")
    store.undo()
    store.close()
    assert "This store is closed" in asyncio.run(gpt.acheck()).message
    with pytest.raises(ClosedError):
        gpt.client()


def test_a_stop_sequence_is_kept_as_it_is(store: Store, gpt: Config) -> None:
    gpt.stop = "\n\n"
    gpt.model = " gpt-z "
    store.flush()
    assert (gpt.stop, gpt.model) == ("\n\n", "gpt-z")
    assert gpt._connection().parameters()["stop"] == "\n\n"
    gpt.stop = ""
    assert gpt.stop is None
