"""One blocking connection, for all that is not the load: it makes streams, and checks them afterwards."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, Self

from durafold.wire import names
from durafold_server.bench.errors import BenchError
from durafold_server.bench.messages import count_messages
from durafold_server.bench.targets import ANSWER_TIMEOUT_S, Target, process_of
from durafold_server.bench.wire import Response, ResponseParser

RECEIVE_BYTES: Final = 65536
JSON_HEADERS: Final = {"Content-Type": names.JSON_CONTENT_TYPE}

# PROTOCOL §5.2 says 204, but servers that answer 200 are about.
APPENDED: Final = (200, 204)

_RETRY_S: Final = 0.002


class Client:
    """A connection to a server; a context manager."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._socket = target.connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, request: bytes) -> None:
        """Send a request; `receive` waits for its response."""
        self._socket.sendall(request)

    def receive(self, method: str = "") -> Response:
        """The next response.

        Args:
            method: of the request, if it was HEAD.

        Raises:
            BenchError: it does not come, or is no HTTP.
        """
        parser, parts = ResponseParser(method), []
        while not parser.complete:
            data = self._socket.recv(RECEIVE_BYTES)
            if not data:
                raise BenchError("the server closed the connection instead of answering")
            parts.append(parser.feed(data))
        return Response(parser.status, parser.head, b"".join(parts))

    def ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        *,
        expected: tuple[int, ...] = (200,),
    ) -> Response:
        """Send a request, and wait for its response.

        Raises:
            BenchError: its status is none of `expected`, or it does not come.
        """
        self.send(self._target.encode(method, path, headers, body))
        response = self.receive(method)
        check_status(response, expected, f"{method} {path}")
        return response

    def create(self, path: str) -> None:
        """Make a JSON stream."""
        self.ask("PUT", path, JSON_HEADERS, expected=(201,))

    def append(self, path: str, body: bytes) -> None:
        """Append one message, or an array of them."""
        self.ask("POST", path, JSON_HEADERS, body, expected=APPENDED)

    def tail(self, path: str) -> str:
        """The offset after the last message."""
        return next_offset(self.ask("HEAD", path))

    def pages(self, path: str) -> Iterator[bytes]:
        """The whole stream, one response body after another.

        Raises:
            BenchError: the server does not get to the end.
        """
        offset = "-1"
        while True:
            page = self.ask("GET", f"{path}?{names.OFFSET_PARAM}={offset}")
            yield page.body
            if names.is_true(page.header(names.STREAM_UP_TO_DATE)):
                return
            if next_offset(page) == offset:
                raise BenchError(f"GET {path} says neither that it is up to date nor where to go on")
            offset = next_offset(page)

    def check_messages(self, paths: Sequence[str], expected: int) -> None:
        """Make sure that what was acknowledged is there.

        Raises:
            BenchError: the streams do not hold exactly `expected` messages in all.
        """
        found = sum(count_messages(page) for path in paths for page in self.pages(path))
        if found != expected:
            raise BenchError(f"{expected} messages were acknowledged, but {found} are there")


def next_offset(response: Response) -> str:
    """The response's `Stream-Next-Offset`.

    Raises:
        BenchError: it has none.
    """
    offset = response.header(names.STREAM_NEXT_OFFSET)
    if offset is None:
        raise BenchError(f"a response lacks {names.STREAM_NEXT_OFFSET}")
    return offset


def check_status(response: Response, expected: tuple[int, ...], request: str) -> None:
    """Make sure that a request was answered as it should.

    Raises:
        BenchError: it was not; the message holds what the server says.
    """
    if response.status not in expected:
        text = response.body[:200].decode(errors="replace")
        raise BenchError(f"{request} was answered with status {response.status}: {text}")


def wait_until_up(target: Target, path: str = "durafold-bench") -> Response:
    """The server's first answer to a HEAD, whatever it is.

    Raises:
        BenchError: it does not answer within `ANSWER_TIMEOUT_S`, or its process has ended.
    """
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while True:
        try:
            with Client(target) as client:
                client.send(target.encode("HEAD", path))
                return client.receive("HEAD")
        except OSError as exc:
            reason = exc.strerror or str(exc)
        obituary = target.process.obituary() if target.process else None
        if target.process is None or obituary or time.monotonic() > deadline:
            raise BenchError(obituary or f"{target.name} does not answer at {target.url}: {reason}")
        time.sleep(_RETRY_S)


def restart(target: Target) -> None:
    """Stop a server that was started for this run, start it again, and wait until it answers.

    Raises:
        BenchError: it does not come back.
    """
    process = process_of(target)
    process.stop()
    process.start()
    wait_until_up(target)


def delete_quietly(target: Target, paths: list[str]) -> None:
    """Delete streams as far as the server still can."""
    if not paths:
        return
    with contextlib.suppress(OSError, BenchError), Client(target) as client:
        for path in paths:
            client.ask("DELETE", path, expected=(200, 204, 404))
