"""Retention at work: notes which streams may have outgrown their limits, trims them, and frees their data.

An append only leaves a note, and only if its stream has limits. The rest happens now and then, from the
reaper: streams are cut by a transaction that moves their beginning, and afterwards their data is freed in
small steps. What a crash leaves in between is found when the streams are looked at after the next start.
"""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from durafold_server.clock import Clock
from durafold_server.protocol import lifetimes, retention
from durafold_server.protocol.model import ReadKey, Retention, StreamState
from durafold_server.protocol.retention import Cut
from durafold_server.store.base import StreamStore

_STREAMS_PER_PAGE: Final = 256
_STREAMS_PER_TRIM: Final = 64
_EXTENTS_PER_PAGE: Final = 512
_FREED_AT_ONCE: Final = 128


class Trimmer:
    """Keeps the streams of one store within their limits.

    Args:
        store: where they are kept.
        defaults: limits of streams that have none of their own.
        clock: microseconds since 1970.
        may_trim: whether a stream may begin at a position; if not, it is asked again some time later.
    """

    def __init__(
        self,
        store: StreamStore,
        defaults: Retention,
        clock: Clock,
        may_trim: Callable[[StreamState, int], Awaitable[bool]],
    ) -> None:
        self._store = store
        self._may_trim = may_trim
        self._held: set[str] = set()
        self._defaults = defaults
        self._clock = clock
        self._has_defaults = bool(defaults.bytes or defaults.age_s)
        self._noted: set[str] = set()
        self._due: list[tuple[int, str]] = []  # a heap: when to look at a stream again for its age
        self._due_at: dict[str, int] = {}
        self._freed: dict[str, tuple[int, int, int]] = {}  # path → id and stretch that was freed
        self._has_looked = False

    def limits(self, stream: StreamState) -> Retention:
        """How much of a stream is kept, the server's defaults included."""
        return retention.limits_of(stream, self._defaults)

    def note(self, stream: StreamState) -> None:
        """A stream has changed."""
        if self._has_defaults or stream.retention is not None or stream.start:
            self._noted.add(stream.path)

    async def trim(self) -> None:
        """Trim what has outgrown its limits, and free what nobody needs.

        Raises:
            StoreFailure: it is tried again at the next call.
        """
        if not self._has_looked:
            await self._look_at_all()
            self._has_looked = True
        self._note_due()
        self._noted |= self._held
        self._held.clear()
        while self._noted:
            paths = [self._noted.pop() for _ in range(min(_STREAMS_PER_TRIM, len(self._noted)))]
            try:
                await self._trim(paths)
            except BaseException:
                self._noted.update(paths)
                raise

    async def _look_at_all(self) -> None:
        """Note what earlier processes left to do."""
        after: str | None = None
        while page := await self._store.list_streams("", after, _STREAMS_PER_PAGE):
            for stream in page:
                self.note(stream)
            after = page[-1].path

    def _note_due(self) -> None:
        now_us = self._clock()
        while self._due and self._due[0][0] <= now_us:
            due_us, path = heapq.heappop(self._due)
            if self._due_at.get(path) == due_us:
                del self._due_at[path]
                self._noted.add(path)

    async def _trim(self, paths: Sequence[str]) -> None:
        positions: dict[int, int] = {}
        for path in paths:
            stream = await self._store.load(path)
            if stream is None:
                self._forget(path)
            elif not stream.deleted and not lifetimes.is_expired(stream, self._clock()):
                position = await self._cut(stream)
                if position <= stream.start:
                    continue
                if await self._may_trim(stream, position):
                    positions[stream.id] = position
                else:
                    self._held.add(path)
        if positions:
            await self._store.transact([ReadKey(path) for path in paths], retention.trim(positions))
        for path in paths:
            await self._free(path)

    async def _cut(self, stream: StreamState) -> int:
        """Where the stream may begin; if it will be another place soon, that is noted."""
        limits, now_us = self.limits(stream), self._clock()
        if not limits.bytes and not limits.age_s:
            return stream.start
        cut = Cut(stream.start, None, final=False)
        seen = stream.start
        for segment in stream.segments():
            while seen < segment.until and not cut.final:
                extents = await self._store.extents(
                    segment.stream_id, seen, until=segment.until, limit=_EXTENTS_PER_PAGE
                )
                if not extents:
                    return cut.position  # it was removed or trimmed meanwhile
                cut = retention.cut(stream, limits, extents, now_us, cut)
                seen = extents[-1].end
        cut = retention.at_the_end(stream, limits, now_us, cut)
        self._look_again(stream.path, cut.due_us)
        return cut.position

    def _look_again(self, path: str, due_us: int | None) -> None:
        if due_us is None:
            self._due_at.pop(path, None)
        elif self._due_at.get(path) != due_us:
            self._due_at[path] = due_us
            heapq.heappush(self._due, (due_us, path))

    async def _free(self, path: str) -> None:
        stream = await self._store.load(path)
        if stream is None or not stream.start:
            return
        after, before = retention.to_free(stream)
        if after >= before or self._freed.get(path) == (stream.id, after, before):
            return
        while not await self._store.free(stream.id, after=after, before=before, limit=_FREED_AT_ONCE):
            pass
        self._freed[path] = (stream.id, after, before)

    def _forget(self, path: str) -> None:
        self._due_at.pop(path, None)
        self._freed.pop(path, None)
