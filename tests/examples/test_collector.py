"""The collector, while its server goes away, and the script that looks at what it collected."""

from __future__ import annotations

import platform
import signal
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from durafold.blocking import Provider
from durafold.processes import ChildProcess
from durafold.testing import ServerProcess
from support.examples import EXAMPLES, running

HERE: Final = EXAMPLES / "collector"


def wait_for_line(process: ChildProcess, line: str) -> None:
    process.wait_until(lambda: line in process.output.splitlines() or None, timeout_s=60)


def wait_for_end(process: ChildProcess) -> None:
    process.wait_until(lambda: process.exit_code, timeout_s=60)


def readings_of(server: ServerProcess) -> list[dict[str, Any]]:
    answer = httpx.get(f"{server.url}/readings/{platform.node() or 'localhost'}")
    found: list[dict[str, Any]] = answer.json()
    return found


def counted(server: ServerProcess) -> int:
    with Provider(server.url) as party:
        readings: int = party.server_state({"readings": 0}, "collectors/summary").ready().value["readings"]
        return readings


@pytest.mark.crash
def test_readings_taken_while_the_server_is_away_are_delivered_once_and_in_order(
    durable_server: ServerProcess, tmp_path: Path
) -> None:
    env = {"STREAM_URL": durable_server.url, "INTERVAL_S": "0.02", "READINGS": "60"}

    with running(HERE / "collect.py", env=env, cwd=tmp_path) as collector:
        wait_for_line(collector, "  delivered")
        durable_server.kill()
        wait_for_line(collector, "took reading 60")
        durable_server.start()
        wait_for_end(collector)

    assert collector.exit_code == 0
    assert [reading["number"] for reading in readings_of(durable_server)] == list(range(1, 61))
    assert counted(durable_server) == 60


def test_exploring_sums_up_the_past_and_follows_what_comes(
    durable_server: ServerProcess, tmp_path: Path
) -> None:
    env = {"STREAM_URL": durable_server.url, "INTERVAL_S": "0.02"}
    with running(HERE / "collect.py", env={**env, "READINGS": "2"}, cwd=tmp_path) as collector:
        wait_for_end(collector)
        assert collector.exit_code == 0, collector.output

    with running(HERE / "explore.py", env=env, cwd=tmp_path) as explorer:
        explorer.wait_until(lambda: "on average" in explorer.output or None, timeout_s=60)
        with running(HERE / "collect.py", env={**env, "READINGS": "3"}, cwd=tmp_path) as collector:
            wait_for_end(collector)
            assert collector.exit_code == 0, collector.output
            wait_for_end(explorer)
        lines = explorer.output.splitlines()

    assert explorer.exit_code == 0
    assert lines[0].startswith("2 readings")
    assert lines[2].startswith("all collectors: 2 readings")
    assert [line.partition(":")[0] for line in lines[3:]] == ["reading 1", "reading 2", "reading 3"]


def test_ctrl_c_ends_the_collector_without_a_traceback(durable_server: ServerProcess, tmp_path: Path) -> None:
    env = {"STREAM_URL": durable_server.url, "INTERVAL_S": "0.02"}
    with running(HERE / "collect.py", env=env, cwd=tmp_path) as collector:
        wait_for_line(collector, "took reading 3")
        exit_code = collector.end(signal.SIGINT, timeout_s=60)
        output = collector.output

    assert exit_code == 0
    assert "Traceback" not in output
