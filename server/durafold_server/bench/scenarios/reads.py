"""Catch-up reads of a long stream, and reads at the tail of a long and a short one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from typing import Final

from durafold.wire import names
from durafold_server.bench.client import APPENDED, JSON_HEADERS, Client
from durafold_server.bench.errors import BenchError
from durafold_server.bench.load import ClosedLoad
from durafold_server.bench.measure import Meter, repetitions
from durafold_server.bench.messages import batch, count_messages, message
from durafold_server.bench.scenarios.base import Measure, Metric, Sample, Scenario, Space

_FILL_BATCH: Final = 1000
_FILL_CONNECTIONS: Final = 64
_LEAST_READS: Final = 2
_SHORT_MESSAGES: Final = 100
_TAIL_CONNECTIONS: Final = 8
_TAIL_STRETCHES: Final = 4

_READ: Final = Metric("read_ms", "time to read the whole stream", "ms")
_READ_CPU: Final = Metric("server_cpu_ms", "server CPU to read the whole stream", "ms")
_SPEED: Final = Metric("mb_per_s", "data per second", "MB/s", "higher")
_CATCH_UP: Final = (_READ, _READ_CPU, _SPEED)

_SHORT: Final = Metric("short_per_s", "reads per second, short stream", "1/s", "higher")
_LONG: Final = Metric("long_per_s", "reads per second, long stream", "1/s", "higher")
_SLOWDOWN: Final = Metric("slowdown", "time of a read, long to short", "×")
_SHORT_CPU: Final = Metric("short_cpu_us", "server CPU per read, short stream", "µs")
_LONG_CPU: Final = Metric("long_cpu_us", "server CPU per read, long stream", "µs")


def fill(client: Client, path: str, messages: int) -> None:
    """Append messages, a thousand at a time."""
    body = batch(_FILL_BATCH)
    for _ in range(messages // _FILL_BATCH):
        client.append(path, body)
    if messages % _FILL_BATCH:
        client.append(path, batch(messages % _FILL_BATCH))


def _fill_one_by_one(space: Space, path: str) -> None:
    """Append messages, each in a request of its own."""
    request = space.target.encode("POST", path, JSON_HEADERS, message())
    shares = _split(space.settings.messages, _FILL_CONNECTIONS)
    sources = [repeat(request, share) for share in shares]
    with ClosedLoad(space.target, sources, expected=APPENDED) as load:
        load.run()


@contextmanager
def _catch_up(space: Space, *, singles: bool, restarted: bool = False) -> Iterator[Measure]:
    [path] = space.create()
    if singles:
        _fill_one_by_one(space, path)
    else:
        with space.client() as client:
            fill(client, path, space.settings.messages)

    def measure() -> Sample:
        if restarted:
            space.restart_if_ours()
        with space.client() as client:
            return _read_repeatedly(space, client, path)

    yield measure


def _read_repeatedly(space: Space, client: Client, path: str) -> Sample:
    # The first read warms up, and counts the messages; the others must bring as many bytes.
    size = _check_pages(client, path, space.settings.messages)
    reads = 0
    with space.meter() as meter:
        for _ in repetitions(space.settings.measured_s, least=_LEAST_READS):
            if sum(map(len, client.pages(path))) != size:
                raise BenchError("two reads of the same stream brought different amounts of data")
            reads += 1
    cost = meter.cost
    cpu_us = cost.server_cpu_us_per(reads)
    values = {
        _READ.key: cost.wall_s * 1e3 / reads,
        _READ_CPU.key: None if cpu_us is None else cpu_us / 1e3,
        _SPEED.key: size * reads / cost.wall_s / 1e6,
    }
    return Sample(values, cost)


def _check_pages(client: Client, path: str, messages: int) -> int:
    """Bytes of the whole stream, if it holds so many messages."""
    pages = list(client.pages(path))
    found = sum(map(count_messages, pages))
    if found != messages:
        raise BenchError(f"{messages} messages were acknowledged, but {found} are there")
    return sum(map(len, pages))


@contextmanager
def _tail_read(space: Space) -> Iterator[Measure]:
    short, long = space.create(2)
    with space.client() as client:
        reads = [
            _last_message(space, client, short, _SHORT_MESSAGES),
            _last_message(space, client, long, space.settings.messages),
        ]

    def measure() -> Sample:
        with _reading(space, reads[0]) as short_load, _reading(space, reads[1]) as long_load:
            return _alternate(space, short_load, long_load)

    yield measure


def _last_message(space: Space, client: Client, path: str, messages: int) -> bytes:
    """Fill a stream; returns the request that reads its last message."""
    fill(client, path, messages - 1)
    before = client.tail(path)
    client.append(path, message())
    query = f"{path}?{names.OFFSET_PARAM}={before}"
    found = count_messages(client.ask("GET", query).body)
    if found != 1:
        raise BenchError(f"a read from before the last message brought {found} messages")
    return space.target.encode("GET", query)


def _reading(space: Space, request: bytes) -> ClosedLoad:
    return ClosedLoad(space.target, [repeat(request)] * _TAIL_CONNECTIONS, expected=(200,))


def _alternate(space: Space, short: ClosedLoad, long: ClosedLoad) -> Sample:
    """Both streams in turns, so that what else the machine does meets them alike."""
    duration_s = space.settings.measured_s / 2 / _TAIL_STRETCHES
    costs = {short: space.meter(), long: space.meter()}
    answered = {short: 0, long: 0}
    for load in (short, long):
        load.run(space.settings.warmup_s / 2)
        load.finish()
    for load in (short, long) * _TAIL_STRETCHES:
        with costs[load]:
            answered[load] += load.run(duration_s).answered
        load.finish()
    return _tail_sample(costs[short], answered[short], costs[long], answered[long])


def _tail_sample(short: Meter, short_reads: int, long: Meter, long_reads: int) -> Sample:
    short_per_s, long_per_s = short_reads / short.cost.wall_s, long_reads / long.cost.wall_s
    values = {
        _SHORT.key: short_per_s,
        _LONG.key: long_per_s,
        _SLOWDOWN.key: short_per_s / long_per_s,
        _SHORT_CPU.key: short.cost.server_cpu_us_per(short_reads),
        _LONG_CPU.key: long.cost.server_cpu_us_per(long_reads),
    }
    return Sample(values, short.cost + long.cost)


def _split(total: int, parts: int) -> list[int]:
    return [total * (part + 1) // parts - total * part // parts for part in range(parts)]


SCENARIOS: Final = (
    Scenario(
        "catch-up",
        "a long stream, written in batches, read from its start",
        _CATCH_UP,
        partial(_catch_up, singles=False),
    ),
    Scenario(
        "catch-up-singles",
        "a long stream, written in one request a message, read from its start",
        _CATCH_UP,
        partial(_catch_up, singles=True),
    ),
    Scenario(
        "catch-up-restarted",
        "a long stream, written in one request a message, read after a restart",
        _CATCH_UP,
        partial(_catch_up, singles=True, restarted=True),
        durable_only=True,
    ),
    Scenario(
        "tail-read",
        f"last message of a long stream and of one of {_SHORT_MESSAGES}, on {_TAIL_CONNECTIONS} connections",
        (_SHORT, _LONG, _SLOWDOWN, _SHORT_CPU, _LONG_CPU),
        _tail_read,
    ),
)
