"""SSE readers that find out when a message has reached them."""

from __future__ import annotations

import selectors
import socket
import time
from types import TracebackType
from typing import Self

from durafold.wire import names
from durafold_server.bench.client import APPENDED, JSON_HEADERS, RECEIVE_BYTES, Client, check_status
from durafold_server.bench.errors import BenchError
from durafold_server.bench.messages import message
from durafold_server.bench.targets import ANSWER_TIMEOUT_S, Target
from durafold_server.bench.wire import ResponseParser


class _Reader:
    """One SSE connection."""

    __slots__ = ("_parser", "_text", "socket")

    def __init__(self, connection: socket.socket, request: bytes) -> None:
        self.socket = connection
        self.socket.sendall(request)
        self.socket.setblocking(False)
        self._parser = ResponseParser()
        self._text = b""

    def has(self, token: bytes) -> bool:
        """Read what has come; whether `token` was in it or in what came before."""
        data = self.socket.recv(RECEIVE_BYTES)
        self._text += self._parser.feed(data)
        if not data or self._parser.complete or self._parser.status not in (0, 200):
            status = self._parser.status or "none"
            raise BenchError(f"the server ended an SSE connection, status {status}: {self._text[-200:]!r}")
        if token not in self._text:
            return False
        self._text = b""
        return True


class Readers:
    """SSE readers of one stream; a context manager.

    Args:
        target: the server.
        path: the stream.
        count: how many.
        receive_buffer_bytes: of each socket; None for the system's default.
    """

    def __init__(
        self, target: Target, path: str, count: int, *, receive_buffer_bytes: int | None = None
    ) -> None:
        query = f"{names.OFFSET_PARAM}=-1&{names.LIVE_PARAM}={names.SSE}"
        request = target.encode("GET", f"{path}?{query}")
        self._selector = selectors.DefaultSelector()
        self._readers: list[_Reader] = []
        try:
            for _ in range(count):
                connection = target.connect(receive_buffer_bytes=receive_buffer_bytes)
                self._readers.append(_Reader(connection, request))
                self._selector.register(connection, selectors.EVENT_READ, self._readers[-1])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        for reader in self._readers:
            reader.socket.close()
        self._selector.close()

    def wait_for(self, token: str) -> float:
        """Until every reader has got the message that holds `token`.

        Returns:
            `time.perf_counter()` when the last one had it.

        Raises:
            BenchError: that does not happen within `ANSWER_TIMEOUT_S`, or a connection ends before.
        """
        wanted, waiting = token.encode(), len(self._readers)
        while waiting:
            ready = self._selector.select(ANSWER_TIMEOUT_S)
            if not ready:
                raise BenchError(f"{waiting} of {len(self._readers)} SSE readers were left without a message")
            for key, _ in ready:
                waiting -= key.data.has(wanted)
        return time.perf_counter()


def deliver(client: Client, append: bytes, token: str, readers: Readers) -> float:
    """Append a message, and wait until every reader has it.

    Args:
        client: sends it.
        append: the request.
        token: what the message holds.
        readers: who waits for it.

    Returns:
        Seconds from sending to the last delivery.

    Raises:
        BenchError: it was not accepted, or not delivered.
    """
    began_s = time.perf_counter()
    client.send(append)
    delivered_s = readers.wait_for(token)
    check_status(client.receive(), APPENDED, "an append")
    return delivered_s - began_s


def token_of(number: int) -> str:
    """A text that is in one message only."""
    return f"message-{number:08d}"


def numbered_append(target: Target, path: str, number: int) -> bytes:
    """The request that appends the message with a number's token."""
    return target.encode("POST", path, JSON_HEADERS, message(token_of(number)))
