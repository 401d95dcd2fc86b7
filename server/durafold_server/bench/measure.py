"""Clocks, CPU time, memory and disk flushes of a stretch of time."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import count, starmap
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from durafold_server.bench.targets import Target

_IS_LINUX: Final = sys.platform == "linux"
_FLUSHES_FIELD: Final = 15

_Number = float | None


@dataclass(frozen=True, slots=True)
class Cost:
    """What a stretch of time took; or, of all time so far, where the clocks stand.

    Attributes:
        wall_s: seconds.
        own_cpu_s: CPU seconds of this process, the load generator.
        own_wait_s: seconds in which it was ready to work, and another process had the CPU.
        server_cpu_s: CPU seconds of the server's processes.
        machine_cpu_s: CPU seconds of all processes of the machine.
        flushes: cache flushes of the disk that holds the server's data, whoever asked for them.

    What is not known is None.
    """

    wall_s: float
    own_cpu_s: float
    own_wait_s: float
    server_cpu_s: float | None
    machine_cpu_s: float | None
    flushes: int | None

    def __add__(self, other: Cost) -> Cost:
        return Cost(*starmap(_plus, zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, begin: Cost) -> Cost:
        return Cost(*starmap(_minus, zip(astuple(self), astuple(begin), strict=True)))

    @property
    def generator_share(self) -> float:
        """The part of the time in which the load generator could not have done more."""
        return (self.own_cpu_s + self.own_wait_s) / self.wall_s

    @property
    def others_share(self) -> float | None:
        """The part of the machine's CPU time that went to neither the server nor the load generator."""
        if self.server_cpu_s is None or self.machine_cpu_s is None:
            return None
        others_s = self.machine_cpu_s - self.server_cpu_s - self.own_cpu_s
        return max(0.0, others_s) / self.wall_s / (os.cpu_count() or 1)

    def server_cpu_us_per(self, count: float) -> float | None:
        """Microseconds of the server's CPU for each of `count` things."""
        return None if self.server_cpu_s is None else self.server_cpu_s * 1e6 / count

    def flushes_per(self, count: float) -> float | None:
        """Flushes for each of `count` things."""
        return None if self.flushes is None else self.flushes / count


class Meter:
    """Measures what a `with` block costs, and all of them together if it is used again.

    Args:
        target: the server that works meanwhile.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._begin: Cost
        self._total: Cost | None = None

    def __enter__(self) -> Self:
        self._begin = read_clocks(self._target)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        spent = read_clocks(self._target) - self._begin
        self._total = spent if self._total is None else self._total + spent

    @property
    def cost(self) -> Cost:
        """Of the blocks so far; there must have been one."""
        assert self._total is not None
        return self._total


def read_clocks(target: Target) -> Cost:
    """Where all clocks stand."""
    return Cost(
        time.perf_counter(),
        time.process_time(),
        _own_wait_s(),
        process_cpu_s(target.pid),
        _machine_cpu_s(),
        disk_flushes(target.data_dir),
    )


def process_cpu_s(pid: int | None) -> float | None:
    """CPU seconds that a process has taken so far, with all its threads and the processes that it started.

    None where that is not known.
    """
    if pid is None or not _IS_LINUX:
        return None
    return sum(time.clock_gettime(_cpu_clock(member)) for member in _family(pid))


def resident_bytes(pid: int | None) -> int | None:
    """Memory of a process, and of those that it started, that is in RAM; None where that is not known."""
    if pid is None or not _IS_LINUX:
        return None
    pages = [int(Path(f"/proc/{member}/statm").read_text().split()[1]) for member in _family(pid)]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def open_files(pid: int | None) -> int | None:
    """What a process, and those that it started, have open, sockets too; None where that is not known."""
    if pid is None or not _IS_LINUX:
        return None
    return sum(1 for member in _family(pid) for _ in Path(f"/proc/{member}/fd").iterdir())


def disk_flushes(directory: Path | None) -> int | None:
    """Cache flushes so far of the disk that holds a directory; None where they are not known.

    The sync of a file ends in one, unless the disk has no cache: then there are none to count.
    """
    if directory is None or not _IS_LINUX:
        return None
    device = directory.stat().st_dev
    counters = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
    fields = counters.read_text().split() if counters.exists() else []
    return int(fields[_FLUSHES_FIELD]) or None if len(fields) > _FLUSHES_FIELD else None


def repetitions(duration_s: float, *, least: int) -> Iterator[int]:
    """0, 1, 2, … for `duration_s` seconds, but at least `least` numbers."""
    until_s = time.perf_counter() + duration_s
    for number in count():
        if number >= least and time.perf_counter() >= until_s:
            return
        yield number


def percentile_ms(latencies_s: Sequence[float], percent: float) -> float:
    """The latency, in ms, within which `percent` of the requests stayed (nearest rank)."""
    ranked = sorted(latencies_s)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)] * 1e3


def _cpu_clock(pid: int) -> int:
    """What clock_getcpuclockid(3) gives for a process: its clock has nanoseconds, /proc only hundredths."""
    return (~pid << 3) | 2


def _family(pid: int) -> Iterator[int]:
    """A process and all below it: servers may be started by wrappers, and may have workers."""
    yield pid
    for thread in Path(f"/proc/{pid}/task").iterdir():
        # A thread may end while it is looked at.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in (thread / "children").read_text().split():
                yield from _family(int(child))


def _own_wait_s() -> float:
    statistics = Path("/proc/self/schedstat")
    return int(statistics.read_text().split()[1]) / 1e9 if statistics.exists() else 0.0


def _machine_cpu_s() -> float | None:
    if not _IS_LINUX:
        return None
    # proc(5): user, nice, system, idle, iowait, irq, softirq, steal, in ticks.
    ticks = [int(field) for field in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def _plus(one: _Number, other: _Number) -> Any:
    return None if one is None or other is None else one + other


def _minus(one: _Number, other: _Number) -> Any:
    return None if one is None or other is None else one - other
