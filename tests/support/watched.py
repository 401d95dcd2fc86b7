"""An HTTP client that counts the messages it fetches, and can be told to refuse requests by itself."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

import httpx

from durafold.client import Transport

__all__ = ["WatchedClient"]


class WatchedClient(httpx.AsyncBaseTransport):
    """Real HTTP, watched. Use it as async context manager, and give `transport` to what is tested.

    Attributes:
        transport: for providers and streams.
        requests: method and path of every request.
        fetched: how many messages came in answers to plain reads.
        intercept: given every request, with its content; what it returns is the answer, None lets the request
            through.
        before: awaited with every request that was let through.
    """

    def __init__(self) -> None:
        self._real = httpx.AsyncHTTPTransport()
        self._client = httpx.AsyncClient(transport=self, trust_env=False)
        self.transport = Transport(client=self._client)
        self.requests: list[tuple[str, str]] = []
        self.fetched = 0
        self.intercept: Callable[[httpx.Request], httpx.Response | None] = lambda request: None
        self.before: Callable[[httpx.Request], Awaitable[None]] = _nothing

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append((request.method, request.url.path))
        await request.aread()
        answer = self.intercept(request)
        if answer is not None:
            return _unread(answer.status_code, answer.headers, answer.content)
        await self.before(request)
        response = await self._real.handle_async_request(request)
        is_page = request.method == "GET" and "live" not in request.url.params and response.status_code == 200
        if not is_page:
            return response
        body = await response.aread()
        await response.aclose()
        self.fetched += len(json.loads(body or b"[]"))
        return _unread(response.status_code, response.headers, body)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        tb: TracebackType | None = None,
    ) -> None:
        await self._client.aclose()
        await self._real.aclose()


class _Body(httpx.AsyncByteStream):
    """A body that was not read yet."""

    def __init__(self, content: bytes) -> None:
        self._chunks = [content]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._chunks:
            raise StopAsyncIteration
        return self._chunks.pop()


def _unread(status: int, headers: Mapping[str, str], content: bytes) -> httpx.Response:
    coding = {"content-encoding", "content-length", "transfer-encoding"}
    fields = {name: value for name, value in headers.items() if name.lower() not in coding}
    return httpx.Response(status, headers=fields, stream=_Body(content))


async def _nothing(request: httpx.Request) -> None:
    """Let it through as it is."""
