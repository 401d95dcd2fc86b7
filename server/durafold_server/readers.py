"""Live readers that are told: pages are pushed to everybody who follows a stream, from one task a stream.

A reader at the tail costs no task and no timer. When its stream changes, the page is fetched once and handed
to all readers that are at the same place. A reader whose client does not keep up is left out until it has
room again; then it gets what it missed from storage. So nothing ever queues up for a slow reader.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from durafold_server.protocol.errors import ProtocolError
from durafold_server.protocol.model import FOREVER, StreamState
from durafold_server.protocol.responses import PageView
from durafold_server.store.base import StoreFailure

logger = logging.getLogger(__name__)


class LiveReader(Protocol):
    """One follower of a stream."""

    position: int
    """Up to where it was sent everything."""
    greeted: bool
    """Whether it was sent anything yet; the first page comes at once, even if it is empty."""

    @property
    def is_ready(self) -> bool:
        """Whether its client has room for more."""
        ...

    def push(self, view: PageView) -> None:
        """Send a page that begins at `position`, and move there."""
        ...

    def tick(self, now_s: float) -> bool:
        """Now and then, with the monotonic clock's time; False when the connection's time is over."""
        ...

    def end(self) -> None:
        """Nothing more will come over this connection."""
        ...


class _Followed:
    """A stream and those who follow it."""

    __slots__ = ("changed", "may_expire", "path", "readers", "stream_id", "task")

    def __init__(self, stream: StreamState) -> None:
        self.path = stream.path
        self.stream_id = stream.id
        self.may_expire = stream.lifetime != FOREVER
        self.readers: set[LiveReader] = set()
        self.changed = False
        self.task: asyncio.Task[None] | None = None


class LiveReaders:
    """All live readers of a server.

    Args:
        look: the stream of this path and id for a reader, renewing its TTL; None if it is gone.
        view: the page of a stream that begins at a position.
        tick_s: seconds between looks at heartbeats, connections' time, and streams that may expire.
    """

    def __init__(
        self,
        look: Callable[[str, int], Awaitable[StreamState | None]],
        view: Callable[[StreamState, int], Awaitable[PageView]],
        *,
        tick_s: float,
    ) -> None:
        self._tick_s = tick_s
        self._look = look
        self._view = view
        self._followed: dict[int, _Followed] = {}
        self._ticker: asyncio.Task[None] | None = None
        self._stopped = False

    def __len__(self) -> int:
        return sum(len(followed.readers) for followed in self._followed.values())

    def attach(self, stream: StreamState, reader: LiveReader) -> None:
        """Push pages to a reader from now on, beginning at its position."""
        if self._stopped:
            reader.end()
            return
        followed = self._followed.get(stream.id)
        if followed is None:
            followed = self._followed[stream.id] = _Followed(stream)
        followed.readers.add(reader)
        if self._ticker is None:
            self._ticker = asyncio.get_running_loop().create_task(self._tick())
        self.changed(stream.id)

    def detach(self, stream_id: int, reader: LiveReader) -> None:
        """Forget a reader. Idempotent."""
        followed = self._followed.get(stream_id)
        if followed is not None:
            followed.readers.discard(reader)
            if not followed.readers:
                del self._followed[stream_id]

    def changed(self, stream_id: int) -> None:
        """The stream has changed, or one of its readers has room again."""
        followed = self._followed.get(stream_id)
        if followed is None:
            return
        followed.changed = True
        if followed.task is None:
            followed.task = asyncio.get_running_loop().create_task(self._pump(followed))

    def stop(self) -> None:
        """End all readers, now and from now on."""
        self._stopped = True
        for followed in list(self._followed.values()):
            self._end(followed)
        if self._ticker is not None:
            self._ticker.cancel()

    async def _pump(self, followed: _Followed) -> None:
        try:
            while followed.changed and followed.readers:
                followed.changed = False
                await self._serve(followed)
        except (ProtocolError, StoreFailure):
            # Readers meet the error itself when they resume.
            logger.exception("live readers of %s were cut off", followed.path)
            self._end(followed)
        finally:
            followed.task = None

    async def _serve(self, followed: _Followed) -> None:
        """One page for every reader that lacks one."""
        stream = await self._look(followed.path, followed.stream_id)
        if stream is None:
            self._end(followed)
            return
        self._drop_overtaken(followed, stream)
        for position in {reader.position for reader in followed.readers if _lacks(reader, stream)}:
            view = await self._view(stream, position)
            for reader in list(followed.readers):
                if reader.position == position and _lacks(reader, stream):
                    self._push(followed, reader, view)

    def _drop_overtaken(self, followed: _Followed, stream: StreamState) -> None:
        """End readers whose place is no longer retained; when they resume, they are told so."""
        if not stream.start:
            return
        for reader in [reader for reader in followed.readers if reader.position < stream.start]:
            self.detach(followed.stream_id, reader)
            reader.end()

    def _push(self, followed: _Followed, reader: LiveReader, view: PageView) -> None:
        reader.push(view)
        if view.closed:
            self.detach(followed.stream_id, reader)
            reader.end()
        elif not view.at_tail:
            followed.changed = True

    def _end(self, followed: _Followed) -> None:
        if self._followed.get(followed.stream_id) is followed:  # readers may have left and others come
            del self._followed[followed.stream_id]
        for reader in list(followed.readers):
            reader.end()
        followed.readers.clear()

    async def _tick(self) -> None:
        """Heartbeats, the end of connections' time, and a look at streams that may have expired."""
        try:
            while self._followed:
                await asyncio.sleep(self._tick_s)
                now_s = time.monotonic()
                for followed in list(self._followed.values()):
                    for reader in [reader for reader in followed.readers if not reader.tick(now_s)]:
                        self.detach(followed.stream_id, reader)
                        reader.end()
                    if followed.may_expire:
                        self.changed(followed.stream_id)
        finally:
            self._ticker = None


def _lacks(reader: LiveReader, stream: StreamState) -> bool:
    if not reader.is_ready:
        return False
    return not reader.greeted or reader.position < stream.tail or stream.closed
