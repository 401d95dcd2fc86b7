"""What only a process of its own can show: broken pipes, Ctrl-C, memory, servers that die."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

import pytest

from durafold.testing import ServerProcess
from support.command_line import CommandLine

DURAFOLD: Final = str(Path(sys.executable).with_name("durafold"))
MIB: Final = 1024 * 1024

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts commands as processes, which are ended with the test."""
    running: list[subprocess.Popen[bytes]] = []

    def start_one(*arguments: str, url: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "STREAM_URL": url}
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [DURAFOLD, *arguments], env=environment, stdin=pipe, stdout=pipe, stderr=pipe
        )
        running.append(process)
        return process

    yield start_one
    for process in running:
        with process:
            process.kill()


def stdin_of(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdin is not None
    return process.stdin


def stdout_of(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdout is not None
    return process.stdout


def rest_of(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    """The exit code, and what was written to standard error."""
    assert process.stderr is not None
    err = process.stderr.read()
    return process.wait(), err


def test_a_reader_that_leaves_ends_the_output_quietly(durafold: CommandLine, name: str, start: Start) -> None:
    durafold.ok("append", name, "--create", "bytes", stdin=b"line\n" * 100_000)
    reading = start("read", name, url=durafold.url)

    assert stdout_of(reading).readline() == b"line\n"
    stdout_of(reading).close()

    assert rest_of(reading) == (141, b"")


@pytest.mark.parametrize(
    "command", [["read"], ["read", "--json"], ["read", "-o", "pretty"], ["info"], ["export"], ["state"]]
)
def test_a_full_disk_under_the_output_is_told(durafold: CommandLine, name: str, command: list[str]) -> None:
    durafold.ok("append", name, "--create", "json", "1")

    with Path("/dev/full").open("w") as full:
        done = subprocess.run([DURAFOLD, *command, name], stdout=full, stderr=subprocess.PIPE, check=False)

    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert b"Cannot write the output (No space left on device)" in line


def test_a_place_that_could_not_be_printed_is_not_kept(
    durafold: CommandLine, name: str, tmp_path: Path
) -> None:
    durafold.ok("append", name, "--create", "json", "1")
    reading = ["read", name, "--checkpoint", str(tmp_path / "place")]

    with Path("/dev/full").open("w") as full:
        subprocess.run([DURAFOLD, *reading], stdout=full, stderr=subprocess.PIPE, check=False)

    assert durafold.ok(*reading).out == "1\n"


@pytest.mark.parametrize(("closed", "said"), [(">&-", b"There is no such stream"), ("2>&-", b"")])
def test_outputs_that_are_closed_are_no_failure(
    durafold: CommandLine, name: str, closed: str, said: bytes
) -> None:
    durafold.ok("append", name, "--create", "json", "1")

    found = subprocess.run(["sh", "-c", f"{DURAFOLD} info {name} {closed}"], capture_output=True, check=False)
    lost = subprocess.run(["sh", "-c", f"{DURAFOLD} info no {closed}"], capture_output=True, check=False)

    assert (found.returncode, lost.returncode, lost.stdout) == (0, 3, b"")
    assert said in lost.stderr


def test_a_tail_that_nobody_reads_ends_by_itself(durafold: CommandLine, name: str, start: Start) -> None:
    durafold.ok("append", name, "--create", "json", "1")
    tail = start("tail", name, "-n", "1", url=durafold.url)

    assert stdout_of(tail).readline() == b"1\n"
    stdout_of(tail).close()

    assert rest_of(tail) == (141, b"")


def test_ctrl_c_ends_a_tail_without_a_word(durafold: CommandLine, name: str, start: Start) -> None:
    durafold.ok("append", name, "--create", "json", "1")
    tail = start("tail", name, "-n", "1", url=durafold.url)
    stdout_of(tail).readline()

    tail.send_signal(signal.SIGINT)

    assert rest_of(tail) == (130, b"")


def test_ctrl_c_ends_an_append_that_waits_for_input(durafold: CommandLine, name: str, start: Start) -> None:
    durafold.ok("create", name)
    writing = start("append", name, url=durafold.url)
    stdin_of(writing).write(b"1\n")
    stdin_of(writing).flush()
    durafold.ok("read", name, "--live", "auto", "-n", "1")

    writing.send_signal(signal.SIGINT)

    assert rest_of(writing) == (130, b"")


def test_input_of_any_length_takes_bounded_memory(durafold: CommandLine, name: str, start: Start) -> None:
    durafold.ok("create", name, "--type", "bytes")
    writing = start("append", name, url=durafold.url)

    [stdin_of(writing).write(bytes(MIB)) for _ in range(96)]
    status = Path(f"/proc/{writing.pid}/status").read_text()
    stdin_of(writing).close()

    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak is not None
    assert int(peak[1]) * 1024 < 112 * MIB
    assert rest_of(writing)[0] == 0


def test_a_server_that_dies_meanwhile_gets_every_line_once(
    durable_server: ServerProcess, durafold: CommandLine, start: Start
) -> None:
    url = durable_server.url
    writing = start("append", "log", "--create", "json", url=url)
    stdin_of(writing).write(b"1\n2\n3\n")
    stdin_of(writing).flush()
    durafold.ok("create", "log", "--url", url)
    durafold.ok("read", "log", "--live", "auto", "-n", "3", "--url", url)

    durable_server.kill()
    stdin_of(writing).write(b"4\n5\n6\n")
    stdin_of(writing).flush()
    durable_server.start()
    stdin_of(writing).write(b"7\n")
    stdin_of(writing).close()

    assert rest_of(writing) == (0, b"")
    assert durafold.ok("read", "log", "--url", url).out == "1\n2\n3\n4\n5\n6\n7\n"


def test_append_gives_up_when_the_server_stays_away(
    durable_server: ServerProcess, durafold: CommandLine, start: Start
) -> None:
    url = durable_server.url
    writing = start("append", "log", "--create", "json", "--timeout", "0.5", url=url)
    stdin_of(writing).write(b"1\n")
    stdin_of(writing).flush()
    durafold.ok("create", "log", "--url", url)
    durafold.ok("read", "log", "--live", "auto", "-n", "1", "--url", url)

    durable_server.kill()
    stdin_of(writing).write(b"2\n")
    stdin_of(writing).flush()

    code, err = rest_of(writing)
    assert code == 6
    assert b"The server has confirmed nothing for 0.5 s" in err


def test_a_tail_gives_up_when_it_was_told_how_long_to_wait(
    durable_server: ServerProcess, durafold: CommandLine, start: Start
) -> None:
    url = durable_server.url
    durafold.ok("append", "log", "--create", "json", "1", "--url", url)
    tail = start("tail", "log", "-n", "1", "--timeout", "0.5", url=url)
    stdout_of(tail).readline()
    durafold.ok("append", "log", "2", "--url", url)
    stdout_of(tail).readline()

    durable_server.kill()

    code, err = rest_of(tail)
    assert code == 6
    assert b"The server was away for 0.5 s" in err
