"""From append to delivery: how long a message takes to reach one reader, by SSE and by long-poll."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import Final

from durafold.wire import names
from durafold_server.bench.client import APPENDED, Client, check_status, next_offset
from durafold_server.bench.errors import BenchError
from durafold_server.bench.live import Readers, deliver, numbered_append, token_of
from durafold_server.bench.measure import percentile_ms, repetitions
from durafold_server.bench.scenarios.base import Metric, Sample, Scenario, Space, unprepared

_LEAST_WARMUP: Final = 10
_LEAST_SAMPLES: Final = 50

# Between two messages: the server has nothing left to do, and a long-poll has arrived.
_PAUSE_S: Final = 0.002

_P50: Final = Metric("p50_ms", "append to delivery, median", "ms")
_P99: Final = Metric("p99_ms", "append to delivery, p99", "ms")
_CPU: Final = Metric("server_cpu_us", "server CPU per message", "µs")


def _by_sse(space: Space) -> Sample:
    [path] = space.create()
    target = space.target
    with space.client() as client, Readers(target, path, 1) as readers:
        return _measure(
            space,
            lambda number: deliver(client, numbered_append(target, path, number), token_of(number), readers),
        )


def _by_long_poll(space: Space) -> Sample:
    [path] = space.create()
    with space.client() as client, space.client() as reader:
        poll = _Poll(space, path, reader)
        return _measure(space, lambda number: poll.deliver(client, number))


class _Poll:
    """A reader that asks again and again, each time from where the last answer ended."""

    def __init__(self, space: Space, path: str, reader: Client) -> None:
        self._target = space.target
        self._path = path
        self._reader = reader
        self._offset = reader.tail(path)
        self._cursor = ""
        self._ask()

    def deliver(self, client: Client, number: int) -> float:
        """Append a message; returns the seconds until the waiting request was answered with it."""
        request = numbered_append(self._target, self._path, number)
        began_s = time.perf_counter()
        client.send(request)
        answer = self._reader.receive()
        delivered_s = time.perf_counter()
        if token_of(number).encode() not in answer.body:
            raise BenchError(
                f"a long-poll was answered with status {answer.status}, but not with the message"
            )
        check_status(client.receive(), APPENDED, "an append")
        self._offset = next_offset(answer)
        self._cursor = answer.header(names.STREAM_CURSOR) or ""
        self._ask()
        return delivered_s - began_s

    def _ask(self) -> None:
        query = f"{names.OFFSET_PARAM}={self._offset}&{names.LIVE_PARAM}={names.LONG_POLL}"
        cursor = f"&{names.CURSOR_PARAM}={self._cursor}" if self._cursor else ""
        self._reader.send(self._target.encode("GET", f"{self._path}?{query}{cursor}"))


def _measure(space: Space, deliver_number: Callable[[int], float]) -> Sample:
    """Deliver numbered messages one after another; the first ones warm up."""
    latencies_s: list[float] = []
    numbers = count()
    for _ in repetitions(space.settings.warmup_s, least=_LEAST_WARMUP):
        time.sleep(_PAUSE_S)
        deliver_number(next(numbers))
    with space.meter() as meter:
        for _ in repetitions(space.settings.measured_s, least=_LEAST_SAMPLES):
            time.sleep(_PAUSE_S)
            latencies_s.append(deliver_number(next(numbers)))
    values = {
        _P50.key: percentile_ms(latencies_s, 50),
        _P99.key: percentile_ms(latencies_s, 99),
        _CPU.key: meter.cost.server_cpu_us_per(len(latencies_s)),
    }
    return Sample(values, meter.cost)


SCENARIOS: Final = (
    Scenario(
        "sse-latency", "one message at a time to one SSE reader", (_P50, _P99, _CPU), unprepared(_by_sse)
    ),
    Scenario(
        "long-poll-latency",
        "one message at a time to one reader that long-polls",
        (_P50, _P99, _CPU),
        unprepared(_by_long_poll),
    ),
)
