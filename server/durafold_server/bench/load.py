"""Load: many connections in one thread, each with one request under way.

Plain non-blocking sockets and requests that are encoded ahead: that costs some 12 µs of CPU per request,
less than servers need to answer one. `ClosedLoad` sends the next request when the last is answered, which
finds the most that a server can do. `PacedLoad` sends at a fixed rate whatever the server does, and measures
from the moment at which a request was due: so a server that stalls is seen to stall.
"""

from __future__ import annotations

import math
import selectors
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from durafold_server.bench.client import RECEIVE_BYTES, check_status
from durafold_server.bench.errors import BenchError
from durafold_server.bench.targets import ANSWER_TIMEOUT_S, Target
from durafold_server.bench.wire import Response, ResponseParser


@dataclass(slots=True)
class Stretch:
    """What was answered in one run of a load: the time that each request took, in seconds."""

    latencies_s: list[float] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """Number of requests.

        Raises:
            BenchError: there was none, so nothing can be said about them.
        """
        if not self.latencies_s:
            raise BenchError("the server answered nothing in the measured time")
        return len(self.latencies_s)


class _Lane:
    """One connection, its requests, and the one that is under way."""

    __slots__ = ("_parser", "_parts", "began_s", "requests", "socket")

    def __init__(self, target: Target, requests: Iterable[bytes]) -> None:
        self.requests = iter(requests)
        self.began_s = 0.0
        self.socket = target.connect()
        self.socket.setblocking(False)
        self._parser = ResponseParser()
        self._parts: list[bytes] = []

    def send(self, request: bytes) -> None:
        try:
            sent = self.socket.send(request)
        except BlockingIOError:
            sent = 0
        if sent < len(request):
            # Bodies larger than the socket's buffer only: holding up the other lanes is then no harm.
            self.socket.settimeout(ANSWER_TIMEOUT_S)
            self.socket.sendall(request[sent:])
            self.socket.setblocking(False)

    def receive(self) -> Response | None:
        """The response, if it is complete with what has come now."""
        data = self.socket.recv(RECEIVE_BYTES)
        if not data:
            raise BenchError("the server closed a connection instead of answering")
        parser = self._parser
        self._parts.append(parser.feed(data))
        if not parser.complete:
            return None
        response = Response(parser.status, parser.head, b"".join(self._parts))
        self._parts.clear()
        return response


class _Load:
    """Connections with their requests; a context manager.

    Attributes:
        sent: requests sent so far.
        answered: those of them that were answered as expected.

    Args:
        target: the server.
        sources: for each connection the requests that it sends; none of them may be a HEAD.
        expected: statuses that count as success.
    """

    _selector_type: type[selectors.BaseSelector] = selectors.DefaultSelector

    def __init__(
        self, target: Target, sources: Sequence[Iterable[bytes]], *, expected: tuple[int, ...]
    ) -> None:
        self.sent = 0
        self.answered = 0
        self._expected = expected
        self._stretch = Stretch()
        self._selector = self._selector_type()
        self._idle: deque[_Lane] = deque()
        self._lanes: list[_Lane] = []
        try:
            for source in sources:
                self._lanes.append(_Lane(target, source))
                self._selector.register(self._lanes[-1].socket, selectors.EVENT_READ, self._lanes[-1])
        except BaseException:
            self.close()
            raise
        self._idle.extend(self._lanes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        for lane in self._lanes:
            lane.socket.close()
        self._selector.close()

    def finish(self) -> None:
        """Send no more, and wait until all that was sent is answered; `run` may be called again.

        What is answered now is added to the stretch of the last run: left out, the slowest would be missing.

        Raises:
            BenchError: an answer was not as expected, or does not come.
        """
        while self.answered < self.sent:
            self._take(self._ready(ANSWER_TIMEOUT_S))

    def _ready(self, timeout_s: float) -> list[_Lane]:
        """The lanes that have something to read; waits at most `timeout_s` for the first."""
        ready = self._selector.select(min(timeout_s, ANSWER_TIMEOUT_S))
        if not ready and timeout_s >= ANSWER_TIMEOUT_S and self.answered < self.sent:
            raise BenchError(f"the server left requests unanswered for {ANSWER_TIMEOUT_S:.0f} s")
        return [key.data for key, _ in ready]

    def _patience_s(self, deadline_s: float) -> float:
        """How long to wait for an answer: to the deadline, but for the first one as long as it takes."""
        return deadline_s - time.perf_counter() if self._stretch.latencies_s else math.inf

    def _take(self, lanes: list[_Lane]) -> None:
        for lane in lanes:
            if self._is_answered(lane):
                self._idle.append(lane)

    def _is_answered(self, lane: _Lane) -> bool:
        """Read what has come; note the answer if that completes it."""
        response = lane.receive()
        if response is None:
            return False
        check_status(response, self._expected, "a request of the load")
        self._stretch.latencies_s.append(time.perf_counter() - lane.began_s)
        self.answered += 1
        return True

    def _send_next(self, lane: _Lane, began_s: float) -> bool:
        """Send the lane's next request; False if it has no more."""
        request = next(lane.requests, None)
        if request is None:
            return False
        lane.began_s = began_s
        self.sent += 1
        lane.send(request)
        return True


class ClosedLoad(_Load):
    """Every connection sends its next request as soon as the last is answered."""

    def run(self, duration_s: float = math.inf) -> Stretch:
        """Go on for `duration_s` seconds and until there is an answer, or until there are no requests left.

        Requests that are under way at the end are answered in the next run, or in `finish`.

        Raises:
            BenchError: an answer was not as expected, or does not come.
        """
        stretch = self._stretch = Stretch()
        deadline_s = time.perf_counter() + duration_s
        while self._idle:
            self._send_next(self._idle.popleft(), time.perf_counter())
        while self.answered < self.sent and (patience_s := self._patience_s(deadline_s)) > 0:
            for lane in self._ready(patience_s):
                if self._is_answered(lane):
                    self._send_next(lane, time.perf_counter())
        return stretch


class PacedLoad(_Load):
    """Requests are sent at a fixed rate, by whatever connection is free.

    A request for which none is free waits, and its time counts from when it was due.

    Args:
        target: the server.
        sources: for each connection the requests that it sends, without an end.
        expected: statuses that count as success.
        rate_per_s: requests per second, of all connections together.
    """

    # Its time-outs are exact to microseconds; those of epoll are whole milliseconds.
    _selector_type = selectors.SelectSelector

    def __init__(
        self,
        target: Target,
        sources: Sequence[Iterable[bytes]],
        *,
        expected: tuple[int, ...],
        rate_per_s: float,
    ) -> None:
        super().__init__(target, sources, expected=expected)
        self._interval_s = 1 / rate_per_s

    def run(self, duration_s: float) -> Stretch:
        """Go on for `duration_s` seconds and until there is an answer.

        Requests that are due then, but not sent, are dropped.

        Raises:
            BenchError: an answer was not as expected, or does not come.
        """
        stretch = self._stretch = Stretch()
        now_s = due_s = time.perf_counter()
        deadline_s = now_s + duration_s
        while (patience_s := self._patience_s(deadline_s)) > 0:
            while self._idle and due_s <= min(now_s, deadline_s):
                self._send_next(self._idle.popleft(), due_s)
                due_s += self._interval_s
            can_send = self._idle and due_s <= deadline_s
            until_due_s = max(0.0, due_s - now_s) if can_send else math.inf
            self._take(self._ready(min(until_due_s, patience_s)))
            now_s = time.perf_counter()
        return stretch
