"""One HTTP request and its response, in terms of ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final
from urllib.parse import unquote_plus

from durafold_server.protocol.errors import BodyTooLarge, InvalidRequest
from durafold_server.protocol.responses import HeaderList, Reply

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# A sender who is told "too large" in mid-body must be able to read the answer, so a moderate excess is
# read and thrown away; a larger one is cut off.
_MAX_DRAINED_BYTES: Final = 64 * 1024 * 1024

# Sent twice, these would be ambiguous; most others may be repeated.
_SINGLE: Final = (b"stream-", b"producer-", b"content-type")


class ClientLeft(Exception):
    """The client closed the connection before its request was complete."""


class Exchange:
    """A request as it arrives, and what is sent back.

    Args:
        scope, receive, send: what ASGI gives.
        extra_headers: put on every response.
    """

    __slots__ = ("_extra", "_gone", "_receive", "_send", "headers", "method", "scope")

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, extra_headers: tuple[tuple[bytes, bytes], ...]
    ) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.headers: dict[str, str] = {}
        self._receive = receive
        self._send = send
        self._extra = extra_headers
        self._gone: asyncio.Task[None] | None = None

    def read_headers(self) -> dict[str, str]:
        """Headers by lower-case name.

        Raises:
            InvalidRequest: one of the protocol's headers is given twice.
        """
        headers: dict[str, str] = {}
        for raw_name, raw_value in self.scope["headers"]:
            name = raw_name.decode("latin-1")
            if name not in headers:
                headers[name] = raw_value.decode("latin-1")
            elif raw_name.startswith(_SINGLE):
                raise InvalidRequest(f"The header {name} is given more than once.")
            else:
                headers[name] += ", " + raw_value.decode("latin-1")
        self.headers = headers
        return headers

    def query(self) -> dict[str, list[str]]:
        """All values of each query parameter, in order."""
        values: dict[str, list[str]] = {}
        for pair in self.scope["query_string"].decode("latin-1").split("&"):
            name, _, value = pair.partition("=")
            if name:
                values.setdefault(unquote_plus(name), []).append(unquote_plus(value))
        return values

    async def body(self, limit: int) -> bytes:
        """The whole request body.

        Raises:
            BodyTooLarge: more than `limit` bytes.
            ClientLeft: it did not arrive whole.
        """
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size <= limit:
                chunks.append(chunk)
            elif size > _MAX_DRAINED_BYTES:
                raise BodyTooLarge(limit)
            if not message.get("more_body", False):
                break
        if size > limit:
            raise BodyTooLarge(limit)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def gone(self) -> asyncio.Task[None]:
        """Done when the client has left. Ask for it once the body was read; `finish` lets go of it."""
        if self._gone is None:
            self._gone = asyncio.get_running_loop().create_task(self._until_gone())
        return self._gone

    async def finish(self) -> None:
        """Let go of what watches the client."""
        if self._gone is not None and not self._gone.done():
            self._gone.cancel()

    async def reply(self, reply: Reply) -> None:
        """Send a whole response."""
        headers: HeaderList = [*reply.headers, *self._extra]
        if reply.status not in (204, 304):
            headers.append((b"content-length", str(len(reply.body)).encode()))
        await self._send({"type": "http.response.start", "status": reply.status, "headers": headers})
        body = b"" if self.method == "HEAD" else reply.body
        await self._send({"type": "http.response.body", "body": body})

    async def begin_stream(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Begin a response of unknown length."""
        await self._send({"type": "http.response.start", "status": 200, "headers": [*headers, *self._extra]})

    async def send(self, data: bytes) -> None:
        """Send a part; returns when the client's socket has room again."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end_stream(self) -> None:
        """The response is complete."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
