"""Whatever is done in whatever order, every store shows what the same done with plain dicts gives."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from state.dicts import File, by_name, names_are_unique
from state.peer import PATHS, Peer, shown
from state.plain_edits import BLANK, SETTINGS

from orchstate.storage.presence import outboxes

NAMES = st.sampled_from("abcd")
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([None, 0.1, 0.9]),
        "seed": st.integers(0, 3),
        "tags": st.sampled_from([(), ("t",), ("t", "u")]),
        "model": st.sampled_from([None, "m", "n"]),
        "base_url": st.sampled_from([None, "http://127.0.0.1:1/v1"]),
    },
)
TIMEOUTS = st.fixed_dictionaries({"timeout": st.sampled_from([5_000, 6_000, 60_000])})
POLICY = st.sampled_from(["last-write-wins", "merge", "prompt"])
POLICIES = st.fixed_dictionaries({"policy": POLICY})
SOME_CHANGES = CHANGES.filter(bool)
EDITS_BY_VERB = {
    "make": st.tuples(st.sampled_from(["create", "upsert"]), NAMES, CHANGES),
    "update": st.tuples(st.just("update"), NAMES, SOME_CHANGES),
    "rename": st.tuples(st.just("rename"), NAMES, NAMES),
    "delete": st.tuples(st.just("delete"), NAMES, st.none()),
    "settings": st.tuples(st.just("settings"), st.just(""), TIMEOUTS | POLICIES),
}
EDITS = st.one_of(*EDITS_BY_VERB.values(), EDITS_BY_VERB["update"])
NAMED = st.fixed_dictionaries({"name": NAMES})
CHOICES = st.sampled_from(["ours", "theirs"]) | CHANGES | st.builds(dict.__or__, CHANGES, NAMED)
STORES = 3
NUMBERS = st.integers(0, STORES - 1)


class Machine(RuleBasedStateMachine):
    """Three processes on one file, whose commits can be held up."""

    @initialize(policy=POLICY)
    def open(self, policy: str) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.file = File()
        self.peers = [Peer(self.folder / "store.db", self.file) for _ in range(STORES)]
        self._edit(0, ("settings", "", {"policy": policy}))
        for name in "ab":
            self._edit(1, ("create", name, {}))
        for peer in self.peers:
            peer.refresh()

    def _edit(self, number: int, edit: Any) -> None:
        self.peers[number].edit(*edit)
        self.peers[number].settle()

    # Rules of their own, since of all rules each run leaves some out.
    update = rule(number=NUMBERS, edit=EDITS_BY_VERB["update"])(_edit)
    update_another = rule(number=NUMBERS, edit=EDITS_BY_VERB["update"])(_edit)
    make = rule(number=NUMBERS, edit=EDITS_BY_VERB["make"])(_edit)
    rename = rule(number=NUMBERS, edit=EDITS_BY_VERB["rename"])(_edit)
    delete = rule(number=NUMBERS, edit=EDITS_BY_VERB["delete"])(_edit)
    change_settings = rule(number=NUMBERS, edit=EDITS_BY_VERB["settings"])(_edit)

    @rule(
        number=NUMBERS,
        edits=st.lists(EDITS, min_size=1, max_size=4),
        nested=st.lists(EDITS, max_size=3),
        fails=st.booleans(),
        inner_fails=st.booleans(),
    )
    def transact(self, number: int, edits: Any, nested: Any, fails: bool, inner_fails: bool) -> None:
        self.peers[number].transact(edits, nested, fails=fails, inner_fails=inner_fails)
        self.peers[number].settle()

    @rule(number=NUMBERS, how=st.sampled_from(["undo", "undo", "redo"]))
    def take_back(self, number: int, how: str) -> None:
        self.peers[number].take_back(how)
        self.peers[number].settle()

    @rule(number=NUMBERS, conflict=st.integers(0, 7), choice=CHOICES, is_undone=st.booleans())
    def decide(self, number: int, conflict: int, choice: Any, is_undone: bool) -> None:
        peer = self.peers[number]
        if peer.decide(conflict, choice) and is_undone:
            peer.take_back("undo")
        peer.settle()

    @rule(number=NUMBERS, config=st.integers(0, 3), how=st.sampled_from(["retry", "discard"]))
    def react(self, number: int, config: int, how: str) -> None:
        self.peers[number].react(config, how)
        self.peers[number].settle()

    @rule(number=NUMBERS)
    def toggle(self, number: int) -> None:
        self.peers[number].toggle()
        self.peers[number].settle()

    @rule(number=NUMBERS)
    def refresh(self, number: int) -> None:
        if not self.peers[number].is_held:
            self.peers[number].refresh()

    @rule(number=NUMBERS, how=st.sampled_from(["close", "kill"]))
    def reopen(self, number: int, how: str) -> None:
        peer = self.peers[number]
        peer.reopen(getattr(peer, how))

    @precondition(lambda self: any(not peer.is_held for peer in self.peers))
    @rule(data=st.data())
    def look_back(self, data: Any) -> None:
        peer = next(peer for peer in self.peers if not peer.is_held)
        seq = data.draw(st.integers(0, len(self.file.writers)))
        past = peer.store.at(seq)
        rows = {id: values for id, values in self.file.past[seq].items() if values}
        configs = {name: shown(document) for name, document in past.configs.items()}
        assert configs == by_name(rows)
        for word, path in PATHS.items():
            assert past.settings.at(path) == rows.get(SETTINGS, BLANK)[word]

    @invariant()
    def every_store_shows_what_the_dicts_do(self) -> None:
        for peer in getattr(self, "peers", ()):
            peer.check()

    def teardown(self) -> None:
        if not hasattr(self, "peers"):
            return
        try:
            for peer in self.peers:
                if peer.is_held:
                    peer.toggle()
                peer.settle()
            for peer in self.peers:
                peer.refresh()
                peer.check()
            self._check_file()
        finally:
            for peer in self.peers:
                peer.close()
            assert not [*outboxes(self.folder / "store.db").iterdir()]
            shutil.rmtree(self.folder)

    def _check_file(self) -> None:
        engine = self.peers[0].store._engine
        assert names_are_unique(self.file.rows.values())
        assert engine.check() == []
        revisions = [*engine.changes_since(0)]
        assert [revision.row.seq for revision in revisions] == [*range(1, len(self.file.writers) + 1)]
        # The last revision of each document is its present row.
        last = {revision.row.id: revision.row for revision in revisions}
        rows = list(engine.snapshot().rows())
        assert {row.id: row for row in last.values() if not row.deleted} == {row.id: row for row in rows}


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


# What fails is made smaller before it is shown, which takes minutes.
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("quiet")
def test_three_stores_do_what_plain_dicts_do() -> None:
    run(25, 40)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("quiet")
def test_three_stores_do_what_plain_dicts_do_at_length() -> None:
    run(500, 50)


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", "orchstate")
