"""Drives an SSE response: pages from the service, encoded once for all readers at the same place."""

from __future__ import annotations

import contextlib
import logging
import random
import time

from durafold.wire.control import ControlEvent
from durafold.wire.offsets import Offset
from durafold_server.clock import Clock
from durafold_server.http.exchange import Exchange
from durafold_server.protocol import sse
from durafold_server.protocol.cursors import later_cursor, next_cursor
from durafold_server.protocol.errors import ProtocolError
from durafold_server.protocol.model import Mode
from durafold_server.protocol.offsets import format_offset
from durafold_server.protocol.requests import ReadRequest
from durafold_server.protocol.responses import PageView, event_stream
from durafold_server.service import StreamService
from durafold_server.store.base import StoreFailure

logger = logging.getLogger(__name__)

_FrameKey = tuple[int, int, int, bool, bool, str]
_MAX_FRAMES = 256


class Frames:
    """The last encoded frame of each stream.

    All caught-up readers of a stream want the same bytes at the same moment, so one entry a stream serves
    them; readers that lag encode their own.
    """

    def __init__(self) -> None:
        self._last: dict[int, tuple[_FrameKey, bytes]] = {}

    def encode(self, view: PageView, cursor: str) -> bytes:
        """The data event of a page, if it holds data, and its control event."""
        key = (view.stream.id, view.start, view.end, view.at_tail, view.closed, cursor)
        last = self._last.get(view.stream.id)
        if last is not None and last[0] == key:
            return last[1]
        frame = _encode(view, cursor)
        if len(self._last) >= _MAX_FRAMES:
            self._last.pop(next(iter(self._last)))
        self._last[view.stream.id] = (key, frame)
        return frame


async def serve_events(
    exchange: Exchange, service: StreamService, request: ReadRequest, frames: Frames, clock: Clock
) -> None:
    """Answer a read with `live=sse` (PROTOCOL §5.8) until stream, client or connection time ends.

    Raises:
        ProtocolError, StoreFailure: before anything was sent.
    """
    deadline = time.monotonic() + service.settings.sse_max_age_s
    reader = _Reader(next_cursor(clock(), request.cursor, random.random()))  # noqa: S311
    started = False
    try:
        async with contextlib.aclosing(service.follow(request, exchange.gone())) as views:
            async for view in views:
                if view is None:
                    await exchange.send(sse.HEARTBEAT)
                else:
                    if not started:
                        await exchange.begin_stream(event_stream(view.stream))
                        started = True
                    await exchange.send(reader.frame(view, frames, clock()))
                if time.monotonic() >= deadline:
                    break
    except (ProtocolError, StoreFailure):
        if not started:
            raise
        # Too late for a status. The connection ends, and the client meets the error when it resumes.
        logger.exception("live read of %s ended early", request.path)
    if started:
        await exchange.end_stream()


class _Reader:
    """What one connection remembers between events: its cursor, and the bytes of an incomplete character."""

    __slots__ = ("_cursor", "_held")

    def __init__(self, cursor: str) -> None:
        self._cursor = cursor
        self._held = b""

    def frame(self, view: PageView, frames: Frames, now_us: int) -> bytes:
        self._cursor = later_cursor(now_us, self._cursor)
        if view.stream.mode is Mode.TEXT and (view.data or self._held):
            view = self._whole_characters(view)
        return frames.encode(view, self._cursor)

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
            Offset(format_offset(stream.origin, view.end)),
            cursor,
            up_to_date=view.at_tail,
            closed=view.closed,
        )
    )
    return sse.data_event(view.data, stream.mode) + control if view.data else control
