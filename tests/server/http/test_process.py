"""The server as a process: what it prints, what it refuses, and how it ends."""

from __future__ import annotations

import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from durafold.errors import DurafoldError
from durafold_server.cli import parse_arguments
from support.ports import free_port
from support.server import ServerProcess
from support.server_sockets import connected, rest_of

TEXT = {"Content-Type": "text/plain"}
JSON = {"Content-Type": "application/json"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the server with arguments that make it end at once."""
    return subprocess.run(
        [sys.executable, "-m", "durafold_server", *arguments], capture_output=True, text=True, timeout=30
    )


@contextmanager
def reading(server: ServerProcess, name: str, count: int, mode: str = "sse") -> Iterator[list[socket.socket]]:
    """Connections that follow a stream and have got their first event."""
    request = f"GET /v1/stream/{name}?offset=-1&live={mode} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
    with ExitStack() as stack:
        connections = [stack.enter_context(connected(server.port)) for _ in range(count)]
        for connection in connections:
            connection.sendall(request)
        yield connections


# Starting


def test_a_server_in_memory_says_where_it_listens_and_that_data_will_be_lost() -> None:
    with ServerProcess() as server:
        assert server.output.splitlines() == [
            f"durafold: listening on http://127.0.0.1:{server.port}/v1/stream, "  # noqa: ISC004
            "in memory: all data is lost at exit"
        ]


def test_a_server_on_disk_says_where_its_data_is(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        assert server.output.splitlines() == [
            f"durafold: listening on http://127.0.0.1:{server.port}/v1/stream, data in {tmp_path / 'data'}"
        ]


def test_a_port_that_is_taken_is_said_and_exits_with_1(server: ServerProcess) -> None:
    ended = run("--memory", "--port", str(server.port))

    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1:{server.port} (Address already in use)" in ended.stderr
    assert "--port" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("port", ["65536", "-1", "99999", "http"])
def test_a_port_that_cannot_be_is_refused_without_a_traceback(port: str) -> None:
    ended = run("--memory", "--port", port)

    assert ended.returncode in (1, 2)
    assert "port" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", "169.254.1.1", ""])
def test_a_public_address_is_refused(host: str) -> None:
    ended = run("--memory", "--port", "0", "--host", host)

    assert ended.returncode == 1
    assert "reachable from other machines" in ended.stderr
    assert "--tokens-file" in ended.stderr
    assert "--insecure" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_settings_and_tokens_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURAFOLD_TOKENS", "app@s3cr3t=read,write:todos/")
    monkeypatch.setenv("DURAFOLD_MAX_BODY_BYTES", "3")
    with ServerProcess() as server:
        known = {"Authorization": "Bearer s3cr3t"}

        assert httpx.put(f"{server.url}/todos/a", headers=known, content=b"abc").status_code == 201
        assert httpx.put(f"{server.url}/todos/b", headers=known, content=b"abcd").status_code == 413
        assert httpx.put(f"{server.url}/other", headers=known).status_code == 403
        assert httpx.put(f"{server.url}/todos/c").status_code == 401
        assert "s3cr3t" not in server.output


def test_a_wrong_variable_is_said_and_exits_with_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURAFOLD_PORT", "http")

    ended = run("--memory")

    assert ended.returncode == 2
    assert "environment variable DURAFOLD_PORT: must be a whole number (it is 'http')" in ended.stderr


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2"])
def test_other_names_of_this_machine_are_fine(host: str) -> None:
    with ServerProcess(options=["--host", host]) as server:
        assert httpx.put(f"{server.url}/a").status_code == 201


def test_ipv6_loopback_is_fine() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 on this machine")
    with ServerProcess(options=["--host", "::1"]) as server:
        assert server.url == f"http://[::1]:{server.port}/v1/stream"
        assert httpx.put(f"{server.url}/a").headers["location"] == f"{server.url}/a"


def test_a_directory_in_use_is_said_by_whom_and_exits_with_1(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        ended = run("--port", "0", "--data", str(tmp_path / "data"))

        assert ended.returncode == 1
        assert f"in use by another server (process {server.pid})" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_a_directory_that_cannot_be_used_exits_with_1(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    ended = run("--port", "0", "--data", str(tmp_path / "file"))

    assert ended.returncode == 1
    assert "cannot use" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_damaged_file_exits_with_1(tmp_path: Path) -> None:
    (tmp_path / "streams.db").write_bytes(b"no database" * 100)

    with pytest.raises(DurafoldError, match=r"streams\.db is damaged"), ServerProcess(tmp_path):
        pass


@pytest.mark.parametrize(
    "option",
    [
        ["--heartbeat-s", "0"],
        ["--heartbeat-s", "-1"],
        ["--heartbeat-s", "nan"],
        ["--sse-max-age-s", "0"],
        ["--long-poll-timeout-s", "-1"],
        ["--max-body-bytes", "-1"],
        ["--max-page-bytes", "0"],
        ["--max-page-bytes", "1.5"],
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(
    option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(option)

    assert ended.value.code == 2
    assert option[0] in capsys.readouterr().err


# Ending


@pytest.mark.parametrize("data", [True, False])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_end_exits_with_0(
    tmp_path: Path, data: bool, number: signal.Signals
) -> None:
    with ServerProcess(tmp_path / "data" if data else None) as server:
        httpx.put(f"{server.url}/a", content=b"abc").raise_for_status()

        assert server._run().end(number) == 0
        assert "Traceback" not in server.output


def test_a_server_ends_within_5_seconds_with_50_live_readers(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", stop_timeout_s=5) as server:  # then it would be killed
        httpx.put(f"{server.url}/a", headers=TEXT).raise_for_status()
        with reading(server, "a", 50) as readers, reading(server, "a", 50, "long-poll") as pollers:
            heads = [reader.recv(4096) for reader in readers]
            exit_code = server.terminate()
            rests = [rest_of(reader) for reader in readers]
            polled = [rest_of(poller) for poller in pollers]

    assert exit_code == 0
    assert {head[:15] for head in heads} == {b"HTTP/1.1 200 OK"}
    assert {rest[-5:] for rest in rests} == {b"0\r\n\r\n"}
    # One that the server had not read yet is hung up on.
    assert {reply[:12] for reply in polled} <= {b"HTTP/1.1 204", b""}


def test_a_server_ends_soon_though_reducers_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    options = ["--reducers", "support.stock", "--reducers", "support.unruly", "--reducer-timeout-s", "0.2"]
    hanging = {"stock/a": {"type": "wait"}, "odd/a": {"type": "spin"}}
    with ServerProcess(tmp_path / "data", options=options, stop_timeout_s=5) as server:  # then it is killed
        made = [httpx.put(f"{server.url}/{path}", headers=JSON).status_code for path in hanging]
        ended = [httpx.post(f"{server.url}/{path}", json=hanging[path]).status_code for path in hanging]

        exit_code = server.terminate()
        output = server.output

    assert (made, ended, exit_code) == ([201, 201], [503, 503], 0)
    assert "the reducer support.stock:stock has not come back" in output
    assert "the reducer support.unruly:unruly has not come back" in output
    assert "Traceback" not in output


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for more than a thousand open connections in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_server_ends_within_5_seconds_with_1000_live_readers(many_files: None) -> None:
    with ServerProcess(stop_timeout_s=5) as server:  # then it would be killed, which is no exit with 0
        httpx.put(f"{server.url}/a", headers=TEXT).raise_for_status()
        with reading(server, "a", 1000) as readers:
            heads = [reader.recv(4096)[:15] for reader in readers]

            exit_code = server.terminate()

            rests = [rest_of(reader)[-5:] for reader in readers]
        output = server.output

    assert exit_code == 0
    assert set(heads) == {b"HTTP/1.1 200 OK"}
    assert set(rests) == {b"0\r\n\r\n"}
    assert len(output.splitlines()) == 1


def test_a_server_ends_soon_though_some_clients_do_not_read() -> None:
    with ServerProcess(stop_timeout_s=6) as server:
        httpx.put(f"{server.url}/a", headers=TEXT).raise_for_status()
        with reading(server, "a", 3) as stalled:
            for connection in stalled:
                connection.recv(10)
            for _ in range(12):
                httpx.post(
                    f"{server.url}/a", headers={"Content-Type": "text/plain"}, content=b"x" * 1_000_000
                )

            assert server.terminate() == 0


def test_a_durable_server_comes_back_with_everything(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", port=free_port()) as server:
        url = f"{server.url}/a%2Fb"
        httpx.put(url, headers={"Content-Type": "text/plain", "Stream-TTL": "600"}, content=b"abc")
        httpx.post(url, headers={"Content-Type": "text/plain", "Stream-Closed": "true"}, content=b"d")
        before = httpx.get(url)
        server.restart()

        after = httpx.get(url)

    assert after.content == before.content == b"abcd"
    names = ["etag", "stream-next-offset", "stream-closed", "content-type"]
    assert [after.headers[name] for name in names] == [before.headers[name] for name in names]


def test_a_server_in_memory_forgets_everything() -> None:
    with ServerProcess(port=free_port()) as server:
        httpx.put(f"{server.url}/a").raise_for_status()
        server.restart()

        assert httpx.get(f"{server.url}/a").status_code == 404


def test_the_command_line_explains_itself() -> None:
    ended = run("--help")

    assert ended.returncode == 0
    assert re.search(r"--long-poll-timeout-s .*seconds a long-poll waits", re.sub(r"\s+", " ", ended.stdout))


def test_it_says_what_to_do_about_a_reducer_that_it_cannot_use() -> None:
    ended = run("--memory", "--port", "0", "--bind", "stock/*=operator:nothing_like_it")
    untold = run("--memory", "--port", "0", "--bind", "stock/*=operator:add")

    assert (ended.returncode, untold.returncode) == (1, 1)
    assert ended.stderr == "durafold: operator has no 'nothing_like_it'\n"
    assert untold.stderr == (
        "durafold: operator:add tells no state before the first message. Name an atom, or give the reducer's "
        "first parameter a type that can be made of no arguments\n"
    )
