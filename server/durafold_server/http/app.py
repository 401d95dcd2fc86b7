"""The ASGI application: routes a request to the service and its outcome to a response.

It is plain ASGI without a framework, may be mounted below any prefix of another application, needs no
lifespan events (the store is opened by the first request), and takes a stream's name from `raw_path`, because
`path` cannot tell `%2F` from `/`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

from durafold.wire import names
from durafold_server.clock import Clock, system_clock
from durafold_server.config import ServiceSettings
from durafold_server.http.exchange import ClientLeft, Exchange, Receive, Scope, Send
from durafold_server.http.live import Frames, serve_events
from durafold_server.protocol import requests, responses
from durafold_server.protocol.cursors import next_cursor
from durafold_server.protocol.errors import (
    MethodNotAllowed,
    NotFound,
    ProtocolError,
    StorageFull,
    StorageUnavailable,
)
from durafold_server.protocol.responses import Reply
from durafold_server.service import StreamService
from durafold_server.store.base import StoreFailure, StoreFull, StreamStore
from durafold_server.store.memory import MemoryStore

logger = logging.getLogger(__name__)

StoreFactory = Callable[[], Awaitable[StreamStore]]

# PROTOCOL §12.7: on every response, errors too.
_SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"content-security-policy", b"sandbox; default-src 'none'"),
)
_EXPOSED: Final = (
    names.STREAM_NEXT_OFFSET,
    names.STREAM_CURSOR,
    names.STREAM_UP_TO_DATE,
    names.STREAM_CLOSED,
    names.STREAM_TTL,
    names.STREAM_EXPIRES_AT,
    names.STREAM_SSE_DATA_ENCODING,
    names.PRODUCER_EPOCH,
    names.PRODUCER_SEQ,
    names.PRODUCER_EXPECTED_SEQ,
    names.PRODUCER_RECEIVED_SEQ,
    "ETag",
    "Location",
    "Retry-After",
)
_ACCEPTED: Final = (
    "Authorization",
    "Content-Type",
    "If-None-Match",
    names.STREAM_SEQ,
    names.STREAM_TTL,
    names.STREAM_EXPIRES_AT,
    names.STREAM_CLOSED,
    names.STREAM_FORKED_FROM,
    names.STREAM_FORK_OFFSET,
    names.STREAM_FORK_SUB_OFFSET,
    names.PRODUCER_ID,
    names.PRODUCER_EPOCH,
    names.PRODUCER_SEQ,
)
_CORS_HEADERS: Final = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", ", ".join(_EXPOSED).encode()),
)
_PREFLIGHT: Final = Reply(
    204,
    [
        (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, DELETE, OPTIONS"),
        (b"access-control-allow-headers", ", ".join(_ACCEPTED).encode()),
        (b"access-control-max-age", b"86400"),
    ],
)
_HEALTHY: Final = Reply(200, [(b"content-type", b"text/plain; charset=utf-8")], b"ok\n")


async def _memory_store() -> StreamStore:
    return MemoryStore()


class DurableStreamsApp:
    """The server of one store as an ASGI application.

    Usable as `async with app:` to open and close the store at known times; otherwise the first request
    opens it, and lifespan shutdown, if there is one, closes it.

    Args:
        open_store: opens the store; called once, on the running loop.
        prefix: path that all streams are below, relative to where the application is mounted.
        cors: answer preflights and allow every origin; off when an outer layer does that.
        settings: time-outs and limits.
        clock: microseconds since 1970.
    """

    def __init__(
        self,
        open_store: StoreFactory = _memory_store,
        *,
        prefix: str = names.DEFAULT_PREFIX,
        cors: bool = True,
        settings: ServiceSettings | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self._open_store = open_store
        self._prefix = "/" + prefix.strip("/") if prefix.strip("/") else ""
        self._extra = _SECURITY_HEADERS + _CORS_HEADERS if cors else _SECURITY_HEADERS
        self._cors = cors
        self._settings = settings or ServiceSettings()
        self._clock = clock
        self._frames = Frames()
        self._service: StreamService | None = None
        self._opening: asyncio.Lock | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http":
            await self._serve(Exchange(scope, receive, send, self._extra))
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
        if self._service is None:
            if self._opening is None:
                self._opening = asyncio.Lock()
            async with self._opening:
                if self._service is None:
                    self._service = StreamService(await self._open_store(), self._settings, clock=self._clock)
        return self._service

    def stop(self) -> None:
        """End all live reads, so that the web server can shut down without waiting for them."""
        if self._service is not None:
            self._service.stop()

    async def aclose(self) -> None:
        """Stop and close the store. Idempotent."""
        if self._service is not None:
            await self._service.aclose()

    async def _serve(self, exchange: Exchange) -> None:
        try:
            await self._respond(exchange)
        except ProtocolError as error:
            await exchange.reply(responses.refused(error))
        except StoreFull as exc:
            logger.warning("storage full: %s", exc)
            await exchange.reply(responses.refused(StorageFull(f"No room to store this: {exc}")))
        except StoreFailure as exc:
            logger.exception("storage failed")
            await exchange.reply(responses.refused(StorageUnavailable(f"Storage failed: {exc}")))
        except ClientLeft:
            pass
        finally:
            await exchange.finish()

    async def _respond(self, exchange: Exchange) -> None:
        root, below = self._split(exchange.scope)
        if below is None:
            await exchange.reply(_outside(root, exchange.scope))
            return
        if exchange.method == "OPTIONS" and self._cors:
            await exchange.reply(_PREFLIGHT)
            return
        path = requests.parse_path(below)
        headers = exchange.read_headers()
        service = self._service or await self.service()
        match exchange.method:
            case "POST":
                body = await exchange.body(self._settings.max_body_bytes)
                appended = await service.append(requests.parse_append(path, headers, body))
                await exchange.reply(responses.appended(appended))
            case "GET":
                await self._read(exchange, service, requests.parse_read(path, headers, exchange.query()))
            case "HEAD":
                await exchange.reply(responses.described(await service.head(path)))
            case "PUT":
                body = await exchange.body(self._settings.max_body_bytes)
                created = await service.create(requests.parse_create(path, headers, body, root=root))
                await exchange.reply(responses.created(created, _location(exchange, root, path)))
            case "DELETE":
                await service.delete(path)
                await exchange.reply(responses.deleted())
            case method:
                raise MethodNotAllowed(method)

    async def _read(self, exchange: Exchange, service: StreamService, request: requests.ReadRequest) -> None:
        if request.live is None:
            view = await service.read(request)
            await exchange.reply(responses.page(view, if_none_match=request.if_none_match))
        elif request.live == "sse":
            await serve_events(exchange, service, request, self._frames, self._clock)
        else:
            view = await service.poll(request, exchange.gone())
            cursor = next_cursor(self._clock(), request.cursor, random.random())  # noqa: S311
            await exchange.reply(responses.polled(view, cursor))

    def _split(self, scope: Scope) -> tuple[str, str | None]:
        """(URL path of the stream root, what follows it), the latter None for paths outside the root."""
        raw = scope.get("raw_path")
        full = raw.decode("latin-1") if raw else scope["path"]
        mount = scope.get("root_path", "").rstrip("/")
        # A mounted application gets the whole path, with the mount's part named in root_path.
        root = (mount if mount and full.startswith(f"{mount}/") else "") + self._prefix
        return root, full[len(root) + 1 :] if full.startswith(f"{root}/") else None

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
    settings: ServiceSettings | None = None,
) -> DurableStreamsApp:
    """A durable streams server as an ASGI application, to run or to mount.

    Args:
        store: where streams are kept; in memory if None, and then lost at exit.
        prefix: path that all streams are below.
        cors: allow every origin; off when an outer layer does that.
        settings: time-outs and limits.

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

    return DurableStreamsApp(open_store, prefix=prefix, cors=cors, settings=settings)


def _outside(root: str, scope: Scope) -> Reply:
    if scope["path"] in ("/healthz", "/health"):
        return _HEALTHY
    return responses.refused(NotFound(f"There is nothing here; streams are below {root}/."))


def _location(exchange: Exchange, root: str, path: str) -> str:
    """PROTOCOL §5.1: the absolute URL of the stream, as the client knows this server."""
    scope = exchange.scope
    host = exchange.headers.get("host")
    if not host:
        server = scope.get("server") or ("localhost", None)
        host = f"{server[0]}:{server[1]}" if server[1] else server[0]
    return f"{scope.get('scheme', 'http')}://{host}{root}/{path}"
