"""From a request to an operation of the service, and from its outcome to a response.

Knows paths, methods and headers, but not what carries them: `asgi` and `wire` bring the exchanges.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Generator
from time import perf_counter
from typing import Final

from durafold.wire import names
from durafold_server.access import Operation
from durafold_server.clock import Clock, system_clock
from durafold_server.config import InspectorSettings, ServiceSettings
from durafold_server.http.access_log import AccessLog, request_id
from durafold_server.http.cors import PREFLIGHT, CorsPolicy
from durafold_server.http.exchange import ClientLeft, Exchange, Headers, enter_task
from durafold_server.http.guard import Access, Guard, Visitor, operation_of
from durafold_server.http.live import Frames, serve_events
from durafold_server.http.observed import ObservedExchange
from durafold_server.http.probes import METRICS_PATH, Probes
from durafold_server.inspector.pages import SEGMENT, Inspector, PageRequest
from durafold_server.metrics import ServerCounts
from durafold_server.protocol import requests, responses
from durafold_server.protocol.cursors import next_cursor
from durafold_server.protocol.errors import (
    MethodNotAllowed,
    NotFound,
    ProtocolError,
    StorageFull,
    StorageUnavailable,
)
from durafold_server.protocol.model import Payload, R
from durafold_server.protocol.producers import NOBODY
from durafold_server.protocol.responses import Reply
from durafold_server.reducers.bindings import load_bindings
from durafold_server.reducers.gate import ReducerGate
from durafold_server.reducers.hydration import Hydration, StateRequest
from durafold_server.reducers.registered import load_reducers
from durafold_server.service import StreamService
from durafold_server.store.base import StoreFailure, StoreFull, StoreHalted, StreamStore
from durafold_server.subscriptions import signing
from durafold_server.subscriptions.http import ControlApi, ControlRequest, guarded_operation

logger = logging.getLogger(__name__)

StoreFactory = Callable[[], Awaitable[StreamStore]]

# PROTOCOL §12.7: on every response, errors too.
_SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"content-security-policy", b"sandbox; default-src 'none'"),
)


class Handler:
    """Serves the streams of one store to whatever carries requests.

    Args:
        open_store: opens the store; called once, on the running loop.
        prefix: path that all streams are below, relative to where the server is mounted.
        cors: which web pages may read replies; None when an outer layer decides that.
        access: who may do what; everybody everything by default.
        access_log: writes a line for each request; None for none.
        settings: time-outs and limits.
        inspector: the page at `_ui`, beside the stream root.
        clock: microseconds since 1970.

    Attributes:
        extra_headers: for every response, beside its own.
        counts: what requests add up to.
        probes: answers what operators ask.

    Raises:
        SigningUnavailable: webhooks are on, but their extra is not installed.
        UnknownReducer: one that is named cannot be found or used.
    """

    def __init__(
        self,
        open_store: StoreFactory,
        *,
        prefix: str = names.DEFAULT_PREFIX,
        cors: CorsPolicy | None = None,
        access: Access | None = None,
        access_log: AccessLog | None = None,
        settings: ServiceSettings | None = None,
        inspector: InspectorSettings | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self.extra_headers: Headers = _SECURITY_HEADERS + (cors.common_headers if cors else ())
        self.counts = ServerCounts()
        self.probes = Probes(self.service, self.counts)
        self._open_store = open_store
        self._prefix = "/" + prefix.strip("/") if prefix.strip("/") else ""
        self._cors = cors
        self._guard = Guard(access) if access is not None and access.is_controlled else None
        self._access_log = access_log
        self._is_observed = access_log is not None or (cors is not None and cors.depends_on_origin)
        self._settings = settings or ServiceSettings()
        self._clock = clock
        self._frames = Frames()
        self._service: StreamService | None = None
        self._control: ControlApi | None = None
        self._opening: asyncio.Lock | None = None
        if self._settings.webhooks != "off":
            signing.require()
        shown = inspector or InspectorSettings()
        self._bindings = load_bindings(self._settings.bindings, shown.reducers)
        self._hydration: Hydration | None = None
        self._inspector = Inspector(self.service, load_reducers(shown.reducers)) if shown.enabled else None

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
                        await service.start()
                        self._bind(service)
                        self._control = await ControlApi.open(service, self._clock)
                    except BaseException:
                        await service.aclose()
                        raise
                    self._service = service
        return self._service

    def _bind(self, service: StreamService) -> None:
        if self._bindings:
            gate = self.probes.gate = ReducerGate(service, self._bindings, self._settings)
            self._hydration = Hydration(service, gate)

    def stop(self) -> None:
        """End all live reads, so that nobody has to wait for them."""
        self.probes.stop()
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
        if self._is_observed:
            exchange = self._observed(exchange)
        try:
            await self._respond(exchange)
        except ProtocolError as error:
            await self._refuse(exchange, error)
        except StoreFull as exc:
            logger.warning("storage full: %s", exc)
            await self._refuse(exchange, StorageFull("The server's disk is full; nothing was stored."))
        except StoreHalted:
            await self._refuse(
                exchange,
                StorageUnavailable(
                    "The server's disk failed, so it takes no writes for now; nothing was stored. "
                    "Try again later."
                ),
            )
        except StoreFailure:
            logger.exception("storage failed")
            # The reason names files, which are nobody's business but the operator's: it is in the log.
            await self._refuse(exchange, StorageUnavailable("The server's storage failed; try again."))
        except ClientLeft:
            pass
        finally:
            exchange.finish()

    async def _refuse(self, exchange: Exchange, error: ProtocolError) -> None:
        self.counts.refused(error.status, error.code)
        await exchange.reply(responses.refused(error))

    async def _respond(self, exchange: Exchange) -> None:
        root, below = self._split(exchange)
        if below is None:
            await exchange.reply(await self._outside(exchange, root))
            return
        if exchange.method == "OPTIONS" and self._cors is not None:
            await exchange.reply(PREFLIGHT)
            return
        if below.partition("/")[0] == requests.RESERVED_SEGMENT:
            reply = await self._control_reply(exchange, root, below)
            await exchange.reply(reply)
            self.counts.answered("subscriptions", reply.status)
            return
        if not below and exchange.method in ("GET", "HEAD"):
            await self._list(exchange)
            return
        path = requests.parse_path(below, max_chars=self._settings.max_path_chars)
        headers = exchange.read_headers()
        visitor = None
        if self._guard is not None:
            visitor = await self._meet(self._guard, exchange, headers)
            await visitor.check(operation_of(exchange.method, path, headers), path)
        service = self._service or await self.service()
        match exchange.method:
            case "POST":
                await self._append(exchange, service, path, visitor)
            case "GET":
                await self._read(exchange, service, requests.parse_read(path, headers, exchange.query()))
            case "HEAD":
                await exchange.reply(await _describe(service, path))
                self.counts.requests["head"] += 1
            case "PUT":
                await self._create(exchange, service, path, root, visitor)
            case "DELETE":
                await service.delete(path)
                await exchange.reply(responses.deleted())
                self.counts.requests["delete"] += 1
            case method:
                raise MethodNotAllowed(method)

    async def _append(
        self, exchange: Exchange, service: StreamService, path: str, visitor: Visitor | None
    ) -> None:
        began_s = perf_counter()
        settings = self._settings
        body = await exchange.body(settings.max_body_bytes)
        is_large = len(body) > requests.LARGE_BODY_BYTES
        checked = await self._check_json(exchange.headers, body) if is_large else None
        request = requests.parse_append(
            path,
            exchange.headers,
            body,
            checked=checked,
            max_json_depth=settings.max_json_depth,
            sender=_sender(service, path, visitor) if visitor is not None else None,
        )
        if visitor is not None and request.close and body:
            await visitor.check("append", path)  # beside "close", which its head has told
        outcome = await service.append(request)
        await exchange.reply(responses.appended(outcome))
        payload = request.payload
        messages = payload.messages if outcome.added_data and isinstance(payload, Payload) else 0
        self.counts.appended(messages, len(body), perf_counter() - began_s)

    async def _create(
        self, exchange: Exchange, service: StreamService, path: str, root: str, visitor: Visitor | None
    ) -> None:
        body = await exchange.body(self._settings.max_body_bytes)
        is_large = len(body) > requests.LARGE_BODY_BYTES
        checked = await self._check_json(exchange.headers, body, allow_empty=True) if is_large else None
        request = requests.parse_create(
            path,
            exchange.headers,
            body,
            root=root,
            checked=checked,
            max_json_depth=self._settings.max_json_depth,
        )
        if visitor is not None and request.fork is not None:
            await visitor.check("fork", request.fork.source_path)
        created = await service.create(request)
        await exchange.reply(responses.created(created, f"{_base_url(exchange, root)}/{path}"))
        self.counts.requests["create"] += 1
        self.counts.received_bytes += len(body)

    async def _check_json(
        self, headers: dict[str, str], body: bytes, *, allow_empty: bool = False
    ) -> Payload | ProtocolError | None:
        depth = self._settings.max_json_depth
        return await _in_steps(requests.check_large_json(headers, body, depth, allow_empty=allow_empty))

    async def _read(self, exchange: Exchange, service: StreamService, request: requests.ReadRequest) -> None:
        is_private = self._guard is not None
        if request.live is None:
            began_s = perf_counter()
            view = await service.read(request)
            reply = responses.page(view, if_none_match=request.if_none_match, private=is_private)
            await exchange.reply(reply)
            self.counts.read_seconds.observe(perf_counter() - began_s)
        elif request.live == "sse":
            self.counts.requests["sse"] += 1
            await serve_events(
                exchange, service, request, self._frames, self._clock, self.counts, private=is_private
            )
            return
        else:
            reply = await self._polled(exchange, service, request)
            await exchange.reply(reply)
        self.counts.sent_bytes += len(reply.body)

    async def _polled(
        self, exchange: Exchange, service: StreamService, request: requests.ReadRequest
    ) -> Reply:
        self.counts.requests["long_poll"] += 1
        self.counts.polling += 1
        try:
            view = await service.poll(request, exchange.gone())
        finally:
            self.counts.polling -= 1
        cursor = next_cursor(self._clock(), request.cursor, random.random())  # noqa: S311
        return responses.polled(view, cursor)

    async def _list(self, exchange: Exchange) -> None:
        """An empty path is no stream's (`parse_path`), so this URL collides with none."""
        headers = exchange.read_headers()
        query = exchange.query()
        if names.STATE_PARAM in query:
            await exchange.reply(await self._state(exchange, headers, query))
            self.counts.requests["state"] += 1
            return
        request = requests.parse_list(query)
        if self._guard is not None:
            visitor = await self._meet(self._guard, exchange, headers)
            await visitor.check("list", request.prefix)
        service = self._service or await self.service()
        await exchange.reply(responses.listed(await service.list_streams(request)))

    async def _state(self, exchange: Exchange, headers: dict[str, str], query: requests.Query) -> Reply:
        """The folded state of a stream that is bound to a reducer."""
        path, at = requests.parse_state(query, max_chars=self._settings.max_path_chars)
        exchange.state_of = path
        if self._guard is not None:
            visitor = await self._meet(self._guard, exchange, headers)
            await visitor.check("read", path)
        await enter_task()
        await self.service()
        if self._hydration is None:
            raise NotFound("This server binds no reducers; start it with --bind PATTERN=module:name.")
        is_get = exchange.method == "GET"
        request = StateRequest(
            path, at, headers.get("if-none-match"), private=self._guard is not None, renews=is_get
        )
        return await self._hydration.answer(request)

    async def _control_reply(self, exchange: Exchange, root: str, below: str) -> Reply:
        """PROTOCOL §6: the reserved paths come before all streams."""
        headers = exchange.read_headers()
        if self._guard is not None and (asked := guarded_operation(below)) is not None:
            visitor = await self._meet(self._guard, exchange, headers)
            await visitor.check(*asked)
        body = await exchange.body(self._settings.max_body_bytes)
        await self.service()
        if self._control is None:
            raise StorageUnavailable("The server is closed.")
        base_url = _base_url(exchange, root)
        return await self._control.handle(ControlRequest(exchange.method, below, headers, body, base_url))

    async def _outside(self, exchange: Exchange, root: str) -> Reply:
        """The reply to a request that is for no stream."""
        page = f"{root.removesuffix(self._prefix)}/{SEGMENT}"
        if self._inspector is not None and f"{exchange.raw_path}/".startswith(f"{page}/"):
            return await self._page(self._inspector, exchange, root, exchange.raw_path.removeprefix(page))
        headers = exchange.read_headers()
        path = exchange.raw_path.removeprefix(exchange.mount)
        if path == METRICS_PATH and self._guard is not None and not self._guard.metrics_open:
            visitor = await self._meet(self._guard, exchange, headers)
            await visitor.check("metrics", "")
        reply = await self.probes.answer(path) if exchange.method in ("GET", "HEAD") else None
        if reply is None:
            raise NotFound(f"There is nothing here; streams are below {root}/.")
        return reply

    async def _page(self, inspector: Inspector, exchange: Exchange, root: str, path: str) -> Reply:
        """The inspector; what it shows of streams needs the right to read them."""
        headers = exchange.read_headers()
        body = await exchange.body(self._settings.max_body_bytes)

        async def check(operation: Operation, path: str) -> None:
            if self._guard is not None:
                visitor = await self._meet(self._guard, exchange, headers)
                await visitor.check(operation, path)

        request = PageRequest(exchange.method, path, root, headers, exchange.query(), body)
        return await inspector.handle(request, check)

    async def _meet(self, guard: Guard, exchange: Exchange, headers: dict[str, str]) -> Visitor:
        visitor = await guard.meet(headers)
        exchange.identity = visitor.identity
        return visitor

    def _observed(self, exchange: Exchange) -> Exchange:
        """The exchange with headers that depend on the request, and a line in the access log."""
        extra: Headers = ()
        if self._cors is not None and self._cors.depends_on_origin:
            extra = self._cors.headers_for(exchange.header(b"origin"))
        if (log := self._access_log) is None:
            return ObservedExchange(exchange, extra, None)
        name = request_id(exchange.header(b"x-request-id"))
        return ObservedExchange(
            exchange, (*extra, (b"x-request-id", name.encode())), lambda ended: log.note(ended, name)
        )

    def _split(self, exchange: Exchange) -> tuple[str, str | None]:
        """(URL path of the stream root, what follows it), the latter None for paths outside the root."""
        full, mount = exchange.raw_path, exchange.mount
        # A mounted application gets the whole path, with the mount's part named beside it.
        root = mount + self._prefix if mount and full.startswith(f"{mount}/") else self._prefix
        return root, full[len(root) + 1 :] if full.startswith(f"{root}/") else None


def _sender(service: StreamService, path: str, visitor: Visitor) -> bytes | None:
    """Who sends an append, where producers belong to identities: on streams that are bound to reducers.

    Elsewhere the ids of messages mean nothing to the server, and whoever may write may write as any producer.
    """
    if service.gate is None or not service.gate.concerns(path):
        return None
    return visitor.identity.mark if visitor.identity is not None else NOBODY


async def _describe(service: StreamService, path: str) -> Reply:
    stream = await service.head(path)
    return responses.described(stream, service.retention_of(stream))


async def _in_steps(work: Generator[None, None, R]) -> R:
    """Carry out long work; others are served between its steps."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: R = done.value
            return result
        await asyncio.sleep(0)


def _base_url(exchange: Exchange, root: str) -> str:
    """The absolute URL of the stream root, as the client knows this server."""
    host = exchange.headers.get("host") or exchange.server
    return f"{exchange.scheme}://{host}{root}"
