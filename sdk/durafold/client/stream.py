"""`DurableStream`: the operations of one stream."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Self
from urllib.parse import urlsplit

import anyio

from durafold.client import replies
from durafold.client.dynamic import Headers, Params, resolve
from durafold.client.encoding import encode_message, join_messages
from durafold.client.exchange import Reply, Request, public_url, with_query
from durafold.client.read_state import LiveChoice, ReadStatus
from durafold.client.reader import Follower, Pages
from durafold.client.refusals import error_of
from durafold.client.settings import DEFAULT_SETTINGS, ClientSettings
from durafold.client.transport import Transport
from durafold.client.values import AppendResult, CloseResult, Page, StreamInfo
from durafold.errors import (
    ConfigurationError,
    ConnectFailed,
    DurafoldError,
    MalformedResponse,
    ServerUnavailable,
    TooManyRequests,
    TransportError,
)
from durafold.wire import names
from durafold.wire.offsets import START, Offset, is_valid_token

__all__ = ["DurableStream"]

# Statuses with which a server says that it did not carry the request out. 502 and 504 come from gateways that
# do not know.
_NOT_CARRIED_OUT = frozenset({500, 503})


class DurableStream:
    """A handle of one stream. Making one does no I/O and does not ask whether the stream exists.

    ::

        async with DurableStream("http://127.0.0.1:4437/v1/stream/demo") as stream:
            await stream.create()
            await stream.append({"text": "hello"})
            print(await stream.read_json())

    Operations that fail for reasons that may pass (broken connections, 5xx, 429) are tried again up to
    `settings.max_attempts` times, if that cannot do anything twice. A plain `append` is therefore not tried
    again when its answer was lost; use an `IdempotentProducer` for appends that must happen exactly once. A
    `Retry-After` longer than the longest backoff is not slept through but raised.

    Every operation may raise, besides what it lists:

    - `ConnectFailed`, `TransportTimeout`, `TransportError`: no answer.
    - `MalformedResponse`: an answer that no stream server gives.
    - `Unauthorized`, `Forbidden`: the credentials do not do.
    - `BadRequest`, `TooManyRequests`, `ServerUnavailable`, or another `ServerRefused`.
    - `ConfigurationError`: the call cannot work; nothing was sent.

    Args:
        url: the stream's address, such as `http://127.0.0.1:4437/v1/stream/demo`. Query parameters in it are
            sent with every request.
        headers: more request headers; see `Headers`.
        params: more query parameters; see `Params`.
        transport: connections to share with other streams. Default: its own, closed by `aclose`.
        content_type: the stream's media type, if you know it. Default: what the server says.
        settings: timeouts and limits.

    Raises:
        ConfigurationError: the URL is not an absolute http or https URL.

    Attributes:
        url: as given.
        content_type: media type of the stream: as given, or as the server named it.
        settings: as given.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Headers | None = None,
        params: Params | None = None,
        transport: Transport | None = None,
        content_type: str | None = None,
        settings: ClientSettings = DEFAULT_SETTINGS,
    ) -> None:
        _check_url(url)
        self.url = url
        self.content_type = content_type
        self.settings = settings
        self._headers = headers
        self._params = params
        self._transport = transport or Transport()
        self._owns_transport = transport is None

    def __repr__(self) -> str:
        return f"DurableStream({public_url(self.url)!r})"

    # ---- the stream as a whole ----

    async def create(
        self,
        *,
        content_type: str | None = None,
        ttl_s: int | None = None,
        expires_at: datetime | str | None = None,
        closed: bool = False,
        body: Any = None,
    ) -> StreamInfo:
        """Create the stream, or make sure that it exists with this configuration (PROTOCOL §5.1).

        Args:
            content_type: media type. Default: the handle's, else `application/json`.
            ttl_s: seconds without a read or write after which the stream expires.
            expires_at: when it expires in any case: a datetime with a time zone, or an RFC 3339 string. Not
                together with `ttl_s`.
            closed: create it closed, with `body` as its whole content.
            body: first content, as for `append`; None for none. It counts only if the stream is created now.

        Returns:
            Its metadata; `created` tells whether it was made just now.

        Raises:
            StreamConflict: it exists with another configuration.
            StreamNotFound: the URL is not one where streams can be.
        """
        kind = content_type or self.content_type or names.JSON_CONTENT_TYPE
        headers = {"Content-Type": kind, **_lifetime_headers(ttl_s, expires_at)}
        if closed:
            headers[names.STREAM_CLOSED] = "true"
        content = b"" if body is None else join_messages([encode_message(body, kind)], kind)
        info = replies.stream_info(await self._call("PUT", headers=headers, content=content))
        self.content_type = info.content_type
        return info

    async def head(self) -> StreamInfo:
        """Its metadata (PROTOCOL §5.5). Does not count as a read for its time-to-live.

        Raises:
            StreamNotFound: there is no such stream.
            StreamGone: it was deleted, and forks of it live on.
        """
        info = replies.stream_info(await self._call("HEAD"))
        self.content_type = info.content_type
        return info

    async def delete(self) -> None:
        """Delete the stream and all its data (PROTOCOL §5.4).

        Raises:
            StreamNotFound: there is no such stream; also when an earlier attempt, whose answer was lost, has
                deleted it.
            StreamGone: it was deleted before, and forks of it live on.
        """
        await self._call("DELETE")

    async def close(self, data: Any = None) -> CloseResult:
        """Close the stream: it takes no more appends, and readers learn that it ended (PROTOCOL §5.3).

        Closing a closed stream is fine, unless there is `data` to append.

        Args:
            data: a last message, as for `append`, appended in the same step. None for none.

        Raises:
            StreamNotFound: there is no such stream.
            StreamClosed: it was closed already, so `data` was not appended.
            StreamConflict: `data` does not go with its content type.
        """
        if data is None:
            return replies.close_result(await self._call("POST", headers={names.STREAM_CLOSED: "true"}))
        result = await self.append(data, close=True)
        return CloseResult(result.next_offset)

    # ---- writing ----

    async def append(self, data: Any, *, seq: str | None = None, close: bool = False) -> AppendResult:
        """Append one message (PROTOCOL §5.2, §9.1).

        Args:
            data: for a JSON stream any JSON value, which stays one message even if it is a list. For other
                streams bytes or str.
            seq: `Stream-Seq`: refused unless it sorts behind the last one.
            close: close the stream in the same step.

        Raises:
            ConfigurationError: the data does not go with the content type, or has no JSON form.
            StreamNotFound: there is no such stream.
            StreamGone: it was deleted, and forks of it live on.
            StreamClosed: it takes no more appends.
            StreamConflict: it has another content type than this handle thinks.
            SequenceConflict: `seq` does not come after the last one.
            PayloadTooLarge: the server takes less at once.
            Unprocessable: the stream's reducer refuses it.
            TransportError: the answer was lost; the data may have been appended or not.
        """
        return await self.append_many([data], seq=seq, close=close)

    async def append_many(
        self, messages: Iterable[Any], *, seq: str | None = None, close: bool = False
    ) -> AppendResult:
        """Append several messages as one batch: all of them or none.

        Args:
            messages: at least one, each as for `append`. Messages of a byte stream are joined.
            seq: as for `append`.
            close: as for `append`.

        Raises:
            ConfigurationError: there are no messages; and all that `append` lists.
        """
        kind = await self.known_content_type()
        encoded = [encode_message(message, kind) for message in messages]
        if not encoded:
            raise ConfigurationError("There is nothing to append", hint="Pass at least one message")
        return await self.append_bytes(join_messages(encoded, kind), seq=seq, close=close)

    async def append_bytes(self, raw: bytes, *, seq: str | None = None, close: bool = False) -> AppendResult:
        """Append ready bytes as they are. For a JSON stream this is JSON text; an array is several messages.

        Args:
            raw: the body of the request.
            seq: as for `append`.
            close: as for `append`.

        Raises:
            ConfigurationError: there are no bytes; and all that `append` lists.
            BadRequest: it is no valid JSON, or an empty array.
        """
        if not raw:
            raise ConfigurationError("There is nothing to append", hint="Pass data, or call close() to close")
        headers = {"Content-Type": await self.known_content_type()}
        if seq is not None:
            headers[names.STREAM_SEQ] = seq
        if close:
            headers[names.STREAM_CLOSED] = "true"
        reply = await self._call("POST", headers=headers, content=raw, may_retry=_was_not_carried_out)
        return replies.append_result(reply)

    async def known_content_type(self) -> str:
        """The stream's media type, asked from the server if need be.

        Raises:
            StreamNotFound: there is no such stream.
            StreamGone: it was deleted, and forks of it live on.
        """
        return self.content_type or (await self.head()).content_type

    # ---- reading ----

    async def read(self, offset: Offset = START) -> Page:
        """One page, from an offset on (PROTOCOL §5.6).

        Args:
            offset: `START`, `NOW`, or a `next_offset` from an earlier answer.

        Raises:
            BadRequest: this is no offset of the stream.
            StreamNotFound: there is no such stream.
            StreamGone: it was deleted, or this part is no longer kept.
        """
        _check_offset(offset)
        reply = await self._call("GET", params={names.OFFSET_PARAM: offset}, offset=offset)
        page = replies.page(reply, offset=offset)
        self.content_type = self.content_type or page.content_type or None
        return page

    def pages(self, offset: Offset = START) -> Pages:
        """The pages from an offset to the present tail, as an asynchronous iterator.

        Args:
            offset: as for `read`, whose errors can be raised for every page.
        """
        _check_offset(offset)
        return Pages(self.read, offset)

    async def read_bytes(self, offset: Offset = START) -> bytes:
        """The content from an offset to the present tail, in memory; for a JSON stream one JSON array.

        Args:
            offset: as for `read`, whose errors can be raised.
        """
        pages = [page async for page in self.pages(offset)]
        parts = [page.data for page in pages if page.data]
        if names.is_json(pages[-1].content_type):
            return replies.join_arrays(parts) or b"[]"
        return b"".join(parts)

    async def read_json(self, offset: Offset = START) -> list[Any]:
        """The messages of a JSON stream from an offset to the present tail, in memory.

        Args:
            offset: as for `read`, whose errors can be raised.

        Raises:
            MalformedResponse: a page is no JSON array.
        """
        return [message async for page in self.pages(offset) for message in page.json()]

    async def read_text(self, offset: Offset = START) -> str:
        """The content from an offset to the present tail as text, in memory.

        Args:
            offset: as for `read`, whose errors can be raised.

        Raises:
            MalformedResponse: it is not UTF-8.
        """
        content = await self.read_bytes(offset)
        try:
            return content.decode()
        except UnicodeDecodeError as exc:
            raise MalformedResponse(
                f"The stream's content is not UTF-8: {exc}", stream=public_url(self.url)
            ) from exc

    def follow(
        self,
        offset: Offset = START,
        *,
        live: LiveChoice = "auto",
        on_status: Callable[[ReadStatus], None] | None = None,
    ) -> Follower:
        """The pages from an offset on, for as long as the stream is open. No I/O until it is iterated.

        Args:
            offset: where to start: `START`, `NOW`, or the `next_offset` of the last page you handled.
            live: how to wait for new data; see `LiveChoice`.
            on_status: called with every change of the follower's `status`. What it raises comes out of the
                iteration.

        Iterating raises:
            StreamNotFound: the stream does not exist, or no longer.
            StreamGone: it was deleted, or deleted and created anew, or this part is no longer kept.
            BadRequest: this is no offset of the stream.
            Unauthorized, Forbidden: refused twice, the second time with newly evaluated headers.
            ServerRefused: another refusal that trying again does not change.
            MalformedResponse: with `live="sse"` only: the server answers with something else.
        """
        _check_offset(offset)
        return Follower(
            transport=self._transport,
            prepare=partial(self._prepared, "GET"),
            settings=self.settings,
            offset=offset,
            live=live,
            on_status=on_status,
        )

    # ---- requests ----

    async def post_once(self, headers: Mapping[str, str], content: bytes) -> Reply:
        """One POST without any retry, for producers, which know better when to try again.

        Args:
            headers: besides the user's, which they replace where names are equal.
            content: the body.

        Raises:
            DurafoldError: any of the errors that this class and `append` list.
        """
        return await self._exchange("POST", {}, headers, content, None)

    async def aclose(self) -> None:
        """Close the connections, unless they belong to a shared transport."""
        if self._owns_transport:
            await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def _call(
        self,
        method: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        offset: Offset | None = None,
        may_retry: Callable[[DurafoldError], bool] | None = None,
    ) -> Reply:
        may_pass = may_retry or _may_pass
        attempt = 0
        while True:
            try:
                return await self._exchange(method, params or {}, headers or {}, content, offset)
            except DurafoldError as exc:
                attempt += 1
                if attempt >= self.settings.max_attempts or not may_pass(exc):
                    raise
                await self._rest(attempt, exc)

    async def _rest(self, attempt: int, error: DurafoldError) -> None:
        retry_after_s: float = getattr(error, "retry_after_s", None) or 0.0
        backoff = self.settings.backoff
        if retry_after_s > backoff.max_s:
            raise error
        await anyio.sleep(backoff.delay_s(attempt - 1, random.random(), retry_after_s))  # noqa: S311

    async def _exchange(
        self,
        method: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        content: bytes,
        offset: Offset | None,
    ) -> Reply:
        request = await self._prepared(method, params, headers, content)
        reply = await self._transport.exchange(request, self.settings)
        error = error_of(request, reply, offset=offset)
        if error is not None:
            raise error
        return reply

    async def _prepared(
        self, method: str, params: Mapping[str, str], headers: Mapping[str, str], content: bytes = b""
    ) -> Request:
        """A request with the user's headers and parameters evaluated now; ours win where names are equal."""
        given_headers = await resolve(self._headers, what="header")
        given_params = await resolve(self._params, what="query parameter")
        ours = {name.lower() for name in headers}
        theirs = {name: value for name, value in given_headers.items() if name.lower() not in ours}
        return Request(
            method, with_query(self.url, {**given_params, **params}), {**theirs, **headers}, content
        )


def _may_pass(error: DurafoldError) -> bool:
    """Whether trying a harmless request again may help. A damaged answer is shown to the user instead."""
    if isinstance(error, MalformedResponse):
        return False
    return isinstance(error, TransportError | ServerUnavailable | TooManyRequests)


def _was_not_carried_out(error: DurafoldError) -> bool:
    """Whether an append that failed so may be sent again without the risk of appending it twice."""
    if isinstance(error, ServerUnavailable):
        return error.status in _NOT_CARRIED_OUT
    return isinstance(error, ConnectFailed | TooManyRequests)


def _lifetime_headers(ttl_s: int | None, expires_at: datetime | str | None) -> dict[str, str]:
    if ttl_s is not None and expires_at is not None:
        raise ConfigurationError("A stream has a ttl_s or an expires_at, not both")
    if ttl_s is not None:
        if ttl_s < 0:
            raise ConfigurationError(f"ttl_s must not be negative, but is {ttl_s}")
        return {names.STREAM_TTL: str(ttl_s)}
    if isinstance(expires_at, datetime):
        if expires_at.tzinfo is None:
            raise ConfigurationError("expires_at needs a time zone", hint="For example datetime.now(UTC)")
        return {names.STREAM_EXPIRES_AT: expires_at.isoformat()}
    return {} if expires_at is None else {names.STREAM_EXPIRES_AT: expires_at}


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"{public_url(url)!r} is not an absolute http or https URL",
            hint=f"For example http://127.0.0.1:{names.DEFAULT_PORT}{names.DEFAULT_PREFIX}/demo",
        )


def _check_offset(offset: Offset) -> None:
    if not is_valid_token(offset):
        raise ConfigurationError(
            f"{offset[:80]!r} cannot be an offset", hint="Use START, NOW, or the next_offset of an answer"
        )
