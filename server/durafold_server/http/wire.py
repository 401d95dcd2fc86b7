"""The server's own HTTP/1.1 on asyncio: what `durafold serve` runs.

ASGI servers spend more time on a small request than the protocol core does. Here llhttp parses, one object
holds a connection, and a response is one write. The same handler serves both.

A connection takes one request at a time and answers in order; further pipelined requests wait. A reader that
does not drain its socket is cut after a while, because it can resume and its data must not pile up here.
"""

from __future__ import annotations

import asyncio
import http
import logging
import re
import socket
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable
from email.utils import formatdate
from functools import partial
from typing import Any, Final, cast

import httptools

from durafold_server.access import Identity
from durafold_server.config import ConnectionLimits
from durafold_server.http.exchange import BodyBuffer, Header, collect, first, parse_query
from durafold_server.http.handler import Handler
from durafold_server.protocol.errors import ProtocolError
from durafold_server.protocol.responses import Reply

logger = logging.getLogger(__name__)

_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus
}
_NO_BODY: Final = frozenset({204, 304})
_ORIGIN: Final = re.compile(rb"\Ahttps?://[^/?]*", re.IGNORECASE)
_MAX_PIPELINED: Final = 8
_SWEEP_S: Final = 1.0
_SMALL_BYTES: Final = 16 * 1024


class _Request:
    """A request while it is parsed."""

    __slots__ = ("body", "has_head", "head_bytes", "headers", "is_http11", "method", "target")

    def __init__(self, max_body_bytes: int) -> None:
        self.method = ""
        self.target = b""
        self.is_http11 = True
        self.headers: list[Header] = []
        self.head_bytes = 0
        self.has_head = False
        self.body = BodyBuffer(max_body_bytes)


class WireExchange:
    """An `Exchange` on a connection of ours. The whole request is here when it begins."""

    __slots__ = (
        "_chunked",
        "_connection",
        "_is_done",
        "_is_streaming",
        "_keep_alive",
        "_raw_query",
        "_request",
        "headers",
        "identity",
        "is_live",
        "method",
        "mount",
        "raw_path",
        "state_of",
    )

    scheme = "http"

    def __init__(self, connection: Connection, request: _Request, *, keep_alive: bool) -> None:
        # RFC 9112 §3.2.2: a target may begin with the server's own origin.
        target = _ORIGIN.sub(b"", request.target).partition(b"?")
        self.method = request.method
        self.raw_path = target[0].decode("latin-1")
        self._raw_query = target[2]
        self.mount = ""
        self.headers: dict[str, str] = {}
        self.identity: Identity | None = None
        self.state_of: str | None = None
        self._connection = connection
        self._request = request
        self._keep_alive = keep_alive
        self._chunked = False
        self._is_streaming = False
        self._is_done = False
        self.is_live = False

    @property
    def server(self) -> str:
        """See `Exchange`."""
        return self._connection.address

    def read_headers(self) -> dict[str, str]:
        """See `Exchange`."""
        self.headers = collect(self._request.headers)
        return self.headers

    def header(self, name: bytes) -> str | None:
        """See `Exchange`."""
        return first(self._request.headers, name)

    def query(self) -> dict[str, list[str]]:
        """See `Exchange`."""
        return parse_query(self._raw_query)

    async def body(self, limit: int) -> bytes:  # noqa: ARG002 - the buffer was made with it
        """See `Exchange`."""
        return self._request.body.whole()

    def gone(self) -> asyncio.Future[None]:
        """See `Exchange`."""
        self.is_live = True
        return self._connection.lost

    def finish(self) -> None:
        """See `Exchange`. A stream goes on by itself, and ends the exchange when it ends."""
        if not self._is_streaming and not self._is_done:
            self._is_done = True
            self._connection.answered(keep_alive=self._keep_alive)

    async def reply(self, reply: Reply) -> None:
        """See `Exchange`."""
        body = b"" if self.method == "HEAD" else reply.body
        # RFC 9110 §8.6: what HEAD says of the length must be what GET would say, so it rather says nothing.
        is_silent = reply.status in _NO_BODY or (self.method == "HEAD" and not reply.body)
        length = b"" if is_silent else b"content-length: %d\r\n" % len(reply.body)
        head = self._head(reply.status, reply.headers, length, own_policy=reply.own_policy)
        self._connection.write_parts(head, body)
        # A reader that asks for pages faster than it drains them waits here.
        if self._connection.is_congested:
            await self._connection.drained()

    async def begin_stream(
        self, headers: Iterable[Header], *, has_room: Callable[[], None], has_left: Callable[[], None]
    ) -> None:
        """See `Exchange`. Chunked, so that a reader can tell an end from a cut; HTTP/1.0 has only the cut."""
        self._is_streaming = self.is_live = True
        self._chunked = self._request.is_http11
        self._keep_alive = self._keep_alive and self._chunked
        self._connection.follow(has_room, has_left)
        framing = b"transfer-encoding: chunked\r\n" if self._chunked else b""
        self._connection.write(self._head(200, headers, framing))

    @property
    def is_congested(self) -> bool:
        """See `Exchange`."""
        return self._connection.is_congested

    def write(self, data: bytes) -> None:
        """See `Exchange`."""
        if self._chunked:
            self._connection.write_parts(b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._connection.write(data)

    def end_stream(self) -> None:
        """See `Exchange`."""
        if self._is_streaming:
            self._is_streaming, self._is_done = False, True
            self._connection.unfollow()
            if self._chunked:
                self._connection.write(b"0\r\n\r\n")
            self._connection.answered(keep_alive=self._keep_alive)

    async def streamed(self) -> None:
        """See `Exchange`. The connection lives on without a task."""

    def _head(
        self, status: int, headers: Iterable[Header], framing: bytes, *, own_policy: bool = False
    ) -> bytes:
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        closing = b"" if self._keep_alive else b"connection: close\r\n"
        return b"%b%b%b%b%b\r\n" % (
            _STATUS_LINES[status],
            lines,
            self._connection.date_header() if own_policy else self._connection.common_headers(),
            framing,
            closing,
        )


class Connection(asyncio.Protocol):
    """One client connection: parses requests, runs them one after another, writes what they answer."""

    def __init__(self, server: WireServer) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._request = _Request(0)
        self._waiting: deque[WireExchange] = deque()
        self._current: WireExchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._drain: asyncio.Future[None] | None = None
        self._congested_since: float | None = None
        self._reading = True
        self._closing = False
        self._is_last = False
        self._progressed = False
        self._in_head = False
        self._unplaced_bytes = 0
        self._began = server.now
        self.lost: asyncio.Future[None] = server.loop.create_future()
        self.address = ""
        self._has_room: Callable[[], None] | None = None
        self._has_left: Callable[[], None] | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client has connected."""
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        host, port = transport.get_extra_info("sockname")[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if len(self._server.connections) >= self._server.limits.max_connections:
            self._refuse(
                503, "The server has as many connections as it takes; try again.", "retry-after: 1\r\n"
            )
            return
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter
        """The client has left, or was cut."""
        self._server.connections.discard(self)
        self._waiting.clear()
        if not self.lost.done():
            self.lost.set_result(None)
        if self._has_left is not None:
            self._has_left()
        self.resume_writing()

    def eof_received(self) -> bool:
        """The client has nothing more to say. Who waits for an answer gets it; a live reader has left."""
        if self._current is None or self._current.is_live:
            return False
        self._is_last = True
        return True

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self._progressed = False
        try:
            self._parser.feed_data(data)
            self._count_unplaced(len(data))
        except httptools.HttpParserUpgrade:
            # RFC 9110 §7.8: an offer to upgrade may be ignored. llhttp reads no further after one.
            self.finish_soon()
        except _HeadTooLarge as exc:
            self._refuse_for(exc)
        except httptools.HttpParserCallbackError as exc:
            self._refuse_for(exc.__context__)
        except httptools.HttpParserError:
            self._refuse(400, "This is not HTTP/1.1.")

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        self._congested_since = self._server.now

    def resume_writing(self) -> None:
        """The client's socket has room again."""
        self._congested_since = None
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)
        if self._has_room is not None:
            self._has_room()

    # httptools

    def on_message_begin(self) -> None:
        """A request begins."""
        self._request = _Request(self._server.max_body_bytes)
        self._began = self._server.now
        self._in_head = True
        self._progress()

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        self._request.target += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._count(len(name) + len(value) + 4)
        # RFC 9110 §6.5.1: what follows the body is no header, and must not pass for one.
        if not self._request.has_head:
            self._request.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        request = self._request
        request.method = self._parser.get_method().decode("latin-1")
        request.is_http11 = self._parser.get_http_version() == "1.1"
        request.has_head = True
        self._in_head = False
        for name, value in request.headers:
            if name == b"expect" and value.lower() == b"100-continue" and self._current is None:
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._request.body.add(body)
        self._progress()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._progress()
        exchange = WireExchange(self, self._request, keep_alive=self._parser.should_keep_alive())
        if self._current is not None:
            self._waiting.append(exchange)
            if len(self._waiting) >= _MAX_PIPELINED:
                self._pause_reading()
        else:
            self._begin(exchange)

    # for WireExchange and WireServer

    @property
    def is_congested(self) -> bool:
        """Whether what was written waits for the client to read."""
        return self._congested_since is not None

    def common_headers(self) -> bytes:
        """Headers that every response carries."""
        return self._server.common_headers

    def date_header(self) -> bytes:
        """The one of them that is not about what browsers may do."""
        return self._server.date_header

    def write(self, data: bytes) -> None:
        """Queue bytes for the client; those for a client that has left are dropped."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def write_parts(self, head: bytes, body: bytes, end: bytes = b"") -> None:
        """Queue bytes in this order; a large body is not copied, so that slow readers can share it."""
        if len(body) < _SMALL_BYTES:
            self.write(head + body + end)
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.writelines((head, body, end))

    def follow(self, has_room: Callable[[], None], has_left: Callable[[], None]) -> None:
        """Have told when the client can take more, and when it has left."""
        self._has_room, self._has_left = has_room, has_left
        if self.lost.done():
            self._server.loop.call_soon(has_left)

    def unfollow(self) -> None:
        """Have nothing more told."""
        self._has_room = self._has_left = None

    async def drained(self) -> None:
        """Until the client's socket has room again, or the client has left."""
        if self._congested_since is None:
            return
        if self._drain is None or self._drain.done():
            self._drain = self._server.loop.create_future()
        await self._drain

    def answered(self, *, keep_alive: bool) -> None:
        """The current request is done: take the next, or close."""
        self._current = None
        self._began = self._server.now
        if self._closing or not keep_alive:
            self.close()
        elif self._waiting:
            self._begin(self._waiting.popleft())
            self._resume_reading()
        elif self._is_last:
            self.close()

    def close(self) -> None:
        """Close once everything written has been sent."""
        if self._transport is not None:
            self._transport.close()

    def finish_soon(self) -> None:
        """Close now if idle, else after the current request."""
        self._closing = True
        if self._current is None:
            self.close()

    def abort(self) -> None:
        """Cut the connection without waiting for anything."""
        if self._transport is not None:
            self._transport.abort()

    def cut_if_stalled(self, limits: ConnectionLimits) -> None:
        """Cut a client that does not read, or that does not finish its request."""
        now = self._server.now
        if self._congested_since is not None:
            if now - self._congested_since > limits.write_timeout_s:
                self.abort()
        elif self._current is None:
            waited_s = now - self._began
            if waited_s > limits.idle_timeout_s or (self._in_head and waited_s > limits.header_timeout_s):
                self.close()

    def serve(self, exchange: WireExchange) -> None:
        """Serve a request as far as it goes without waiting; only the rest needs a task.

        Most requests wait for nothing, and then a task would be a good part of what they cost.
        """
        serving = self._server.handler.serve(exchange)
        try:
            awaited = serving.send(None)
        except StopIteration:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this connection's alone
            self._fail(error)
            return
        self._task = self._server.loop.create_task(_see_through(_Rest(serving, awaited)))
        self._task.add_done_callback(self._report)

    def _begin(self, exchange: WireExchange) -> None:
        self._current = exchange
        self._server.serve_soon(self, exchange)

    def _report(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        logger.error("a request failed", exc_info=error)
        self.abort()

    def _count(self, size: int) -> None:
        self._request.head_bytes += size
        if self._request.head_bytes > self._server.limits.max_head_bytes:
            raise _HeadTooLarge

    def _progress(self) -> None:
        self._progressed = True
        self._unplaced_bytes = 0

    def _count_unplaced(self, size: int) -> None:
        """llhttp hands a header over when it is whole, so one without an end must be noticed here."""
        if not self._progressed:
            self._unplaced_bytes += size
            if self._unplaced_bytes > self._server.limits.max_head_bytes:
                raise _HeadTooLarge

    def _refuse_for(self, reason: BaseException | None) -> None:
        """Answer a request that a callback of the parser gave up on."""
        if isinstance(reason, _HeadTooLarge):
            self._refuse(431, "The request's head is too large.")
        elif isinstance(reason, ProtocolError):
            self._refuse(reason.status, reason.message, code=reason.code)
        else:
            logger.error("a request could not be taken in", exc_info=reason)
            self.abort()

    def _refuse(self, status: int, message: str, header: str = "", *, code: str = "connection") -> None:
        """Answer what cannot be parsed, and hang up: where the next request begins is anybody's guess."""
        if self._current is not None:
            # It would be taken for the answer under way. What was asked before is answered; then it is over.
            self._pause_reading()
            self._is_last = True
            return
        self._server.handler.counts.refused(status, code)
        body = f"{message}\n".encode()
        self.write(
            b"%bcontent-type: text/plain; charset=utf-8\r\n%b%bcontent-length: %d\r\n"
            b"connection: close\r\n\r\n%b"
            % (_STATUS_LINES[status], self.common_headers(), header.encode(), len(body), body)
        )
        self.close()

    def _pause_reading(self) -> None:
        if self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if (
            not self._reading
            and not self._is_last
            and self._transport is not None
            and not self._transport.is_closing()
        ):
            self._reading = True
            self._transport.resume_reading()


class _Rest:
    """What is left of a coroutine that was begun by hand and awaits something."""

    __slots__ = ("_awaited", "_begun")

    def __init__(self, begun: Coroutine[Any, Any, None], awaited: Any) -> None:
        self._begun = begun
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, None]:
        awaited = self._awaited
        while True:
            try:
                outcome = yield awaited
            except BaseException as exc:  # noqa: BLE001 - it is the coroutine's to deal with
                step = partial(self._begun.throw, exc)
            else:
                step = partial(self._begun.send, outcome)
            try:
                awaited = step()
            except StopIteration:
                return


async def _see_through(rest: _Rest) -> None:
    await rest


class _HeadTooLarge(Exception):
    """The request's target and headers exceed the limit."""


class WireServer:
    """Listens, and serves every connection with one handler.

    Args:
        handler: answers requests.
        max_body_bytes: of one request.
        limits: of one connection.
    """

    def __init__(self, handler: Handler, *, max_body_bytes: int, limits: ConnectionLimits) -> None:
        self.handler = handler
        self.max_body_bytes = max_body_bytes
        self.limits = limits
        self.connections: set[Connection] = set()
        self.loop = asyncio.get_running_loop()
        self.now = time.monotonic()
        self.common_headers = b""
        self._ready: list[tuple[Connection, WireExchange]] = []
        handler.probes.connections = lambda: len(self.connections)
        self.date_header = b""
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def start(self, listener: socket.socket) -> None:
        """Accept connections on a bound socket."""
        self._sweep()
        self._listener = await self.loop.create_server(lambda: Connection(self), sock=listener, backlog=2048)

    def serve_soon(self, connection: Connection, exchange: WireExchange) -> None:
        """Serve a request once everything that has arrived was taken in.

        All of what arrived together is served in one go: to do the same thing many times is what
        processors are quick at.
        """
        if not self._ready:
            self.loop.call_soon(self._serve_ready)
        self._ready.append((connection, exchange))

    def _serve_ready(self) -> None:
        ready, self._ready = self._ready, []
        for connection, exchange in ready:
            connection.serve(exchange)

    async def stop(self, timeout_s: float) -> None:
        """Accept no more, let what is under way finish for up to `timeout_s` seconds, then cut the rest."""
        if self._listener is not None:
            self._listener.close()
        for connection in list(self.connections):
            connection.finish_soon()
        if self.connections:
            await asyncio.wait([connection.lost for connection in self.connections], timeout=timeout_s)
        for connection in list(self.connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _sweep(self) -> None:
        """Once a second: the time of day for responses, and an eye on stalled clients."""
        self.now = time.monotonic()
        self.date_header = b"date: %b\r\n" % formatdate(usegmt=True).encode()
        self.common_headers = self.date_header + b"".join(
            [b"%b: %b\r\n" % header for header in self.handler.extra_headers]
        )
        for connection in list(self.connections):
            connection.cut_if_stalled(self.limits)
        self._sweeper = self.loop.call_later(_SWEEP_S, self._sweep)
