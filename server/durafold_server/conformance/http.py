"""The connection to the server under test: the only file of the suite that knows httpx.

Requests go out byte for byte as a check wrote them: no path is normalised, no header is added to a body, no
redirect is followed, and nothing is tried twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_address
from types import TracebackType
from typing import Final, Self, TypeAlias
from urllib.parse import urlsplit

import anyio
import httpx

from durafold_server.conformance.exchange import Failure, Headers, HeaderValue, Reply, Request, header_pairs

__all__ = ["Connection", "Unreachable"]

_DEFAULT_ROOT: Final = "/v1/stream"
_CONNECT_TIMEOUT_S: Final = 5.0
# Shorter than servers keep idle connections, so that none is cut just when it is used again.
_IDLE_S: Final = 2.0
# httpcore looks at every idle connection for every request.
_MAX_IDLE: Final = 12
_RECEIVE_BYTES: Final = 65536

EncodedHeaders: TypeAlias = list[tuple[bytes, bytes]]


class Unreachable(Exception):
    """There is no stream server at the URL; the message says what was seen there."""


class Connection:
    """Connections to one server, used as an asynchronous context manager.

    Args:
        base_url: the URL that all streams are below; without any path, that is `/v1/stream`.
        headers: sent with every request, such as Authorization.

    Raises:
        Unreachable: the URL is no http or https URL.
    """

    def __init__(self, base_url: str, headers: Headers = ()) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Unreachable(f"{base_url} is no http or https URL")
        self.root: str = parts.path.rstrip("/") if parts.path else _DEFAULT_ROOT
        self.origin: str = f"{parts.scheme}://{parts.netloc}"
        self.host: str = parts.hostname
        self.port: int = parts.port or (443 if parts.scheme == "https" else 80)
        self._netloc = parts.netloc
        self._headers = _encoded(headers)
        self._secure = parts.scheme == "https"
        self._client = httpx.AsyncClient(
            verify=self._secure,
            trust_env=not _is_loopback(parts.hostname),
            timeout=httpx.Timeout(None, connect=_CONNECT_TIMEOUT_S),
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=_MAX_IDLE, keepalive_expiry=_IDLE_S
            ),
            # Compressed only where a check asks for it.
            headers={"Accept-Encoding": "identity", "User-Agent": "durafold-conformance"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._client.aclose()

    async def send(self, request: Request) -> Reply:
        """Send a request and read the whole answer.

        Raises:
            Failure: the connection broke, or the answer is no HTTP.
        """
        async with self.open(request) as (reply, chunks):
            body = b"".join([chunk async for chunk in chunks])
            return Reply(request, reply.status, reply.headers, body)

    @asynccontextmanager
    async def open(self, request: Request) -> AsyncIterator[tuple[Reply, AsyncIterator[bytes]]]:
        """Send a request; gives the answer without its body, and the body as it comes.

        Raises:
            Failure: as `send`, also while the body is read.
        """
        with _broken_is_failure(request):
            prepared = self._client.build_request(
                request.method,
                self.origin,
                headers=[*self._headers, *_encoded(request.headers)],
                content=_in_chunks(request.chunks) if request.chunks else request.body or None,
                extensions={"target": request.target.encode("latin-1")},
            )
            response = await self._client.send(prepared, stream=True)
            body = response.aiter_bytes()
            try:
                headers = tuple((name.lower(), value) for name, value in response.headers.multi_items())
                yield Reply(request, response.status_code, headers), body
            finally:
                with anyio.CancelScope(shield=True):
                    await response.aclose()

    def head(self, method: str, target: str, *lines: str, host: str | None = None) -> bytes:
        """A request's head for `send_raw`, which `lines` go into.

        Args:
            method: the HTTP method.
            target: path and query.
            lines: header lines.
            host: the Host lines, if they are to be others than the right one.
        """
        given = f"Host: {self._netloc}\r\n" if host is None else host
        text = f"{method} {target} HTTP/1.1\r\n{given}" + "".join(f"{line}\r\n" for line in lines)
        own = b"".join(b"%b: %b\r\n" % header for header in self._headers)
        return text.encode("latin-1") + own + b"\r\n"

    async def send_raw(self, data: bytes) -> bytes:
        """Send bytes on a connection of their own, and read until the server closes it.

        Raises:
            Failure: there is no connection.
        """
        try:
            async with await self._connect() as stream:
                return await _talk(stream, data)
        except OSError as exc:
            raise Failure("a connection", str(exc)) from exc

    async def _connect(self) -> anyio.abc.ByteStream:
        if self._secure:
            return await anyio.connect_tcp(self.host, self.port, tls=True)
        return await anyio.connect_tcp(self.host, self.port)


async def _talk(stream: anyio.abc.ByteStream, data: bytes) -> bytes:
    received = bytearray()
    try:
        await stream.send(data)
        while True:
            received += await stream.receive(_RECEIVE_BYTES)
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return bytes(received)


async def _in_chunks(chunks: tuple[bytes, ...]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def _encoded(headers: Headers) -> EncodedHeaders:
    return [(name.encode("ascii"), _value(value)) for name, value in header_pairs(headers)]


def _value(value: HeaderValue) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@contextmanager
def _broken_is_failure(request: Request) -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as exc:
        detail = f": {exc}" if str(exc) else ""
        raise Failure("an answer", f"{type(exc).__name__}{detail}", str(request)) from exc
