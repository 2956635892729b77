"""The view: untrusted rows are set aside, and what was loaded lately meets what arrives late."""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING, Any

import pytest
from contract.notes import ME

from orchstate.errors import CorruptStoreError, NotFoundError, UnknownFieldError, ValidationError
from orchstate.kinds import kinds_of
from orchstate.models.intent import Intent, Operation
from orchstate.providers.registry import Registry
from orchstate.state import entry as entries
from orchstate.state.view import View
from orchstate.storage import tables
from orchstate.storage.engine import Decision, Revision, Row, Write
from orchstate.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.kernel import Kernel

    from orchstate.config import Config
    from orchstate.store import Store


def a_row(**values: Any) -> Row:
    """Return a row of a config that another process made."""
    fields: dict[str, Any] = {
        "id": "00000000-0000-0000-0000-000000000001",
        "kind": "config",
        "name": "planted",
    }
    fields |= {"revision": 1, "seq": 1, "schema": 1, "created_us": 1, "updated_us": 1}
    fields |= {"user": "them", "deleted": False, "writer": "w", "foreign_seq": 0}
    return Row(**{**fields, "body": '{"name":"planted","provider":"openai"}', **values})


def planted(store: Store, **values: Any) -> None:
    """Write a row whose checksum fits, as a program that knows how to compute it may do."""
    engine = store._engine
    row = a_row(**{"seq": engine.seq() + 1, **values})
    with engine._write_mutex:
        tables.insert(engine._writing, [Revision(row, "create", "{}", 1, 1, "t", "", ME, 1)], engine._pieces)
        engine._writing.execute("UPDATE clock SET seq = ?", [row.seq])
    store._state._writer._is_news_wanted = True
    store.refresh()


@pytest.mark.parametrize(
    "values",
    [
        {"name": "a/b"},
        {"name": ""},
        {"body": "[1]"},
        {"created_us": 2**62},
        {"updated_us": -(2**62)},
    ],
)
@pytest.mark.parametrize("is_listed", [True, False])
def test_a_row_that_is_no_document_is_set_aside(
    values: dict[str, Any], is_listed: bool, disk: Store, caplog: pytest.LogCaptureFixture
) -> None:
    if is_listed:
        list(disk.configs)
    planted(disk, **values)
    assert list(disk.configs) == ["gpt"]
    assert values.get("name", "planted") not in disk.configs
    assert "is no valid document and is not used" in caplog.text
    disk.configs["gpt"].temperature = 0.9
    disk.flush()


def test_a_row_with_faulty_values_is_shown_with_its_faults(disk: Store) -> None:
    planted(
        disk, body='{"name":"planted","provider":"openai","temperature":9.5,"api_key":"sk-1","later":[1]}'
    )
    config = disk.configs["planted"]
    assert config.temperature == 9.5
    assert {issue.field for issue in config.validation.issues} == {"temperature", "api_key"}
    assert not config.api_key.is_set
    config.seed = 5
    disk.flush()
    assert config.to_dict()["seed"] == 5
    assert disk.history.revisions("planted")["later"].tolist()[-1] == [1]


def written(store: Store, bodies: dict[str, str], diff: str = "{}") -> None:
    """Commit bodies of configs by name, all at once, as another process that checks nothing."""

    def decide(snapshot: Any, intent: Intent, writer: str) -> Decision:
        rows = [(snapshot.find("config", name), body) for name, body in bodies.items()]
        writes = [
            Write("update", row.id, row.kind, row.name, 1, body, diff, row.created_us, row.updated_us, "them")
            for row, body in rows
        ]
        return Decision("committed", tuple(writes))

    with contextlib.closing(SqliteEngine(store.path)) as engine:
        operation = Operation("update", "config", "", "")
        n = engine.applied("them") + 1
        engine.commit("them", [Intent(n, f"them-{n}", 1, ME, (operation,))], decide)


def body_of(name: str, temperature: float) -> str:
    return f'{{"name":"{name}","provider":"openai","temperature":{temperature}}}'


@pytest.mark.parametrize("body", ["{}", "{oops", '{"name":3}', '{"name":"gpt","provider":[1]}'])
def test_a_document_that_cannot_be_decoded_takes_nothing_else_with_it(body: str, disk: Store) -> None:
    gpt, new = disk.configs["gpt"], disk.configs.create("openai", name="new", temperature=0.2)
    disk.flush()
    gpt.observe(lambda change: None)
    written(disk, {"gpt": body, "new": body_of("new", 0.9)})
    for _ in range(2):
        disk.refresh()
        assert (gpt.temperature, new.temperature, disk.configs["gpt"]) == (0.2, 0.9, gpt)
        assert repr(gpt) == "<Config gpt: openai, gpt-y, temperature 0.2>"
        assert isinstance(disk.error, CorruptStoreError) and disk.status == "degraded"
        assert f"The stored config {gpt.id} is no valid document and is not used" in str(disk.error)
    written(disk, {"gpt": body_of("gpt", 0.5)})
    disk.refresh()
    assert (gpt.temperature, disk.status, disk.error) == (0.5, "ready", None)


def test_the_last_row_that_can_be_decoded_stays_seen_with_edits_on_top(
    disk: Store, held: Callable[[], None]
) -> None:
    gpt = disk.configs["gpt"]
    written(disk, {"gpt": body_of("gpt", 0.5)})
    written(disk, {"gpt": "{}"})
    receipt = gpt.update(top_p=0.3)
    held()
    assert receipt.wait(10).state == "rejected"
    disk.refresh()
    assert (gpt.temperature, gpt.top_p, gpt.revision, gpt.sync_state) == (0.5, None, 2, "failed")


def test_changes_that_are_none_of_ours_are_not_told_and_the_others_are(
    disk: Store, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Any] = []
    disk.subscribe(heard.append)
    written(disk, {"gpt": body_of("gpt", 0.5)}, "[]")
    written(disk, {"gpt": body_of("gpt", 0.6)}, '{"temperature":[0.5,0.6]}')
    disk.refresh()
    assert [event.changes for event in heard] == [{"temperature": (0.5, 0.6)}]
    assert "is no valid change and is not told" in caplog.text


def test_a_commit_counts_by_its_place_in_the_store_and_not_by_its_number() -> None:
    view, row = View(kinds_of(Registry()), "me", 4), a_row(revision=3, seq=4)
    view.take([row])
    again = row._replace(seq=6, user="again")
    view.arrive([Revision(again, "update", "{}", 1, 1, "t", "", ME, 1)], 0, {})
    assert view.rows() == [again]


@pytest.mark.parametrize(
    ("known", "is_renewed"),
    [((3, 4), True), ((2, 3), True), ((1, 2), True), ((3, 7), False)],
    ids=["lost", "another", "older", "newer than the look"],
)
def test_rows_that_were_read_count_unless_what_is_known_is_newer(
    known: tuple[int, int], is_renewed: bool
) -> None:
    view, stored = View(kinds_of(Registry()), "me", 7), a_row(revision=2, seq=3)
    row = a_row(revision=known[0], seq=known[1], user="known")
    view.take([row])
    view.renew([stored], 6)
    assert view.rows() == [stored if is_renewed else row]


def test_refresh_shows_what_is_stored_where_something_else_was_shown(disk: Store) -> None:
    gpt = disk.configs["gpt"]
    entry = disk._state.view.known(gpt.id)
    stale = disk._state.view.document(entry).model_copy(update={"temperature": 0.7})
    entry.show(stale)
    gpt.show(stale)
    assert gpt.temperature == 0.7
    disk.refresh()
    assert gpt.temperature == 0.2


def test_a_row_of_an_unknown_kind_is_left_alone(disk: Store) -> None:
    planted(disk, kind="hologram")
    assert list(disk.configs) == ["gpt"]
    assert disk.history.changes().empty is False
    assert len(disk.at(2).configs) == 1


def test_unknown_fields_of_a_newer_version_survive_an_edit(disk: Store) -> None:
    planted(disk, body='{"name":"planted","provider":"openai","invented":{"a":[1]}}')
    disk.configs["planted"].temperature = 0.5
    disk.configs["planted"].provider = "ollama"
    disk.configs["planted"].provider = "openai"
    disk.flush()
    body = disk.history.revisions("planted")
    assert body["temperature"].tolist()[-1] == 0.5
    assert '"invented":{"a":[1]}' in disk._engine.snapshot().find("config", "planted").body  # type: ignore[union-attr]


def test_documents_are_loaded_one_by_one_until_all_are_wanted(disk: Store, other: Kernel) -> None:
    other("for name in 'abc': store.configs.create('openai', name=name)")
    other("store.flush()")
    state = disk._state
    path = disk.path
    disk.close()
    import orchstate

    with orchstate.open(path) as again:
        view = again._state.view
        assert again.configs["b"].name == "b"
        assert [entry.name for entry in view.loaded("config")] == ["b"]
        assert "nobody" not in again.configs
        assert list(again.configs) == ["gpt", "a", "b", "c"]
        assert view.is_complete("config")
    assert state.closed


def test_a_record_made_in_a_block_stays_the_one_though_another_process_was_faster(
    disk: Store, other: Kernel
) -> None:
    list(disk.configs)
    with disk.transaction():
        new = disk.configs.upsert("new", "openai", temperature=0.5)
        other("store.configs.upsert('new', 'openai', max_tokens=7); store.flush()")
        disk._state._writer.refresh(10)
    disk.flush()
    assert disk.configs["new"] is new
    assert (new.temperature, new.max_tokens, new.sync_state) == (0.5, 7, "saved")


def test_what_a_failed_block_had_made_is_not_there(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction():
        phantom = store.configs.create("openai", name="phantom", temperature=0.5)
        raise ZeroDivisionError
    assert phantom.temperature == 0.5
    with pytest.raises(NotFoundError):
        phantom.temperature = 0.9
    first = store.configs.create("openai", name="phantom")
    assert first.id == phantom.id
    assert first is not phantom


# -- as traitlets has it --------------------------------------------------------------------


def test_a_record_is_used_like_any_object_with_traits(gpt: Config) -> None:
    assert gpt.has_trait("temperature")
    assert not gpt.has_trait("nonsense")
    gpt.set_trait("temperature", 0.9)
    assert gpt.temperature == gpt.trait_values()["temperature"] == 0.9
    assert type(gpt).temperature.info() == "float | None"
    assert type(gpt).revision.get(gpt) == gpt.revision
    with pytest.raises(ValidationError):
        type(gpt).revision.set(gpt, 5)
    with pytest.raises(ValidationError):
        gpt.set_trait("temperature", 9.0)
    assert gpt.trait_metadata("temperature", "help").startswith("How varied")


def test_a_section_is_used_like_any_object_with_traits(store: Store) -> None:
    agents = store.settings.agents
    agents.update(timeout=5_000, retry_attempts=5)
    assert agents.trait_values() == {"timeout": 5_000, "retry_attempts": 5}
    assert type(store.settings).agents.section_class.__name__ == "AgentSettings"
    store.flush()
    assert store.settings.revision == 1
    with pytest.raises(UnknownFieldError, match="AgentSettings has no field 'timout'"):
        agents.observe(print, "timout")
    with pytest.raises(AttributeError):
        agents.timout  # noqa: B018
    heard: list[Any] = []

    def hear(change: Any) -> None:
        heard.append(change.new)

    agents.observe(hear, "timeout")
    agents.unobserve(hear, "timeout")
    agents.timeout = 6_000
    assert heard == []


def test_an_observer_that_is_interrupted_leaves_the_rest_for_the_next_access(gpt: Config) -> None:
    def stop(change: Any) -> None:
        raise KeyboardInterrupt

    heard: list[Any] = []
    gpt.observe(stop, "temperature")
    gpt._services.settings().agents.observe(lambda change: heard.append(change.new), "timeout")
    state = gpt._state
    with pytest.raises(KeyboardInterrupt), state.transaction():
        gpt.temperature = 0.9
        gpt._services.settings().agents.timeout = 5_000
    assert heard == []
    assert (gpt.temperature, heard) == (0.9, [5_000])


def test_a_document_that_is_gone_has_no_record(store: Store, gpt: Config) -> None:
    id = gpt.id
    gpt.delete()
    del gpt
    gc.collect()
    with pytest.raises(NotFoundError, match="There is no document"):
        store._state.record(id)


def test_an_error_inside_of_what_is_computed_is_the_one_to_be_seen(
    gpt: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Config) -> None:
        raise AttributeError("deep inside")

    monkeypatch.setattr(type(gpt), "_validate_now", fail)
    with pytest.raises(AttributeError, match="deep inside"):
        gpt.validation  # noqa: B018


@pytest.mark.parametrize("is_own", [True, False])
def test_edits_that_are_committed_as_they_are_shown_are_not_replayed(
    is_own: bool, disk: Store, other: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where others have edited the document before: a burst would else cost its square."""
    if not is_own:
        other("gpt.top_p = 0.5; store.flush()")
        disk.refresh()
    gpt, replays = disk.configs["gpt"], 0
    gpt.observe(lambda change: None)
    replay = entries._replay

    def counting(*arguments: Any) -> Any:
        nonlocal replays
        replays += 1
        return replay(*arguments)

    monkeypatch.setattr(entries, "_replay", counting)
    for number in range(20):
        gpt.seed = number
    disk.flush()
    assert (gpt.seed, gpt.revision, replays) == (19, 21 if is_own else 22, 0)


def test_news_of_many_edits_cost_one_replay(
    disk: Store, other: Kernel, held: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpt, causes = disk.configs["gpt"], []
    gpt.observe(lambda change: causes.append((change.name, change.cause)), ["seed", "top_p"])
    replays, replay = [], entries._replay
    monkeypatch.setattr(entries, "_replay", lambda *arguments: replays.append(1) or replay(*arguments))
    other("for number in range(30): gpt.seed = number\nstore.flush()")
    gpt.top_p = 0.5
    held()
    disk.flush()
    disk.refresh()
    assert (gpt.seed, gpt.top_p, causes[0], causes[-1]) == (29, 0.5, ("top_p", "edit"), ("seed", "external"))
    assert len(replays) <= 3
