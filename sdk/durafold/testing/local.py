"""`LocalServer`: a real stream server inside the test, without a socket, on as bad a network as you like.

    async with LocalServer(seed=7) as server:
        async with server.provider("ann") as ann, server.provider("ben") as ben:
            counts = [party.server_state(0, "count") for party in (ann, ben)]
            server.fault_share = 0.3  # refused, lost, doubled, late, cut off
            server.cut_off("ben")
            counts[0].increment()
            server.reconnect("ben")
            await settle(*counts)
            await assert_converged(*counts)

The server is the one of `durafold serve`, with its store in memory. It runs on asyncio.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Final, Literal, Self

import anyio
import anyio.abc
import httpx

from durafold.client import Backoff, ClientSettings, Transport
from durafold.errors import ConfigurationError
from durafold.provider import Provider

__all__ = ["FakeClock", "Fault", "LocalServer"]

Fault = Literal["none", "refused", "reply lost", "doubled", "late", "cut off"]
"""What happens to one exchange: the server never sees the request; it acts, and the answer is lost; it gets
the request twice; it gets it late; the answer breaks off."""

FAULTS: Final[tuple[Fault, ...]] = ("refused", "reply lost", "doubled", "late", "cut off")

_URL: Final = "http://durafold.test"
_MAX_DELAY_S: Final = 0.02
_MAX_CUT_BYTES: Final = 600
_IMPATIENT: Final = ClientSettings(backoff=Backoff(first_s=0.002, max_s=0.05))


class FakeClock:
    """A clock that a test sets; for `Provider(clock=...)`.

    Examples:
        >>> clock = FakeClock(100.0)
        >>> clock.advance(2.5)
        >>> clock()
        102.5
    """

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        """Let time go on."""
        self.now_s += seconds


class LocalServer:
    """A server in this process; see the module's docstring.

    Args:
        seed: of the faults: the same seed gives the same faults for the same requests in the same order.
        fault_share: which share of all exchanges meets a fault, from 0 to 1.

    Attributes:
        url: what providers are given; it exists only through `transport`.
        fault_share: as given; may be changed at any time.
        requests: how many requests were made.
        script: faults of the next requests, before chance decides.

    Examples:
        >>> async with LocalServer(seed=1, fault_share=0.3) as server, server.provider("ann") as ann:
        ...     await ann.server_state(0, "counter").increment()
        1
    """

    def __init__(self, *, seed: int = 0, fault_share: float = 0.0) -> None:
        self.url = _URL
        self.fault_share = fault_share
        self.requests = 0
        self.script: list[Fault] = []
        self._random = random.Random(seed)  # noqa: S311 - faults are to be repeatable
        self._app: Any = None
        self._away: set[str] = set()
        self._open: dict[_Exchange, str] = {}
        self._tasks: anyio.abc.TaskGroup | None = None
        self._clients: list[httpx.AsyncClient] = []

    def transport(self, name: str = "client") -> Transport:
        """Connections of one client to the server.

        Args:
            name: of the client, for `cut_off`.
        """
        client = httpx.AsyncClient(transport=_LocalTransport(self, name), trust_env=False)
        self._clients.append(client)
        return Transport(client=client)

    def provider(self, name: str = "client", **options: Any) -> Provider:
        """A provider of the server that reconnects quickly.

        Args:
            name: of the client, for `cut_off`, and the beginning of its client id.
            options: more arguments of `Provider`.
        """
        given = {"client_id": name, "settings": _IMPATIENT, **options}
        return Provider(self.url, transport=self.transport(name), **given)

    def cut_off(self, *names: str) -> None:
        """These clients have no connection from now on; what is open breaks."""
        self._away.update(names)
        for exchange in [exchange for exchange, name in self._open.items() if name in names]:
            exchange.break_off()

    def reconnect(self, *names: str) -> None:
        """These clients, or all, have a connection again."""
        self._away.difference_update(names or tuple(self._away))

    async def __aenter__(self) -> Self:
        try:
            from durafold_server import create_app
        except ImportError as exc:
            raise ConfigurationError(
                "The server is not installed", hint='pip install "durafold[server]"'
            ) from exc
        self._app = create_app()
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        for client in self._clients:
            await client.aclose()
        self._app.stop()
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)
        with anyio.CancelScope(shield=True):
            await self._app.aclose()

    # ---- for the transport ----

    def next_fault(self, name: str) -> Fault:
        """What happens to the request that a client makes now."""
        self.requests += 1
        if name in self._away:
            return "refused"
        if self.script:
            return self.script.pop(0)
        return self._random.choice(FAULTS) if self._random.random() < self.fault_share else "none"

    def amount(self) -> float:
        """How much of a fault, from 0 to 1."""
        return self._random.random()

    def start(self, name: str, request: httpx.Request, body: bytes, *, cut_after: int | None) -> _Exchange:
        """Let the server answer a request.

        Raises:
            httpx.ConnectError: the client was cut off since it began the request.
        """
        assert self._tasks is not None
        if name in self._away:
            raise httpx.ConnectError("there is no connection", request=request)
        exchange = _Exchange(request, body, cut_after, lambda: self._open.pop(exchange, None))
        self._open[exchange] = name
        self._tasks.start_soon(exchange.run, self._app)
        return exchange


class _LocalTransport(httpx.AsyncBaseTransport):
    """What httpx sees of the server."""

    def __init__(self, server: LocalServer, name: str) -> None:
        self._server = server
        self._name = name

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        fault = self._server.next_fault(self._name)
        await anyio.sleep(self._server.amount() * _MAX_DELAY_S if fault == "late" else 0)
        if fault == "refused":
            raise httpx.ConnectError("the request never left", request=request)
        if fault == "doubled":
            await self._ghost(request, body)
        if fault == "reply lost":
            await self._ghost(request, body)
            raise httpx.ReadError("the answer was lost", request=request)
        cut_after = int(self._server.amount() * _MAX_CUT_BYTES) if fault == "cut off" else None
        exchange = self._server.start(self._name, request, body, cut_after=cut_after)
        return await exchange.answer()

    async def _ghost(self, request: httpx.Request, body: bytes) -> None:
        """The server acts on a request, and nobody hears of it."""
        exchange = self._server.start(self._name, request, body, cut_after=None)
        response = await exchange.answer()
        await response.aclose()


class _Exchange(httpx.AsyncByteStream):
    """One request, the task that answers it, and the answer's body."""

    def __init__(
        self, request: httpx.Request, body: bytes, cut_after: int | None, on_end: Callable[[], object]
    ) -> None:
        self._request = request
        self._body: bytes | None = body
        self._left = cut_after
        self._on_end = on_end
        self._has_head = anyio.Event()
        self._is_left = anyio.Event()
        self._head: dict[str, Any] | None = None
        self._writer, self._reader = anyio.create_memory_object_stream[bytes](100_000)
        self._is_broken = False
        self._error: Exception | None = None

    async def run(self, app: Any) -> None:
        """Let the application answer."""
        try:
            await app(self._scope(), self._receive, self._send)
        except Exception as error:  # noqa: BLE001 - raised where the answer is waited for
            self._error = error
        finally:
            self._writer.close()
            self._has_head.set()
            self._on_end()

    async def answer(self) -> httpx.Response:
        """Status and headers, once they are there, with the body to come."""
        try:
            await self._has_head.wait()
            return self._response()
        except BaseException:
            await self.aclose()
            raise

    def _response(self) -> httpx.Response:
        if self._error is not None:
            raise self._error
        if self._head is None or self._is_broken:
            raise httpx.ReadError("the connection broke", request=self._request)
        return httpx.Response(
            self._head["status"], headers=self._head["headers"], stream=self, request=self._request
        )

    def break_off(self) -> None:
        """The connection breaks."""
        self._is_broken = True
        self._leave()
        self._has_head.set()
        self._writer.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._reader:
            if self._left is not None and len(chunk) >= self._left:
                yield chunk[: self._left]
                self.break_off()
                break
            if self._left is not None:
                self._left -= len(chunk)
            yield chunk
        if self._is_broken:
            raise httpx.ReadError("the connection broke", request=self._request)

    async def aclose(self) -> None:
        self._leave()
        self._reader.close()
        self._writer.close()

    def _leave(self) -> None:
        self._is_left.set()

    async def _receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._is_left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._head = message
            self._has_head.set()
        elif message.get("body") and not self._is_left.is_set():
            self._writer.send_nowait(bytes(message["body"]))

    def _scope(self) -> dict[str, Any]:
        url = self._request.url
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self._request.method,
            "scheme": url.scheme,
            "path": url.path,
            "raw_path": url.raw_path.partition(b"?")[0],
            "query_string": url.query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in self._request.headers.raw],
            "client": ("127.0.0.1", 1),
            "server": (url.host, 80),
        }
