"""What has a JSON form, and what is equal in JSON."""

from __future__ import annotations

import enum
from typing import Any

import pytest

from durafold.state.json_values import NotJson, json_equal, to_json_value


class Color(enum.StrEnum):
    RED = "red"


class Size(enum.IntEnum):
    LARGE = 3


def test_a_value_becomes_what_a_reader_will_get() -> None:
    value = {"a": (1, 2.5, None, True), "color": Color.RED, "size": Size.LARGE}

    plain = to_json_value(value)

    assert plain == {"a": [1, 2.5, None, True], "color": "red", "size": 3}
    assert type(plain["color"]) is str
    assert type(plain["size"]) is int


def test_the_result_shares_nothing_with_the_value() -> None:
    value: dict[str, Any] = {"items": [1]}

    plain = to_json_value(value)
    value["items"].append(2)

    assert plain == {"items": [1]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "the value is nan"),
        ({"a": [0, float("inf")]}, r"'a\[1\]' is inf"),
        ({1: "a"}, "the key 1"),
        ({"a": {2}}, "of type set"),
        (b"bytes", "of type bytes"),
        ("\ud800", "lone surrogate"),
        ({"\udfff": 1}, "lone surrogate"),
        (1 << 4096, "more than 4096 bits"),
    ],
)
def test_what_has_no_json_form_is_refused_and_named(value: Any, message: str) -> None:
    with pytest.raises(NotJson, match=message):
        to_json_value(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)

    with pytest.raises(NotJson, match="nested deeper"):
        to_json_value(loop)


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        ([1, {"a": None}], [1.0, {"a": None}], True),
        ([1], [True], False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ("1", 1, False),
    ],
)
def test_equality_is_that_of_json(left: Any, right: Any, equal: bool) -> None:
    assert json_equal(left, right) is equal
