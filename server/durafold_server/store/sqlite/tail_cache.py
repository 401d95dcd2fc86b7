"""The newest data of busy streams in memory, so that readers at the tail cost no disk and no thread."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Sequence

_PER_STREAM_BYTES = 256 * 1024
# What Python needs beside the data, which is more than the data where that is small.
_CHUNK_BYTES = 160
_TAIL_BYTES = 1000


class _Tail:
    """Consecutive chunks up to a stream's tail."""

    __slots__ = ("chunks", "size")

    def __init__(self) -> None:
        self.chunks: deque[tuple[int, bytes]] = deque()
        self.size = _TAIL_BYTES

    def append(self, start: int, data: bytes) -> None:
        self.chunks.append((start, data))
        self.size += len(data) + _CHUNK_BYTES
        while self.size > _PER_STREAM_BYTES and len(self.chunks) > 1:
            self._let_go_of_first()

    def forget_before(self, position: int) -> None:
        """Let go of whole chunks before a position."""
        while self.chunks and self.chunks[0][0] + len(self.chunks[0][1]) <= position:
            self._let_go_of_first()

    def _let_go_of_first(self) -> None:
        self.size -= len(self.chunks.popleft()[1]) + _CHUNK_BYTES


class TailCache:
    """A cache of stream tails, bounded in memory; the least recently written go first.

    Written by the committing thread, read by the event loop.
    """

    def __init__(self, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._size = 0
        self._tails: OrderedDict[int, _Tail] = OrderedDict()
        self._lock = threading.Lock()

    def append(self, stream_id: int, start: int, data: bytes) -> None:
        """Note a chunk that was just committed at the stream's tail."""
        with self._lock:
            tail = self._tails.get(stream_id)
            if tail is None:
                tail = self._tails[stream_id] = _Tail()
            else:
                self._tails.move_to_end(stream_id)
                self._size -= tail.size
            tail.append(start, data)
            self._size += tail.size
            while self._size > self._max_bytes and len(self._tails) > 1:
                self._size -= self._tails.popitem(last=False)[1].size

    def forget(self, stream_id: int) -> None:
        """The stream was removed."""
        with self._lock:
            tail = self._tails.pop(stream_id, None)
            self._size -= tail.size if tail else 0

    def forget_before(self, stream_id: int, position: int) -> None:
        """The stream was trimmed: whole chunks before a position are not wanted any more."""
        with self._lock:
            tail = self._tails.get(stream_id)
            if tail is None:
                return
            self._size -= tail.size
            tail.forget_before(position)
            if tail.chunks:
                self._size += tail.size
            else:
                del self._tails[stream_id]

    def chunks_from(self, stream_id: int, position: int) -> Sequence[tuple[int, bytes]] | None:
        """The chunks from the one that holds `position` to the tail, or None if they are not all here."""
        with self._lock:
            tail = self._tails.get(stream_id)
            if tail is None or position < tail.chunks[0][0]:
                return None
            index = bisect_right(tail.chunks, position, key=_start_of) - 1
            return [tail.chunks[i] for i in range(index, len(tail.chunks))]


def _start_of(chunk: tuple[int, bytes]) -> int:
    return chunk[0]
