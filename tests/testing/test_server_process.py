"""`durafold.testing.ServerProcess`, which the crash tests stand on."""

from __future__ import annotations

import signal
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from durafold.errors import ConfigurationError, ConnectFailed
from durafold.testing import ServerProcess


def create_stream(server: ServerProcess, name: str) -> None:
    urlopen(Request(f"{server.url}/{name}", b"first", {"Content-Type": "text/plain"}, method="PUT")).close()


def read_stream(server: ServerProcess, name: str) -> bytes:
    with urlopen(f"{server.url}/{name}") as answer:
        body: bytes = answer.read()
    return body


def test_it_serves_streams_on_a_free_port(server: ServerProcess) -> None:
    create_stream(server, "served")

    assert read_stream(server, "served") == b"first"


def test_data_on_disk_survives_a_kill(durable_server: ServerProcess) -> None:
    create_stream(durable_server, "kept")
    durable_server.kill()

    durable_server.restart()

    assert read_stream(durable_server, "kept") == b"first"


def test_a_restart_keeps_the_port(durable_server: ServerProcess) -> None:
    before = durable_server.url, durable_server.pid

    durable_server.restart()

    assert durable_server.url == before[0]
    assert durable_server.pid != before[1]


def test_a_killed_server_refuses_connections(durable_server: ServerProcess) -> None:
    durable_server.kill()

    assert not durable_server.is_running
    with pytest.raises(URLError):
        read_stream(durable_server, "any")


def test_terminate_lets_the_server_end_by_itself(durable_server: ServerProcess) -> None:
    assert durable_server.terminate() in {0, -signal.SIGTERM}


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    no_directory = tmp_path / "file"
    no_directory.touch()

    with (
        pytest.raises(ConnectFailed, match=r"ended with exit code [1-9]\d*\. Its last words:\n.*file"),
        ServerProcess(no_directory),
    ):
        pass


def test_a_server_cannot_be_started_twice(durable_server: ServerProcess) -> None:
    with pytest.raises(ConfigurationError, match=r"restart\(\)"):
        durable_server.start()


def test_a_server_that_was_never_started_has_no_url() -> None:
    with pytest.raises(ConfigurationError, match="never started"):
        _ = ServerProcess().url


def test_output_goes_to_the_log_file(tmp_path: Path) -> None:
    log = tmp_path / "server.log"

    with ServerProcess(log_file=log) as server:
        assert server.url in log.read_text()


@pytest.mark.anyio
async def test_it_is_an_asynchronous_context_manager_too() -> None:
    async with ServerProcess() as server:
        assert server.is_running

    assert not server.is_running
