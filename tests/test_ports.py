"""`support.ports`: no port is given to two tests, nor one that somebody has."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from support import ports

SUPPORT: Final = Path(ports.__file__).parents[1]
TAKE_TWENTY: Final = """
import os
from support.ports import free_port
os.getpid = lambda: 1  # both begin to look at the same port
print(*(free_port() for _ in range(20)))
input()
"""


def taker() -> subprocess.Popen[str]:
    """A process that says which ports it was given, and keeps them until it reads a line."""
    command = [sys.executable, "-uc", TAKE_TWENTY]
    return subprocess.Popen(command, cwd=SUPPORT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def taken(process: subprocess.Popen[str]) -> set[str]:
    assert process.stdout
    return {*process.stdout.readline().split()}


def test_two_processes_are_never_given_the_same_port() -> None:
    with taker() as one, taker() as other:
        ports_of_both = taken(one) | taken(other)
        one.communicate("\n")
        other.communicate("\n")

    assert len(ports_of_both) == 40


def test_a_port_that_somebody_listens_on_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setattr(ports, "PORTS", range(port, port + 1))

        with pytest.raises(OSError, match=f"no port from {port} to {port} is free"):
            ports.free_port()
