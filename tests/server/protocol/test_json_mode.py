"""JSON mode: what is accepted, how it is cut into messages, and that every byte comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from durafold_server.protocol import json_mode
from durafold_server.protocol.errors import EmptyBody, InvalidJson
from durafold_server.protocol.json_mode import (
    count,
    flatten,
    flatten_in_steps,
    is_boundary,
    page_body,
    sub_position,
)
from durafold_server.protocol.model import Payload

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.text('\\"[]{},: \n', max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)
LAYOUTS = st.sampled_from([{}, {"indent": 1}, {"separators": (" ,", " : ")}, {"ensure_ascii": False}])


@pytest.fixture(autouse=True, scope="module", params=[None, 1, 7])
def step_bytes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything here holds for bodies taken in at once, and for those taken in by bits and pieces."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param is not None:
            patch.setattr(json_mode, "LARGE_BODY_BYTES", request.param)
            patch.setattr(json_mode, "_WINDOW_BYTES", request.param)
        yield


def nested(opening: str, inner: str, closing: str, depth: int) -> bytes:
    return f"{opening * depth}{inner}{closing * depth}".encode()


@pytest.mark.parametrize(
    ("body", "stored", "messages"),
    [
        (b'{"event":"created"}', b'{"event":"created"},', 1),
        (b'[{"event":"a"},{"event":"b"}]', b'{"event":"a"},{"event":"b"},', 2),
        (b"[[1,2],[3,4]]", b"[1,2],[3,4],", 2),
        (b"[[[1,2,3]]]", b"[[1,2,3]],", 1),
        (b"[[]]", b"[],", 1),
        (b"1", b"1,", 1),
        (b"null", b"null,", 1),
        (b"[null,true,false]", b"null,true,false,", 3),
        (b'""', b'"",', 1),
        (b"{}", b"{},", 1),
        (b" \t\r\n [ 1 ,\n 2 ] \r\n", b"1,2,", 2),
        (b' "a" ', b'"a",', 1),
        (b'{ "a" : 1 }', b'{ "a" : 1 },', 1),
        (b'"[1,2]"', b'"[1,2]",', 1),
    ],
)
def test_exactly_one_array_level_is_flattened(body: bytes, stored: bytes, messages: int) -> None:
    assert flatten(body) == Payload(stored, messages)


@pytest.mark.parametrize(
    "message",
    [
        b"9007199254740993",
        b"-0",
        b"1.0",
        b"1e400",
        b"1E+2",
        b"0.1000000000000000055511151231257827",
        b"1" * 5000,
        b'{"b":1,"a":2}',
        b'{"a":1,"a":2}',
        b'"\\u00e9"',
        b'"\xc3\xa9"',
        b'"\\/"',
        b'"\\ud83d\\ude00"',
        b'"\\u0000"',
        b'"\xe2\x80\xa8"',
        b'{"a" :\t[1, 2]}',
    ],
)
def test_a_message_comes_back_byte_for_byte(message: bytes) -> None:
    alone, listed = flatten(message), flatten(b"[" + message + b"]")

    assert page_body(alone.data) == page_body(listed.data) == b"[" + message + b"]"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"NaN",
        b"[NaN]",
        b'{"a":NaN}',
        b"Infinity",
        b"-Infinity",
        b"nul",
        b"True",
        b"undefined",
        b"01",
        b"+1",
        b"-",
        b"1.",
        b".5",
        b"1e",
        b"0x10",
        b"1_000",
        b"'a'",
        b'"a',
        b'"\\x41"',
        b'"\\u12"',
        b'"\\u12g4"',
        b'"\\ud800"',
        b'"\\udc00"',
        b'"\t"',
        b'"\n"',
        b'"\x00"',
        b"[1",
        b"1]",
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b"[1,,2]",
        b"{",
        b"{a:1}",
        b'{"a"}',
        b'{"a":}',
        b'{"a":1,}',
        b'{"a":1 "b":2}',
        b"{1:2}",
        b"1 2",
        b"{}{}",
        b"[1]x",
        b"[1]\x00",
        b"1 // one",
        b"/* one */ 1",
        b"\xef\xbb\xbf1",
        b"\x0c1",
        b"\xa01",
        b"\xff",
        b'"\xc3"',
        b'"\xc0\xaf"',
        b'"\xed\xa0\x80"',
        b'"\xf5\x80\x80\x80"',
        '"a"'.encode("utf-16"),
    ],
)
def test_what_rfc_8259_does_not_allow_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidJson):
        flatten(body)


@pytest.mark.parametrize("body", [b"[]", b" [ ] "])
def test_an_empty_array_is_refused_except_at_creation(body: bytes) -> None:
    with pytest.raises(EmptyBody):
        flatten(body)

    assert flatten(body, allow_empty=True) == Payload(b"", 0)


@pytest.mark.parametrize(
    ("opening", "inner", "closing"),
    [
        pytest.param("[", "", "]", id="arrays"),
        pytest.param('{"a":', "1", "}", id="objects"),
        pytest.param('[{"]":', "1", "}]", id="both, with brackets in the keys"),
        pytest.param('["\\\\",', "1", "]", id="beside a string that ends with a backslash"),
        pytest.param('["\\"[",', "1", "]", id="beside a string that holds a quote and a bracket"),
    ],
)
def test_a_message_may_be_128_levels_deep_and_no_deeper(opening: str, inner: str, closing: str) -> None:
    levels = opening.count("[", 0, 2) + opening.count("{", 0, 2)
    allowed = nested(opening, inner, closing, 128 // levels)
    too_deep = b"[" + allowed + b"]"

    assert flatten(too_deep) == Payload(allowed + b",", 1)
    with pytest.raises(InvalidJson, match="128 levels"):
        flatten(b"[" + too_deep + b"]")


@pytest.mark.parametrize("depth", [1_000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_absurd_nesting_is_refused_like_any_other(depth: int, opening: str, closing: str) -> None:
    with pytest.raises(InvalidJson):
        flatten(nested(opening, "1", closing, depth))
    with pytest.raises(InvalidJson):
        flatten(opening.encode() * depth)


def test_brackets_inside_strings_are_no_nesting() -> None:
    body = json.dumps(["[" * 1000, "{" * 1000, '\\"[' * 1000]).encode()

    assert flatten(body).messages == 3


def test_many_siblings_are_no_nesting() -> None:
    body = b"[[" + b",".join([b"[]", b"{}"] * 500) + b"]]"

    assert flatten(body).messages == 1


@given(JSON_VALUES, LAYOUTS)
@example([], {})
@example([[]], {})
def test_flattening_then_reading_gives_the_parsed_messages(value: Any, layout: dict[str, Any]) -> None:
    body = json.dumps(value, **layout).encode()

    payload = flatten(body, allow_empty=True)

    assert json.loads(page_body(payload.data)) == (value if isinstance(value, list) else [value])


@given(st.lists(st.lists(JSON_VALUES, min_size=1, max_size=3), max_size=4))
def test_appends_one_after_another_read_as_one_array(batches: list[list[Any]]) -> None:
    payloads = [flatten(json.dumps(batch).encode()) for batch in batches]

    page = page_body(b"".join(payload.data for payload in payloads))

    assert json.loads(page) == [message for batch in batches for message in batch]


@given(st.binary() | st.text(alphabet='[]{}":,\\ \n1aeE.-u0', max_size=30).map(str.encode))
def test_a_body_is_either_refused_or_valid_json(body: bytes) -> None:
    try:
        payload = flatten(body, allow_empty=True)
    except InvalidJson:
        return

    value = json.loads(body)
    assert json.loads(page_body(payload.data)) == (value if isinstance(value, list) else [value])


def test_an_empty_page_is_an_empty_array() -> None:
    assert page_body(b"") == b"[]"


@given(st.lists(JSON_VALUES, min_size=1, max_size=5))
def test_positions_of_messages_agree_with_their_bytes(values: list[Any]) -> None:
    messages = [json.dumps(value).encode() for value in values]
    stored = b"".join(message + b"," for message in messages)
    ends = {len(b"".join(message + b"," for message in messages[:n])) for n in range(len(messages) + 1)}

    assert count(stored) == len(messages)
    assert [sub_position(stored, n) for n in range(len(messages) + 1)] == sorted(ends)
    assert sub_position(stored, len(messages) + 1) is None
    assert {position for position in range(len(stored) + 1) if is_boundary(stored, position)} == ends


@pytest.mark.parametrize(
    ("message", "least_steps"),
    [
        pytest.param(b"1", 60, id="numbers"),
        pytest.param(b'"[,]"', 60, id="strings"),
        pytest.param(b'{"a":{"b":[1,2]},"c":{}}', 60, id="objects"),
        pytest.param(b"[1,[2,[3,4],5],6]", 60, id="arrays"),
        pytest.param(nested("[", "", "]", 128), 100, id="deep arrays"),
        pytest.param(b"[" + b"[]," * 500_000 + b"[]]", 40, id="one long array"),
    ],
)
def test_a_large_body_is_taken_in_by_many_steps(message: bytes, least_steps: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_mode, "LARGE_BODY_BYTES", 32 * 1024)
        patch.setattr(json_mode, "_WINDOW_BYTES", 16 * 1024)
        times = max(1, 2_000_000 // (len(message) + 1))
        body = b"[" + b",".join([message] * times) + b"]"

        steps = sum(1 for _ in flatten_in_steps(body))

        assert steps >= least_steps
        assert flatten(body) == Payload((message + b",") * times, times)


@pytest.mark.parametrize("position", [-1, 7, 100])
def test_no_message_ends_outside_the_data(position: int) -> None:
    assert not is_boundary(b"[1],2,", position)
