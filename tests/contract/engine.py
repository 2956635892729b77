"""What every engine promises; a test class inherits it and brings an `engine` fixture."""

from __future__ import annotations

import json
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from contract.notes import created, decide, deleted, id_of, intent, updated

from orchstate.errors import ClosedError, StoreError
from orchstate.models.intent import Operation
from orchstate.storage.engine import Decision, Write

if TYPE_CHECKING:
    from pathlib import Path

    from orchstate.models.intent import Intent
    from orchstate.storage.engine import Commit, Engine, Snapshot


def seqs(commit: Commit) -> list[int]:
    return [revision.row.seq for revision in commit.revisions]


def outcomes(commit: Commit) -> dict[int, str]:
    return {n: decision.outcome for n, decision in commit.decisions.items()}


def names(snapshot: Snapshot) -> list[str]:
    return [row.name for row in snapshot.rows("note")]


class EngineContract:
    """The promises of :class:`orchstate.storage.engine.Engine`."""

    # -- one order ----------------------------------------------------------------------

    def test_seqs_have_no_gaps_whoever_commits(self, engine: Engine) -> None:
        found = []
        for n in range(1, 6):
            for writer in ("a", "b"):
                operations = (created(f"{writer}{n}.1"), created(f"{writer}{n}.2"))
                found += seqs(engine.commit(writer, [intent(n, *operations)], decide))
        assert found == list(range(1, 21))
        assert engine.seq() == 20
        assert [revision.row.seq for revision in engine.changes_since(0)] == found

    def test_a_commit_says_what_was_there_before(self, engine: Engine) -> None:
        assert engine.commit("a", [intent(1, created("x"))], decide).before == 0
        assert engine.commit("b", [intent(1, created("y"))], decide).before == 1

    def test_deleted_documents_are_known_by_their_ids(self, engine: Engine) -> None:
        engine.commit("a", [intent(1, created("x"), created("y")), intent(2, deleted("x"))], decide)
        assert list(engine.snapshot().gone("note")) == list(engine.snapshot(3).gone("note")) == [id_of("x")]
        assert list(engine.snapshot().gone("other")) == list(engine.snapshot(2).gone("note")) == []

    def test_a_revision_is_found_by_its_number(self, engine: Engine) -> None:
        engine.commit("a", [intent(1, created("x")), intent(2, created("y"))], decide)
        engine.commit("a", [intent(3, deleted("x"))], decide)
        found = [engine.revision(id_of("x"), number) for number in (0, 1, 2, 3)]
        assert [revision and revision.row.seq for revision in found] == [None, 1, 3, None]
        assert engine.revision(id_of("z"), 1) is None

    def test_revisions_count_per_document(self, engine: Engine) -> None:
        engine.commit("a", [intent(1, created("x")), intent(2, created("y"))], decide)
        engine.commit("a", [intent(3, updated("x", size=1)), intent(4, updated("x", size=2))], decide)
        found = [(revision.row.name, revision.row.revision) for revision in engine.changes_since(0)]
        assert found == [("x", 1), ("y", 1), ("x", 2), ("x", 3)]

    # -- exactly once -------------------------------------------------------------------

    def test_intents_are_applied_once_however_often_they_come(self, engine: Engine) -> None:
        intents = [intent(1, created("x")), intent(2, updated("x", size=1))]
        first = engine.commit("a", intents, decide)
        again = engine.commit("a", intents, decide)
        assert (seqs(first), seqs(again), engine.seq()) == ([1, 2], [], 2)
        assert outcomes(first) == outcomes(again) == {1: "committed", 2: "committed"}

    def test_an_intent_twice_in_one_batch_is_applied_once(self, engine: Engine) -> None:
        commit = engine.commit("a", [intent(1, created("x"))] * 2, decide)
        assert (seqs(commit), outcomes(commit)) == ([1], {1: "committed"})

    def test_only_what_is_new_of_a_batch_is_applied(self, engine: Engine) -> None:
        engine.commit("a", [intent(1, created("x"))], decide)
        commit = engine.commit("a", [intent(1, created("x")), intent(2, created("y"))], decide)
        assert seqs(commit) == [2]
        assert engine.applied("a") == 2

    def test_every_writer_counts_for_itself(self, engine: Engine) -> None:
        engine.commit("a", [intent(1, created("x"))], decide)
        assert (engine.applied("a"), engine.applied("b")) == (1, 0)
        assert seqs(engine.commit("b", [intent(1, created("y"))], decide)) == [2]

    def test_a_commit_of_nothing_changes_nothing(self, engine: Engine) -> None:
        commit = engine.commit("a", [], decide)
        assert (commit.before, commit.revisions, commit.decisions) == (0, [], {})
        assert engine.applied("a") == 0

    # -- all or nothing -----------------------------------------------------------------

    def test_a_commit_that_is_broken_off_leaves_nothing(self, engine: Engine) -> None:
        def interrupted(snapshot: Snapshot, one: Intent, writer: str) -> Decision:
            if one.n == 2:
                raise KeyboardInterrupt
            return decide(snapshot, one, writer)

        with pytest.raises(KeyboardInterrupt):
            engine.commit("a", [intent(1, created("x")), intent(2, created("y"))], interrupted)
        assert (engine.seq(), engine.applied("a"), names(engine.snapshot())) == (0, 0, [])
        assert seqs(engine.commit("a", [intent(1, created("x"))], decide)) == [1]

    def test_an_intent_is_applied_whole_or_not_at_all(self, engine: Engine) -> None:
        engine.commit("a", [intent(1, created("x"))], decide)
        refused = intent(1, created("y"), created("x"))
        commit = engine.commit("b", [refused], decide)
        assert outcomes(commit) == {1: "conflict"}
        assert names(engine.snapshot()) == ["x"]

    # -- refusals -----------------------------------------------------------------------

    def test_a_refused_intent_takes_no_seq_and_is_in_nobodys_way(self, engine: Engine) -> None:
        gone = Operation("delete", "conflict", id_of("gone"), "gone")
        commit = engine.commit("b", [intent(1, gone), intent(2, created("y"))], decide)
        assert outcomes(commit) == {1: "rejected", 2: "committed"}
        assert seqs(commit) == [1]

    def test_a_conflict_is_a_document_of_the_commit_that_did_not_apply_the_intent(
        self, engine: Engine
    ) -> None:
        engine.commit("a", [intent(1, created("x"))], decide)
        commit = engine.commit("b", [intent(1, created("x", size=5)), intent(2, created("y"))], decide)
        assert outcomes(commit) == {1: "conflict", 2: "committed"}
        assert [(revision.row.kind, revision.row.seq) for revision in commit.revisions] == [
            ("conflict", 2),
            ("note", 3),
        ]
        (kept,) = engine.snapshot().rows("conflict")
        assert json.loads(kept.body)["ours"] == {"name": "x", "size": 5}
        again = engine.commit("b", [intent(1, created("x", size=5))], decide)
        assert (seqs(again), outcomes(again)) == ([], {1: "conflict"})

    def test_a_refused_intent_is_parked_with_its_reason(self, engine: Engine) -> None:
        engine.commit("a", [intent(1, created("x"))], decide)
        first = engine.commit("b", [intent(1, created("x"))], decide)
        engine.commit("a", [intent(2, deleted("x"))], decide)
        again = engine.commit("b", [intent(1, created("x"))], decide)
        assert outcomes(again) == outcomes(first) == {1: "conflict"}
        assert again.decisions[1].reason == first.decisions[1].reason
        assert first.decisions[1].error == "ConflictError"
        assert "was created meanwhile" in first.decisions[1].reason

    @pytest.mark.parametrize(
        "poison",
        [
            lambda: 1 / 0,
            lambda: Decision("committed", (write(created_us=2**70),)),
            lambda: Decision("committed", (write(name="\ud800"),)),
            lambda: Decision("committed", (write(), write(id=id_of("other")))),
            lambda: Decision("committed", (write(name="taken"),)),
            lambda: Decision("committed", (write(body=object()),)),
        ],
        ids=["raises", "too large", "no text", "one name twice", "name taken", "no value"],
    )
    def test_an_intent_that_can_never_be_applied_is_rejected_alone(self, engine: Engine, poison: Any) -> None:
        engine.commit("a", [intent(1, created("taken"))], decide)

        def poisoned(snapshot: Snapshot, one: Intent, writer: str) -> Decision:
            decision: Decision = poison() if one.n == 2 else decide(snapshot, one, writer)
            return decision

        batch = [intent(1, created("x")), intent(2, created("p")), intent(3, created("y"))]
        commit = engine.commit("b", batch, poisoned)
        assert outcomes(commit) == {1: "committed", 2: "rejected", 3: "committed"}
        assert seqs(commit) == [2, 3]
        assert names(engine.snapshot()) == ["taken", "x", "y"]
        assert engine.check() == []

    # -- names --------------------------------------------------------------------------

    def test_two_documents_exchange_their_names_in_one_intent(self, engine: Engine) -> None:
        engine.commit("a", [intent(1, created("x"), created("y"))], decide)
        swap = intent(2, updated("x", name="y"), updated("y", name="x"))
        assert outcomes(engine.commit("a", [swap], decide)) == {2: "committed"}
        now = engine.snapshot()
        assert now.find("note", "y").id == id_of("x")
        assert now.find("note", "X").id == id_of("y")
        assert engine.check() == []

    def test_a_name_is_free_again_after_a_deletion_or_renaming(self, engine: Engine) -> None:
        engine.commit("a", [intent(1, created("x"), created("y"))], decide)
        engine.commit("a", [intent(2, deleted("x")), intent(3, updated("y", name="z"))], decide)
        again = intent(4, created("x2", name="x"), created("y2", name="y"))
        assert outcomes(engine.commit("a", [again], decide)) == {4: "committed"}
        assert sorted(names(engine.snapshot())) == ["x", "y", "z"]

    def test_names_are_found_in_any_case(self, engine: Engine) -> None:
        engine.commit("a", [intent(1, created("Straße"))], decide)
        assert engine.snapshot().find("note", "STRASSE").name == "Straße"
        assert engine.snapshot().find("other", "Straße") is None

    # -- reading ------------------------------------------------------------------------

    def test_a_revision_holds_the_whole_document_and_its_circumstances(self, engine: Engine) -> None:
        before_us = time.time_ns() // 1000
        engine.commit("a", [intent(1, created("x", text="é"))], decide)
        (revision,) = engine.changes_since(0)
        assert json.loads(revision.row.body) == {"name": "x", "text": "é"}
        assert json.loads(revision.diff) == {"name": [None, "x"], "text": ["", "é"]}
        assert (revision.verb, revision.txn, revision.n, revision.row.writer) == ("create", "txn-1", 1, "a")
        assert (revision.origin.actor, revision.origin.notebook) == ("me", "work.ipynb")
        assert revision.at_us == revision.row.created_us == 1_700_000_000_000_001
        assert before_us <= revision.committed_us <= time.time_ns() // 1000

    def test_changes_are_read_from_to_and_by_document(self, engine: Engine) -> None:
        engine.commit("a", [intent(n, created(f"x{n}")) for n in range(1, 6)], decide)
        engine.commit("a", [intent(6, updated("x2", size=1))], decide)

        def found(*args: Any, **limits: Any) -> list[int]:
            return [revision.row.seq for revision in engine.changes_since(*args, **limits)]

        assert found(3) == [4, 5, 6]
        assert found(1, until=3) == [2, 3]
        assert found(0, id=id_of("x2")) == [2, 6]
        assert found(99) == []

    def test_a_snapshot_is_the_state_after_each_commit(self, engine: Engine) -> None:
        chance = random.Random(7)
        states: list[dict[str, int]] = [{}]
        for n in range(1, 60):
            now, name = dict(states[-1]), f"x{chance.randrange(6)}"
            if name not in now:
                operation = created(name, size=n)
            else:
                operation = deleted(name) if chance.random() < 0.3 else updated(name, size=n)
            now[name] = n
            if operation.verb == "delete":
                del now[name]
            engine.commit("a", [intent(n, operation)], decide)
            states.append(now)
        for seq, expected in enumerate(states):
            rows = engine.snapshot(seq).rows("note")
            assert {row.name: json.loads(row.body)["size"] for row in rows} == expected
        assert names(engine.snapshot()) == names(engine.snapshot(59))

    def test_a_deleted_document_is_known_by_its_id_alone(self, engine: Engine) -> None:
        engine.commit("a", [intent(1, created("x", size=3)), intent(2, deleted("x"))], decide)
        for snapshot in (engine.snapshot(), engine.snapshot(2)):
            row = snapshot.get(id_of("x"))
            assert (bool(row.deleted), json.loads(row.body)["size"], row.revision) == (True, 3, 2)
            assert snapshot.find("note", "x") is None
            assert list(snapshot.rows()) == []
        assert engine.snapshot(1).find("note", "x").revision == 1

    def test_a_deletion_says_what_was_lost(self, engine: Engine) -> None:
        engine.commit("a", [intent(1, created("x", size=3)), intent(2, deleted("x"))], decide)
        assert json.loads(engine.changes_since(1)[0].diff) == {"name": ["x", None], "size": [3, 0]}

    def test_a_row_knows_the_last_revision_of_somebody_else(self, engine: Engine) -> None:
        engine.commit("a", [intent(1, created("x"))], decide)
        engine.commit("a", [intent(2, updated("x", size=1))], decide)
        assert engine.snapshot().get(id_of("x")).foreign_seq == 0
        engine.commit("b", [intent(1, updated("x", size=2, base=2))], decide)
        assert engine.snapshot().get(id_of("x")).foreign_seq == 2
        engine.commit("b", [intent(2, updated("x", size=3, base=2))], decide)
        assert engine.snapshot().get(id_of("x")).foreign_seq == 2
        engine.commit("a", [intent(3, updated("x", size=4, base=4))], decide)
        assert engine.snapshot().get(id_of("x")).foreign_seq == 4

    # -- waiting, care, end -------------------------------------------------------------

    def test_a_wait_ends_in_time_or_when_woken(self, engine: Engine) -> None:
        start = time.monotonic()
        assert engine.wait(0.01) is False
        engine.wake()
        assert engine.wait(60) is False
        threading.Timer(0.05, engine.wake).start()
        while time.monotonic() - start < 0.05:
            engine.wait(60)
        assert time.monotonic() - start < 5

    def test_a_backup_is_the_whole_store(self, engine: Engine, tmp_path: Path) -> None:
        engine.commit("a", [intent(1, created("x", text="kept"))], decide)
        engine.backup(tmp_path / "copy.db")
        engine.commit("a", [intent(2, created("later"))], decide)
        with pytest.raises(StoreError, match=r"exists\. Choose a new file"):
            engine.backup(tmp_path / "copy.db")
        copy = self.open(tmp_path / "copy.db")
        assert (names(copy.snapshot()), copy.seq(), copy.applied("a")) == (["x"], 1, 1)
        assert (copy.store_id, copy.check()) == (engine.store_id, [])
        copy.close()

    def test_a_sound_store_has_nothing_to_report(self, engine: Engine) -> None:
        engine.commit("a", [intent(1, created("x")), intent(2, deleted("x"))], decide)
        assert engine.check() == []

    def test_a_closed_engine_says_so(self, engine: Engine) -> None:
        engine.close()
        engine.close()
        for use in (engine.seq, lambda: engine.commit("a", [], decide), lambda: engine.wait(0)):
            with pytest.raises(ClosedError, match=r"Open it again with orchstate.open\(\)"):
                use()

    def open(self, path: Path) -> Engine:
        raise NotImplementedError


def write(**values: Any) -> Write:
    usual: dict[str, Any] = {"verb": "create", "id": id_of("p"), "kind": "note", "name": "p", "schema": 1}
    usual |= {"body": '{"name":"p"}', "diff": "{}", "created_us": 1, "updated_us": 1, "user": "me"}
    return Write(**(usual | values))
