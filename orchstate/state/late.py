"""Late edits: what dead processes had accepted, committed by others who have gone on meanwhile."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from orchstate.state.decide import decider
from orchstate.state.writer import MAX_BATCH
from orchstate.storage.engine import Decision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchstate.models.intent import Intent
    from orchstate.state.kinds import Kinds
    from orchstate.storage.engine import Decide, Engine, Snapshot


def adopted(intents: Sequence[Intent], engine: Engine, kinds: Kinds, writer: str) -> list[Decision]:
    """Commit what a dead process had accepted; returns what became of the intents that were left to do."""
    done = engine.applied(writer)
    left = [intent for intent in intents if intent.n > done]
    decisions: list[Decision] = []
    decide = _deciding_once(left, decider(kinds, late=True))
    # In batches, so that nobody waits long for the lock.
    for start in range(0, len(left), MAX_BATCH):
        commit = engine.commit(writer, left[start : start + MAX_BATCH], decide)
        decisions += commit.decisions.values()
    return decisions


def _deciding_once(intents: Sequence[Intent], decide: Decide) -> Decide:
    """Have nobody asked about an edit that its own process has made anew: about the last one alone."""
    made_anew: set[int] = set()
    later: dict[str, set[str]] = defaultdict(set)
    for intent in reversed(intents):
        if all(one.verb == "update" and later[one.id] >= one.set.keys() for one in intent.operations):
            made_anew.add(intent.n)
        for one in intent.operations:
            later[one.id].update(one.set if one.verb == "update" else ())

    def decide_once(snapshot: Snapshot, intent: Intent, writer: str) -> Decision:
        decision = decide(snapshot, intent, writer)
        if decision.outcome == "conflict" and intent.n in made_anew:
            return Decision("rejected", (), "It was made anew by a later edit, which waits.", "ConflictError")
        return decision

    return decide_once
