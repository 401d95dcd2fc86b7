"""A small HTTP server on this machine that receives webhooks (PROTOCOL §7.1)."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import anyio
import anyio.abc

from durafold_server.conformance.exchange import Failure, preview

_RECEIVE_BYTES: Final = 65536


@dataclass(frozen=True, slots=True)
class Notification:
    """A webhook as it came; header names in lower case."""

    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body's object.

        Raises:
            Failure: it is none.
        """
        try:
            value = json.loads(self.body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise Failure("a JSON object as webhook body", preview(self.body))
        return value


class Receiver:
    """Receives webhooks.

    Attributes:
        url: where it listens.
        answer: the JSON that it answers with.
        failures: how many of the next webhooks it answers with 500.
    """

    def __init__(self, port: int, answer: dict[str, Any]) -> None:
        self.url = f"http://127.0.0.1:{port}/hook"
        self.answer = answer
        self.failures = 0
        self._send, self._receive = anyio.create_memory_object_stream[Notification](math.inf)

    async def notification(self) -> Notification:
        """The next webhook."""
        return await self._receive.receive()

    async def serve(self, connection: anyio.abc.SocketStream) -> None:
        """Answer one request of a connection, and close it."""
        async with connection:
            try:
                await self._send.send(await _request(connection))
                body = json.dumps(self.answer).encode()
                await connection.send(
                    b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nConnection: close\r\n"
                    b"Content-Length: %d\r\n\r\n%b" % (self._status(), len(body), body)
                )
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return

    def _status(self) -> bytes:
        if self.failures:
            self.failures -= 1
            return b"500 Internal Server Error"
        return b"200 OK"

    def close(self) -> None:
        """Forget what has come."""
        self._send.close()
        self._receive.close()


@asynccontextmanager
async def receiver(answer: dict[str, Any] | None = None) -> AsyncIterator[Receiver]:
    """A receiver that listens on a free port while the block runs."""
    listener: Any = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
    receiving = Receiver(port, answer or {})
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, receiving.serve)
        try:
            yield receiving
        finally:
            tasks.cancel_scope.cancel()
            receiving.close()


async def _request(connection: anyio.abc.SocketStream) -> Notification:
    received = b""
    while b"\r\n\r\n" not in received:
        received += await connection.receive(_RECEIVE_BYTES)
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")[1:]
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return Notification(headers, await _chunked(connection, body))
    while len(body) < int(headers.get("content-length", "0")):
        body += await connection.receive(_RECEIVE_BYTES)
    return Notification(headers, body)


async def _chunked(connection: anyio.abc.SocketStream, received: bytes) -> bytes:
    while not received.endswith(b"0\r\n\r\n"):
        received += await connection.receive(_RECEIVE_BYTES)
    body = b""
    while True:
        size, _, received = received.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return body
        body, received = body + received[:length], received[length + 2 :]
