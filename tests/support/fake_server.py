"""`FakeServer`: an HTTP server that answers exactly as a test tells it, and remembers what it was asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.parse import parse_qsl, urlsplit

import anyio
import anyio.abc

__all__ = ["Answer", "FakeServer", "Seen", "event_stream", "page"]

_CHUNK_BYTES: Final = 65536
_BROKEN: Final = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


@dataclass(frozen=True)
class Seen:
    """A request as it came. Header names are in lower case, query parameters in their order.

    The values of a header that came more than once are joined with `, `.
    """

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes

    def param(self, name: str) -> str | None:
        """A query parameter."""
        return dict(self.query).get(name)


@dataclass(frozen=True)
class Answer:
    """A response. `parts` are sent one after the other, with pauses where a number stands (seconds).

    Without `length` there is no Content-Length: the body ends with the connection. `then="hang"` keeps the
    connection open, silently, for as long as the client likes.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[bytes | float, ...] = ()
    length: int | None = None
    then: Literal["close", "hang"] = "close"


def page(
    body: bytes = b"[]",
    *,
    next_offset: str,
    up_to_date: bool = True,
    closed: bool = False,
    status: int = 200,
    content_type: str = "application/json",
    **headers: str,
) -> Answer:
    """An answer to a read, with literal header names."""
    flags = {"Stream-Up-To-Date": up_to_date, "Stream-Closed": closed}
    fields = {"Content-Type": content_type, "Stream-Next-Offset": next_offset}
    fields |= {name: "true" for name, is_set in flags.items() if is_set}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, fields, (body,), length=len(body))


def event_stream(
    *parts: bytes | float, then: Literal["close", "hang"] = "close", headers: Mapping[str, str] | None = None
) -> Answer:
    """An answer of server-sent events, given as raw bytes."""
    return Answer(200, {"Content-Type": "text/event-stream", **(headers or {})}, parts, then=then)


class FakeServer:
    """Answers requests in the order of `answers`; when they are used up, with `otherwise`.

    Args:
        answers: answers, or functions that make one from the request.
        otherwise: the answer to all further requests. Default: HTTP 500.
    """

    def __init__(
        self,
        *answers: Answer | Callable[[Seen], Answer],
        otherwise: Answer | Callable[[Seen], Answer] | None = None,
    ) -> None:
        self._answers = deque(answers)
        self._otherwise = otherwise or Answer(500, {}, (b"no answer left",), length=14)
        self._tasks = anyio.create_task_group()
        self.seen: list[Seen] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        listener: Any = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        self.url = f"http://127.0.0.1:{port}/v1/stream"
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
        async with client:
            with suppress(*_BROKEN):
                seen = await _request(client)
                self.seen.append(seen)
                answer = self._answers.popleft() if self._answers else self._otherwise
                await _send(client, answer(seen) if callable(answer) else answer)


async def _request(client: anyio.abc.SocketStream) -> Seen:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await client.receive(_CHUNK_BYTES)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    method, target, _ = first.split(" ")
    headers = _headers(lines)
    while len(body) < int(headers.get("content-length", 0)):
        body += await client.receive(_CHUNK_BYTES)
    parts = urlsplit(target)
    return Seen(method, parts.path, parse_qsl(parts.query, keep_blank_values=True), headers, body)


def _headers(lines: list[str]) -> dict[str, str]:
    """Headers by their names; the values of one that came twice are joined, as RFC 9110 §5.3 has it."""
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    return {name: ", ".join(values) for name, values in headers.items()}


async def _send(client: anyio.abc.SocketStream, answer: Answer) -> None:
    fields = {**answer.headers, "Connection": "close"}
    if answer.length is not None:
        fields["Content-Length"] = str(answer.length)
    lines = [f"HTTP/1.1 {answer.status} Scripted", *(f"{name}: {value}" for name, value in fields.items())]
    await client.send("\r\n".join([*lines, "", ""]).encode("ascii"))
    for part in answer.parts:
        if isinstance(part, bytes):
            await client.send(part)
        else:
            await anyio.sleep(part)
    if answer.then == "hang":
        await client.receive(_CHUNK_BYTES)
