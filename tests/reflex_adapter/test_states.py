"""What `use_server_state` and `use_server_reducer` make, before any app runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("reflex", reason="the Reflex adapter needs: pip install 'durafold[reflex]'")

import reflex as rx
from pydantic import BaseModel, ConfigDict

from durafold.errors import ConfigurationError
from durafold.reflex import use_server_reducer, use_server_state
from durafold.reflex._internals import require_supported_reflex
from durafold.state.reducer import reducer


class Vote(BaseModel):
    model_config = ConfigDict(frozen=True)

    option: str


@dataclass(frozen=True)
class Votes:
    options: list[str]


def count_vote(state: Votes, action: Vote) -> Votes:
    return Votes([*state.options, action.option])


def test_the_class_is_a_reflex_state_of_the_module_that_asked_for_it() -> None:
    score = use_server_state(0, "states/score", name="Score")

    assert issubclass(score, rx.State)
    assert (score.__module__, score.__name__) == (__name__, "Score")


def test_the_name_is_made_of_the_key_when_none_is_given() -> None:
    assert use_server_state(0, "states/high-score").__name__ == "StatesHighScore"


def test_vars_have_the_types_of_what_they_hold() -> None:
    poll = use_server_reducer(count_vote, Votes([]), "states/poll", actions=Vote)

    assert poll.value._var_type is Votes
    assert poll.value.options._var_type == list[str]
    assert poll.status._var_type is str
    assert poll.pending._var_type is int


def test_state_type_says_more_than_the_default() -> None:
    tags = use_server_state([], "states/tags", state_type=list[str])

    assert tags.value._var_type == list[str]


def test_pages_are_built_with_the_default() -> None:
    lives: Any = use_server_state(3, "states/lives", name="Lives")

    built = lives(_reflex_internal_init=True).dict(initial=True)  # as Reflex does when it builds

    assert built[lives.get_full_name()] == {
        "value_rx_state_": 3,
        "status_rx_state_": "connecting",
        "pending_rx_state_": 0,
    }


def test_changes_are_background_events() -> None:
    level = use_server_state(0, "states/level")
    ballot = use_server_reducer(count_vote, Votes([]), "states/ballot", actions=Vote)
    switch = use_server_state(False, "states/switch")
    events: list[Any] = [level.set, level.increment, switch.toggle, ballot.dispatch]

    assert [event.is_background for event in events] == [True, True, True, True]


def test_only_numbers_can_be_incremented_and_only_booleans_toggled() -> None:
    name, speed, lamp = (
        use_server_state("", "states/name"),
        use_server_state(1.5, "states/speed"),
        use_server_state(False, "states/lamp"),
    )

    assert [*name.event_handlers] == ["setvar", "set_value"]
    assert [*speed.event_handlers] == ["setvar", "set_value", "increment"]
    assert [*lamp.event_handlers] == ["setvar", "set_value", "toggle"]


def test_reducers_with_an_inverse_can_undo_and_redo() -> None:
    undoable = reducer(inverse=lambda before, action: None)(count_vote)

    plain = use_server_reducer(count_vote, Votes([]), "states/plain", actions=Vote)
    poll = use_server_reducer(undoable, Votes([]), "states/undoable", actions=Vote)

    assert [*plain.event_handlers] == ["setvar", "dispatch"]
    assert [*poll.event_handlers] == ["setvar", "dispatch", "undo", "redo"]
    assert (poll.can_undo._var_type, poll.can_redo._var_type) == (bool, bool)


def test_the_vars_of_a_dispatched_action_are_sent_by_the_browser() -> None:
    choice = use_server_state("", "states/choice")
    choices = use_server_reducer(count_vote, Votes([]), "states/choices", actions=Vote)

    event: Any = choices.dispatch({"option": choice.value})

    assert str(choice.value) in str(event.args)


def test_a_subclass_can_derive_vars_from_the_shared_value() -> None:
    total = use_server_state(2, "states/total", name="Total")

    class Doubled(total):  # type: ignore[valid-type,misc]
        @rx.var(cache=False)
        def doubled(self) -> int:
            return 2 * self.value

    state_tree: Any = rx.State
    state: Any = state_tree(_reflex_internal_init=True).get_substate(Doubled.get_full_name().split("."))

    assert state.doubled == 4


def test_a_default_of_none_needs_a_type() -> None:
    with pytest.raises(ConfigurationError, match="state_type"):
        use_server_state(None, "states/nothing")


def test_the_same_key_with_another_default_is_refused() -> None:
    use_server_state(0, "states/twice", name="Once")

    with pytest.raises(ConfigurationError, match="declared twice"):
        use_server_state(1, "states/twice", name="Twice")


@pytest.mark.parametrize("installed", ["0.9.4", "0.11.0", "1.0.0"])
def test_an_unknown_reflex_is_refused_with_the_line_to_run(installed: str) -> None:
    with pytest.raises(ConfigurationError, match=r"pip install 'durafold\[reflex\]'"):
        require_supported_reflex(installed)
