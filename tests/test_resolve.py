"""Stamps lead back to the exact config that made a result, or say why they do not."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from testbed import network
from testbed.observing import wait_until

import orchstate
from orchstate.clients.ask import Answer
from orchstate.errors import (
    ClosedError,
    LiveObjectError,
    NotFoundError,
    ProviderError,
    SecretUnavailableError,
    UnknownFieldError,
    ValidationError,
)
from orchstate.models.secret import env

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchstate.config import Config
    from orchstate.pinned import PinnedConfig
    from orchstate.store import Store

KEY, NEW_KEY = "sk-proj-0123456789abcdef0123", "sk-proj-9876543210abcdef9876"


@pytest.fixture
def store() -> Iterator[Store]:
    with orchstate.open(":memory:", actor="me") as store:
        yield store


@pytest.fixture
def gpt(store: Store) -> Config:
    return store.configs.create("openai", name="gpt", model="gpt-y", temperature=0.2, api_key=KEY)


def test_a_stamp_leads_to_the_revision_that_it_names(store: Store, gpt: Config) -> None:
    stamps = []
    for number in range(1, 6):
        gpt.temperature = number / 10
        stamps.append(gpt.stamp())
    gpt.update(name="other", provider="anthropic")
    found = [store.resolve(stamp) for stamp in stamps]
    assert [(config.temperature, config.revision) for config in found] == [
        (0.1, 2),
        (0.2, 3),
        (0.3, 4),
        (0.4, 5),
        (0.5, 6),
    ]
    assert [config.stamp() for config in found] == stamps


def test_it_reads_as_a_config_does(store: Store, gpt: Config) -> None:
    pinned = store.resolve(gpt.stamp())
    assert pinned.to_dict() == gpt.to_dict()
    assert (pinned.name, pinned["model"], pinned.id) == ("gpt", "gpt-y", gpt.id)
    assert pinned.fingerprint == gpt.fingerprint
    assert pinned.document() == gpt.document()
    assert pinned.definition.id == "openai"
    assert {"temperature", "created_at", "ask"} <= set(dir(pinned))
    assert repr(pinned) == "<PinnedConfig gpt at revision 1: openai, gpt-y, temperature 0.2>"
    assert repr(pinned.api_key) == "SecretRef(memory: ********)"


def test_it_cannot_be_changed(store: Store, gpt: Config) -> None:
    pinned: Any = store.resolve(gpt.stamp())
    with pytest.raises(ValidationError, match=r"value of one moment, so its temperature cannot be assigned"):
        pinned.temperature = 1
    with pytest.raises(ValidationError, match="cannot be deleted"):
        del pinned.temperature
    with pytest.raises(UnknownFieldError, match=r"no field 'temprature'.*Did you mean 'temperature'"):
        pinned.temprature  # noqa: B018
    with pytest.raises(LiveObjectError, match=r"Keep its stamp\(\)"):
        pinned.__reduce__()


def test_whatever_has_a_stamp_is_resolved(store: Store, gpt: Config) -> None:
    stamp = gpt.stamp()
    answer = Answer(text="42", model="gpt-y", latency_ms=1, stamp=stamp)
    for given in (stamp, json.loads(json.dumps(stamp)), answer, gpt, store.resolve(stamp)):
        assert store.resolve(given).stamp() == stamp


def test_a_stamp_out_of_a_frame_is_resolved(store: Store, gpt: Config) -> None:
    import pandas as pd

    gpt.temperature = 0.5
    frame = pd.DataFrame([gpt.stamp(), {**gpt.stamp(), "revision": None}])
    assert store.resolve(frame.iloc[0].to_dict()).temperature == 0.5
    with pytest.raises(ValidationError, match="names no revision"):
        store.resolve(frame.iloc[1].to_dict())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"revision": None}, ValidationError, r"names no revision: .* not committed yet"),
        ({"revision": 3}, NotFoundError, r"'gpt' has no revision 3; its last is 2"),
        ({"revision": 0}, NotFoundError, r"'gpt' has no revision 0"),
        ({"revision": True}, ValidationError, r"revision True is no number"),
        ({"revision": "2"}, ValidationError, r"revision '2' is no number"),
        ({"revision": 1}, ValidationError, r"Revision 1 of 'gpt' has the fingerprint .* another copy"),
        ({"fingerprint": "x"}, ValidationError, r"and the stamp says 'x'\. The stamp was changed"),
        ({"config": "x"}, NotFoundError, r"There is no config 'x', and never was one in this store"),
        ({"store": "x"}, ValidationError, r"of the store 'x', and this is the store '.{36}'\. Open the one"),
    ],
)
def test_a_stamp_that_does_not_fit_says_why(
    change: dict[str, Any], error: type[Exception], message: str, store: Store, gpt: Config
) -> None:
    gpt.temperature = 0.5
    with pytest.raises(error, match=message):
        store.resolve(gpt.stamp() | change)


@pytest.mark.parametrize("given", [None, 5, "x", [], len])
def test_what_is_no_stamp_is_refused(given: Any, store: Store) -> None:
    with pytest.raises(ValidationError, match=r"is no stamp\. Give what stamp\(\) of a config has returned"):
        store.resolve(given)
    with pytest.raises(ValidationError, match=r"The stamp has no 'store'"):
        store.resolve({"config": "x"})


def test_a_stamp_of_another_document_is_refused(store: Store, gpt: Config) -> None:
    store.settings.agents.timeout = 7_000
    store.flush()
    with pytest.raises(NotFoundError, match="never was one"):
        store.resolve(gpt.stamp() | {"config": store.settings.id})


def test_a_deleted_config_is_resolved(store: Store, gpt: Config) -> None:
    stamp = gpt.stamp()
    gpt.delete()
    store.flush()
    assert store.resolve(stamp).temperature == 0.2
    with pytest.raises(NotFoundError, match="Revision 2 of 'gpt' is its deletion"):
        store.resolve(stamp | {"revision": 2})


def test_what_was_compacted_away_says_so(store: Store, gpt: Config) -> None:
    stamp = gpt.stamp()
    gpt.temperature = 0.5
    store.flush()
    store.history.compact(store.flush())
    assert store.resolve(stamp).temperature == 0.2
    store.history.compact(store.flush(), stamps=False)
    with pytest.raises(
        NotFoundError, match=r"Revision 1 of 'gpt' is not in the history any more: .* compacted"
    ):
        store.resolve(stamp)


def test_a_definition_that_has_changed_changes_no_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    monkeypatch.setenv("ORCHSTATE_PROVIDERS", str(tmp_path))
    plain = {"format": "orchstate.provider", "version": 1, "id": "lab", "label": "Lab", "sdk": "openai"}
    heat = {"name": "heat", "type": "number", "label": "Heat", "maximum": 10}
    for field in (
        heat,
        heat | {"default": 9, "maximum": 5},
        heat | {"type": "text"},
        {**heat, "name": "fire"},
    ):
        field = {
            key: value for key, value in field.items() if not (field["type"] == "text" and key == "maximum")
        }
        (tmp_path / "lab.json").write_text(
            json.dumps(plain | {"base_url": "http://127.0.0.1:9/v1", "fields": [field]})
        )
        store.providers.reload()
        if field == heat:
            stamp = store.configs.create("lab", heat=9).stamp()
        assert store.resolve(stamp)["heat"] == 9


def test_equal_settings_have_equal_fingerprints_on_different_machines(store: Store, gpt: Config) -> None:
    with orchstate.open(":memory:", actor="somebody") as there:
        other = there.configs.create("openai", name="mine", tags=["x"])
        other.temperature = 0.9
        other.model = "gpt-y"
        other.temperature = 0.2
        other.api_key = env("SOME_KEY")
        assert other.id != gpt.id
        assert other.stamp()["fingerprint"] == gpt.stamp()["fingerprint"]
        other.seed = 1
        assert other.fingerprint != gpt.fingerprint
        with pytest.raises(
            ValidationError, match=f"the store '{there.id}', and this is the store '{store.id}'"
        ):
            store.resolve(other.stamp())


def test_calls_are_made_as_then_with_the_key_of_now(store: Store, gpt: Config) -> None:
    stamp = gpt.stamp()
    gpt.update(model="gpt-z", api_key=NEW_KEY)
    store.flush()
    pinned = store.resolve(stamp)
    connection = pinned._connection()
    assert connection.value("model") == "gpt-y"
    assert connection.secrets() == {"api_key": NEW_KEY}
    assert (connection.stamp, pinned.client().api_key) == (stamp, NEW_KEY)


def sent(pinned: PinnedConfig) -> str:
    """Return the key that a call would send, or why there is none."""
    try:
        return pinned._connection().secrets()["api_key"]
    except SecretUnavailableError as error:
        return str(error)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda gpt: gpt.update(base_url="http://127.0.0.1:9/v1", api_key=NEW_KEY), "There is no key"),
        # The key of then is kept for that provider.
        (lambda gpt: gpt.update(provider="anthropic", api_key=NEW_KEY), KEY),
        (lambda gpt: gpt.delete(), "There is no key"),
    ],
)
def test_a_key_for_another_address_is_not_sent_to_that_of_then(
    change: Callable[[Config], Any], expected: str, store: Store, gpt: Config
) -> None:
    pinned = store.resolve(gpt.stamp())
    change(gpt)
    store.flush()
    # A key that nothing refers to any more is removed in the background.
    wait_until(lambda: expected in sent(pinned))
    assert NEW_KEY not in sent(pinned)


def test_it_answers_with_its_stamp(store: Store, gpt: Config) -> None:
    answer = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-y",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "42"}}],
    }
    with network.answering(200, answer) as server:
        gpt.base_url = f"{server.url}/v1"
        stamp = gpt.stamp()
        gpt.temperature = 0.9
        pinned = store.resolve(stamp)
        assert pinned.ask("6 * 7?").stamp == stamp
        assert asyncio.run(pinned.aask("6 * 7?")).text == "42"
    with pytest.raises(ProviderError, match="Nothing answers at"):
        pinned.ask("6 * 7?")
    assert pinned.check().reason == "unreachable"


def test_a_closed_store_resolves_nothing_and_calls_nobody(store: Store, gpt: Config) -> None:
    stamp = gpt.stamp()
    pinned = store.resolve(stamp)
    store.close()
    assert pinned.temperature == 0.2
    with pytest.raises(ClosedError, match="closed"):
        store.resolve(stamp)
    with pytest.raises(ClosedError, match="closed"):
        pinned.client()


def test_unknown_ids_are_not_shown_as_keys(store: Store, gpt: Config) -> None:
    with pytest.raises(NotFoundError) as caught:
        store.resolve(gpt.stamp() | {"config": KEY})
    assert KEY not in str(caught.value)
    with pytest.raises(NotFoundError, match="never was one"):
        store.resolve(gpt.stamp() | {"config": str(uuid.uuid4())})
