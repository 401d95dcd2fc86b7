"""Every state a stream has gone through, and what takes a change back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durafold.state.history import History
from durafold.state.inverse import inverse_of
from durafold.state.reducer import action_step, set_state_step
from support.logs import action, line, notes


def history_of(*texts: str) -> History[tuple[str, ...]]:
    messages = [action(text, f"me:{number}") for number, text in enumerate(texts, 1)]
    return History(action_step(notes), (), messages, "9")


def test_each_message_has_the_states_before_and_after_it() -> None:
    history = history_of("a", "b", "a", "boom", "new")

    assert [(entry.action, entry.id, entry.verdict) for entry in history] == [
        ("a", "me:1", "applied"),
        ("b", "me:2", "applied"),
        ("a", "me:3", "rejected"),
        ("boom", "me:4", "poison"),
        ("new", "me:5", "unknown"),
    ]
    assert (history[1].before, history[1].after) == (("a",), ("a", "b"))
    assert history[-1].after == ("a", "b")


def test_every_message_of_an_unknown_type_is_told_as_one() -> None:
    history = history_of("new", "a", "boom", "new", "boom")

    assert [entry.verdict for entry in history] == ["unknown", "applied", "poison", "unknown", "poison"]
    assert (history[3].verdict, history[4].verdict) == ("unknown", "poison")


def test_a_second_copy_and_a_lost_compare_and_set_are_told_apart() -> None:
    messages = [line("set", 1, "me:1"), line("set", 1, "me:1"), line("set", 5, "you:1", if_revision=0)]

    verdicts = [entry.verdict for entry in History(set_state_step(), 0, messages, "9")]

    assert verdicts == ["applied", "duplicate", "conflict"]


@given(st.integers(0, 1000))
def test_any_place_of_a_long_history_is_what_a_replay_gives(position: int) -> None:
    history = LONG

    assert history.at(position) == sum(range(position))


LONG = History(action_step(lambda state, number: state + number), 0, [action(n) for n in range(1000)], "9")


def test_places_that_do_not_exist_are_refused() -> None:
    with pytest.raises(IndexError, match="has 2 messages, not 3"):
        history_of("a", "b").at(3)
    with pytest.raises(IndexError):
        history_of("a", "b")[2]


def test_stepping_back_and_forth_runs_few_folds() -> None:
    runs: list[int] = []

    def counting(state: int, number: int) -> int:
        runs.append(number)
        return state + number

    history = History(action_step(counting), 0, [action(n) for n in range(10_000)], "9")
    runs.clear()

    states = [history.at(position) for position in (9999, 5000, 256, 0)]

    assert states == [sum(range(position)) for position in (9999, 5000, 256, 0)]
    assert len(runs) < 4 * 256


before: dict[str, Any] = {"n": 1, "items": ["a", "b"], "on": True, "deep": {"x": 1}}


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("op", ["increment", 2, ["n"]]),
        ("op", ["increment", 2, ["missing"]]),
        ("op", ["increment", 2, ["deep", "new", "y"]]),
        ("op", ["append", "c", ["items"]]),
        ("op", ["extend", ["c", "d"], ["items"]]),
        ("op", ["remove", "a", ["items"]]),
        ("op", ["remove", "deep"]),
        ("op", ["merge", {"n": 9, "z": 1}]),
        ("op", ["put", ["deep", "x"], 5]),
        ("op", ["put", ["items", 1], "z"]),
        ("op", ["toggle", ["on"]]),
        ("op", ["toggle", ["off"]]),
        ("op", ["min", 0, ["n"]]),
        ("op", ["max", 7, ["n"]]),
        ("set", {"other": True}),
    ],
)
def test_the_inverse_of_a_change_restores_the_value(kind: str, payload: Any) -> None:
    step = set_state_step()
    changed = step(before, line(kind, payload, "me:1"))

    inverse_kind, inverse_payload = inverse_of(kind, payload, before)

    assert changed != before
    assert step(changed, line(inverse_kind, inverse_payload, "me:2")) == before


def test_what_others_added_meanwhile_stays() -> None:
    assert inverse_of("op", ["increment", 2], 5) == ("op", ["increment", -2])
