"""From a crash to the first answer: how long a server takes to open a large store."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from durafold_server.bench.client import check_status, next_offset, wait_until_up
from durafold_server.bench.errors import BenchError
from durafold_server.bench.measure import Cost, read_clocks
from durafold_server.bench.messages import message
from durafold_server.bench.scenarios.base import Measure, Metric, Sample, Scenario, Space
from durafold_server.bench.scenarios.reads import fill
from durafold_server.bench.targets import Target, process_of

_EMPTY_STARTS: Final = 3
_LATE_APPENDS: Final = 200

_READY: Final = Metric("ready_ms", "start to first answer", "ms")
_CPU: Final = Metric("cpu_ms", "CPU until then", "ms")
_OVER_EMPTY: Final = Metric("over_empty_ms", "CPU beyond a start with an empty store", "ms")


@contextmanager
def _restart(space: Space) -> Iterator[Measure]:
    empty_cpu_s = statistics.median(
        _crash(space.target, "none", 404).server_cpu_s or 0.0 for _ in range(_EMPTY_STARTS)
    )
    [path] = space.create()
    with space.client() as client:
        fill(client, path, space.settings.recovery_messages)

    def measure() -> Sample:
        with space.client() as client:
            # What a server writes down now and then, it has not written down for these.
            for _ in range(_LATE_APPENDS):
                client.append(path, message())
            tail = client.tail(path)
        cost = _crash(space.target, path, 200, tail)
        cpu_s = cost.server_cpu_s or 0.0
        values = {
            _READY.key: cost.wall_s * 1e3,
            _CPU.key: cpu_s * 1e3,
            _OVER_EMPTY.key: (cpu_s - empty_cpu_s) * 1e3,
        }
        return Sample(values, cost)

    yield measure


def _crash(target: Target, path: str, status: int, tail: str | None = None) -> Cost:
    """Kill the server, start it, and wait for its answer to a HEAD, which has to be the expected one.

    Returns:
        What it cost from the start to the answer.
    """
    process = process_of(target)
    process.kill()
    # There is no process now, and the next one begins at 0.
    begin = replace(read_clocks(replace(target, process=None)), server_cpu_s=0.0)
    process.start()
    answer = wait_until_up(target, path)
    cost = read_clocks(target) - begin
    check_status(answer, (status,), f"HEAD {path}")
    if tail is not None and next_offset(answer) != tail:
        raise BenchError(f"after a crash the stream ends at {next_offset(answer)}, not at {tail} as before")
    return cost


SCENARIOS: Final = (
    Scenario(
        "restart",
        "a large store is opened after the server was killed",
        (_READY, _CPU, _OVER_EMPTY),
        _restart,
        durable_only=True,
    ),
)
