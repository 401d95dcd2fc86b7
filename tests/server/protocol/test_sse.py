"""SSE events: literal bytes, and that a parser gets back what was encoded (PROTOCOL §5.8)."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from durafold.wire.control import ControlEvent
from durafold.wire.offsets import Offset
from durafold_server.protocol.model import Mode
from durafold_server.protocol.sse import HEARTBEAT, control_event, data_event, whole_characters
from support.sse_parser import Event, parse_events

NASTY_TEXT = st.text("a :\r\n\t\0é€😀\u2028\ufeff", max_size=20)


@pytest.mark.parametrize(
    ("data", "mode", "event"),
    [
        (b"hello", Mode.TEXT, b"event: data\ndata:hello\n\n"),
        (b"line1\nline2", Mode.TEXT, b"event: data\ndata:line1\ndata:line2\n\n"),
        (b"a\r\nb\rc\nd", Mode.TEXT, b"event: data\ndata:a\ndata:b\ndata:c\ndata:d\n\n"),
        (b"a\n", Mode.TEXT, b"event: data\ndata:a\ndata:\n\n"),
        (b"\n", Mode.TEXT, b"event: data\ndata:\ndata:\n\n"),
        (b" a\n  b", Mode.TEXT, b"event: data\ndata:  a\ndata:   b\n\n"),
        (b"\ta", Mode.TEXT, b"event: data\ndata:\ta\n\n"),
        (
            b"a\n\nevent: control\ndata:{}",
            Mode.TEXT,
            b"event: data\ndata:a\ndata:\ndata:event: control\ndata:data:{}\n\n",
        ),
        ("é".encode(), Mode.TEXT, b"event: data\ndata:\xc3\xa9\n\n"),
        (b"a\xffb", Mode.TEXT, b"event: data\ndata:a\xef\xbf\xbdb\n\n"),
        (b'{"k":"v"},{"k":"w"},', Mode.JSON, b'event: data\ndata:[{"k":"v"},{"k":"w"}]\n\n'),
        (b'{\n "k": 1\r\n},', Mode.JSON, b'event: data\ndata:[{\ndata:  "k": 1\ndata:}]\n\n'),
        (b"\x01\x02\x03\x04\x05\x06\x07\x08\t\n", Mode.BINARY, b"event: data\ndata:AQIDBAUGBwgJCg==\n\n"),
        (b"\xfb\xff", Mode.BINARY, b"event: data\ndata:+/8=\n\n"),
    ],
)
def test_a_data_event_is(data: bytes, mode: Mode, event: bytes) -> None:
    assert data_event(data, mode) == event


@pytest.mark.parametrize(
    ("control", "event"),
    [
        (
            ControlEvent(Offset("7_9"), "123"),
            b'event: control\ndata:{"streamNextOffset":"7_9","streamCursor":"123"}\n\n',
        ),
        (
            ControlEvent(Offset("7_9"), "123", up_to_date=True),
            b'event: control\ndata:{"streamNextOffset":"7_9","streamCursor":"123","upToDate":true}\n\n',
        ),
        (
            ControlEvent(Offset("7_9"), "123", up_to_date=True, closed=True),
            b'event: control\ndata:{"streamNextOffset":"7_9","upToDate":true,"streamClosed":true}\n\n',
        ),
    ],
)
def test_a_control_event_is(control: ControlEvent, event: bytes) -> None:
    assert control_event(control) == event


def test_the_heartbeat_is_a_comment_that_dispatches_nothing() -> None:
    assert HEARTBEAT == b":\n\n"
    assert parse_events(HEARTBEAT * 3) == []


@given(NASTY_TEXT.filter(bool) | st.text(min_size=1))
@example(" ")
@example("\n ")
@example("\r")
@example("event: control\ndata: {}\n\n")
def test_text_comes_back_with_its_line_breaks_as_newlines(text: str) -> None:
    events = parse_events(data_event(text.encode(), Mode.TEXT))

    assert events == [Event("data", re.sub("\r\n|\r", "\n", text))]


@given(
    st.lists(NASTY_TEXT | st.dictionaries(NASTY_TEXT, st.integers()), min_size=1), st.sampled_from([None, 1])
)
def test_json_comes_back_as_the_same_array(messages: list[Any], indent: int | None) -> None:
    stored = b"".join(json.dumps(message, indent=indent).encode() + b"," for message in messages)

    events = parse_events(data_event(stored, Mode.JSON))

    assert [event.name for event in events] == ["data"]
    assert json.loads(events[0].data) == messages


@given(st.binary(min_size=1))
def test_binary_comes_back_from_base64(data: bytes) -> None:
    events = parse_events(data_event(data, Mode.BINARY))

    assert [event.name for event in events] == ["data"]
    assert len(events[0].data) % 4 == 0
    assert base64.b64decode(events[0].data, validate=True) == data


@given(st.binary(min_size=1), st.sampled_from([Mode.TEXT, Mode.BINARY]))
def test_no_bytes_can_forge_a_second_event(data: bytes, mode: Mode) -> None:
    assert [event.name for event in parse_events(data_event(data, mode))] == ["data"]


@pytest.mark.parametrize(
    ("data", "ready"),
    [
        (b"", 0),
        (b"abc", 3),
        ("é".encode(), 2),
        (b"\xc3", 0),
        (b"ab\xc3", 2),
        (b"\xe2\x82\xac", 3),
        (b"\xe2\x82", 0),
        (b"x\xe2", 1),
        (b"\xf0\x9f\x98\x80", 4),
        (b"\xf0\x9f\x98", 0),
        (b"x\xf0\x9f", 1),
        (b"\xf0", 0),
    ],
)
def test_an_incomplete_last_character_waits(data: bytes, ready: int) -> None:
    assert whole_characters(data) == ready


@pytest.mark.parametrize(
    "data", [b"\x80", b"\x80\x80\x80\x80", b"\xff", b"a\xf8", b"\xc3\xa9\x80", b"\xe2\x82\xac\x80"]
)
def test_bytes_that_can_become_no_character_do_not_wait(data: bytes) -> None:
    assert whole_characters(data) == len(data)


@given(st.binary())
def test_at_most_three_bytes_ever_wait(data: bytes) -> None:
    assert len(data) - 3 <= whole_characters(data) <= len(data)


@given(NASTY_TEXT, st.data())
def test_text_cut_anywhere_is_held_back_to_whole_characters(text: str, data: st.DataObject) -> None:
    encoded = text.encode()
    cut = data.draw(st.integers(0, len(encoded)))

    ready = whole_characters(encoded[:cut])

    assert text.startswith(encoded[:ready].decode())
    assert encoded[ready:].decode() == text[len(encoded[:ready].decode()) :]
    assert cut - ready < 4
