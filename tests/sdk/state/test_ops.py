"""Declared operations: one sentence per rule of `durafold.state.ops`."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durafold.state.ops import InvalidOperation, apply_op, check_op
from durafold.state.outcomes import Reject, UnknownAction

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(-9, 9, allow_nan=False)
    | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("state", "op", "after"),
    [
        pytest.param(1, ["increment", 2], 3, id="increment adds"),
        pytest.param(1, ["increment", -0.5], 0.5, id="increment takes fractions and negatives"),
        pytest.param(10**400, ["increment", 1], 10**400 + 1, id="increment is exact on large integers"),
        pytest.param(
            {}, ["increment", 1, ["votes", "yes"]], {"votes": {"yes": 1}}, id="a missing count is 0"
        ),
        pytest.param(["a"], ["append", "b"], ["a", "b"], id="append adds one item"),
        pytest.param([], ["append", [1, 2]], [[1, 2]], id="append of a list adds one item"),
        pytest.param({}, ["append", 1, ["log"]], {"log": [1]}, id="a missing list is empty"),
        pytest.param([1], ["extend", [2, 3]], [1, 2, 3], id="extend adds several items"),
        pytest.param([1, 2, 1], ["remove", 1], [2, 1], id="remove takes the first equal item"),
        pytest.param([True, 1], ["remove", 1], [True], id="remove knows 1 from true"),
        pytest.param([[1.0]], ["remove", [1]], [], id="remove takes 1 and 1.0 for the same number"),
        pytest.param([1], ["remove", 2], [1], id="remove of an absent item is a no-op"),
        pytest.param({"a": 1, "b": 2}, ["remove", "a"], {"b": 2}, id="remove takes a key from an object"),
        pytest.param({"a": 1}, ["merge", {"b": 2}], {"a": 1, "b": 2}, id="merge adds keys"),
        pytest.param({"a": {"x": 1}}, ["merge", {"a": {}}], {"a": {}}, id="merge is one level deep"),
        pytest.param([{"d": 0}], ["put", [0, "d"], 1], [{"d": 1}], id="put replaces at a path"),
        pytest.param({}, ["put", ["a", "b"], None], {"a": {"b": None}}, id="put makes objects on the way"),
        pytest.param(1, ["put", [], 2], 2, id="put at the empty path replaces everything"),
        pytest.param(False, ["toggle"], True, id="toggle negates"),
        pytest.param({}, ["toggle", ["done"]], {"done": True}, id="a missing flag is false"),
        pytest.param([{"d": True}], ["toggle", [0, "d"]], [{"d": False}], id="toggle takes a path"),
        pytest.param(5, ["min", 3], 3, id="min keeps the smaller"),
        pytest.param(5, ["max", 3], 5, id="max keeps the larger"),
        pytest.param({}, ["max", -1, ["best"]], {"best": -1}, id="max of nothing is its argument"),
    ],
)
def test_an_operation_gives(state: Any, op: Any, after: Any) -> None:
    result = apply_op(state, op)

    assert json.dumps(result) == json.dumps(after)


@pytest.mark.parametrize(
    ("state", "op", "reason"),
    [
        ([], ["increment", 1], "a list cannot be incremented"),
        (True, ["increment", 1], "a boolean cannot be incremented"),
        (1.7e308, ["increment", 1.7e308], "too large"),
        (10**400, ["increment", 0.5], "too large"),
        ({}, ["append", 1], "nothing can be appended to an object"),
        (None, ["extend", []], "nothing can be appended to null"),
        (1, ["remove", 1], "cannot be removed from a number"),
        ({}, ["remove", "a", ["list"]], "a part that does not exist"),
        ([], ["merge", {}], "nothing can be merged into a list"),
        ("on", ["toggle"], "a text cannot be toggled"),
        ("1", ["max", 1], "cannot be compared"),
        ([1], ["put", [1], 2], "no index 1 in a list of 1"),
        ({}, ["put", [0], 2], "no index 0 in an object"),
        ([], ["put", ["a"], 2], "no key 'a' in a list"),
        ({"a": 1}, ["put", ["a", "b"], 2], "no key 'b' in a number"),
    ],
)
def test_an_operation_that_does_not_fit_the_state_is_rejected(state: Any, op: Any, reason: str) -> None:
    with pytest.raises(Reject, match=reason):
        apply_op(state, op)


@pytest.mark.parametrize(
    "op",
    [
        "increment",
        [],
        [1],
        ["increment"],
        ["increment", "1"],
        ["increment", True],
        ["increment", 1, "path"],
        ["increment", 1, [], 2],
        ["extend", 1],
        ["merge", []],
        ["put", 1],
        ["put", ["a"]],
        ["put", "a", 1],
        ["put", [-1], 1],
        ["put", [True], 1],
        ["toggle", True],
        ["min"],
        ["max", None],
    ],
)
def test_a_malformed_operation_is_refused_before_it_is_sent(op: Any) -> None:
    with pytest.raises(InvalidOperation):
        check_op(op)


def test_an_operation_of_a_newer_version_is_unknown() -> None:
    with pytest.raises(UnknownAction, match="'divide'"):
        apply_op(1, ["divide", 2])


@given(
    JSON_VALUES,
    st.lists(st.text("ab", max_size=1) | st.integers(0, 2), max_size=3),
    JSON_VALUES,
    st.sampled_from(["append", "remove", "put", "merge", "increment", "extend", "toggle", "min", "max"]),
)
def test_operations_never_change_the_state_they_are_given(
    state: Any, path: list[str | int], value: Any, name: str
) -> None:
    before = json.dumps(state)
    op = ["put", path, value] if name == "put" else [name, path] if name == "toggle" else [name, value, path]

    try:
        after = apply_op(state, op)
    except (Reject, InvalidOperation):
        after = state

    assert json.dumps(state) == before
    assert json.loads(json.dumps(after)) == after


@given(
    st.lists(st.integers(), min_size=1).flatmap(
        lambda steps: st.tuples(st.just(steps), st.permutations(steps))
    )
)
def test_increments_give_the_same_sum_in_every_order(orders: tuple[list[int], list[int]]) -> None:
    totals = [functools.reduce(apply_op, (["increment", by] for by in order), 0) for order in orders]

    assert totals[0] == totals[1] == sum(orders[0])
