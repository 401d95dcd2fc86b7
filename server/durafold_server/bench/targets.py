"""The servers to measure: where they are, what is known of them, and how a command line names them."""

from __future__ import annotations

import re
import shlex
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from durafold.wire.names import DEFAULT_PREFIX
from durafold_server.bench.errors import BenchError, UsageError
from durafold_server.bench.processes import ServerProcess
from durafold_server.bench.wire import encode_request

ANSWER_TIMEOUT_S: Final = 60.0

_OWN: Final = {
    "memory": [sys.executable, "-m", "durafold_server", "--port", "{port}", "--memory"],
    "sqlite": [sys.executable, "-m", "durafold_server", "--port", "{port}", "--data", "{data}"],
}
_NAMED: Final = re.compile(r"(?P<name>[\w.-]+)=(?P<what>.+)", re.DOTALL)
_PID: Final = re.compile(r"(?P<url>.+),pid=(?P<pid>\d+)")


@dataclass(frozen=True, slots=True)
class Target:
    """A server.

    Attributes:
        name: for tables and results.
        host: where it listens.
        port: where it listens.
        root: path that all streams are below, without a slash at its end.
        given_pid: process id of a local server that somebody else started.
        process: the server, if it was started for this run.
    """

    name: str
    host: str
    port: int
    root: str = DEFAULT_PREFIX
    given_pid: int | None = None
    process: ServerProcess | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the server as it runs now, None if it is not known."""
        return self.process.pid if self.process else self.given_pid

    @property
    def data_dir(self) -> Path | None:
        """Where it keeps its data, if that is known."""
        return self.process.data_dir if self.process else None

    @property
    def url(self) -> str:
        """Base URL of the streams."""
        return f"http://{self._netloc}{self.root}"

    def encode(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> bytes:
        """A request for a stream; `path` may end in a query."""
        return encode_request(method, f"{self.root}/{path}", self._netloc, headers, body)

    def connect(self, *, receive_buffer_bytes: int | None = None) -> socket.socket:
        """A connection whose operations give up after `ANSWER_TIMEOUT_S`.

        Raises:
            OSError: the server does not listen.
        """
        sock = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        try:
            if receive_buffer_bytes is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            sock.settimeout(ANSWER_TIMEOUT_S)
            sock.connect((self.host, self.port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            sock.close()
            raise
        return sock

    @property
    def _netloc(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_target(text: str, directory: Path) -> Target:
    """The server that an argument names; a process is made for it where needed, but not started.

    Args:
        text: `memory` or `sqlite` for servers of ours; `NAME=URL` or `NAME=URL,pid=PID` for one that runs;
            `NAME=COMMAND` for one to start, with `{port}` and perhaps `{data}` in the command.
        directory: for the data and logs of servers to start.

    Raises:
        UsageError: it is none of these.
    """
    if text in _OWN:
        return _started(text, ServerProcess(text, _OWN[text], directory))
    named = _NAMED.fullmatch(text)
    if named is None:
        raise UsageError(
            f"{text!r} names no server: use memory, sqlite, NAME=http://HOST:PORT or NAME='COMMAND {{port}}'"
        )
    if named["what"].startswith(("http://", "https://")):
        return _running(named["name"], named["what"])
    if "{port}" not in named["what"]:
        raise UsageError(f"the command of {named['name']} needs {{port}} where the port to listen on belongs")
    command = shlex.split(named["what"])
    return _started(named["name"], ServerProcess(named["name"], command, directory))


def _started(name: str, process: ServerProcess) -> Target:
    return Target(name, "127.0.0.1", process.port, process=process)


def _running(name: str, text: str) -> Target:
    with_pid = _PID.fullmatch(text)
    parts = urlsplit(with_pid["url"] if with_pid else text)
    if parts.scheme != "http" or not parts.hostname:
        raise UsageError(f"{name} needs a URL like http://127.0.0.1:4437/v1/stream; https is not measured")
    root = parts.path.rstrip("/") or DEFAULT_PREFIX
    pid = int(with_pid["pid"]) if with_pid else None
    return Target(name, parts.hostname, parts.port or 80, root, given_pid=pid)


def check_names(targets: list[Target]) -> None:
    """Results are told apart by name.

    Raises:
        UsageError: a name is given twice.
    """
    names = [target.name for target in targets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"give each server a name of its own: {', '.join(twice)} is there more than once")


def process_of(target: Target) -> ServerProcess:
    """The process of a server that was started for this run.

    Raises:
        BenchError: it was not.
    """
    if target.process is None:
        raise BenchError(f"{target.name} was not started by this program, so it is not ended by it either")
    return target.process
