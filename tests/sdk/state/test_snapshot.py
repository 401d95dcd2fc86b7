"""Snapshots: when they are taken, what makes them useless, and their way through JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from durafold.state.json_values import NotJson
from durafold.state.models import PLAIN, Model, model_of
from durafold.state.reducer import action_step, reducer
from durafold.state.replica import Confirmed, fold_batch
from durafold.state.snapshot import (
    Snapshot,
    dump_snapshot,
    fingerprint,
    load_snapshot,
    restore,
    take_snapshot,
)
from support.logs import action, batch, notes

Notes = tuple[str, ...]
NOTES = model_of((), tuple[str, ...])


class Todos(BaseModel):
    items: dict[int, str] = {}


class OtherTodos(BaseModel):
    items: list[str] = []


def folded(*texts: str) -> Confirmed[Notes]:
    messages = [action(text, f"me:{n}") for n, text in enumerate(texts)]
    start: Confirmed[Notes] = Confirmed(())
    return fold_batch(action_step(notes), start, batch(*messages)).confirmed


def snapshot_of(state: Any) -> Snapshot[Any]:
    return Snapshot(state, "5", 2, 3, {"b": 1, "a": 7}, "f")


def test_a_restored_snapshot_is_the_state_it_was_taken_of() -> None:
    confirmed = folded("a", "b", "a")

    snapshot = take_snapshot(confirmed, "f")

    assert snapshot is not None
    assert restore(snapshot) == confirmed


@pytest.mark.parametrize("text", ["boom", "new"])
def test_no_snapshot_is_taken_past_a_fault(text: str) -> None:
    assert take_snapshot(folded("a", text), "f") is None


@pytest.mark.parametrize("state", [0, None, "text", {"a": [1, {"b": None}]}, [1.5, True]])
def test_a_plain_state_survives_the_way_through_json(state: Any) -> None:
    snapshot = snapshot_of(state)

    again = load_snapshot(json.loads(json.dumps(dump_snapshot(snapshot, PLAIN))), PLAIN)

    assert again == snapshot
    assert again is not None
    assert list(again.seen.items()) == [("b", 1), ("a", 7)]


def test_r7_who_lost_a_compare_and_set_survives_the_way_through_json() -> None:
    snapshot = replace(snapshot_of(1), losers=frozenset({"a", "b"}))

    again = load_snapshot(json.loads(json.dumps(dump_snapshot(snapshot, PLAIN))), PLAIN)

    assert again == snapshot
    assert restore(snapshot).losers == {"a", "b"}
    assert take_snapshot(restore(snapshot), "f") == snapshot


def test_a_modelled_state_survives_the_way_through_json() -> None:
    states = model_of(Todos())
    snapshot = snapshot_of(Todos(items={1: "milk"}))

    assert load_snapshot(json.loads(json.dumps(dump_snapshot(snapshot, states))), states) == snapshot


@pytest.mark.parametrize("state", [{1: "keys"}, {"a": (1, 2)}, [Todos()], {"a": float("nan")}])
def test_a_state_that_would_come_back_different_is_refused(state: Any) -> None:
    with pytest.raises(NotJson):
        dump_snapshot(snapshot_of(state), PLAIN)


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        [],
        {
            "state": {"items": "no"},
            "offset": "5",
            "revision": 2,
            "position": 3,
            "seen": [],
            "fingerprint": "f",
        },
        {"state": {}, "offset": "now", "revision": 2, "position": 3, "seen": [], "fingerprint": "f"},
        {"state": {}, "offset": "", "revision": 2, "position": 3, "seen": [], "fingerprint": "f"},
        {"state": {}, "offset": "-1", "revision": 2, "position": 3, "seen": [], "fingerprint": "f"},
        {"state": {}, "offset": "5", "revision": "two", "position": 3, "seen": [], "fingerprint": "f"},
        {"state": {}, "offset": "5", "revision": 2, "position": 3, "seen": [1], "fingerprint": "f"},
    ],
)
def test_what_is_no_snapshot_of_the_type_is_no_error_but_nothing(value: Any) -> None:
    assert load_snapshot(value, model_of(Todos())) is None


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    assert fingerprint(print, PLAIN, PLAIN, 0) == "8ffea7c67787d3c7a7699f9d2e8e649e"


@pytest.mark.parametrize(
    ("other", "actions", "states", "initial"),
    [
        (reducer(name="b")(notes), PLAIN, NOTES, ()),
        (reducer(name="a", version="2")(notes), PLAIN, NOTES, ()),
        (reducer(name="a")(notes), model_of(Todos()), NOTES, ()),
        (reducer(name="a")(notes), PLAIN, model_of(OtherTodos()), ()),
        (reducer(name="a")(notes), PLAIN, NOTES, ("first",)),
    ],
    ids=["name", "version", "actions", "states", "initial state"],
)
def test_r11_whatever_decides_the_meaning_of_a_state_changes_the_fingerprint(
    other: Any, actions: Model, states: Model, initial: Any
) -> None:
    assert fingerprint(other, actions, states, initial) != fingerprint(
        reducer(name="a")(notes), PLAIN, NOTES, ()
    )


def test_two_declarations_that_mean_the_same_have_one_fingerprint() -> None:
    assert fingerprint(reducer(name="a")(notes), PLAIN, NOTES, ()) == fingerprint(
        reducer(name="a")(lambda state, _: state), PLAIN, model_of((), tuple[str, ...]), ()
    )
