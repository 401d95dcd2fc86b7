"""Very many SSE readers to whom nothing happens: what they cost, and what they leave behind."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from typing import Final

from durafold_server.bench.live import Readers, deliver, numbered_append, token_of
from durafold_server.bench.measure import open_files, resident_bytes
from durafold_server.bench.scenarios.base import Metric, Sample, Scenario, Space, unprepared

_STREAMS: Final = 50
_WINDOWS: Final = 10  # times `measured_s`: heartbeats, which come seldom, are part of idleness
_LEAVING_TIMEOUT_S: Final = 10.0

_CPU: Final = Metric("idle_cpu_us_per_s", "server CPU per idle reader", "µs/s")
_MEMORY: Final = Metric("idle_reader_kb", "server memory per idle reader", "kB", summary="max")
_LEFT: Final = Metric("left_files", "files that stay open when they have left", "files", summary="max")


def _idle(space: Space) -> Sample:
    # What earlier work has let go of would hide what the readers take.
    space.restart_if_ours()
    pid = space.target.pid
    paths = space.create(_STREAMS)
    files_before, memory_before = open_files(pid), resident_bytes(pid)
    each = math.ceil(space.settings.idle_readers / _STREAMS)
    with ExitStack() as stack:
        client = stack.enter_context(space.client())
        for path in paths:
            crowd = stack.enter_context(Readers(space.target, path, each))
            deliver(client, numbered_append(space.target, path, 0), token_of(0), crowd)  # now they are live
        memory_with_readers = resident_bytes(pid)
        with space.meter() as meter:
            time.sleep(space.settings.measured_s * _WINDOWS)
    count = each * _STREAMS
    values = {
        _CPU.key: meter.cost.server_cpu_us_per(meter.cost.wall_s * count),
        _MEMORY.key: None
        if memory_before is None or memory_with_readers is None
        else (memory_with_readers - memory_before) / count / 1e3,
        _LEFT.key: None if files_before is None else _left_open(pid, files_before),
    }
    return Sample(values, meter.cost)


def _left_open(pid: int | None, before: int) -> int:
    """How many more than before are open, once the server has noticed that connections were closed."""
    until_s = time.perf_counter() + _LEAVING_TIMEOUT_S
    while (left := (open_files(pid) or 0) - before) > 0 and time.perf_counter() < until_s:
        time.sleep(0.05)
    return max(0, left)


SCENARIOS: Final = (
    Scenario(
        "idle-readers",
        f"thousands of SSE readers of {_STREAMS} streams to which nothing is appended, then none",
        (_CPU, _MEMORY, _LEFT),
        unprepared(_idle),
        needs_process=True,
    ),
)
