"""Keys in fields that are not for keys: refused where it is certain, told where likely, never quoted."""

from __future__ import annotations

import json
import traceback
from typing import TYPE_CHECKING, Any

import pytest

import orchstate
from orchstate.errors import ValidationError
from orchstate.models.document import ENVELOPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchstate.store import Store

KEY = "sk-proj-0123456789abcdef0123"
MAYBE = "sk-own-0123456789"
PLACES: list[tuple[str, str]] = [
    ("model", "{}"),
    ("name", "{}"),
    ("stop", "{}"),
    ("stop", "OPENAI_API_KEY={}"),
    ("organization", "{}"),
    ("ca_bundle_path", "/home/me/{}"),
    ("base_url", "https://example.com/{}/v1"),
]


@pytest.fixture
def store() -> Iterator[Store]:
    with orchstate.open(":memory:", secrets="memory") as store:
        store.configs.create("openai", name="gpt", api_key="sk-1")
        yield store


@pytest.mark.parametrize(("field", "form"), PLACES)
def test_a_key_is_refused_in_every_text_field(field: str, form: str, store: Store) -> None:
    before = store.flush()
    with pytest.raises(ValidationError, match=r"this is a key.*Put it into the key field instead") as caught:
        setattr(store.configs["gpt"], field, form.format(KEY))
    assert KEY not in str(caught.value) and KEY not in repr(caught.value.issues)
    assert store.flush() == before


@pytest.mark.parametrize(("field", "value"), [("headers", {"X-Team": KEY}), ("tags", ["a", KEY])])
def test_a_key_is_refused_inside_a_value_too(field: str, value: Any, store: Store) -> None:
    with pytest.raises(ValidationError, match=rf"{field}: .*this is a key") as caught:
        setattr(store.configs["gpt"], field, value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("field", ["temperature", "seed", "reasoning_effort", "auth"])
def test_a_key_where_no_text_belongs_is_not_quoted(field: str, store: Store) -> None:
    with pytest.raises(ValidationError, match=r"What looks like a key is not") as caught:
        setattr(store.configs["gpt"], field, KEY)
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_nothing_new_is_named_after_a_key(store: Store) -> None:
    for make in (store.configs.upsert, store.snapshot):
        with pytest.raises(ValidationError, match="name: this is a key"):
            make(KEY, "openai")
    with pytest.raises(ValidationError, match="name: this is a key"):
        store.configs.create("openai", name=KEY)
    assert list(store.configs) == ["gpt"]


@pytest.mark.parametrize("key", [KEY, MAYBE])
@pytest.mark.parametrize(
    "call",
    [
        lambda store, key: setattr(store.configs["gpt"], "provider", key),
        lambda store, key: store.configs.create(key),
        lambda store, key: store.configs.upsert("gpt", key),
        lambda store, key: store.configs[key],
        lambda store, key: store.configs.duplicate(key),
        lambda store, key: store.configs.filter(**{key: 1}),
        lambda store, key: setattr(store, "active", key),
        lambda store, key: store.history.changes(key),
        lambda store, key: store.history.changes(field=key),
        lambda store, key: store.history.revisions(key),
        lambda store, key: store.configs["gpt"].observe(print, key),
        lambda store, key: store.configs["gpt"][key],
        lambda store, key: store.observe(print, key),
        lambda store, key: store.at(key),
        lambda store, key: store.at([key]),
        lambda store, key: store.at(1).configs[key],
        lambda store, key: store.providers.get(key),
        lambda store, key: store.subscribe(key),
        lambda store, key: store.subscribe(print, key),
        lambda store, key: store.export([key]),
        lambda store, key: store.plan_import(key),
        lambda store, key: orchstate.open(f":{key}"),
        lambda store, key: orchstate.open(f"sqlite://u:{key}@host/x"),
        lambda store, key: orchstate.open(f"postgers://u:{key}@host/x"),
        lambda store, key: orchstate.open(f"{key}/"),
        lambda store, key: orchstate.open([key]),
        lambda store, key: orchstate.open(":memory:", actor=[key]),
        lambda store, key: orchstate.open(":memory:", secrets=key),
    ],
)
def test_no_message_quotes_a_key_that_was_given_for_something_else(
    call: Callable[[Store, str], Any], key: str, store: Store
) -> None:
    with pytest.raises(orchstate.OrchstateError) as caught:
        call(store, key)
    told = "".join(traceback.format_exception(caught.value))
    assert key not in told and key not in repr(caught.value.args)


def test_a_password_of_another_form_is_not_quoted_either() -> None:
    for target in ("sqlite://me:hunter2@host/x.db", "sqlite://me:hunter2@host/", "file:me:hunter2@host"):
        with pytest.raises(
            orchstate.StoreError, match=r"'(sqlite|file)://\.\.\.' is an address.*'store\.db'"
        ):
            orchstate.open(target)


def test_no_note_and_no_label_holds_a_key(store: Store) -> None:
    with pytest.raises(ValidationError, match="note: this is a key"):
        store.snapshot("before", note=f"tried {KEY}")
    with pytest.raises(ValidationError, match="label: this is a key"), store.transaction(KEY):
        store.configs["gpt"].temperature = 0.5
    assert store.configs["gpt"].temperature is None


@pytest.mark.parametrize(("field", "form"), PLACES)
def test_what_may_be_a_key_is_stored_with_a_warning(field: str, form: str, store: Store) -> None:
    gpt = store.configs["gpt"]
    setattr(gpt, field, form.format(MAYBE))
    (issue,) = gpt.validation.issues
    assert (issue.field, issue.level, gpt.validation.ready) == (field, "warning", True)
    assert "This looks like a key. It is stored in plain text" in issue.message and MAYBE not in issue.message


def test_the_warning_names_the_header_but_not_one_that_may_be_a_key(store: Store) -> None:
    gpt = store.configs["gpt"]
    gpt.headers = {"X-Team": MAYBE, "gsk_0123456789abcdef": "a"}
    assert [issue.field for issue in gpt.validation.issues] == ["headers.X-Team", "headers"]


def test_a_definition_says_what_its_keys_look_like(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.providers.key_patterns >= {"sk-ant-[A-Za-z0-9_-]{16,}"}
    gpt = store.configs["gpt"]
    gpt.model = "lab-00112233"
    assert not gpt.validation.issues
    monkeypatch.setattr(type(store.providers), "key_patterns", frozenset({"lab-[0-9]{8}"}))
    assert [issue.field for issue in gpt.validation.issues] == ["model"]


def test_a_key_that_was_stored_before_the_rule_loads_and_blocks_no_other_field(store: Store) -> None:
    document = store.configs["gpt"].document()
    envelope = {name: getattr(document, name) for name in ENVELOPE}
    body = {**document.body(), "name": KEY, "model": KEY, "tags": [KEY]}
    old = type(document).from_body(envelope, json.loads(json.dumps(body)))
    assert (old.name, old.at("model")) == (KEY, KEY)
    changed = old.replaced({"temperature": 0.5})
    assert (changed.at("temperature"), changed.at("model"), changed.name) == (0.5, KEY, KEY)
    assert {issue.field for issue in changed.issues()} == {"model", "tags"}
    mended = changed.replaced({"name": "gpt", "model": "m", "tags": ()})
    assert not mended.issues()


def test_a_store_from_before_the_rule_opens_and_can_be_mended(tmp_path: Path) -> None:
    rules = ("orchstate.providers.documents", "orchstate.models.document", "orchstate.models.names")
    with (
        pytest.MonkeyPatch.context() as before,
        orchstate.open(tmp_path / "store.db", secrets="memory") as old,
    ):
        for module in rules:
            before.setattr(f"{module}.holds_key", lambda text: False)
        old.configs.create("openai", name=KEY, model=KEY, headers={"X-Team": KEY}, tags=[KEY])
    with orchstate.open(tmp_path / "store.db", secrets="memory") as store:
        config = store.configs[KEY]
        config.temperature = 0.5
        assert (config.model, config.validation.ready) == (KEY, False)
        assert {"name", "model", "headers", "tags"} <= {issue.field for issue in config.validation.issues}
        config.update(name="gpt", model="m", headers={}, tags=[], api_key="sk-1")
        store.flush()
        assert (config.temperature, config.validation.issues) == (0.5, ())
