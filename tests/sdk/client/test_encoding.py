"""From values to bytes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from durafold.client.encoding import encode_json, encode_message, join_messages
from durafold.errors import ConfigurationError


def test_json_is_compact_utf8() -> None:
    assert encode_json({"käse": [1, 2.5, None, True]}) == '{"käse":[1,2.5,null,true]}'.encode()


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, {1, 2}, object(), b"x", "\ud800", {"a": {"b": -math.inf}}]
)
def test_a_value_without_a_json_form_is_refused_before_anything_is_sent(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="no JSON form"):
        encode_json(value)


def test_a_cyclic_value_is_refused() -> None:
    value: list[Any] = []
    value.append(value)

    with pytest.raises(ConfigurationError, match="no JSON form"):
        encode_json(value)


def test_a_string_is_a_json_value_in_a_json_stream_and_text_elsewhere() -> None:
    assert encode_message("hi", "application/json; charset=utf-8") == b'"hi"'
    assert encode_message("hi", "text/plain") == b"hi"


@pytest.mark.parametrize("data", [b"x", bytearray(b"x"), memoryview(b"x")])
def test_bytes_are_taken_as_they_are_by_a_byte_stream_only(data: Any) -> None:
    assert encode_message(data, "application/octet-stream") == b"x"
    with pytest.raises(ConfigurationError, match="append_bytes"):
        encode_message(data, "application/json")


def test_a_byte_stream_does_not_take_values() -> None:
    with pytest.raises(ConfigurationError, match="application/json"):
        encode_message({"a": 1}, "text/plain")


def test_messages_of_a_json_stream_are_joined_as_an_array_so_that_a_list_stays_one_message() -> None:
    assert join_messages([b"[1,2]", b"3"], "application/json") == b"[[1,2],3]"


def test_messages_of_a_byte_stream_are_joined_end_to_end() -> None:
    assert join_messages([b"ab", b"c"], "application/octet-stream") == b"abc"
