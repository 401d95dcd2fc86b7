"""What the tests of the command line share."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Self

import pytest

from durafold.testing import ServerProcess
from support.command_line import CommandLine


@pytest.fixture
def durafold(
    server: ServerProcess,
    tmp_path: Path,
    capsysbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> CommandLine:
    """Runs commands against the shared server."""
    return CommandLine(server.url, tmp_path, capsysbinary, monkeypatch)


@pytest.fixture
def name() -> str:
    """The name of a stream that nobody else uses."""
    return f"cli-{uuid.uuid4().hex[:12]}"


Respond = Callable[[str], tuple[int, bytes]]


@pytest.fixture
def other_server() -> Iterator[Callable[[Respond], str]]:
    """Starts a server of another kind, which answers a GET of a path as it is told; returns its origin."""
    with _Servers() as servers:
        yield servers.start


class _Servers:
    def __init__(self) -> None:
        self._running: list[ThreadingHTTPServer] = []

    def start(self, respond: Respond) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = respond(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Tests are quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._running.append(server)
        Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._running:
            server.shutdown()
            server.server_close()
