"""The faces of `durafold.client.IdempotentProducer` and of what it hands out.

A message goes to the event loop through an inbox, not through a call that waits: while the loop is busy
sending, each such call would wait for the interpreter's lock (5 ms, where the append itself takes 5 µs).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

import anyio

from durafold import client
from durafold.blocking.mirror import Face, calls, face_of, waits
from durafold.blocking.stream import DurableStream
from durafold.client import AppendResult, CloseResult
from durafold.errors import DurafoldError

__all__ = ["Delivery", "IdempotentProducer"]


@face_of(client.Delivery)
class Delivery(Face[client.Delivery]):
    @property
    def done(self) -> bool:
        return self._target.done

    @property
    def error(self) -> DurafoldError | None:
        return self._target.error

    @property
    def result(self) -> AppendResult | None:
        return self._target.result

    def wait(self, timeout_s: float | None = None) -> AppendResult:
        """Wait until the message was delivered, and return what the server said.

        Args:
            timeout_s: seconds to wait at most. None: for ever.

        Raises:
            TimeoutError: it is undelivered still.
            DurafoldError: what the message failed with.
        """
        return self._portal.run(self._outcome, timeout_s)

    async def _outcome(self, timeout_s: float | None) -> AppendResult:
        with anyio.fail_after(timeout_s):
            return await self._target

    wait_done = waits(client.Delivery.wait_done)


@face_of(client.IdempotentProducer)
class IdempotentProducer(Face[client.IdempotentProducer]):
    def __init__(
        self,
        stream: DurableStream,
        producer_id: str,
        *,
        epoch: int = 0,
        max_batch_bytes: int = 1024 * 1024,
        linger_s: float = 0.0,
        max_in_flight: int = 5,
        max_buffered_bytes: int = 16 * 1024 * 1024,
        auto_claim: bool = False,
    ) -> None:
        target = client.IdempotentProducer(
            stream.target,
            producer_id,
            epoch=epoch,
            max_batch_bytes=max_batch_bytes,
            linger_s=linger_s,
            max_in_flight=max_in_flight,
            max_buffered_bytes=max_buffered_bytes,
            auto_claim=auto_claim,
        )
        super().__init__(target, stream.portal)
        self._room = _Room(max_buffered_bytes)
        self._inbox: deque[tuple[bytes, client.Delivery]] = deque()
        self._is_drain_due = False
        self._held: AbstractContextManager[client.IdempotentProducer] | None = None

    # ---- what is known ----

    @property
    def epoch(self) -> int:
        return self._target.epoch

    @property
    def next_seq(self) -> int:
        return self._target.next_seq

    @property
    def pending_count(self) -> int:
        return self._portal.call(lambda: len(self._inbox) + self._target.pending_count)

    @property
    def in_flight_count(self) -> int:
        return self._portal.call(lambda: self._target.in_flight_count)

    @property
    def failure(self) -> DurafoldError | None:
        return self._target.failure

    # ---- appending ----

    def append_nowait(
        self,
        data: Any = None,
        *,
        encoded: bytes | None = None,
        on_done: Callable[[Delivery], None] | None = None,
    ) -> Delivery:
        message = self._target.encode(data, encoded)
        if not self._room.take_nowait(len(message)):
            raise self._target.buffer_full(self._room.used_bytes)
        return self._post(message, on_done)

    def append(
        self,
        data: Any = None,
        *,
        encoded: bytes | None = None,
        on_done: Callable[[Delivery], None] | None = None,
    ) -> Delivery:
        message = self._target.encode(data, encoded)
        self._room.take(len(message))
        return self._post(message, on_done)

    def _post(self, message: bytes, on_done: Callable[[Delivery], None] | None) -> Delivery:
        told = None if on_done is None else lambda done: on_done(Delivery(done, self._portal))
        posted = _Posted(self._room, len(message), told)
        self._inbox.append((message, posted))
        if not self._is_drain_due:
            self._is_drain_due = True
            self._portal.post(self._drain)
        return Delivery(posted, self._portal)

    def _drain(self) -> None:
        """In the loop's thread: hand over what threads have appended."""
        self._is_drain_due = False
        while self._inbox:
            self._target.post(*self._inbox.popleft())

    def flush(self) -> None:
        self._portal.call(self._drain)
        self._portal.run(self._target.flush)

    def close_stream(self, data: Any = None) -> CloseResult:
        self._portal.call(self._drain)
        return self._portal.run(self._target.close_stream, data)

    restart = calls(client.IdempotentProducer.restart)

    # ---- life ----

    def close(self) -> None:
        """Take no more messages, and wait until all were delivered or have failed.

        Raises:
            DurafoldError: as for `flush`.
        """
        self._portal.call(self._drain)
        self._portal.run(self._target.aclose)

    def __enter__(self) -> Self:
        held = self._portal.held(self._target)
        held.__enter__()
        self._held = held
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        assert self._held is not None
        self._portal.call(self._drain)
        try:
            return self._held.__exit__(exc_type, exc, tb)
        finally:
            self._portal.call(self._drain)  # what came in between fails, since the producer is closed


class _Posted(client.Delivery):
    """A delivery whose bytes are counted by the thread that appended it."""

    __slots__ = ("_room", "_size_bytes")

    def __init__(
        self, room: _Room, size_bytes: int, on_done: Callable[[client.Delivery], None] | None
    ) -> None:
        super().__init__(on_done)
        self._room = room
        self._size_bytes = size_bytes

    def settle(self, outcome: AppendResult | DurafoldError) -> None:
        self._room.give(self._size_bytes)
        super().settle(outcome)


class _Room:
    """How many bytes the undelivered messages of a producer may take; any thread may ask.

    Args:
        max_bytes: a larger message is taken when nothing else waits.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._turn = threading.Lock()
        self._changed = threading.Condition(self._turn)
        self._waiting_count = 0
        self.used_bytes = 0

    def take_nowait(self, size_bytes: int) -> bool:
        """Take room for a message if there is any."""
        with self._turn:
            return self._take(size_bytes)

    def take(self, size_bytes: int) -> None:
        """Take room for a message; wait for it if there is none."""
        with self._turn:
            if self._take(size_bytes):
                return
            self._waiting_count += 1
            try:
                while not self._take(size_bytes):
                    self._changed.wait()
            finally:
                self._waiting_count -= 1

    def give(self, size_bytes: int) -> None:
        """A message is done."""
        with self._turn:
            self.used_bytes -= size_bytes
            if self._waiting_count:
                self._changed.notify_all()

    def _take(self, size_bytes: int) -> bool:
        is_free = not self.used_bytes or self.used_bytes + size_bytes <= self._max_bytes
        if is_free:
            self.used_bytes += size_bytes
        return is_free
