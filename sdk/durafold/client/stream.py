"""`DurableStream`: the operations of one stream."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Self

from durafold.client import replies
from durafold.client.checkpoint import Checkpoint, as_checkpoint
from durafold.client.creation import fork_headers, fork_url, lifetime_headers, retention_headers
from durafold.client.dynamic import Headers, Params
from durafold.client.encoding import Chunks, encode_message, join_messages
from durafold.client.exchange import Reply, public_url
from durafold.client.read_state import LiveMode, ReadStatus
from durafold.client.reader import Follower, Pages
from durafold.client.requests import Requests, was_not_carried_out
from durafold.client.settings import DEFAULT_SETTINGS, ClientSettings
from durafold.client.transport import SharedTransport, Transport
from durafold.client.values import AppendResult, CloseResult, Page, StreamInfo
from durafold.errors import ConfigurationError, MalformedResponse
from durafold.wire import names
from durafold.wire.offsets import START, Offset
from durafold.wire.urls import split_http_url

__all__ = ["DurableStream"]


class DurableStream:
    """A handle of one stream. Making one does no I/O and does not ask whether the stream exists.

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
        transport: connections of your own, which stay open. Default: those that all streams of the event loop
            share, given back by `aclose`.
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
        split_http_url(
            url, hint=f"For example http://127.0.0.1:{names.DEFAULT_PORT}{names.DEFAULT_PREFIX}/demo"
        )
        self.url = url
        self.content_type = content_type
        self.settings = settings
        self._owns_transport = transport is None
        self._requests = Requests(
            url,
            headers=headers,
            params=params,
            transport=transport or SharedTransport(),
            settings=settings,
        )

    def __repr__(self) -> str:
        return f"DurableStream({public_url(self.url)!r})"

    # ---- the stream as a whole ----

    async def create(
        self,
        *,
        content_type: str | None = None,
        ttl_s: int | None = None,
        expires_at: datetime | str | None = None,
        retention_bytes: int | None = None,
        retention_age_s: int | None = None,
        closed: bool = False,
        body: Any = None,
    ) -> StreamInfo:
        """Create the stream, or make sure that it exists with this configuration (PROTOCOL §5.1).

        Args:
            content_type: media type. Default: the handle's, else `application/json`.
            ttl_s: seconds without a read or write after which the stream expires.
            expires_at: when it expires in any case: a datetime with a time zone, or an RFC 3339 string. Not
                together with `ttl_s`.
            retention_bytes: how many of its newest bytes a server keeps at least; it may drop what is older.
                0 keeps all, also where the server limits others. Servers without this extension of the
                protocol keep all.
            retention_age_s: for how many seconds a server keeps what was appended, likewise. With both, data
                may go when either limit is passed.
            closed: create it closed, with `body` as its whole content.
            body: first content, as for `append`; None for none. It counts only if the stream is created now.

        Returns:
            Its metadata; `created` tells whether it was made just now.

        Raises:
            StreamConflict: it exists with another configuration.
            StreamNotFound: the URL is not one where streams can be.
        """
        kind = content_type or self.content_type or names.JSON_CONTENT_TYPE
        kept = retention_headers(retention_bytes, retention_age_s)
        return await self._put(
            kind, {**lifetime_headers(ttl_s, expires_at), **kept}, closed=closed, body=body
        )

    async def fork(
        self,
        url: str,
        *,
        offset: Offset | Checkpoint | None = None,
        sub_offset: int | None = None,
        ttl_s: int | None = None,
        expires_at: datetime | str | None = None,
        closed: bool = False,
        body: Any = None,
    ) -> Self:
        """Create a stream that begins with this one's content up to a place (PROTOCOL §4.2).

        What is appended to either of them later is not seen in the other.

        Args:
            url: of the fork: absolute, or relative to this stream's (`"draft"` lies beside it). It must be on
                the same server.
            offset: where to branch off: an offset that this stream's answers gave, or a checkpoint. Default:
                its tail.
            sub_offset: how much behind `offset` the fork has too: messages of a JSON stream, bytes of others.
            ttl_s: as for `create`. Default: this stream's lifetime.
            expires_at: as for `create`.
            closed: create the fork closed.
            body: first content behind what the fork inherits.

        Returns:
            A handle of the fork, with this one's headers, parameters, connections and settings.

        Raises:
            BadRequest: there is no such place in this stream.
            StreamNotFound: this stream does not exist.
            StreamConflict: the fork's URL is taken by another stream, or this stream was deleted.
        """
        kind = await self.known_content_type()
        place = fork_headers(self.url, offset, sub_offset)
        fork = type(self)(
            fork_url(self.url, url),
            headers=self._requests.headers,
            params=self._requests.params,
            transport=None if self._owns_transport else self._requests.transport,
            content_type=kind,
            settings=self.settings,
        )
        try:
            await fork._put(kind, {**place, **lifetime_headers(ttl_s, expires_at)}, closed=closed, body=body)
        except BaseException:
            await fork.aclose()
            raise
        return fork

    async def _put(self, kind: str, headers: Mapping[str, str], *, closed: bool, body: Any) -> StreamInfo:
        flags = {names.STREAM_CLOSED: "true"} if closed else {}
        content = b"" if body is None else join_messages([encode_message(body, kind)], kind)
        reply = await self._requests.call(
            "PUT", headers={"Content-Type": kind, **headers, **flags}, content=content
        )
        info = replies.stream_info(reply)
        self.content_type = info.content_type
        return info

    async def head(self) -> StreamInfo:
        """Its metadata (PROTOCOL §5.5). Does not count as a read for its time-to-live.

        Raises:
            StreamNotFound: there is no such stream.
            StreamGone: it was deleted, and forks of it live on.
        """
        info = replies.stream_info(await self._requests.call("HEAD"))
        self.content_type = info.content_type
        return info

    async def delete(self) -> None:
        """Delete the stream and all its data (PROTOCOL §5.4).

        Raises:
            StreamNotFound: there is no such stream; also when an earlier attempt, whose answer was lost, has
                deleted it.
            StreamGone: it was deleted before, and forks of it live on.
        """
        await self._requests.call("DELETE")

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
            return replies.close_result(
                await self._requests.call("POST", headers={names.STREAM_CLOSED: "true"})
            )
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
        headers = await self._append_headers(seq, close=close)
        reply = await self._requests.call("POST", headers=headers, content=raw, may_retry=was_not_carried_out)
        return replies.append_result(reply)

    async def append_from(
        self,
        chunks: Iterable[bytes | str] | AsyncIterable[bytes | str],
        *,
        seq: str | None = None,
        close: bool = False,
    ) -> AppendResult:
        """Append what an iterable gives as one body, which is sent while it comes and never held in memory.

        It is tried again only as long as nothing was taken from the iterable.

        Args:
            chunks: the pieces of what `append_bytes` takes as a whole.
            seq: as for `append`.
            close: as for `append`.

        Raises:
            ConfigurationError: a chunk is neither bytes nor str; and all that `append_bytes` lists.
            Exception: whatever the iterable raises. The server then sees a request that breaks off.
        """
        headers = await self._append_headers(seq, close=close)
        async with Chunks(chunks) as body:
            reply = await self._requests.call(
                "POST",
                headers=headers,
                content=body,
                may_retry=lambda error: not body.is_drawn and was_not_carried_out(error),
            )
        return replies.append_result(reply)

    async def _append_headers(self, seq: str | None, *, close: bool) -> dict[str, str]:
        headers = {"Content-Type": await self.known_content_type()}
        if seq is not None:
            headers[names.STREAM_SEQ] = seq
        if close:
            headers[names.STREAM_CLOSED] = "true"
        return headers

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
        as_checkpoint(offset)
        reply = await self._requests.call("GET", params={names.OFFSET_PARAM: offset}, offset=offset)
        page = replies.page(reply, offset=offset)
        self.content_type = self.content_type or page.content_type or None
        return page

    def pages(self, offset: Offset = START) -> Pages:
        """The pages from an offset to the present tail, as an asynchronous iterator.

        Args:
            offset: as for `read`, whose errors can be raised for every page.
        """
        as_checkpoint(offset)
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
        offset: Offset | Checkpoint = START,
        *,
        live: LiveMode = "auto",
        on_status: Callable[[ReadStatus], None] | None = None,
    ) -> Follower:
        """The pages from an offset on, for as long as the stream is open. No I/O until it is iterated.

        Args:
            offset: where to start: `START`, `NOW`, the `next_offset` of the last page you handled, or a
                `Checkpoint`.
            live: how to wait for new data; see `LiveMode`. With `off` iteration ends at the tail.
            on_status: called with every change of the follower's `status`. What it raises comes out of the
                iteration.

        Raises:
            ConfigurationError: `offset` cannot be one, or `live` is no such mode.

        Iterating raises:
            StreamNotFound: the stream does not exist, or no longer.
            StreamGone: it was deleted, or deleted and created anew, or this part is no longer kept.
            BadRequest: this is no offset of the stream.
            Unauthorized, Forbidden: refused twice, the second time with newly evaluated headers.
            ServerRefused: another refusal that trying again does not change.
            MalformedResponse: with `live="sse"` only: the server answers with something else.
        """
        return Follower(
            requests=self._requests,
            start=as_checkpoint(offset),
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
        return await self._requests.attempt("POST", {}, headers, content, None)

    async def aclose(self) -> None:
        """Close the connections, unless they belong to a shared transport."""
        if self._owns_transport:
            await self._requests.transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()
