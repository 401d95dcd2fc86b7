"""What a stretch of time costs, and whom."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from durafold_server.bench.measure import (
    Cost,
    Meter,
    disk_flushes,
    percentile_ms,
    process_cpu_s,
    repetitions,
    resident_bytes,
)
from durafold_server.bench.targets import Target

CORES: Final = os.cpu_count() or 1
SLEEPER: Final = "import sys, time; print(flush=True); time.sleep(600)"
PARENT: Final = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPER!r}])"


@pytest.fixture
def parent_pid() -> Iterator[int]:
    """A process that does nothing but wait for one that it started."""
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0) as process:
        assert process.stdout
        process.stdout.readline()
        yield process.pid
        os.killpg(process.pid, 9)


def test_costs_add_up_and_what_is_not_known_of_one_is_not_known_of_both() -> None:
    one = Cost(1.0, 0.5, 0.25, 0.125, 2.0, 3)
    other = Cost(2.0, 0.5, 0.25, 0.125, 2.0, None)

    assert one + other == Cost(3.0, 1.0, 0.5, 0.25, 4.0, None)
    assert (one + one) - one == one


def test_a_generator_that_waits_for_a_cpu_is_as_busy_as_one_that_works() -> None:
    assert Cost(2.0, 0.5, 1.0, None, None, None).generator_share == 0.75


def test_what_neither_server_nor_generator_took_went_to_others() -> None:
    cost = Cost(1.0, 0.5, 0.0, server_cpu_s=0.25, machine_cpu_s=0.75 + CORES / 4, flushes=None)

    assert cost.others_share == 0.25


def test_what_others_took_is_not_known_if_the_server_is_not() -> None:
    assert Cost(1.0, 0.5, 0.0, server_cpu_s=None, machine_cpu_s=2.0, flushes=None).others_share is None


def test_costs_are_shared_out() -> None:
    cost = Cost(1.0, 0.5, 0.0, server_cpu_s=0.5, machine_cpu_s=None, flushes=5)

    assert cost.server_cpu_us_per(1000) == 500
    assert cost.flushes_per(20) == 0.25


def test_a_meter_sees_the_work_of_a_process() -> None:
    meter = Meter(Target("this", "127.0.0.1", 1, given_pid=os.getpid()))

    with meter:
        sum(range(1_000_000))
    once = meter.cost
    with meter:
        sum(range(1_000_000))

    assert once.own_cpu_s > 0
    assert once.server_cpu_s is not None
    assert once.server_cpu_s > 0
    assert meter.cost.own_cpu_s > once.own_cpu_s


def test_a_process_is_measured_with_those_that_it_started(parent_pid: int) -> None:
    alone = int(Path(f"/proc/{parent_pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    memory = resident_bytes(parent_pid)

    assert memory is not None
    assert memory > 1.5 * alone


def test_nothing_is_known_of_a_server_without_a_process() -> None:
    assert process_cpu_s(None) is None
    assert resident_bytes(None) is None
    assert disk_flushes(None) is None


def test_percentiles_are_values_that_were_measured() -> None:
    latencies_s = [number / 1000 for number in range(100, 0, -1)]

    assert percentile_ms(latencies_s, 50) == pytest.approx(50)
    assert percentile_ms(latencies_s, 99) == pytest.approx(99)
    assert percentile_ms([0.003], 99) == pytest.approx(3)


def test_repetitions_are_as_many_as_asked_for_even_if_the_time_is_over() -> None:
    assert list(repetitions(0, least=3)) == [0, 1, 2]
