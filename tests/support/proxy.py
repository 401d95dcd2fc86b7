"""`FaultProxy`: a TCP proxy between an HTTP client and a server, which does to them what networks do.

Faults are per exchange (a request and its answer), not per connection, so that keep-alive does not decide
which request meets which fault. An exchange begins with the first bytes that a client sends after a server's
answer.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import anyio
import anyio.abc

__all__ = [
    "Cut",
    "Delay",
    "Duplicate",
    "Fault",
    "FaultProxy",
    "Garble",
    "Ghost",
    "LoseReply",
    "Pass",
    "Refuse",
    "Stall",
    "some_of",
]

_CHUNK_BYTES: Final = 65536
_BROKEN: Final = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


@dataclass(frozen=True)
class Pass:
    """No fault."""


@dataclass(frozen=True)
class Refuse:
    """The connection breaks before the server sees the request."""


@dataclass(frozen=True)
class LoseReply:
    """The server acts, and the connection breaks before the client sees a byte of the answer."""


@dataclass(frozen=True)
class Cut:
    """The connection breaks after so many bytes of the answer."""

    after_bytes: int


@dataclass(frozen=True)
class Delay:
    """The request reaches the server late."""

    seconds: float


@dataclass(frozen=True)
class Stall:
    """The connection stays open and nothing moves, either way, until the proxy ends."""


@dataclass(frozen=True)
class Ghost:
    """The client sees the connection break at once, but the request reaches the server so much later."""

    seconds: float


@dataclass(frozen=True)
class Duplicate:
    """The request reaches the server twice: now, and again so much later over another connection."""

    seconds: float


@dataclass(frozen=True)
class Garble:
    """The server acts, and what the client gets is no HTTP."""


Fault: TypeAlias = Pass | Refuse | LoseReply | Cut | Delay | Stall | Ghost | Duplicate | Garble


def some_of(rng: random.Random, faults: Iterable[Fault], share: float) -> Callable[[], Fault]:
    """A plan in which that share of all exchanges meets one of the faults."""
    choices = list(faults)
    return lambda: rng.choice(choices) if rng.random() < share else Pass()


class FaultProxy:
    """A proxy in front of `base_url`; `url` is the same address through it.

    Args:
        base_url: of the server; its path is kept.
        plan: asked for the fault of each exchange for which `script` has none. Default: no fault.
    """

    def __init__(self, base_url: str, *, plan: Callable[[], Fault] = Pass) -> None:
        self._parts = urlsplit(base_url)
        self._scripted: deque[Fault] = deque()
        self._connections: set[anyio.abc.ByteStream] = set()
        self._tasks = anyio.create_task_group()
        self.plan = plan
        self.is_down = False
        self.silent_count = 0
        self._lines: set[_Connection] = set()
        self.exchange_count = 0
        self.fault_count = 0
        self.url = ""

    def script(self, *faults: Fault) -> None:
        """The next exchanges meet these faults, in this order; later ones the plan."""
        self._scripted.extend(faults)

    @property
    def has_script(self) -> bool:
        """Whether some scripted faults have not happened yet."""
        return bool(self._scripted)

    async def cut_all(self) -> None:
        """Break all connections that are open now."""
        for connection in list(self._connections):
            await anyio.aclose_forcefully(connection)

    def fall_silent(self) -> None:
        """All connections stay open, and carry nothing any more, as if a router had forgotten them."""
        for line in self._lines:
            line.is_silent = True
        self.silent_count += len(self._lines)

    async def __aenter__(self) -> Self:
        listener: Any = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        self.url = urlunsplit(("http", f"127.0.0.1:{port}", self._parts.path, "", ""))
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._listen, listener)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        self._tasks.cancel_scope.cancel()
        if isinstance(exc, anyio.get_cancelled_exc_class()):
            return await self._tasks.__aexit__(exc_type, exc, tb)
        # Told of any other exception, the group would wrap it; a failed assertion is easier to read bare.
        await self._tasks.__aexit__(None, None, None)
        return False

    async def _listen(self, listener: Any) -> None:
        async with listener:
            await listener.serve(self._handle, task_group=self._tasks)

    async def _handle(self, client: anyio.abc.SocketStream) -> None:
        self._connections.add(client)
        try:
            with suppress(*_BROKEN):
                if not self.is_down:
                    line = _Connection(self, client)
                    self._lines.add(line)
                    try:
                        await line.run()
                    finally:
                        self._lines.discard(line)
        finally:
            self._connections.discard(client)
            await anyio.aclose_forcefully(client)

    async def dial(self) -> anyio.abc.SocketStream:
        """A connection to the server."""
        assert self._parts.hostname is not None
        return await anyio.connect_tcp(self._parts.hostname, self._parts.port or 80)

    def next_fault(self) -> Fault:
        """The fault of the exchange that begins now."""
        self.exchange_count += 1
        fault = self._scripted.popleft() if self._scripted else self.plan()
        self.fault_count += not isinstance(fault, Pass)
        return fault

    async def send_later(self, request: bytes, seconds: float) -> None:
        """Deliver a request whose client is gone."""
        self._tasks.start_soon(self._deliver, request, seconds)

    async def _deliver(self, request: bytes, seconds: float) -> None:
        await anyio.sleep(seconds)
        with suppress(*_BROKEN):
            async with await self.dial() as server:
                await server.send(request)
                await server.receive(_CHUNK_BYTES)


class _Connection:
    """One connection of a client, and ours to the server behind it."""

    def __init__(self, proxy: FaultProxy, client: anyio.abc.SocketStream) -> None:
        self._proxy = proxy
        self._client = client
        self._fault: Fault = Pass()
        self._is_answered = True  # so that the first bytes begin an exchange
        self._reply_bytes = 0
        self.is_silent = False

    async def run(self) -> None:
        async with await self._proxy.dial() as server, anyio.create_task_group() as tasks:
            tasks.start_soon(self._ending, tasks, self._requests, server)
            tasks.start_soon(self._ending, tasks, self._replies, server)

    async def _ending(
        self, tasks: anyio.abc.TaskGroup, pump: Callable[[Any], Any], server: anyio.abc.SocketStream
    ) -> None:
        """Either direction's end is the end of both."""
        with suppress(*_BROKEN):
            await pump(server)
        tasks.cancel_scope.cancel()

    async def _requests(self, server: anyio.abc.SocketStream) -> None:
        while True:
            data = await self._client.receive(_CHUNK_BYTES)
            if self.is_silent:
                continue
            if self._is_answered:
                self._is_answered, self._reply_bytes = False, 0
                self._fault = self._proxy.next_fault()
            match self._fault:
                case Refuse():
                    return
                case Stall():
                    await anyio.sleep_forever()
                case Ghost(seconds):
                    await self._proxy.send_later(await self._rest_of(data), seconds)
                    return
                case Duplicate(seconds):
                    data = await self._rest_of(data)
                    await self._proxy.send_later(data, seconds)
                case Delay(seconds):
                    await anyio.sleep(seconds)
                case _:
                    pass
            await server.send(data)

    async def _rest_of(self, request: bytes) -> bytes:
        """The whole request, of which the first bytes have come."""
        head, _, body = request.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        missing_bytes = int(lengths[0].partition(b":")[2]) - len(body) if lengths else 0
        while missing_bytes > 0:
            more = await self._client.receive(_CHUNK_BYTES)
            request, missing_bytes = request + more, missing_bytes - len(more)
        return request

    async def _replies(self, server: anyio.abc.SocketStream) -> None:
        while True:
            data = await server.receive(_CHUNK_BYTES)
            if self.is_silent:
                continue
            self._is_answered = True
            match self._fault:
                case LoseReply():
                    return
                case Garble():
                    await self._client.send(b"\x00\xffTTP!1 " + data[9:])
                    return
                case Cut(after_bytes) if self._reply_bytes + len(data) >= after_bytes:
                    await self._client.send(data[: after_bytes - self._reply_bytes])
                    return
                case _:
                    await self._client.send(data)
            self._reply_bytes += len(data)
