"""Appends: single, batched, of producers, as fast as possible and at a fixed rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count, cycle, repeat
from typing import Final

from durafold.wire import names
from durafold_server.bench.client import APPENDED, JSON_HEADERS
from durafold_server.bench.load import ClosedLoad, PacedLoad
from durafold_server.bench.measure import percentile_ms
from durafold_server.bench.messages import batch, message
from durafold_server.bench.scenarios.base import Metric, Sample, Scenario, Space, unprepared
from durafold_server.bench.targets import Target

_BATCH_MESSAGES: Final = 100
_BATCH_CONNECTIONS: Final = 8
_PRODUCERS: Final = 16
_PACED_CONNECTIONS: Final = 64

# PROTOCOL §5.2.1: 200 says that a producer's append is new, 204 that it is a duplicate.
_NEW_OF_PRODUCER: Final = (200,)

_REQUESTS: Final = Metric("requests_per_s", "requests per second", "1/s", "higher")
_MESSAGES: Final = Metric("messages_per_s", "messages per second", "1/s", "higher")
_P50: Final = Metric("p50_ms", "latency, median", "ms")
_P99: Final = Metric("p99_ms", "latency, p99", "ms")
_SERVER_CPU: Final = Metric("server_cpu_us", "server CPU per request", "µs")
_FLUSHES: Final = Metric("disk_flushes", "disk flushes per request", "")
_METRICS: Final = (_REQUESTS, _P50, _P99, _SERVER_CPU, _FLUSHES)


def warm_up(space: Space) -> None:
    """Give a server appends for a while, to no other end."""
    [path] = space.create()
    requests = repeat(_append(space.target, path, message()))
    with ClosedLoad(space.target, [requests] * _BATCH_CONNECTIONS, expected=APPENDED) as load:
        load.run(space.settings.warmup_s)


def _single(space: Space, connections: int, streams: int) -> Sample:
    paths = space.create(streams)
    requests = [_append(space.target, path, message()) for path in paths]
    # Every connection goes round all streams, each from another one on.
    firsts = [number * streams // connections for number in range(connections)]
    load = ClosedLoad(
        space.target, [cycle(requests[at:] + requests[:at]) for at in firsts], expected=APPENDED
    )
    return _measure(space, load, paths)


def _batched(space: Space) -> Sample:
    paths = space.create()
    requests = repeat(_append(space.target, paths[0], batch(_BATCH_MESSAGES)))
    load = ClosedLoad(space.target, [requests] * _BATCH_CONNECTIONS, expected=APPENDED)
    sample = _measure(space, load, paths, messages_per_request=_BATCH_MESSAGES)
    per_s = sample.values[_REQUESTS.key]
    assert per_s is not None
    return Sample({**sample.values, _MESSAGES.key: per_s * _BATCH_MESSAGES}, sample.cost)


def _of_producers(space: Space) -> Sample:
    paths = space.create()
    sources = [_producer(space.target, paths[0], f"producer-{number}") for number in range(_PRODUCERS)]
    load = ClosedLoad(space.target, sources, expected=_NEW_OF_PRODUCER)
    return _measure(space, load, paths)


def _paced(space: Space) -> Sample:
    paths = space.create()
    requests = repeat(_append(space.target, paths[0], message()))
    load = PacedLoad(
        space.target,
        [requests] * _PACED_CONNECTIONS,
        expected=APPENDED,
        rate_per_s=space.settings.rate_per_s,
    )
    return _measure(space, load, paths)


def _measure(
    space: Space, load: ClosedLoad | PacedLoad, paths: Sequence[str], *, messages_per_request: int = 1
) -> Sample:
    """Run a load warm, measure it, let it end, and look whether all that was acknowledged is there."""
    with load:
        load.run(space.settings.warmup_s)
        with space.meter() as meter:
            stretch = load.run(space.settings.measured_s)
            answered = stretch.answered
        load.finish()
    with space.client() as client:
        client.check_messages(paths, load.answered * messages_per_request)
    values = {
        _REQUESTS.key: answered / meter.cost.wall_s,
        _P50.key: percentile_ms(stretch.latencies_s, 50),
        _P99.key: percentile_ms(stretch.latencies_s, 99),
        _SERVER_CPU.key: meter.cost.server_cpu_us_per(answered),
        _FLUSHES.key: meter.cost.flushes_per(answered),
    }
    return Sample(values, meter.cost)


def _append(target: Target, path: str, body: bytes) -> bytes:
    return target.encode("POST", path, JSON_HEADERS, body)


def _producer(target: Target, path: str, producer_id: str) -> Iterator[bytes]:
    """The appends of one idempotent producer (PROTOCOL §5.2.1)."""
    headers = {**JSON_HEADERS, names.PRODUCER_ID: producer_id, names.PRODUCER_EPOCH: "0"}
    request = target.encode("POST", path, {**headers, names.PRODUCER_SEQ: "SEQ"}, message())
    before, _, after = request.partition(b": SEQ")
    return (b"%b: %d%b" % (before, seq, after) for seq in count())


def _scenario(connections: int, streams: int) -> Scenario:
    plural = "s" if connections > 1 else ""
    where = "one stream" if streams == 1 else f"{streams} streams"
    return Scenario(
        f"append-{connections}x{streams}",
        f"single messages on {connections} connection{plural} to {where}",
        _METRICS,
        unprepared(partial(_single, connections=connections, streams=streams)),
    )


SCENARIOS: Final = (
    _scenario(1, 1),
    _scenario(1, 100),
    _scenario(64, 1),
    _scenario(64, 100),
    Scenario(
        "append-paced",
        f"single messages at a fixed rate on {_PACED_CONNECTIONS} connections, timed from when they are due",
        _METRICS,
        unprepared(_paced),
    ),
    Scenario(
        "append-batch",
        f"{_BATCH_MESSAGES} messages a request on {_BATCH_CONNECTIONS} connections",
        (_MESSAGES, *_METRICS),
        unprepared(_batched),
    ),
    Scenario(
        "append-producer",
        f"{_PRODUCERS} idempotent producers, one connection each, to one stream",
        _METRICS,
        unprepared(_of_producers),
    ),
)
