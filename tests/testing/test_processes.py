"""`ChildProcess`, which starts the demo's programs and the tests' servers."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from durafold.errors import ConnectFailed
from durafold.processes import ChildProcess


@pytest.fixture
def log(tmp_path: Path) -> Iterator[BinaryIO]:
    with (tmp_path / "log").open("ab+") as file:
        yield file


def shell(script: str, log: BinaryIO) -> ChildProcess:
    return ChildProcess("The script", ["sh", "-c", script], log)


def first_line(process: ChildProcess) -> str:
    return process.wait_until(lambda: process.output.partition("\n")[0] or None, timeout_s=60)


def wait_until_gone(pid: int) -> None:
    """Return when the process has ended; the test's time limit is the limit."""
    while _is_alive(pid):
        time.sleep(0.01)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_its_output_leaves_out_what_earlier_runs_wrote(log: BinaryIO) -> None:
    with shell("echo earlier", log) as earlier:
        first_line(earlier)

    with shell("echo now; exec sleep 60", log) as process:
        assert first_line(process) == "now"
        assert process.output == "now\n"


def test_its_end_ends_what_it_started(log: BinaryIO) -> None:
    process = shell("sleep 60 & echo $!; wait", log)
    grandchild = int(first_line(process))

    process.end(signal.SIGKILL)

    wait_until_gone(grandchild)


def test_a_program_that_ignores_the_signal_is_killed(log: BinaryIO) -> None:
    process = shell("trap '' TERM; echo ready; while :; do sleep 60; done", log)
    first_line(process)

    assert process.end(signal.SIGTERM, timeout_s=0.1) == -signal.SIGKILL


def test_ending_it_twice_gives_the_same_exit_code(log: BinaryIO) -> None:
    process = shell("exit 3", log)

    assert [process.end(timeout_s=60), process.end()] == [process.exit_code] * 2


def test_waiting_for_a_program_that_ends_tells_its_last_words(log: BinaryIO) -> None:
    expected = re.escape("The script ended with exit code 3. Its last words:\nno such file")

    with shell("echo no such file >&2; exit 3", log) as process, pytest.raises(ConnectFailed, match=expected):
        process.wait_until(lambda: None, timeout_s=60)


def test_waiting_ends_after_its_time(log: BinaryIO) -> None:
    expected = re.escape("The script was not ready after 0.1 s. It said nothing")

    with shell("exec sleep 60", log) as process, pytest.raises(ConnectFailed, match=expected):
        process.wait_until(lambda: None, timeout_s=0.1)


def test_its_variables_are_added_to_those_of_this_process(
    log: BinaryIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INHERITED", "one")

    with ChildProcess(
        "The script", ["sh", "-c", "echo $INHERITED $ADDED"], log, env={"ADDED": "two"}
    ) as process:
        assert first_line(process) == "one two"
