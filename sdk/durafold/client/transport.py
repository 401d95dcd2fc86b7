"""HTTP exchanges and event streams over httpx: the only file that knows httpx and httpx-sse.

Requests go in and replies come out as the values of `exchange`; what httpx raises comes out as our errors.
Nothing here knows what an offset or a producer is.
"""

from __future__ import annotations

import codecs
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final, Protocol, Self, cast
from urllib.parse import urlsplit

import anyio
import httpx
from anyio.lowlevel import RunVar, current_token
from httpx_sse import EventSource

from durafold.client.exchange import Reply, Request, merged_headers, public_url
from durafold.client.settings import ClientSettings
from durafold.errors import (
    ConfigurationError,
    ConnectFailed,
    DurafoldError,
    MalformedResponse,
    TransportError,
    TransportTimeout,
)
from durafold.wire import names

__all__ = ["HttpClient", "ServerEvent", "SharedTransport", "SseConnection", "Transport"]

_FORMER_DEFAULT_PORT: Final = 8787
_MAX_REFUSAL_BYTES: Final = 64 * 1024
_MAX_IDLE_CONNECTIONS: Final = 100
_DEFAULT_HEADERS: Final = (
    ("Accept", "*/*"),
    ("Accept-Encoding", "gzip"),
    ("Connection", "keep-alive"),
    ("User-Agent", f"python-httpx/{httpx.__version__}"),
)


class HttpClient(Protocol):
    """What an HTTP client of your own must offer: `httpx.AsyncClient` and `httpx2.AsyncClient` both do."""

    @property
    def build_request(self) -> Callable[..., Any]:
        """A method `(method, url, *, headers, content, timeout) -> request`."""
        ...

    @property
    def send(self) -> Callable[..., Awaitable[Any]]:
        """A method `(request, *, stream) -> response`, which returns once the headers have come."""
        ...


class Transport:
    """Connections to stream servers, shared by all streams that are given the same transport.

    One transport belongs to one event loop. Connections are opened when they are first needed and kept open;
    their number is not limited here, since every live reader holds one. Proxies and certificates that
    environment variables name (`HTTPS_PROXY`, `SSL_CERT_FILE` ...) are respected, but proxies never for
    addresses of this machine. Redirects are not followed.

    Args:
        client: an `httpx.AsyncClient` (or one of httpx2) of your own, with proxies, certificates or limits as
            you like. It stays yours: `aclose` leaves it open.
    """

    def __init__(self, *, client: HttpClient | None = None) -> None:
        self._given = client
        self._own: dict[tuple[bool, bool], httpx.AsyncClient] = {}

    async def exchange(
        self, request: Request, settings: ClientSettings, *, answer_timeout_s: float | None = None
    ) -> Reply:
        """Send a request and read the whole answer, whatever its status.

        Args:
            request: what to send.
            settings: timeouts, and the limit of the answer's size.
            answer_timeout_s: seconds without a byte of the answer; default `settings.request_timeout_s`.

        Raises:
            ConfigurationError: the URL cannot be requested at all.
            ConnectFailed: there is no connection; nothing was sent.
            TransportTimeout: no answer in time.
            MalformedResponse: the answer is larger than `settings.max_page_bytes`, or badly compressed.
            TransportError: the connection broke.
        """
        timeout_s = settings.request_timeout_s if answer_timeout_s is None else answer_timeout_s
        with _our_errors(request):
            response = await self._send(request, settings, timeout_s)
            return await _whole_reply(response, request, settings.max_page_bytes)

    async def open_sse(self, request: Request, settings: ClientSettings) -> SseConnection | Reply:
        """Send a request that should be answered with server-sent events.

        Returns:
            The open connection, which the caller must close; or the answer, if it is anything else.

        Raises:
            ConfigurationError: as for `exchange`, and so are all the others.
            ConnectFailed:
            TransportTimeout:
            MalformedResponse:
            TransportError:
        """
        # Identity: whatever compresses an event stream on its way also buffers it.
        ours = {"Accept": names.SSE_CONTENT_TYPE, "Accept-Encoding": "identity"}
        asked = Request(request.method, request.url, merged_headers(request.headers, ours))
        limit_s = settings.connect_timeout_s + settings.first_event_timeout_s
        with _our_errors(request), anyio.fail_after(limit_s):
            response = await self._send(asked, settings, None)
            if _is_event_stream(response):
                return SseConnection(response, request, settings)
            return await _whole_reply(response, request, _MAX_REFUSAL_BYTES)

    async def aclose(self) -> None:
        """Close the connections, except those of a client that was given. The transport may be used again."""
        clients, self._own = list(self._own.values()), {}
        for client in clients:
            await client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def _send(self, request: Request, settings: ClientSettings, read_timeout_s: float | None) -> Any:
        timeouts = (settings.connect_timeout_s, read_timeout_s, settings.request_timeout_s, None)
        if self._given is None:
            client = self._own_client(request.url)
            return await client.send(_prepared(client, request, timeouts), stream=True)
        prepared = self._given.build_request(
            request.method,
            request.url,
            headers=merged_headers({"Accept-Encoding": "gzip"}, request.headers),
            content=request.content or None,
            timeout=timeouts,  # a plain tuple, since a client of httpx2 does not know httpx.Timeout
        )
        return await self._given.send(prepared, stream=True)

    def _own_client(self, url: str) -> httpx.AsyncClient:
        kind = secure, local = _kind(url)
        client = self._own.get(kind)
        if client is None:
            # Loading the certificate store takes 70 to 140 ms of CPU, so only https pays for it.
            client = self._own[kind] = httpx.AsyncClient(
                verify=secure,
                trust_env=not local,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=_MAX_IDLE_CONNECTIONS),
            )
        return client


def _prepared(
    client: httpx.AsyncClient, request: Request, timeouts: tuple[float | None, ...]
) -> httpx.Request:
    """What `client.build_request` makes, in a quarter of the time: that merges headers three times."""
    given = {name.lower() for name in request.headers}
    defaults = [(name, value) for name, value in _DEFAULT_HEADERS if name.lower() not in given]
    prepared = httpx.Request(
        request.method,
        _parsed(request.url),
        headers=[*defaults, *request.headers.items()],
        cookies=client.cookies if len(client.cookies) else None,
        content=request.content or None,
        extensions={"timeout": dict(zip(("connect", "read", "write", "pool"), timeouts, strict=True))},
    )
    if request.content:
        prepared.stream = _Body(request.content)
    return prepared


class SharedTransport(Transport):
    """The connections that all streams of an event loop share which were not given a transport.

    They are opened when the first of these streams needs them and closed with the last that used them. A
    stream may be used in one event loop after the other.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shared: _Shared | None = None

    async def aclose(self) -> None:
        """Give the connections back; they close with the last that used them."""
        shared, self._shared = self._shared, None
        if shared is None or shared.loop != current_token():
            return
        shared.user_count -= 1
        if not shared.user_count:
            _SHARED.set(None)
            await shared.transport.aclose()

    async def _send(self, request: Request, settings: ClientSettings, read_timeout_s: float | None) -> Any:
        return await self._borrowed()._send(request, settings, read_timeout_s)

    def _borrowed(self) -> Transport:
        loop = current_token()
        if self._shared is None or self._shared.loop != loop:
            shared = _SHARED.get(None)
            if shared is None:
                shared = _Shared(loop, Transport())
                _SHARED.set(shared)
            shared.user_count += 1
            self._shared = shared
        return self._shared.transport


@dataclass(slots=True)
class _Shared:
    """The connections of one event loop, and how many streams use them."""

    loop: object
    transport: Transport
    user_count: int = 0


_SHARED: Final = RunVar[_Shared | None]("durafold-connections")


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event.

    Attributes:
        kind: its `event` field.
        data: its `data` lines, joined with newlines.
    """

    kind: str
    data: str


class SseConnection:
    """An open event stream. Any byte, comments included, counts as a sign of life.

    Attributes:
        is_base64: whether data events are base64 (PROTOCOL §5.8).
    """

    def __init__(self, response: Any, request: Request, settings: ClientSettings) -> None:
        self.is_base64: bool = response.headers.get(names.STREAM_SSE_DATA_ENCODING, "").lower() == "base64"
        self._request = request
        self._text = _WatchedText(response, request, settings)
        # EventSource reads nothing of a response but its headers and its text.
        self._events = EventSource(cast("httpx.Response", self._text)).aiter_sse()

    async def receive(self) -> ServerEvent | None:
        """The next event, of whatever kind; None when the server ends the stream in an orderly way.

        Raises:
            TransportTimeout: not a byte came for so long that the connection counts as dead.
            MalformedResponse: an event is too large, or not UTF-8.
            TransportError: the connection broke.
        """
        with _our_errors(self._request):
            event = await anext(self._events, None)
        self._text.forget_event()
        return None if event is None else ServerEvent(event.event, event.data)

    async def aclose(self) -> None:
        """Close the connection."""
        with anyio.CancelScope(shield=True):
            await self._events.aclose()
            await self._text.aclose()


class _Body(httpx.AsyncByteStream):
    """A request's body. That of httpx is a generator, which nobody closes when the connection breaks while it
    is sent; Trio warns about that.
    """

    def __init__(self, content: bytes | AsyncIterator[bytes]) -> None:
        self._content = content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Once(self._content) if isinstance(self._content, bytes) else self._content


class _Once:
    """An iterator of one chunk."""

    def __init__(self, chunk: bytes) -> None:
        self._chunks = [chunk]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._chunks:
            raise StopAsyncIteration
        return self._chunks.pop()


class _WatchedText:
    """The text of a streamed response, for `EventSource`: decoded strictly, with limits on silence and size.

    The size counts from the last complete event, because httpx-sse keeps an unfinished one without limit.
    """

    def __init__(self, response: Any, request: Request, settings: ClientSettings) -> None:
        self.headers: Mapping[str, str] = {"content-type": names.SSE_CONTENT_TYPE}
        self._response = response
        self._request = request
        self._settings = settings
        self._chunks: AsyncIterator[bytes] = response.aiter_raw()
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._unfinished_chars = 0
        self._seen_event = False
        self._seen_heartbeat = False

    def aiter_text(self) -> AsyncIterator[str]:
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        if self._unfinished_chars > self._settings.max_event_bytes:
            raise MalformedResponse(f"An event is larger than {self._settings.max_event_bytes} bytes")
        with anyio.fail_after(self._patience_s()):
            chunk = await anext(self._chunks)
        try:
            text = self._decoder.decode(chunk)
        except UnicodeDecodeError as exc:
            raise MalformedResponse(f"The event stream is not UTF-8: {exc}") from exc
        self._seen_heartbeat = self._seen_heartbeat or text.startswith(":") or "\n:" in text
        self._unfinished_chars += len(text)
        return text

    def forget_event(self) -> None:
        """The event that was being counted is complete."""
        self._seen_event = True
        self._unfinished_chars = 0

    async def aclose(self) -> None:
        await _abandon(self._response, self._request, self._chunks)

    def _patience_s(self) -> float:
        if not self._seen_event:
            return self._settings.first_event_timeout_s
        if self._seen_heartbeat:
            return self._settings.heartbeat_timeout_s
        return self._settings.silence_timeout_s


def _is_event_stream(response: Any) -> bool:
    content_type = response.headers.get("content-type", "")
    return (
        bool(response.status_code == httpx.codes.OK)
        and names.media_type(content_type) == names.SSE_CONTENT_TYPE
    )


# Most requests of a stream go to one URL. Few are kept: those of live reads are all different.
@lru_cache(maxsize=64)
def _parsed(url: str) -> httpx.URL:
    return httpx.URL(url)


@lru_cache(maxsize=64)
def _kind(url: str) -> tuple[bool, bool]:
    """Whether an address is one of https, and whether it is of this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https", _is_loopback(parts.hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def _whole_reply(response: Any, request: Request, max_bytes: int) -> Reply:
    chunks: AsyncIterator[bytes] = response.aiter_raw()
    parts: list[bytes] = []
    size_bytes = 0
    try:
        async for chunk in chunks:
            size_bytes += len(chunk)
            if size_bytes > max_bytes:
                raise MalformedResponse(f"The answer is larger than {max_bytes} bytes")
            parts.append(chunk)
    except BaseException:
        await _abandon(response, request, chunks)
        raise
    headers = {name.lower(): value for name, value in response.headers.items()}
    body = _decompressed(b"".join(parts), headers.get("content-encoding", ""), max_bytes)
    return Reply(response.status_code, headers, body, datetime.now(UTC), public_url(request.url))


def _decompressed(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """The body without its content encoding. httpx would unpack a bomb whole."""
    if not body or encoding.lower() in ("", "identity"):
        return body
    if encoding.lower() != "gzip":
        raise MalformedResponse(f"The answer is compressed with {encoding!r}, which was not asked for")
    unpacking = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        unpacked = unpacking.decompress(body, max_bytes)
    except zlib.error as exc:
        raise MalformedResponse(f"The answer is badly compressed: {exc}") from exc
    if not unpacking.eof:
        raise MalformedResponse(
            f"The answer is compressed and cut, or unpacked larger than {max_bytes} bytes"
        )
    return unpacked


async def _abandon(response: Any, request: Request, chunks: AsyncIterator[bytes]) -> None:
    """Close a response that is not read to its end.

    The body's iterator is run until it fails on the closed connection: httpx nests generators without closing
    the inner ones, which would otherwise be left to the garbage collector, and Trio warns about that.
    """
    with anyio.CancelScope(shield=True), suppress(DurafoldError), _our_errors(request):
        await response.aclose()
        async for _ in chunks:
            pass


@contextmanager
def _our_errors(request: Request) -> Iterator[None]:
    try:
        yield
    except DurafoldError as exc:
        exc.stream = exc.stream or public_url(request.url)
        raise
    except Exception as exc:
        error = _translated(exc, request.url)
        if error is None:
            raise
        raise error from exc


def _translated(exc: Exception, url: str) -> DurafoldError | None:
    # By name, since the errors of a client of httpx2 have the same names but no class in common with ours.
    names_of_classes = [kind.__name__ for kind in type(exc).__mro__]
    known = next((name for name in names_of_classes if name in _ERRORS), None)
    if known is None:
        return None
    kind, what = _ERRORS[known]
    detail = f": {exc}" if str(exc) else ""
    return kind(f"{what}{detail}", stream=public_url(url), hint=_hint(kind, url, exc))


_ERRORS: Final[Mapping[str, tuple[type[DurafoldError], str]]] = {
    "ConnectError": (ConnectFailed, "Cannot connect"),
    "ConnectTimeout": (ConnectFailed, "Cannot connect in time"),
    "PoolTimeout": (ConnectFailed, "No connection became free"),
    "TimeoutException": (TransportTimeout, "The server did not answer in time"),
    "TimeoutError": (TransportTimeout, "The server did not answer in time"),
    "InvalidURL": (ConfigurationError, "This is no usable URL"),
    "UnsupportedProtocol": (ConfigurationError, "This is no usable URL"),
    "TransportError": (TransportError, "The connection broke"),
    "StreamError": (TransportError, "The connection is closed"),
}


def _hint(kind: type[DurafoldError], url: str, exc: Exception) -> str | None:
    if kind is not ConnectFailed:
        return None
    tls_failure = _tls_failure(exc)
    if isinstance(tls_failure, ssl.SSLCertVerificationError):
        return "If the certificate is right, let SSL_CERT_FILE name the one of who signed it"
    if tls_failure is not None:
        return "Does the server speak https? If not, the URL begins with http"
    port = urlsplit(url).port
    if port == _FORMER_DEFAULT_PORT:
        return f"Port {port} is an older default: `durafold serve` listens on {names.DEFAULT_PORT}"
    if port == names.DEFAULT_PORT:
        return f"Is `durafold serve` running on {port}?"
    return "Is the stream server running there?"


def _tls_failure(exc: BaseException | None) -> ssl.SSLError | None:
    """What went wrong while a secure connection was made, if that is what an error came from."""
    while exc is not None and not isinstance(exc, ssl.SSLError):
        exc = exc.__cause__ or exc.__context__
    return exc
