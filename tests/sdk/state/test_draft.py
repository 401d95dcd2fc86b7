"""Drafts: written to in place, while the old state stays as it was."""

from __future__ import annotations

import copy
import json
import random
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from durafold.state.draft import with_draft
from durafold.state.outcomes import Reject
from durafold.state.reducer import reducer


def changed(state: Any, change: Any) -> Any:
    """What a change makes of a state; checks that the old one stays."""
    before = copy.deepcopy(state)
    after = with_draft(change, state)
    assert state == before
    return after


def test_only_the_way_to_what_was_written_is_copied() -> None:
    state: dict[str, Any] = {"a": {"b": [1, 2]}, "untouched": {"big": [0] * 9}}

    def change(draft: Any) -> None:
        draft["a"]["b"].append(3)

    after = changed(state, change)

    assert after == {"a": {"b": [1, 2, 3]}, "untouched": {"big": [0] * 9}}
    assert after["untouched"] is state["untouched"]
    assert type(after["a"]["b"]) is list


def test_reading_alone_gives_the_old_object_back() -> None:
    state = {"a": [{"b": 1}]}

    def look(draft: Any) -> None:
        assert draft["a"][0]["b"] == 1
        assert list(draft) == ["a"]
        assert draft == {"a": [{"b": 1}]}

    assert changed(state, look) is state


def test_one_object_in_two_places_is_changed_in_one() -> None:
    row = {"n": 0}

    def change(draft: Any) -> None:
        draft[0]["n"] = 1

    assert changed([row, row], change) == [{"n": 1}, {"n": 0}]


def test_a_part_that_was_looked_at_is_found_again_after_it_moved() -> None:
    def change(draft: Any) -> None:
        last = draft[-1]
        draft.insert(0, {"n": 9})
        last["n"] = 7
        del draft[1]

    assert changed([{"n": 1}, {"n": 2}], change) == [{"n": 9}, {"n": 7}]


def test_lists_know_what_lists_do() -> None:
    def change(draft: Any) -> None:
        draft.extend([5, 4])
        draft.sort(reverse=True)
        draft[1:3] = [8, 8, 8]
        draft.remove(1)
        draft.insert(1, 1)
        draft.reverse()
        draft += [0]
        assert draft.pop() == 0
        assert draft[-1] == 5
        assert 8 in draft

    assert changed([3, 1], change) == [8, 8, 8, 1, 5]


def test_what_was_put_in_may_still_be_changed() -> None:
    def change(draft: Any) -> None:
        new: list[Any] = []
        draft["new"] = new
        new.append(draft["old"])
        draft["old"]["n"] = 2
        draft.setdefault("made", []).append(1)

    after = changed({"old": {"n": 1}}, change)

    assert after == {"old": {"n": 2}, "new": [{"n": 2}], "made": [1]}
    assert type(after["new"][0]) is dict


def test_a_part_of_the_action_is_changed_in_the_state_and_not_in_the_action() -> None:
    card = {"text": "milk", "tags": [["a"], ["b"]]}

    def change(draft: Any) -> None:
        draft["cards"].append(card)
        draft["cards"][-1]["done"] = True
        draft["cards"][-1]["tags"][0].append("c")

    after = changed({"cards": []}, change)

    assert after == {"cards": [{"text": "milk", "tags": [["a", "c"], ["b"]], "done": True}]}
    assert card == {"text": "milk", "tags": [["a"], ["b"]]}


def test_a_part_may_be_changed_inside_of_what_it_was_put_into() -> None:
    def change(draft: Any) -> None:
        draft["box"] = {"cards": [draft["card"]], "other": {"card": draft["card"]}}
        draft["box"]["cards"][0]["n"] = 2
        draft["box"]["label"] = "full"

    after = changed({"card": {"n": 1}}, change)

    assert json.loads(json.dumps(after)) == {
        "card": {"n": 2},
        "box": {"cards": [{"n": 2}], "other": {"card": {"n": 2}}, "label": "full"},
    }


def test_parts_may_be_moved_within_a_draft() -> None:
    def change(draft: Any) -> None:
        card = draft["todo"].pop(0)
        card["moved"] = True
        draft["done"].append(card)

    after = changed({"todo": [{"id": 1}], "done": []}, change)

    assert after == {"todo": [], "done": [{"id": 1, "moved": True}]}
    assert type(after["done"][0]) is dict


class Inner(BaseModel):
    model_config = ConfigDict(frozen=True)
    n: int = 0
    tags: list[str] = []


class Outer(BaseModel):
    model_config = ConfigDict(frozen=True)
    inner: Inner = Inner()
    other: Inner = Inner()

    @property
    def total(self) -> int:
        return self.inner.n + self.other.n


@dataclass(frozen=True)
class Point:
    x: int = 0
    path: tuple[int, ...] = ()


def test_models_and_dataclasses_have_drafts_though_they_are_frozen() -> None:
    state = Outer()

    def change(draft: Any) -> None:
        draft.inner.n = 5
        draft.inner.tags.append("new")
        assert draft.total == 5

    after = changed(state, change)

    assert after == Outer(inner=Inner(n=5, tags=["new"]))
    assert after.other is state.other
    assert changed(Point(), lambda draft: setattr(draft, "x", 3)) == Point(x=3)


def test_a_field_that_does_not_exist_cannot_be_set() -> None:
    with pytest.raises(AttributeError, match="Point has no field 'y'"):
        with_draft(lambda draft: setattr(draft, "y", 1), Point())


def test_a_state_without_drafts_is_told_so() -> None:
    with pytest.raises(TypeError, match="type int has no draft"):
        with_draft(lambda draft: None, 5)


def test_a_reducer_may_change_a_draft_or_return_a_state() -> None:
    @reducer(draft=True)
    def counts(state: dict[str, int], action: str) -> None:
        if action == "bad":
            state["half"] = 1
            raise Reject("no")
        state[action] = state.get(action, 0) + 1

    state = {"a": 1}

    assert counts(counts(state, "a"), "b") == {"a": 2, "b": 1}
    with pytest.raises(Reject):
        counts(state, "bad")
    assert state == {"a": 1}


values = st.recursive(
    st.integers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=4),
)


@given(st.dictionaries(st.text(max_size=2), values, max_size=4), st.randoms(use_true_random=False))
def test_a_draft_ends_as_a_deep_copy_would(state: dict[str, Any], rng: Any) -> None:
    seed = rng.getrandbits(32)
    expected = copy.deepcopy(state)
    _scramble(expected, random.Random(seed))

    after = changed(state, lambda draft: _scramble(draft, random.Random(seed)))

    assert after == expected


def _scramble(value: Any, rng: Any) -> None:
    for _ in range(6):
        _one_change(value, rng)


def _one_change(value: Any, rng: Any) -> None:
    keys = sorted(value) if hasattr(value, "keys") else list(range(len(value)))
    if not keys:
        return
    key = rng.choice(keys)
    part = value[key]
    if hasattr(part, "__len__") and rng.random() < 0.7:
        _one_change(part, rng)
    elif rng.random() < 0.3:
        del value[key]
    else:
        value[key] = rng.choice([0, [], {"x": [1]}])
