"""What people are asked about a conflict: both sides as they are now, and what each answer does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from orchstate.errors import NotFoundError, ValidationError
from orchstate.state.resolving import asked
from tests.state.overlapping import overlap

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.kernel import Kernel

    from orchstate.conflicts import Conflict
    from orchstate.models.conflict import ConflictDocument
    from orchstate.store import Store


@pytest.fixture
def meeting(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> Callable[[Callable[[], object], str], Conflict]:
    """A function that edits here, lets another process be first, and returns the conflict."""

    def meet(here: Callable[[], object], there: str) -> Conflict:
        here()
        other(f"{there}; store.flush()")
        held()
        asking.flush()
        asking.refresh()
        (conflict,) = asking.conflicts.values()
        return conflict

    return meet


def test_of_an_overlap_both_values_are_shown_as_they_are_now(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    conflict = overlap(asking, other, held)
    assert conflict.question == (
        "temperature: 1.5 is saved, 0.9 was wanted here.",
        "Use 0.9",
        "Keep 1.5",
    )
    asking.configs["gpt"].temperature = 1.1
    assert conflict.question.theirs == "Keep 1.1"
    assert str(conflict) == "gpt: temperature: 1.1 is saved, 0.9 was wanted here."


def test_elsewhere_it_is_said_whose_edit_waits(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    overlap(asking, other, held)
    asked = other("store.refresh(); store.conflicts[0].question.sentence")
    assert asked == "temperature: 1.5 is saved, 0.9 was wanted by me."


def test_of_many_values_the_first_are_shown(asking: Store, meeting: Any) -> None:
    mine = {"temperature": 0.9, "top_p": 0.1, "seed": 1, "max_tokens": 5}
    conflict = meeting(
        lambda: asking.configs["gpt"].update(**mine),
        "gpt.update(temperature=1.5, top_p=0.5, seed=2, max_tokens=6)",
    )
    sentence, ours, theirs = conflict.question
    assert sentence.count("was wanted") == 3
    assert "; and 1 more here." in sentence
    assert (ours, theirs) == ("Use what was wanted", "Keep what is saved")


def test_what_was_deleted_elsewhere_is_brought_back_or_stays_away(asking: Store, meeting: Any) -> None:
    conflict = meeting(lambda: asking.configs["gpt"].update(temperature=0.9), "gpt.delete()")
    assert conflict.question == (
        "config 'gpt' was deleted meanwhile. Wanted here: temperature 0.9.",
        "Bring it back with that",
        "Leave it so",
    )
    conflict.resolve("ours")
    assert asking.configs["gpt"].temperature == 0.9


def test_a_deletion_of_what_was_changed_is_done_or_not(asking: Store, meeting: Any) -> None:
    conflict = meeting(lambda: asking.configs["gpt"].delete(), "gpt.temperature = 1.5")
    assert conflict.question == (
        "It was changed while deleting it was wanted here.",
        "Delete it",
        "Keep it",
    )


def test_of_two_that_were_created_under_one_name_the_differences_are_shown(
    asking: Store, meeting: Any
) -> None:
    conflict = meeting(
        lambda: asking.configs.create("openai", name="new", model="m", temperature=0.9),
        "store.configs.create('openai', name='new', model='m', temperature=1.5)",
    )
    assert conflict.question == (
        "config 'new' was created meanwhile. temperature: 1.5 is saved, 0.9 was wanted here.",
        "Use 0.9",
        "Keep 1.5",
    )


def test_a_name_that_is_taken_can_be_tried_again(asking: Store, meeting: Any) -> None:
    conflict = meeting(
        lambda: asking.configs["gpt"].update(name="new"),
        "store.configs.create('openai', name='new')",
    )
    assert conflict.question == (
        "The config name 'new' was taken meanwhile. The name was wanted here.",
        "Try again",
        "Leave it so",
    )


def test_a_new_config_whose_name_was_taken_was_not_saved_and_can_be_tried_again(
    asking: Store, meeting: Any
) -> None:
    made: list[Any] = []
    conflict = meeting(
        lambda: made.append(asking.configs.create("openai", name="new", temperature=0.9)),
        "gpt.name = 'new'",
    )
    assert conflict.question == (
        "The config name 'new' was taken meanwhile. The name was wanted here.",
        "Try again",
        "Leave it so",
    )
    assert repr(made[0]) == "<Config new: openai, no model, temperature 0.9, not saved>"
    with pytest.raises(NotFoundError, match=r"This config was not saved\. The config name 'new' was taken"):
        made[0].temperature = 1.0


def test_what_belongs_together_is_told_where_it_changed(asking: Store, meeting: Any) -> None:
    conflict = meeting(
        lambda: asking.configs["gpt"].update(model="mine"), "gpt.update(provider='ollama', model='theirs')"
    )
    assert conflict.question == (
        "model: 'theirs' is saved, 'mine' was wanted here. Meanwhile, provider is 'ollama' by now.",
        "Use 'mine'",
        "Keep 'theirs'",
    )


def test_what_there_is_no_field_for_any_more_is_told(asking: Store, meeting: Any) -> None:
    conflict = meeting(lambda: asking.configs["gpt"].update(seed=5), "gpt.provider = 'anthropic'")
    assert conflict.question.sentence == "config 'gpt' has no seed by now. Wanted here: seed 5."
    with pytest.raises(ValidationError, match=r"has no seed by now, since its provider is another one"):
        conflict.resolve("ours")
    assert len(asking.conflicts) == 1


def test_what_is_not_set_is_said_so(asking: Store, meeting: Any) -> None:
    conflict = meeting(lambda: asking.configs["gpt"].update(temperature=None), "gpt.temperature = 1.5")
    assert conflict.question == (
        "temperature: 1.5 is saved, nothing was wanted here.",
        "Unset it",
        "Keep 1.5",
    )


def test_a_conflict_about_a_kind_that_only_a_later_version_knows_breaks_nothing(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    document = cast("ConflictDocument", overlap(asking, other, held).document())
    later = document.model_copy(update={"target_kind": "agent", "target_name": "a"})
    assert "Only a later version of orchstate knows what 'agent' is" in asked(asking._state, later).sentence


def test_what_waits_with_it_is_told_and_in_the_frame(asking: Store, meeting: Any) -> None:
    second = asking.configs.create("openai", name="second")

    def both() -> None:
        with asking.transaction("tuning"):
            asking.configs["gpt"].temperature = 0.9
            second.update(seed=7, api_key=None)

    conflict = meeting(both, "gpt.temperature = 1.5")
    assert conflict.question.sentence == (
        "temperature: 1.5 is saved, 0.9 was wanted here. "
        "With it waits the rest of its transaction 'tuning': seed of second 7."
    )
    frame = asking.conflicts.to_frame()
    assert frame[["name", "cause", "field", "ours"]].values.tolist() == [
        ["gpt", "overlap", "temperature", 0.9],
        ["second", "together", "seed", 7],
    ]


def test_a_key_is_shown_to_nobody(asking: Store, meeting: Any) -> None:
    key = "sk-proj-" + "a1B2" * 10

    def enter() -> None:
        asking.configs["gpt"].api_key = key

    conflict = meeting(enter, "gpt.delete()")
    assert key not in str(conflict)
    assert "api_key memory: ********" in str(conflict)


def test_one_that_is_resolved_says_so(asking: Store, other: Kernel, held: Callable[[], None]) -> None:
    conflict = overlap(asking, other, held)
    conflict.resolve("theirs")
    assert str(conflict) == "gpt: resolved."


def test_what_nobody_disputed_is_in_question_once_somebody_has_changed_it(
    asking: Store, other: Kernel, held: Callable[[], None]
) -> None:
    gpt, conflict = asking.configs["gpt"], overlap(asking, other, held, max_tokens=77, seed=7)
    assert conflict.question.sentence == (
        "temperature: 1.5 is saved, 0.9 was wanted here. With it was wanted: max_tokens 77; seed 7."
    )
    gpt.max_tokens = 500
    asking.flush()
    assert conflict.question == (
        "temperature: 1.5 is saved, 0.9 was wanted; max_tokens: 500 is saved, 77 was wanted here. "
        "With it was wanted: seed 7.",
        "Use what was wanted",
        "Keep what is saved",
    )
    conflict.resolve({"temperature": 1.0})
    asking.flush()
    assert (gpt.temperature, gpt.max_tokens, gpt.seed) == (1.0, 500, 7)
    asking.undo()
    asking.conflicts[0].resolve("ours")
    asking.flush()
    assert (gpt.temperature, gpt.max_tokens, gpt.seed) == (0.9, 77, 7)
