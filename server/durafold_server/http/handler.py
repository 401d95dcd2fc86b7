"""From a request to an operation of the service, and from its outcome to a response.

Knows paths, methods and headers, but not what carries them: `asgi` and `wire` bring the exchanges.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from durafold.wire import names
from durafold_server.clock import Clock, system_clock
from durafold_server.config import ServiceSettings
from durafold_server.http.exchange import ClientLeft, Exchange, Headers
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
from durafold_server.subscriptions import signing
from durafold_server.subscriptions.http import ControlApi, ControlRequest

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


class Handler:
    """Serves the streams of one store to whatever carries requests.

    Args:
        open_store: opens the store; called once, on the running loop.
        prefix: path that all streams are below, relative to where the server is mounted.
        cors: answer preflights and allow every origin; off when an outer layer does that.
        settings: time-outs and limits.
        clock: microseconds since 1970.

    Raises:
        SigningUnavailable: webhooks are on, but their extra is not installed.
    """

    def __init__(
        self,
        open_store: StoreFactory,
        *,
        prefix: str = names.DEFAULT_PREFIX,
        cors: bool = True,
        settings: ServiceSettings | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self.extra_headers: Headers = _SECURITY_HEADERS + _CORS_HEADERS if cors else _SECURITY_HEADERS
        self._open_store = open_store
        self._prefix = "/" + prefix.strip("/") if prefix.strip("/") else ""
        self._cors = cors
        self._settings = settings or ServiceSettings()
        self._clock = clock
        self._frames = Frames()
        self._service: StreamService | None = None
        self._control: ControlApi | None = None
        self._opening: asyncio.Lock | None = None
        if self._settings.webhooks != "off":
            signing.require()

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
                    service = StreamService(await self._open_store(), self._settings, clock=self._clock)
                    try:
                        self._control = await ControlApi.open(service, self._clock)
                    except BaseException:
                        await service.aclose()
                        raise
                    self._service = service
        return self._service

    def stop(self) -> None:
        """End all live reads, so that nobody has to wait for them."""
        if self._control is not None:
            self._control.stop()
        if self._service is not None:
            self._service.stop()

    async def aclose(self) -> None:
        """Stop and close the store. Idempotent."""
        if self._control is not None:
            await self._control.aclose()
        if self._service is not None:
            await self._service.aclose()

    async def serve(self, exchange: Exchange) -> None:
        """Answer one request, whatever happens."""
        try:
            await self._respond(exchange)
        except ProtocolError as error:
            await exchange.reply(responses.refused(error))
        except StoreFull as exc:
            logger.warning("storage full: %s", exc)
            await exchange.reply(
                responses.refused(StorageFull("The server's disk is full; nothing was stored."))
            )
        except StoreFailure:
            logger.exception("storage failed")
            # The reason names files, which are nobody's business but the operator's: it is in the log.
            await exchange.reply(
                responses.refused(StorageUnavailable("The server's storage failed; try again."))
            )
        except ClientLeft:
            pass
        finally:
            exchange.finish()

    async def _respond(self, exchange: Exchange) -> None:
        root, below = self._split(exchange)
        if below is None:
            await exchange.reply(_outside(root, exchange.raw_path))
            return
        if exchange.method == "OPTIONS" and self._cors:
            await exchange.reply(_PREFLIGHT)
            return
        if below.partition("/")[0] == requests.RESERVED_SEGMENT:
            await exchange.reply(await self._control_reply(exchange, root, below))
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
                await exchange.reply(responses.created(created, f"{_base_url(exchange, root)}/{path}"))
            case "DELETE":
                await service.delete(path)
                await exchange.reply(responses.deleted())
            case method:
                raise MethodNotAllowed(method)

    async def _control_reply(self, exchange: Exchange, root: str, below: str) -> Reply:
        """PROTOCOL §6: the reserved paths come before all streams."""
        headers = exchange.read_headers()
        body = await exchange.body(self._settings.max_body_bytes)
        await self.service()
        if self._control is None:
            raise StorageUnavailable("The server is closed.")
        base_url = _base_url(exchange, root)
        return await self._control.handle(ControlRequest(exchange.method, below, headers, body, base_url))

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

    def _split(self, exchange: Exchange) -> tuple[str, str | None]:
        """(URL path of the stream root, what follows it), the latter None for paths outside the root."""
        full, mount = exchange.raw_path, exchange.mount
        # A mounted application gets the whole path, with the mount's part named beside it.
        root = mount + self._prefix if mount and full.startswith(f"{mount}/") else self._prefix
        return root, full[len(root) + 1 :] if full.startswith(f"{root}/") else None


def _outside(root: str, raw_path: str) -> Reply:
    if raw_path in ("/healthz", "/health"):
        return _HEALTHY
    return responses.refused(NotFound(f"There is nothing here; streams are below {root}/."))


def _base_url(exchange: Exchange, root: str) -> str:
    """The absolute URL of the stream root, as the client knows this server."""
    host = exchange.headers.get("host") or exchange.server
    return f"{exchange.scheme}://{host}{root}"
