"""The `durafold` command as a user types it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Final

import pytest

from support import ports

DURAFOLD: Final = str(Path(sys.executable).with_name("durafold"))


def durafold(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [DURAFOLD, *arguments], cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    return ports.free_port()


@pytest.mark.parametrize("command", ["serve", "config", "demo", "bench", "version"])
def test_help_names_the_command(command: str) -> None:
    outcome = durafold("--help")

    assert outcome.returncode == 0
    assert re.search(rf"^  {command} +\w", outcome.stdout, re.MULTILINE)


def test_version_is_that_of_the_package() -> None:
    assert durafold("version").stdout == f"durafold {installed_version('durafold')}\n"


@pytest.mark.parametrize(
    "arguments", [["serve", "--prot", "1"], ["serve", "--port", "x"], ["demo", "--port", "0"], ["no"]]
)
def test_wrong_usage_ends_with_code_2(arguments: list[str]) -> None:
    outcome = durafold(*arguments)

    assert outcome.returncode == 2
    assert "usage: durafold" in outcome.stderr.lower()


def test_config_show_takes_the_options_of_serve(tmp_path: Path) -> None:
    outcome = durafold("config", "show", "--port", "8080", cwd=tmp_path)

    assert outcome.returncode == 0
    assert re.search(r"^port += 8080 +# flag --port$", outcome.stdout, re.MULTILINE)


def test_serve_says_where_it_listens_and_where_the_data_is(tmp_path: Path) -> None:
    with subprocess.Popen(
        [DURAFOLD, "serve", "--port", "0"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as server:
        line = server.stderr.readline() if server.stderr else ""
        server.terminate()

    assert re.fullmatch(r"durafold: listening on http://127\.0\.0\.1:\d+/v1/stream, data in \S+\n", line)
    assert (tmp_path / "durafold-data").is_dir()


def test_ctrl_c_ends_serve_in_order() -> None:
    with subprocess.Popen(
        [DURAFOLD, "serve", "--port", "0", "--memory"], stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr
        server.stderr.readline()
        os.kill(server.pid, signal.SIGINT)
        rest = server.stderr.read()

    assert (server.returncode, rest) == (0, "")


def test_serve_on_a_taken_port_names_the_port_and_the_option(taken_port: int) -> None:
    outcome = durafold("serve", "--memory", "--port", str(taken_port))

    assert outcome.returncode == 1
    assert str(taken_port) in outcome.stderr
    assert "--port" in outcome.stderr


@pytest.mark.parametrize(("option", "other"), [("--port", "--stream-port"), ("--stream-port", "--port")])
def test_demo_on_a_taken_port_names_the_port_and_the_option_and_starts_nothing(
    taken_port: int, free_port: int, option: str, other: str, tmp_path: Path
) -> None:
    outcome = durafold("demo", option, str(taken_port), other, str(free_port), "--data", "data", cwd=tmp_path)

    assert outcome.returncode == 1
    assert f"Port {taken_port} cannot be used" in outcome.stderr
    assert f"durafold demo {option} {taken_port + 1}" in outcome.stderr
    assert not (tmp_path / "data").exists()


def test_demo_with_an_unusable_directory_names_it_and_the_option(tmp_path: Path, free_port: int) -> None:
    (tmp_path / "file").touch()
    ports = ["--port", str(free_port), "--stream-port", str(free_port)]

    outcome = durafold("demo", *ports, "--data", "file", cwd=tmp_path)

    assert outcome.returncode == 1
    assert "Cannot make the directory file" in outcome.stderr
    assert "--data" in outcome.stderr
