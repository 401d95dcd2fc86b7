"""Who waits for what: readers parked at a stream's tail, woken when the stream changes.

A wake-up is a hint. It carries no data: a woken reader looks at the stream again and decides for itself, so a
lost, repeated or reordered hint costs at most a look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class _Signal:
    """What the waiting readers of one stream share."""

    future: asyncio.Future[None]
    waiting: int = 0


class Waiters:
    """One future per stream that has readers waiting; all of them share it."""

    def __init__(self) -> None:
        self._signals: dict[int, _Signal] = {}

    def __len__(self) -> int:
        return len(self._signals)

    @contextmanager
    def registered(self, stream_id: int) -> Iterator[asyncio.Future[None]]:
        """A future that is done at the stream's next change. Register first, then look at the stream."""
        signal = self._signals.get(stream_id)
        if signal is None:
            signal = self._signals[stream_id] = _Signal(asyncio.get_running_loop().create_future())
        signal.waiting += 1
        try:
            yield signal.future
        finally:
            signal.waiting -= 1
            if not signal.waiting and self._signals.get(stream_id) is signal:
                del self._signals[stream_id]

    def wake(self, stream_id: int) -> None:
        """The stream has changed."""
        signal = self._signals.pop(stream_id, None)
        if signal is not None and not signal.future.done():
            signal.future.set_result(None)

    def wake_all(self) -> None:
        """The server stops: everybody looks up."""
        for stream_id in list(self._signals):
            self.wake(stream_id)


async def wait_for(signals: set[asyncio.Future[None]], timeout_s: float) -> None:
    """Until one of the signals is done, or the time is over; the signals themselves are never cancelled."""
    await asyncio.wait(signals, timeout=max(0.0, timeout_s), return_when=asyncio.FIRST_COMPLETED)
