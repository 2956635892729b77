"""The history as DataFrames: fixed columns, real dtypes, no secrets."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from contract.notes import ME

import orchstate
from orchstate.history import history
from orchstate.history.frames import configs_frame
from orchstate.models.intent import Intent, Operation

if TYPE_CHECKING:
    import pandas as pd

    from orchstate.store import Store

CHANGES = {
    "at": "datetime64[us, UTC]",
    "txn": "string",
    "label": "string",
    "kind": "category",
    "id": "string",
    "name": "string",
    "op": "category",
    "field": "string",
    "old": "object",
    "new": "object",
    "actor": "category",
    "notebook": "category",
    "cell": "string",
}
DIFF = {name: CHANGES[name] for name in ("kind", "id", "name", "field", "old", "new")}
VALUES = {"kind": "category", "id": "string", "name": "string", "revision": "int64"}
VALUES |= {"updated_at": "datetime64[us, UTC]", "field": "string", "value": "object"}
REVISIONS = {"seq": "int64", "at": "datetime64[us, UTC]", "op": "category", "actor": "category"}
KEY = "sk-proj-0123456789abcdef0123"


def dtypes(frame: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(dtype) for name, dtype in frame.dtypes.items()}


def rows(frame: pd.DataFrame, *columns: str) -> list[tuple[object, ...]]:
    return list(frame[list(columns)].itertuples(index=False, name=None))


# -- changes --------------------------------------------------------------------------------


def test_changes_are_one_row_per_field(store: Store) -> None:
    changes = store.history.changes()
    assert changes.index.tolist() == [1, 1, 1, 2, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6]
    assert rows(changes.loc[2:3], "op", "field", "old", "new", "label") == [
        ("update", "temperature", 0.2, 0.5, ""),
        ("update", "tags", [], ["a"], "tuning"),
        ("update", "temperature", 0.5, 0.9, "tuning"),
    ]
    assert set(rows(changes.loc[[5]], "op", "field", "old", "new")) == {
        ("delete", "name", "o", None),
        ("delete", "provider", "ollama", None),
        ("delete", "num_ctx", 5, None),
    }


@pytest.mark.parametrize("bundle", [1, 2, 5, 6])
def test_changes_are_the_same_however_many_are_read_at_once(
    bundle: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = (
        store.history.changes(),
        store.history.changes(since=1, until=4),
        store.history.changes(until=0),
    )
    monkeypatch.setattr(history, "_BUNDLE", bundle)
    found = store.history.changes(), store.history.changes(since=1, until=4), store.history.changes(until=0)
    assert all(one.equals(other) for one, other in zip(expected, found, strict=True))
    assert [len(frame) for frame in found] == [14, 6, 0]


def test_changes_have_fixed_columns_and_dtypes(store: Store) -> None:
    changes = store.history.changes()
    assert dtypes(changes) == CHANGES
    assert (changes.index.name, changes.index.dtype) == ("seq", "int64")


def test_every_selection_has_the_same_columns_and_dtypes(store: Store) -> None:
    with orchstate.open(":memory:") as nothing:
        frames = [
            nothing.history.changes(),
            store.history.changes(field="top_p"),
            store.history.changes(until=0),
            store.history.changes("gpt", field="tags"),
        ]
    assert [dtypes(frame) for frame in frames] == [CHANGES] * 4
    assert [len(frame) for frame in frames] == [0, 0, 0, 1]
    assert {str(frame.index.dtype) for frame in frames} == {"int64"}


def test_changes_are_selected_by_name_field_and_time(store: Store) -> None:
    history = store.history
    assert set(history.changes("gpt")["name"]) == {"gpt"}
    assert history.changes("GPT", field="temperature")["new"].tolist() == [0.2, 0.5, 0.9]
    assert history.changes(store.configs["gpt"].id, since=1, until=2)["new"].tolist() == [0.5]
    assert history.changes(since=2, until=3).index.unique().tolist() == [3]
    assert len(history.changes(since="1999-01-01")) == len(history.changes())
    assert len(history.changes(until="1999-01-01")) == 0


def test_what_was_deleted_or_renamed_is_found_by_the_name_it_had(store: Store) -> None:
    store.configs["gpt"].name = "renamed"
    store.flush()
    assert set(store.history.changes("O")["op"]) == {"create", "delete"}
    assert store.history.changes("gpt", field="name")["new"].tolist() == ["gpt", "renamed"]
    with pytest.raises(orchstate.NotFoundError, match="Nothing called 'nobody' is or was in this store"):
        store.history.changes("nobody")


def test_only_configs_are_found_by_a_name_and_everything_by_its_id(store: Store) -> None:
    store.snapshot("early")
    with pytest.raises(orchstate.NotFoundError, match=r"A snapshot has the name: store\.at\('early'\)\.$"):
        store.history.changes("early")
    assert store.history.changes(store.configs["gpt"]).equals(store.history.changes("gpt"))
    assert store.history.changes(store.at(3).configs["gpt"]).equals(store.history.changes("gpt"))
    assert store.history.revisions(store.settings).equals(store.history.revisions(store.settings.id))
    store.snapshot("O")
    assert set(store.history.changes("o")["kind"]) == {"config"}
    assert set(store.history.changes(store.settings.id)["kind"]) == {"settings"}


@pytest.mark.parametrize("what", [["gpt"], {"gpt": 1}, 5, b"gpt"])
def test_what_is_no_name_is_not_found(what: Any, store: Store) -> None:
    for look in (store.history.changes, store.history.revisions):
        with pytest.raises(orchstate.NotFoundError, match="Nothing called "):
            look(what)


def test_a_record_of_another_store_is_refused(store: Store) -> None:
    with orchstate.open(":memory:") as other:
        gpt = other.configs.create("openai", name="gpt")
        with pytest.raises(orchstate.ValidationError, match="is of another store"):
            store.history.changes(gpt)


def test_own_edits_are_in_the_history_at_once(store: Store) -> None:
    store.configs["gpt"].seed = 7
    assert store.history.changes("gpt", field="seed")["new"].tolist() == [7]


def test_values_are_plain_json(store: Store) -> None:
    store.configs["gpt"].update(headers={"X-Team": "a"}, stop=None, tags=[])
    new = store.history.changes("gpt", since=6).set_index("field")["new"]
    assert new.to_dict() == {"headers": {"X-Team": "a"}, "tags": []}


def test_a_key_is_in_no_frame(store: Store) -> None:
    gpt = store.configs["gpt"]
    gpt.api_key = KEY
    name = gpt.api_key.name
    gpt.provider = "anthropic"
    gpt.api_key = orchstate.env("EXAMPLE_KEY")
    frames = [
        store.history.changes(),
        gpt.history(),
        store.history.diff(0),
        store.configs.to_frame(),
        gpt.explain(),
    ]
    text = "".join(frame.to_csv() for frame in frames)
    assert KEY not in text
    assert name not in text
    assert "memory: ********" in text
    assert "env: EXAMPLE_KEY" in text


def test_the_length_of_the_history_is_the_number_of_revisions(store: Store) -> None:
    assert len(store.history) == 6


# -- revisions ------------------------------------------------------------------------------


def test_revisions_are_one_row_each_with_all_values(store: Store) -> None:
    frame = store.history.revisions("gpt")
    assert (frame.index.tolist(), frame.index.name) == ([1, 2, 3], "revision")
    assert frame["temperature"].tolist() == [0.2, 0.5, 0.9]
    assert frame["tags"].tolist() == [None, None, ["a"]]
    assert frame["seq"].tolist() == [1, 2, 3]
    assert store.configs["gpt"].history().equals(frame)


def test_revisions_have_fixed_columns_and_dtypes(store: Store) -> None:
    frame = store.history.revisions("o")
    assert {name: dtypes(frame)[name] for name in REVISIONS} == REVISIONS
    assert list(frame.columns)[:4] == list(REVISIONS)
    assert frame["op"].tolist() == ["create", "delete"]
    fields = [name for name in frame.columns if name not in REVISIONS]
    assert {str(frame.dtypes[name]) for name in fields} == {"object"}


def test_a_field_that_is_called_like_a_fixed_column_has_one_of_its_own(store: Store) -> None:
    store.snapshot("early")
    store.flush()
    frame = store.history.revisions(store._state.find("snapshot", "early") or "")
    assert rows(frame, "seq", "op", "actor", "field.seq") == [(7, "create", "me", 6)]


def test_values_without_a_definition_hide_no_column_of_all_configs() -> None:
    values = {"name": "old", "provider": "gone", "ready": "steady", "revision": "b", "heat": 1}
    made = Operation("create", "config", str(uuid.uuid4()), "old", values)
    with orchstate.open(":memory:") as store:
        store._engine.commit("elsewhere", [Intent(1, "t", 1, ME, (made,))], store._state._writer._decide)
        store.refresh()
        frame = store.configs.to_frame()
    assert rows(frame, "ready", "revision", "field.ready", "field.revision", "heat") == [
        (False, 1, "steady", "b", 1)
    ]


def test_a_config_that_is_deleted_meanwhile_is_left_out(store: Store) -> None:
    store.configs.create("ollama", name="gone")
    seen = list(store.configs.values())
    store.configs["gone"].delete()
    assert configs_frame(seen).index.tolist() == ["gpt"]


def test_times_are_exact(store: Store) -> None:
    gpt = store.configs["gpt"]
    at = store.history.revisions("gpt")["at"]
    assert at.iloc[-1] == gpt.updated_at
    assert at.iloc[0] == gpt.created_at
    assert at.is_monotonic_increasing


# -- diff -----------------------------------------------------------------------------------


def test_a_diff_has_one_row_per_field_that_differs(store: Store) -> None:
    assert rows(store.history.diff(1, 3), "kind", "name", "field", "old", "new") == [
        ("config", "gpt", "tags", [], ["a"]),
        ("config", "gpt", "temperature", 0.2, 0.9),
    ]


def test_a_diff_goes_to_now_by_default_and_both_ways(store: Store) -> None:
    store.configs["gpt"].temperature = 0.1
    forth, back = store.history.diff(3), store.history.diff(7, 3)
    assert rows(forth[forth["kind"] == "config"], "field", "old", "new") == [("temperature", 0.9, 0.1)]
    assert rows(back[back["kind"] == "config"], "field", "old", "new") == [("temperature", 0.1, 0.9)]


def test_a_diff_shows_defaults_where_a_value_was_not_set(store: Store) -> None:
    store.settings.agents.retry_attempts = 5
    assert rows(store.history.diff(6), "field", "old", "new") == [("agents.retry_attempts", 2, 5)]


def test_a_new_or_deleted_document_is_all_difference(store: Store) -> None:
    new = store.history.diff(3, 4)
    gone = store.history.diff(4, 5)
    assert set(rows(new, "field", "old", "new")) == {
        ("name", None, "o"),
        ("provider", None, "ollama"),
        ("num_ctx", None, 5),
    }
    assert rows(gone, "field", "new", "old") == rows(new, "field", "old", "new")


def test_a_diff_has_fixed_columns_and_dtypes(store: Store) -> None:
    for frame in (store.history.diff(0), store.history.diff(3, 3), store.at(1).diff(store.at(2))):
        assert dtypes(frame) == DIFF


def test_what_went_there_and_back_is_no_difference(store: Store) -> None:
    assert len(store.history.diff(3, 5)) == 0


def test_a_moment_is_a_frame_of_everything_that_was_set(store: Store) -> None:
    frame = store.at(4).to_frame()
    assert rows(frame, "kind", "name", "revision", "field", "value") == [
        ("config", "gpt", 3, "name", "gpt"),
        ("config", "gpt", 3, "provider", "openai"),
        ("config", "gpt", 3, "tags", ["a"]),
        ("config", "gpt", 3, "temperature", 0.9),
        ("config", "o", 1, "name", "o"),
        ("config", "o", 1, "num_ctx", 5),
        ("config", "o", 1, "provider", "ollama"),
    ]


@pytest.mark.parametrize("seq", [0, 4, 6])
def test_a_moment_has_fixed_columns_and_dtypes(seq: int, store: Store) -> None:
    frame = store.at(seq).to_frame()
    assert dtypes(frame) == VALUES


def test_past_configs_are_framed_as_the_present_ones_are(store: Store) -> None:
    then, now = store.at(6).configs.to_frame(), store.configs.to_frame()
    assert then.equals(now.drop(columns="ready"))
    assert then.dtypes.equals(now.drop(columns="ready").dtypes)
    assert store.at(4).configs.to_frame()["num_ctx"].to_dict() == {"gpt": None, "o": 5}
    empty = store.at(0).configs.to_frame()
    assert (len(empty), str(empty["provider"].dtype), empty.index.name) == (0, "category", "name")


def test_a_key_is_in_no_frame_of_a_moment(store: Store) -> None:
    store.configs["gpt"].api_key = KEY
    past = store.at(store.flush())
    frame = past.to_frame()
    assert frame[frame.field == "api_key"]["value"].tolist() == ["memory: ********"]
    assert "api_key" not in past.configs.to_frame()
