"""An SSE reader without a connection: its cursor, its heartbeats, and the frames it shares with others."""

from __future__ import annotations

import json
import time
from typing import cast

import pytest
from msgspec.structs import replace

from durafold_server.config import ServiceSettings
from durafold_server.http.exchange import Exchange
from durafold_server.http.live import EventReader, Frames
from durafold_server.metrics import ServerCounts
from durafold_server.protocol.model import Mode, StreamState
from durafold_server.protocol.responses import PageView
from support.server_stores import ManualClock
from support.sse_parser import parse_events

STREAM = StreamState(id=7, path="s", content_type="text/plain", mode=Mode.TEXT, tail=6)


class Outbox:
    """The part of an exchange that a reader writes to."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_congested = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def end_stream(self) -> None:
        self.written.append(b"end")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def frames() -> Frames:
    return Frames()


def reader_of(outbox: Outbox, frames: Frames, clock: ManualClock, cursor: str = "1") -> EventReader:
    settings = ServiceSettings(heartbeat_s=15, sse_max_age_s=60)
    exchange = cast("Exchange", outbox)
    return EventReader(exchange, frames, clock, settings, ServerCounts(), position=0, cursor=cursor)


def cursor_in(frame: bytes) -> int:
    return int(json.loads(parse_events(frame)[-1].data)["streamCursor"])


def test_the_cursor_follows_the_clock_and_never_goes_back(frames: Frames, clock: ManualClock) -> None:
    outbox = Outbox()
    reader = reader_of(outbox, frames, clock)
    for step_us in (0, 20_000_000, 0, -60_000_000):
        clock.now_us += step_us
        reader.push(PageView(STREAM, 0, 6, b"abcdef"))

    first, second, third, fourth = [cursor_in(frame) for frame in outbox.written]
    assert (second, third, fourth) == (first + 1, first + 1, first + 1)


def test_a_client_ahead_of_the_clock_keeps_its_cursor(frames: Frames, clock: ManualClock) -> None:
    outbox = Outbox()

    reader_of(outbox, frames, clock, cursor="99999999").push(PageView(STREAM, 0, 6, b"abcdef"))

    assert cursor_in(outbox.written[0]) == 99_999_999


def test_readers_at_the_same_place_share_the_encoded_bytes(frames: Frames, clock: ManualClock) -> None:
    one, other = Outbox(), Outbox()
    view = PageView(STREAM, 0, 6, b"abcdef")

    reader_of(one, frames, clock).push(view)
    reader_of(other, frames, clock).push(PageView(STREAM, 0, 6, b"abcdef"))

    assert one.written[0] is other.written[0]


@pytest.mark.parametrize(
    "view",
    [
        PageView(STREAM, 1, 6, b"bcdef"),
        PageView(STREAM, 0, 5, b"abcde"),
        PageView(replace(STREAM, closed=True), 0, 6, b"abcdef"),
        PageView(replace(STREAM, tail=9), 0, 6, b"abcdef"),
        PageView(replace(STREAM, id=8), 0, 6, b"abcdef"),
    ],
)
def test_readers_elsewhere_get_other_frames(frames: Frames, clock: ManualClock, view: PageView) -> None:
    one, other = Outbox(), Outbox()

    reader_of(one, frames, clock).push(PageView(STREAM, 0, 6, b"abcdef"))
    reader_of(other, frames, clock).push(view)

    assert one.written != other.written


def test_silence_is_broken_once_it_has_lasted(frames: Frames, clock: ManualClock) -> None:
    outbox = Outbox()
    reader = reader_of(outbox, frames, clock)
    now_s = time.monotonic()

    going_on = [reader.tick(now_s + after_s) for after_s in (10, 16, 20, 32, 61)]

    assert outbox.written == [b":\n\n", b":\n\n", b":\n\n"]
    assert going_on == [True, True, True, True, False]


def test_a_client_without_room_gets_no_heartbeats_on_top(frames: Frames, clock: ManualClock) -> None:
    outbox = Outbox()
    outbox.is_congested = True

    reader_of(outbox, frames, clock).tick(time.monotonic() + 20)

    assert outbox.written == []


def test_what_was_held_back_of_a_character_comes_at_the_latest_with_the_end(
    frames: Frames, clock: ManualClock
) -> None:
    outbox = Outbox()
    reader = reader_of(outbox, frames, clock)

    reader.push(PageView(replace(STREAM, tail=2), 0, 2, b"a\xc3"))
    reader.push(PageView(replace(STREAM, tail=2, closed=True), 2, 2, b""))

    events = [event for frame in outbox.written for event in parse_events(frame)]
    assert [event.data for event in events if event.name == "data"] == ["a", "\ufffd"]
    assert json.loads(events[-1].data) == {
        "streamNextOffset": "0000000000000007_0000000000000002",
        "upToDate": True,
        "streamClosed": True,
    }
