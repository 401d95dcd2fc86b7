"""Streams in memory: for tests, caches and demos. All is lost when the process ends."""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from durafold_server.clock import Clock, StrictClock, system_clock
from durafold_server.protocol import json_mode, lifetimes
from durafold_server.protocol.model import (
    AppendData,
    Decide,
    Extent,
    Loaded,
    ProducerState,
    R,
    ReadKey,
    RemoveStream,
    SaveProducer,
    SaveStream,
    StreamState,
    Write,
)
from durafold_server.store.base import NotABoundary, Page, StoreCapabilities

_SEGMENT_BYTES = 64 * 1024


class _Log:
    """The bytes of one stream: full segments that never change, and an open one that grows.

    Small appends share a segment, so a page of thousands of them is a few slices.
    """

    __slots__ = ("_ends", "_holes", "_open", "_open_start", "_segments", "_starts", "_times", "base")

    def __init__(self, base: int) -> None:
        self.base = base
        self._segments: list[bytes] = []
        self._starts: list[int] = []  # position of each full segment
        self._open = bytearray()
        self._open_start = base
        self._ends = array("q")  # position after each append
        self._times = array("q")  # of each append
        self._holes: dict[int, int] = {}  # freed stretches behind bytes that forks need: start → end

    def append(self, data: bytes, now_us: int) -> None:
        self._ends.append((self._ends[-1] if self._ends else self.base) + len(data))
        self._times.append(now_us)
        if len(data) >= _SEGMENT_BYTES:
            self._close_segment()
            self._add_segment(data)
            return
        self._open += data
        if len(self._open) >= _SEGMENT_BYTES:
            self._close_segment()

    def _close_segment(self) -> None:
        if self._open:
            self._add_segment(bytes(self._open))
            self._open = bytearray()

    def _add_segment(self, data: bytes) -> None:
        self._starts.append(self._open_start)
        self._segments.append(data)
        self._open_start += len(data)

    def has(self, position: int) -> bool:
        """Whether the byte at a position was not freed."""
        in_hole = any(start <= position < end for start, end in self._holes.items())
        return position >= self.base and not in_hole

    def is_boundary(self, position: int) -> bool:
        """Whether a JSON message ends at `position`; it may lie inside an append of several."""
        index = bisect_left(self._ends, position)
        if index == len(self._ends):
            return position == self.base
        if position in (self.base, self._ends[index]):
            return True
        start = self._start_of(index)
        return json_mode.is_boundary(self.read(start, self._ends[index], 1), position - start)

    def read(self, after: int, until: int, max_bytes: int) -> bytes:
        end = self._page_end(after, until, max_bytes)
        parts: list[bytes | bytearray] = []
        position = after
        index = max(0, bisect_right(self._starts, position) - 1)
        while position < end and index < len(self._segments):
            begin = position - self._starts[index]
            parts.append(self._segments[index][begin : begin + end - position])
            position += len(parts[-1])
            index += 1
        if position < end:
            begin = position - self._open_start
            parts.append(self._open[begin : begin + end - position])
        return b"".join(parts)

    def extents(self, after: int, until: int, limit: int) -> list[Extent]:
        first = bisect_right(self._ends, after)
        indexes = range(first, min(first + limit, len(self._ends)))
        found = [Extent(self._start_of(i), min(self._ends[i], until), self._times[i]) for i in indexes]
        return [extent for extent in found if extent.start < until]

    def free(self, after: int, before: int) -> None:
        """Free the appends that lie between two positions; `before` is where one ended."""
        if after <= self.base:
            gone = bisect_right(self._ends, before)
            del self._ends[:gone], self._times[:gone]
            self.base = before
            self._holes.clear()
        else:
            # The append that reaches `after` stays, and an empty one that marks where the hole ends.
            first, last = bisect_left(self._ends, after) + 1, bisect_left(self._ends, before)
            after = self._ends[first - 1]
            del self._ends[first:last], self._times[first:last]
            self._holes[after] = before
        self._free_segments(after, before)

    def _free_segments(self, after: int, before: int) -> None:
        first = bisect_left(self._starts, after)
        last = first
        while last < len(self._segments) and self._starts[last] + len(self._segments[last]) <= before:
            last += 1
        del self._segments[first:last], self._starts[first:last]
        if after <= self._open_start < before:
            del self._open[: before - self._open_start]
            self._open_start = before

    def _start_of(self, index: int) -> int:
        return self._ends[index - 1] if index else self.base

    def _page_end(self, after: int, until: int, max_bytes: int) -> int:
        first = bisect_right(self._ends, after)  # the first append that ends beyond `after`
        if first == len(self._ends):
            return after
        last = bisect_right(self._ends, after + max_bytes) - 1
        return min(self._ends[max(first, last)], until)


class MemoryStore:
    """A `StreamStore` that keeps everything in this process's memory."""

    def __init__(self, clock: Clock = system_clock) -> None:
        self._now = StrictClock(clock)
        self._streams: dict[str, StreamState] = {}
        self._logs: dict[int, _Log] = {}
        self._records: dict[str, bytes] = {}
        self._observers: list[Callable[[StreamState], None]] = []
        self._producers: defaultdict[int, dict[str, ProducerState]] = defaultdict(dict)

    @property
    def capabilities(self) -> StoreCapabilities:
        """Neither durable nor shared."""
        return StoreCapabilities(durable=False, multi_node=False)

    @property
    def commits(self) -> None:
        """Nothing is committed in batches here."""
        return None

    @property
    def location(self) -> str:
        """For people."""
        return "in memory: all data is lost at exit"

    @property
    def trouble(self) -> None:
        """Memory takes every write."""
        return None

    async def transact(self, keys: Sequence[ReadKey], decide: Decide[R]) -> R:
        """See `StreamStore`. One step of the event loop, so nothing can come between."""
        now_us = self._now()
        decision = decide([self._load(key) for key in keys], now_us)
        for write in decision.writes:
            self._apply(write, now_us)
        for write in decision.writes:
            self._announce(write)
        return decision.result

    def observe(self, observer: Callable[[StreamState], None]) -> None:
        """See `StreamStore`."""
        self._observers.append(observer)

    async def load(self, path: str) -> StreamState | None:
        """See `StreamStore`."""
        return self._streams.get(path)

    async def read(self, stream_id: int, after: int, *, until: int, max_bytes: int, framed: bool) -> Page:
        """See `StreamStore`."""
        log = self._logs.get(stream_id)
        if log is None or not log.has(after):
            return Page(after, b"")
        if framed and not log.is_boundary(after):
            raise NotABoundary
        return Page(after, log.read(after, until, max_bytes))

    async def extents(self, stream_id: int, after: int, *, until: int, limit: int) -> Sequence[Extent]:
        """See `StreamStore`."""
        log = self._logs.get(stream_id)
        return log.extents(after, until, limit) if log is not None and log.has(after) else ()

    async def free(self, stream_id: int, *, after: int, before: int, limit: int) -> bool:  # noqa: ARG002
        """See `StreamStore`. Freed at once."""
        log = self._logs.get(stream_id)
        if log is not None and after < before:
            log.free(after, before)
        return True

    async def list_streams(self, prefix: str, after: str | None, limit: int) -> Sequence[StreamState]:
        """See `StreamStore`."""
        paths = (p for p in self._streams if p.startswith(prefix) and (after is None or p > after))
        return [self._streams[path] for path in heapq.nsmallest(limit, paths)]

    async def count_streams(self) -> int:
        """See `StreamStore`."""
        return len(self._streams)

    async def touch(self, used: Mapping[str, int]) -> None:
        """See `StreamStore`."""
        for path, used_us in used.items():
            stream = self._streams.get(path)
            if stream is not None and stream.used_us < used_us:
                self._streams[path] = replace(stream, used_us=used_us)

    async def expired(self, now_us: int, limit: int) -> Sequence[StreamState]:
        """See `StreamStore`."""
        ended = (s for s in self._streams.values() if not s.deleted and lifetimes.is_expired(s, now_us))
        return [stream for stream, _ in zip(ended, range(limit), strict=False)]

    async def purge(self, stream_id: int, *, limit: int) -> bool:  # noqa: ARG002 - freed whole
        """See `StreamStore`."""
        self._logs.pop(stream_id, None)
        self._producers.pop(stream_id, None)
        return True

    async def put_record(self, key: str, value: bytes | None) -> None:
        """See `StreamStore`."""
        if value is None:
            self._records.pop(key, None)
        else:
            self._records[key] = value

    async def records(self, prefix: str) -> Mapping[str, bytes]:
        """See `StreamStore`."""
        return {key: value for key, value in self._records.items() if key.startswith(prefix)}

    async def aclose(self) -> None:
        """See `StreamStore`."""

    def _load(self, key: ReadKey) -> Loaded:
        stream = self._streams.get(key.path)
        if stream is None or key.producer_id is None:
            return Loaded(stream)
        known = self._producers.get(stream.id)
        return Loaded(stream, known.get(key.producer_id) if known else None)

    def _announce(self, write: Write) -> None:
        match write:
            case SaveStream(stream):
                changed = stream
            case RemoveStream(stream):
                changed = replace(stream, deleted=True)
            case _:
                return
        for observer in self._observers:
            observer(changed)

    def _apply(self, write: Write, now_us: int) -> None:
        match write:
            case SaveStream(stream):
                self._streams[stream.path] = stream
            case AppendData(stream_id, start, payload):
                log = self._logs.get(stream_id)
                if log is None:
                    log = self._logs[stream_id] = _Log(start)
                log.append(payload.data, now_us)
            case SaveProducer(stream_id, producer_id, producer):
                self._producers[stream_id][producer_id] = producer
            case RemoveStream(stream):
                self._streams.pop(stream.path, None)
