"""SSE responses: pages as the service pushes them, encoded once for all readers at the same place."""

from __future__ import annotations

import random
import time

from durafold.wire.control import ControlEvent
from durafold.wire.offsets import Offset
from durafold_server.clock import Clock
from durafold_server.config import ServiceSettings
from durafold_server.http.exchange import Exchange
from durafold_server.metrics import ServerCounts
from durafold_server.protocol import sse
from durafold_server.protocol.cursors import later_cursor, next_cursor
from durafold_server.protocol.model import Mode
from durafold_server.protocol.requests import ReadRequest
from durafold_server.protocol.responses import PageView, event_stream
from durafold_server.service import StreamService

_FrameKey = tuple[int, int, int, bool, bool, str]


class Frames:
    """The frame that was encoded last.

    A page is pushed to all readers at its place in one go, and caught-up ones want the same bytes.
    """

    def __init__(self) -> None:
        self._last: tuple[_FrameKey, bytes] | None = None

    def encode(self, view: PageView, cursor: str) -> bytes:
        """The data event of a page, if it holds data, and its control event."""
        key = (view.stream.id, view.start, view.end, view.at_tail, view.closed, cursor)
        if self._last is None or self._last[0] != key:
            self._last = key, _encode(view, cursor)
        return self._last[1]


async def serve_events(
    exchange: Exchange,
    service: StreamService,
    request: ReadRequest,
    frames: Frames,
    clock: Clock,
    counts: ServerCounts,
    *,
    private: bool,
) -> None:
    """Answer a read with `live=sse` (PROTOCOL §5.8) until stream, client or connection time ends.

    Raises:
        ProtocolError, StoreFailure: before anything was sent.
    """
    stream, position = await service.begin_following(request)
    cursor = next_cursor(clock(), request.cursor, random.random())  # noqa: S311
    reader = EventReader(exchange, frames, clock, service.settings, counts, position=position, cursor=cursor)

    def has_room() -> None:
        service.readers.changed(stream.id)

    def has_left() -> None:
        service.readers.detach(stream.id, reader)

    await exchange.begin_stream(event_stream(stream, private=private), has_room=has_room, has_left=has_left)
    service.readers.attach(stream, reader)
    await exchange.streamed()


class EventReader:
    """A `LiveReader` at the other end of an SSE connection."""

    __slots__ = (
        "_clock",
        "_counts",
        "_cursor",
        "_ends_at_s",
        "_exchange",
        "_frames",
        "_heartbeat_s",
        "_held",
        "_sent_at_s",
        "greeted",
        "position",
    )

    def __init__(
        self,
        exchange: Exchange,
        frames: Frames,
        clock: Clock,
        settings: ServiceSettings,
        counts: ServerCounts,
        *,
        position: int,
        cursor: str,
    ) -> None:
        self.position = position
        self.greeted = False
        self._exchange = exchange
        self._frames = frames
        self._clock = clock
        self._counts = counts
        self._cursor = cursor
        self._held = b""
        self._heartbeat_s = settings.heartbeat_s
        self._sent_at_s = time.monotonic()
        self._ends_at_s = self._sent_at_s + settings.sse_max_age_s

    @property
    def is_ready(self) -> bool:
        """See `LiveReader`."""
        return not self._exchange.is_congested

    def push(self, view: PageView) -> None:
        """See `LiveReader`."""
        self.position = view.end
        self.greeted = True
        self._cursor = later_cursor(self._clock(), self._cursor)
        if view.stream.mode is Mode.TEXT and (view.data or self._held):
            view = self._whole_characters(view)
        self._sent_at_s = time.monotonic()
        frame = self._frames.encode(view, self._cursor)
        self._counts.sent_bytes += len(frame)
        self._exchange.write(frame)

    def tick(self, now_s: float) -> bool:
        """See `LiveReader`."""
        if now_s - self._sent_at_s >= self._heartbeat_s and self.is_ready:
            self._sent_at_s = now_s
            self._exchange.write(sse.HEARTBEAT)
        return now_s < self._ends_at_s

    def end(self) -> None:
        """See `LiveReader`."""
        self._exchange.end_stream()

    def _whole_characters(self, view: PageView) -> PageView:
        """The page without an incomplete last character, which waits for its rest (or the stream's end)."""
        data = self._held + view.data
        ready = len(data) if view.closed else sse.whole_characters(data)
        start = view.start - len(self._held)
        self._held = data[ready:]
        return PageView(view.stream, start, start + ready, data[:ready])


def _encode(view: PageView, cursor: str) -> bytes:
    stream = view.stream
    control = sse.control_event(
        ControlEvent(
            Offset(stream.offset(view.end)),
            cursor,
            up_to_date=view.at_tail,
            closed=view.closed,
        )
    )
    return sse.data_event(view.data, stream.mode) + control if view.data else control
