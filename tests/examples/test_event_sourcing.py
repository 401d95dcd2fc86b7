"""Orders as events, and a projection that is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from durafold.processes import ChildProcess
from durafold.testing import ServerProcess
from support.examples import EXAMPLES, running

HERE: Final = EXAMPLES / "event_sourcing"


def record(server: ServerProcess, *arguments: str) -> None:
    command = [sys.executable, str(HERE / "record.py"), *arguments]
    subprocess.run(command, env={"STREAM_URL": server.url}, check=True, capture_output=True, timeout=60)


def wait_for_line(process: ChildProcess, line: str) -> None:
    process.wait_until(lambda: line in process.output.splitlines() or None, timeout_s=60)


@pytest.mark.crash
def test_a_killed_projection_goes_on_without_a_gap_or_a_repetition(
    durable_server: ServerProcess, tmp_path: Path
) -> None:
    env = {"STREAM_URL": durable_server.url}
    record(durable_server, "place", "A-1", "ada", "19.90")
    with running(HERE / "projection.py", env=env, cwd=tmp_path) as projection:
        wait_for_line(projection, "ada: 1 orders, 19.90")
        projection.end(signal.SIGKILL)
    record(durable_server, "place", "A-2", "ada", "0.10")
    record(durable_server, "place", "A-3", "grace", "42")
    record(durable_server, "cancel", "A-3")

    with running(HERE / "projection.py", env=env, cwd=tmp_path) as projection:
        wait_for_line(projection, "ada: 2 orders, 20.00")
        first = projection.output.splitlines()[0]

    assert first.startswith("going on from ")


def test_an_order_of_no_value_is_not_recorded(server: ServerProcess) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        record(server, "place", "A-1", "ada", "0")


@pytest.mark.crash
def test_the_story_ends_well(tmp_path: Path) -> None:
    with running(HERE / "story.py", env={}, cwd=tmp_path) as story:
        story.wait_until(lambda: story.exit_code is not None or None, timeout_s=120)
        output = story.output

    assert story.exit_code == 0, output
    assert output.count("ada: 2 orders, 20.00") == 2
    assert list(tmp_path.iterdir()) == []
