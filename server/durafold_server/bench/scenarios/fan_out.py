"""Many SSE readers of one stream: how fast all are served, what a delivery costs, and what an idle reader."""

from __future__ import annotations

import statistics
from functools import partial
from itertools import count
from typing import Final

from durafold_server.bench.live import Readers, deliver, numbered_append, token_of
from durafold_server.bench.measure import repetitions, resident_bytes
from durafold_server.bench.scenarios.base import Metric, Sample, Scenario, Space, unprepared

_LEAST_WARMUP: Final = 2
_LEAST_APPENDS: Final = 5

_ALL_SERVED: Final = Metric("all_served_ms", "append until all readers have it", "ms")
_CPU: Final = Metric("server_cpu_us", "server CPU per delivery", "µs")
_MEMORY: Final = Metric("idle_reader_kb", "server memory per idle reader", "kB", summary="max")


def _fan_out(space: Space, readers: int) -> Sample:
    # What earlier work has let go of would hide what the readers take.
    space.restart_if_ours()
    [path] = space.create()
    memory_before = resident_bytes(space.target.pid)
    with space.client() as client, Readers(space.target, path, readers) as crowd:
        numbers = count()

        def append() -> float:
            number = next(numbers)
            return deliver(client, numbered_append(space.target, path, number), token_of(number), crowd)

        # Now all of them are live.
        append()
        memory_with_readers = resident_bytes(space.target.pid)
        for _ in repetitions(space.settings.warmup_s, least=_LEAST_WARMUP):
            append()
        with space.meter() as meter:
            times_s = [append() for _ in repetitions(space.settings.measured_s, least=_LEAST_APPENDS)]
    values = {
        _ALL_SERVED.key: statistics.median(times_s) * 1e3,
        _CPU.key: meter.cost.server_cpu_us_per(len(times_s) * readers),
        _MEMORY.key: None
        if memory_before is None or memory_with_readers is None
        else (memory_with_readers - memory_before) / readers / 1e3,
    }
    return Sample(values, meter.cost)


def _scenario(readers: int) -> Scenario:
    return Scenario(
        f"fan-out-{readers}",
        f"single messages to {readers:,} SSE readers of one stream",
        (_ALL_SERVED, _CPU, _MEMORY),
        unprepared(partial(_fan_out, readers=readers)),
    )


SCENARIOS: Final = (_scenario(100), _scenario(1000))
