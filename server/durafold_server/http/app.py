"""The server as an ASGI application.

It is plain ASGI without a framework, may be mounted below any prefix of another application, needs no
lifespan events (the store is opened by the first request), and takes a stream's name from `raw_path`, because
`path` cannot tell `%2F` from `/`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from types import TracebackType
from typing import Any, Self

from durafold.wire import names
from durafold_server.access import Authenticate, Authorize, Identity, parse_tokens
from durafold_server.clock import Clock, system_clock
from durafold_server.config import InspectorSettings, ServiceSettings
from durafold_server.http.access_log import AccessLog, AccessLogFormat
from durafold_server.http.cors import CorsPolicy
from durafold_server.http.exchange import BodyBuffer, ClientLeft, Header, Headers, collect, first, parse_query
from durafold_server.http.guard import Access
from durafold_server.http.handler import Handler, StoreFactory
from durafold_server.protocol.responses import Reply
from durafold_server.service import StreamService
from durafold_server.store.base import StoreFailure, StreamStore
from durafold_server.store.memory import MemoryStore

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def _memory_store() -> StreamStore:
    return MemoryStore()


class DurableStreamsApp:
    """The server of one store as an ASGI application.

    Usable as `async with app:` to open and close the store at known times; otherwise the first request
    opens it, and lifespan shutdown, if there is one, closes it.

    Args:
        open_store: opens the store; called once, on the running loop.
        prefix: path that all streams are below, relative to where the application is mounted.
        cors: answer preflights and let web pages read replies; off when an outer layer does that.
        cors_origins: whose web pages; any if empty.
        access: who may do what; everybody everything by default.
        access_log: `text` or `json`: a line to standard error for each request.
        settings: time-outs and limits.
        inspector: the page at `_ui`, beside the stream root.
        clock: microseconds since 1970.

    Raises:
        SigningUnavailable: webhooks are on, but their extra is not installed.
        UnknownReducer: one that is named cannot be found or used.
    """

    def __init__(
        self,
        open_store: StoreFactory = _memory_store,
        *,
        prefix: str = names.DEFAULT_PREFIX,
        cors: bool = True,
        cors_origins: Sequence[str] = (),
        access: Access | None = None,
        access_log: AccessLogFormat = "off",
        settings: ServiceSettings | None = None,
        inspector: InspectorSettings | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self._handler = Handler(
            open_store,
            prefix=prefix,
            cors=CorsPolicy(cors_origins) if cors else None,
            access=access,
            access_log=AccessLog(access_log) if access_log != "off" else None,
            settings=settings,
            inspector=inspector,
            clock=clock,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http":
            await self._handler.serve(AsgiExchange(scope, receive, send, self._handler.extra_headers))
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def __aenter__(self) -> Self:
        await self.service()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def service(self) -> StreamService:
        """The service; opens the store at the first call.

        Raises:
            StoreFailure: the store cannot be opened.
        """
        return await self._handler.service()

    def stop(self) -> None:
        """End all live reads, so that the web server can shut down without waiting for them."""
        self._handler.stop()

    async def aclose(self) -> None:
        """Stop and close the store. Idempotent."""
        await self._handler.aclose()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.service()
                except StoreFailure as exc:
                    await send({"type": "lifespan.startup.failed", "message": str(exc)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                with contextlib.suppress(StoreFailure):
                    await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return


def create_app(
    store: StreamStore | None = None,
    *,
    prefix: str = names.DEFAULT_PREFIX,
    cors: bool = True,
    cors_origins: Sequence[str] = (),
    tokens: Sequence[str] = (),
    authenticate: Authenticate | None = None,
    authorize: Authorize | None = None,
    metrics_open: bool = False,
    access_log: AccessLogFormat = "off",
    settings: ServiceSettings | None = None,
    inspector: InspectorSettings | None = None,
) -> DurableStreamsApp:
    """A durable streams server as an ASGI application, to run or to mount.

    With `tokens`, `authenticate` or `authorize`, every request is asked about; without any of them everybody
    may do everything, which is for applications that control access in front.

    Args:
        store: where streams are kept; in memory if None, and then lost at exit.
        prefix: path that all streams are below.
        cors: answer preflights and let web pages read replies; off when an outer layer does that.
        cors_origins: whose web pages, such as `https://app.example`; any if empty.
        tokens: static bearer tokens, such as `SECRET=read,write:todos/`.
        authenticate: called with a request's headers by lower-case name; returns who sends it, or None. Plain
            or async. Tokens are looked at first.
        authorize: called with the identity (None: nobody known), the operation and the stream's path; returns
            whether that is allowed. Plain or async. By default the identity's grants decide.
        metrics_open: answer `/metrics` without asking.
        access_log: `text` or `json`: a line to standard error for each request.
        settings: time-outs and limits.
        inspector: the page at `_ui`, beside the stream root.

    Raises:
        InvalidToken: one of the tokens is malformed.
        SigningUnavailable: webhooks are on, but their extra is not installed.
        UnknownReducer: one that is named cannot be found or used.

    Example:
        ```python
        from starlette.applications import Starlette
        app = Starlette()
        app.mount("/sync", create_app())       # streams are below /sync/v1/stream/
        ```
    """
    chosen = store

    async def open_store() -> StreamStore:
        return chosen if chosen is not None else MemoryStore()

    return DurableStreamsApp(
        open_store,
        prefix=prefix,
        cors=cors,
        cors_origins=cors_origins,
        access=Access(parse_tokens(tokens), authenticate, authorize, metrics_open),
        access_log=access_log,
        settings=settings,
        inspector=inspector,
    )


class AsgiExchange:
    """An `Exchange` over what ASGI gives."""

    __slots__ = (
        "_ended",
        "_extra",
        "_gone",
        "_has_room",
        "_is_sending",
        "_left",
        "_news",
        "_receive",
        "_scope",
        "_send",
        "_unsent",
        "headers",
        "identity",
        "method",
        "mount",
        "raw_path",
        "state_of",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, extra_headers: Headers) -> None:
        raw_path = scope.get("raw_path")
        self.method: str = scope["method"]
        self.raw_path: str = raw_path.decode("latin-1") if raw_path else scope["path"]
        self.mount: str = scope.get("root_path", "").rstrip("/")
        self.headers: dict[str, str] = {}
        self.identity: Identity | None = None
        self.state_of: str | None = None
        self._scope = scope
        self._receive = receive
        self._send = send
        self._extra = extra_headers
        self._gone: asyncio.Task[None] | None = None
        self._has_room: Callable[[], None] | None = None
        self._news = asyncio.Event()
        self._unsent: list[bytes] = []
        self._is_sending = False
        self._ended = False
        self._left = False

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return str(self._scope.get("scheme", "http"))

    @property
    def server(self) -> str:
        """Host and port that the connection came to."""
        host, port = self._scope.get("server") or ("localhost", None)
        return f"{host}:{port}" if port else str(host)

    def read_headers(self) -> dict[str, str]:
        """See `Exchange`."""
        self.headers = collect(self._scope["headers"])
        return self.headers

    def header(self, name: bytes) -> str | None:
        """See `Exchange`."""
        return first(self._scope["headers"], name)

    def query(self) -> dict[str, list[str]]:
        """See `Exchange`."""
        return parse_query(self._scope["query_string"])

    async def body(self, limit: int) -> bytes:
        """See `Exchange`."""
        buffer = BodyBuffer(limit)
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            buffer.add(message.get("body", b""))
            more = message.get("more_body", False)
        return buffer.whole()

    def gone(self) -> asyncio.Future[None]:
        """See `Exchange`."""
        if self._gone is None:
            self._gone = asyncio.get_running_loop().create_task(self._until_gone())
        return self._gone

    def finish(self) -> None:
        """See `Exchange`."""
        if self._gone is not None and not self._gone.done():
            self._gone.cancel()

    async def reply(self, reply: Reply) -> None:
        """See `Exchange`."""
        headers: list[Header] = [*reply.headers, *(() if reply.own_policy else self._extra)]
        # RFC 9110 §8.6: what HEAD says of the length must be what GET would say, so it rather says nothing.
        if reply.status not in (204, 304) and (reply.body or self.method != "HEAD"):
            headers.append((b"content-length", str(len(reply.body)).encode()))
        await self._send({"type": "http.response.start", "status": reply.status, "headers": headers})
        body = b"" if self.method == "HEAD" else reply.body
        await self._send({"type": "http.response.body", "body": body})

    async def begin_stream(
        self, headers: Iterable[Header], *, has_room: Callable[[], None], has_left: Callable[[], None]
    ) -> None:
        """See `Exchange`."""
        self._has_room = has_room
        self.gone().add_done_callback(lambda _: self._leave(has_left))
        await self._send({"type": "http.response.start", "status": 200, "headers": [*headers, *self._extra]})

    @property
    def is_congested(self) -> bool:
        """See `Exchange`. What the web server has taken counts as read: it waits for the socket."""
        return bool(self._unsent) or self._is_sending

    def write(self, data: bytes) -> None:
        """See `Exchange`."""
        self._unsent.append(data)
        self._news.set()

    def end_stream(self) -> None:
        """See `Exchange`."""
        self._ended = True
        self._news.set()

    async def streamed(self) -> None:
        """See `Exchange`. ASGI can only be written to from here."""
        while not (self._ended and not self._unsent):
            await self._news.wait()
            self._news.clear()
            if self._left:
                return
            await self._send_unsent()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_unsent(self) -> None:
        data, self._unsent = b"".join(self._unsent), []
        if not data:
            return
        self._is_sending = True
        try:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        finally:
            self._is_sending = False
        if self._has_room is not None:
            self._has_room()

    def _leave(self, has_left: Callable[[], None]) -> None:
        self._left = True
        has_left()
        self._news.set()

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
