"""From values to bytes."""

from __future__ import annotations

import gc
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durafold.client.encoding import decode_json, encode_json, encode_message, join_messages
from durafold.errors import ConfigurationError

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.booleans(), inner),
)


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


@given(JSON_VALUES)
def test_json_is_what_the_standard_library_writes(value: Any) -> None:
    assert encode_json(value).decode() == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@given(JSON_VALUES, st.booleans())
def test_json_is_read_as_the_standard_library_reads_it(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)

    assert repr(decode_json(text.encode())) == repr(json.loads(text))


@pytest.mark.parametrize("text", ['"\\ud800"', "[" * 300 + "]" * 300, "1e400", "NaN", "-0", "\ufeff1"])
def test_odd_json_is_read_as_the_standard_library_reads_it(text: str) -> None:
    assert repr(decode_json(text.encode())) == repr(json.loads(text.encode()))


@pytest.mark.parametrize("text", [b"[1,]", b"01", b"", b"[1] x", b'"\xff"'])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"column|decode"):
        decode_json(text)


@pytest.mark.parametrize("is_on", [True, False])
def test_the_garbage_collector_is_afterwards_what_it_was_before(is_on: bool) -> None:
    long = b"[" + b"1," * 20_000
    was_on = gc.isenabled()
    (gc.enable if is_on else gc.disable)()
    try:
        assert decode_json(long + b"1]") == [1] * 20_001
        with pytest.raises(ValueError, match="column"):
            decode_json(long)

        assert gc.isenabled() is is_on
    finally:
        (gc.enable if was_on else gc.disable)()


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
