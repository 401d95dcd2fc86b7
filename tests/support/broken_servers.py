"""Servers that break one rule of the protocol each: our own server, with something between it and the client.

A `Broken` changes requests on their way in and answers on their way out. `BrokenServers` serves many of them
from one port, each below a path of its own with streams of its own. `BrokenWire` breaks what is below that:
requests that are no good HTTP never reach a `Broken`.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, Self, TypeAlias
from urllib.parse import urlsplit

import uvicorn

from durafold_server import create_app
from durafold_server.config import ServiceSettings

__all__ = ["Answer", "Ask", "Broken", "BrokenServers", "BrokenWire", "Call", "Wire"]

_SETTINGS: Final = ServiceSettings(long_poll_timeout_s=0.3, webhooks="local")
_START_TIMEOUT_S: Final = 10.0
_EVENT_STREAM: Final = "text/event-stream"

Pairs: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A request: the stream's name, the rest of its target, lower-case headers, body."""

    method: str
    name: str
    query: str
    headers: Pairs
    body: bytes

    def get(self, header: str) -> str:
        """A header's value, empty if it is absent."""
        return dict(self.headers).get(header, "")

    @property
    def live(self) -> str:
        """The mode of a live read, empty for any other request."""
        found = re.search(r"live=([a-z-]+)", self.query)
        return found[1] if found else ""

    @property
    def offset(self) -> str:
        """The offset of a read, empty if there is none."""
        found = re.search(r"offset=([^&]*)", self.query)
        return found[1] if found else ""

    def without(self, *headers: str) -> Call:
        """The request without some headers."""
        return replace(self, headers=tuple(pair for pair in self.headers if pair[0] not in headers))

    def having(self, header: str, value: str) -> Call:
        """The request with a header set."""
        return replace(self, headers=(*self.without(header).headers, (header, value)))


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; `body` is empty for an event stream, whose data pass by `Broken.frame`."""

    status: int
    headers: Pairs = ()
    body: bytes = b""

    def get(self, header: str) -> str:
        """A header's value, empty if it is absent."""
        return dict(self.headers).get(header, "")

    def without(self, *headers: str) -> Answer:
        """The answer without some headers."""
        return replace(self, headers=tuple(pair for pair in self.headers if pair[0] not in headers))

    def having(self, header: str, value: str) -> Answer:
        """The answer with a header set."""
        return replace(self, headers=(*self.without(header).headers, (header, value)))


Ask: TypeAlias = Callable[[Call], Awaitable[Answer]]
"""Puts a request to the good server inside, and gives its whole answer."""


class Broken:
    """Breaks nothing; what overrides a method breaks a rule."""

    async def request(self, call: Call, ask: Ask) -> Call | Answer:
        """What the good server gets to see, or an answer of our own."""
        return call

    async def answer(self, call: Call, answer: Answer, ask: Ask) -> Answer:
        """What the client gets to see."""
        return answer

    def frame(self, call: Call, data: bytes) -> bytes:
        """What the client gets to see of a part of an event stream."""
        return data


class BrokenServers:
    """Serves one good server behind each `Broken`, on one port, in a thread of its own.

    Args:
        broken: by name; a name is the first segment of the path.
    """

    def __init__(self, broken: Mapping[str, Broken]) -> None:
        self._apps = {name: _BrokenApp(name, rule) for name, rule in broken.items()}
        self._socket = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            log_level="critical",
            lifespan="on",
            ws="none",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    def url(self, name: str) -> str:
        """The URL of the streams of one of them."""
        return f"http://127.0.0.1:{self.port}/{name}/v1/stream"

    @property
    def port(self) -> int:
        """Where they listen."""
        port: int = self._socket.getsockname()[1]
        return port

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._server.started:
            assert self._thread.is_alive(), "the broken servers did not start"
            assert time.monotonic() < deadline, "the broken servers did not start in time"
            time.sleep(0.01)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        name = scope["path"].split("/")[1]
        if name in self._apps:
            await self._apps[name](scope, receive, send)
        else:
            await _send_whole(send, Answer(404))

    async def _lifespan(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for app in self._apps.values():
            await app.aclose()
        await send({"type": "lifespan.shutdown.complete"})


class _BrokenApp:
    """A good server with a `Broken` in front, as ASGI."""

    def __init__(self, name: str, rule: Broken) -> None:
        self._prefix = f"/{name}/v1/stream/"
        self._rule = rule
        self._inside = create_app(prefix=self._prefix, settings=_SETTINGS)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        call = await self._call(scope, receive)
        if call is None:
            return
        inward = await self._rule.request(call, self._ask)
        if isinstance(inward, Answer):
            await _send_whole(send, inward)
            return
        outward = _Outward(self, call, send)
        await self._inside(self._scope(inward), _Inward(inward.body, receive), outward)

    async def aclose(self) -> None:
        """Close the good server inside."""
        await self._inside.aclose()

    async def changed(self, call: Call, answer: Answer) -> Answer:
        """What the client gets to see of an answer."""
        return await self._rule.answer(call, answer, self._ask)

    def frame(self, call: Call, data: bytes) -> bytes:
        """What the client gets to see of a part of an event stream."""
        return self._rule.frame(call, data)

    async def _call(self, scope: Any, receive: Any) -> Call | None:
        """The whole request, or None if the client leaves before its end."""
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        name = scope["raw_path"].decode("latin-1").removeprefix(self._prefix)
        return Call(scope["method"], name, scope["query_string"].decode("latin-1"), headers, body)

    def _scope(self, call: Call) -> dict[str, Any]:
        path = f"{self._prefix}{call.name}"
        return {
            "type": "http",
            "method": call.method,
            "path": path,
            "raw_path": path.encode("latin-1"),
            "query_string": call.query.encode("latin-1"),
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in call.headers],
            "server": ("127.0.0.1", 80),
            "scheme": "http",
            "root_path": "",
        }

    async def _ask(self, call: Call) -> Answer:
        parts: list[Any] = []

        async def send(message: Any) -> None:
            parts.append(message)

        async def never() -> Any:
            return {"type": "http.disconnect"}

        await self._inside(self._scope(call), _Inward(call.body, never), send)
        return _answer(parts[0], b"".join(part.get("body", b"") for part in parts[1:]))


class _Inward:
    """ASGI's `receive` with another body."""

    def __init__(self, body: bytes, receive: Any) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Any:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class _Outward:
    """ASGI's `send` with another answer."""

    def __init__(self, app: _BrokenApp, call: Call, send: Any) -> None:
        self._app = app
        self._call = call
        self._send = send
        self._start: Any = None
        self._body = b""
        self._streams = False

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            head = _answer(message, b"")
            self._streams = head.get("content-type").startswith(_EVENT_STREAM)
            if self._streams:
                await _send_start(self._send, await self._app.changed(self._call, head))
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._streams:
            data = self._app.frame(self._call, body) if body else b""
            await self._send({"type": "http.response.body", "body": data, "more_body": more})
            return
        self._body += body
        if not more:
            answer = await self._app.changed(self._call, _answer(self._start, self._body))
            await _send_whole(self._send, answer, head_only=self._call.method == "HEAD")


def _answer(start: Any, body: bytes) -> Answer:
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"])
    return Answer(start["status"], headers, body).without("content-length")


async def _send_start(send: Any, answer: Answer) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})


async def _send_whole(send: Any, answer: Answer, *, head_only: bool = False) -> None:
    bodiless = head_only or answer.status in (204, 304)
    if not bodiless:
        answer = answer.having("content-length", str(len(answer.body)))
    await _send_start(send, answer)
    await send({"type": "http.response.body", "body": b"" if bodiless else answer.body})


class Wire:
    """Decides what becomes of the bytes of a connection; breaks nothing, and what overrides a method does."""

    def reply(self, received: bytes, *, is_over: bool) -> bytes:
        """An answer of its own to what came so far, or nothing. `is_over`: the client sends no more."""
        return b""

    def request(self, received: bytes, *, is_over: bool) -> bytes:
        """What to pass on of what came so far, or nothing as long as it is not whole."""
        return received if _is_whole(received) else b""

    def answer(self, request: bytes, answer: bytes) -> bytes:
        """What the client gets to see."""
        return answer


class BrokenWire:
    """A TCP proxy in front of a good server, which handles one request a connection, in threads.

    Args:
        url: of the good server's streams.
        wire: what it does to the bytes.
    """

    def __init__(self, url: str, wire: Wire) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = (parts.hostname, parts.port)
        self._path = parts.path
        self._wire = wire
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]

    @property
    def url(self) -> str:
        """The same streams through this proxy."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}{self._path}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(client,)))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        received, is_over = b"", False
        with client, suppress(OSError):
            client.settimeout(_START_TIMEOUT_S)
            while not is_over:
                data = client.recv(65536)
                received, is_over = received + data, not data
                if reply := self._wire.reply(received, is_over=is_over):
                    client.sendall(reply)
                    return
                if request := self._wire.request(received, is_over=is_over):
                    client.sendall(self._wire.answer(request, self._ask(request)))
                    return

    def _ask(self, request: bytes) -> bytes:
        head, _, body = request.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
        answer = b""
        with socket.create_connection(self._target, timeout=_START_TIMEOUT_S) as server:
            server.sendall(b"\r\n".join([*lines, b"Connection: close", b"", body]))
            while data := server.recv(65536):
                answer += data
        return answer


def _is_whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if b"transfer-encoding: chunked" in head.lower():
        return body.endswith(b"0\r\n\r\n")
    return bool(end) and len(body) >= (int(length[1]) if length else 0)
