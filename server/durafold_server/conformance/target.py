"""What a check works with: the server under test, streams of its own on it, and live readers."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote, urlencode

import anyio

from durafold_server.conformance.events import Batch, Control, Event, EventDecoder, parse_control
from durafold_server.conformance.exchange import (
    Failure,
    Headers,
    HeaderValue,
    Reply,
    Request,
    Skipped,
    expect_that,
    header_pairs,
    same_json,
)
from durafold_server.conformance.http import Connection

CLOSED: Final = {"Stream-Closed": "true"}
JSON: Final = "application/json"
TEXT: Final = "text/plain"
BINARY: Final = "application/octet-stream"

_OWN: Final = ""
"""Stands for the stream's own content type."""
_MAX_PAGES: Final = 1000
_PARKING_S: Final = 0.15
_ENDING_S: Final = 5.0


def producer(producer_id: HeaderValue, epoch: int | str, seq: int | str) -> dict[str, HeaderValue]:
    """The headers of an idempotent producer (PROTOCOL §5.2.1)."""
    return {"Producer-Id": producer_id, "Producer-Epoch": str(epoch), "Producer-Seq": str(seq)}


class Server:
    """The server under test, as one check sees it.

    Args:
        connection: to the server.
        prefix: of the names of all streams of this check; nobody else uses it.
        patience_s: seconds that a check waits for a long-poll to time out.

    Attributes:
        slowest_s: the longest time that a request took, live reads aside.
    """

    def __init__(self, connection: Connection, prefix: str, patience_s: float) -> None:
        self.connection = connection
        self.patience_s = patience_s
        self.slowest_s = 0.0
        self._prefix = prefix
        self._streams: list[Stream] = []

    @property
    def root(self) -> str:
        """The path that all streams are below, without a slash at its end."""
        return self.connection.root

    def unused(self, name: str = "", *, content_type: str = TEXT) -> Stream:
        """A stream that does not exist yet.

        Args:
            name: the end of its path, percent-encoded as it shall be sent.
            content_type: sent with its requests where a check names no other.
        """
        path = f"{self.root}/{self._prefix}-{len(self._streams)}{name}"
        return self.at(path, content_type=content_type)

    def at(self, path: str, *, content_type: str = TEXT) -> Stream:
        """The stream of a path, which the clean-up deletes like all others."""
        stream = Stream(self, path, content_type)
        self._streams.append(stream)
        return stream

    async def create(
        self, content_type: str = TEXT, body: bytes = b"", headers: Headers = (), *, name: str = ""
    ) -> Stream:
        """A new stream."""
        stream = self.unused(name, content_type=content_type)
        (await stream.put(body, headers=headers)).expect(201)
        return stream

    async def fork(self, source: Stream, headers: Headers = (), body: bytes = b"") -> Stream:
        """A new fork of a stream (PROTOCOL §4.2)."""
        stream = self.unused(content_type=source.content_type)
        (await stream.put_fork(source, headers, body)).expect(201)
        return stream

    async def send(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        headers: Headers = (),
        chunks: Sequence[bytes] = (),
    ) -> Reply:
        """Any request; `target` is path and query, sent as they are."""
        request = Request(method, target, header_pairs(headers), body, tuple(chunks))
        began_s = time.monotonic()
        reply = await self.connection.send(request)
        if "live=" not in target:
            self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
        return reply

    async def clean_up(self) -> None:
        """Delete all streams of the check, forks before their sources."""
        for stream in reversed(self._streams):
            try:
                await stream.delete()
            except Failure:
                return


class Stream:
    """One stream of the server under test, which need not exist."""

    def __init__(self, server: Server, path: str, content_type: str) -> None:
        self.server = server
        self.path = path
        self.content_type = content_type

    @property
    def url(self) -> str:
        """Its absolute URL."""
        return f"{self.server.connection.origin}{self.path}"

    def target(self, offset: str | None = None, live: str | None = None, cursor: str | None = None) -> str:
        """Its path with a read's query parameters."""
        given = {"cursor": cursor, "live": live, "offset": offset}
        query = urlencode(
            {name: value for name, value in given.items() if value is not None}, quote_via=quote
        )
        return f"{self.path}?{query}" if query else self.path

    async def put(
        self,
        body: bytes = b"",
        *,
        headers: Headers = (),
        content_type: str | None = _OWN,
        chunks: Sequence[bytes] = (),
    ) -> Reply:
        """PUT; with the stream's own content type, or another, or with None for none at all."""
        return await self._write("PUT", body, headers, content_type, chunks)

    async def put_fork(self, source: Stream, headers: Headers = (), body: bytes = b"") -> Reply:
        """PUT as a fork of another stream, without a Content-Type unless `headers` name one."""
        pairs = (("Stream-Forked-From", source.path), *header_pairs(headers))
        return await self.put(body, headers=pairs, content_type=None)

    async def post(
        self,
        body: bytes = b"",
        *,
        headers: Headers = (),
        content_type: str | None = _OWN,
        chunks: Sequence[bytes] = (),
    ) -> Reply:
        """POST; the content type as for `put`, but by default none with an empty body."""
        if content_type == _OWN and not body and not chunks:
            content_type = None
        return await self._write("POST", body, headers, content_type, chunks)

    async def append(self, body: bytes, headers: Headers = ()) -> Reply:
        """An append that has to succeed."""
        return (await self.post(body, headers=headers)).expect(200, 204)

    async def close(self, body: bytes = b"", headers: Headers = ()) -> Reply:
        """Close the stream, which has to succeed; with a body, append it in the same step."""
        reply = await self.post(body, headers=(*header_pairs(headers), *CLOSED.items()))
        return reply.expect(200, 204).expect_closed()

    async def head(self) -> Reply:
        """HEAD."""
        return await self.server.send("HEAD", self.path)

    async def delete(self) -> Reply:
        """DELETE."""
        return await self.server.send("DELETE", self.path)

    async def tail(self) -> str:
        """The tail offset, from HEAD."""
        return (await self.head()).expect(200).next_offset

    async def get(
        self,
        offset: str | None = None,
        *,
        live: str | None = None,
        cursor: str | None = None,
        headers: Headers = (),
    ) -> Reply:
        """GET, once."""
        return await self.server.send("GET", self.target(offset, live, cursor), headers=headers)

    async def pages(self, offset: str | None = "-1") -> list[Reply]:
        """All pages from an offset to the tail.

        Raises:
            Failure: a page does not bring the reader on.
        """
        pages: list[Reply] = []
        for _ in range(_MAX_PAGES):
            page = (await self.get(offset)).expect(200)
            pages.append(page)
            if page.is_up_to_date:
                return pages
            if page.next_offset == offset:
                page.fail("Stream-Up-To-Date, or a page that goes on", "neither")
            offset = page.next_offset
        raise Failure(f"the tail within {_MAX_PAGES} pages", "more pages")

    async def read(self, offset: str | None = "-1") -> bytes:
        """All bytes from an offset to the tail."""
        return b"".join(page.body for page in await self.pages(offset))

    async def messages(self, offset: str | None = "-1") -> list[Any]:
        """All messages of a JSON stream from an offset to the tail."""
        return [message for page in await self.pages(offset) for message in _array(page)]

    async def expect_content(self, body: bytes) -> None:
        """Expect that the whole stream holds exactly these bytes."""
        pages = await self.pages()
        whole = b"".join(page.body for page in pages)
        Reply(pages[-1].request, pages[-1].status, pages[-1].headers, whole).expect_body(body)

    async def expect_messages(self, messages: Sequence[Any]) -> None:
        """Expect that the whole JSON stream holds exactly these messages."""
        came = await self.messages()
        expect_that(same_json(came, messages), f"the messages {json.dumps(messages)}", json.dumps(came))

    async def poll(self, offset: str, *, cursor: str | None = None, headers: Headers = ()) -> Reply:
        """One long-poll (PROTOCOL §5.7)."""
        return await self.get(offset, live="long-poll", cursor=cursor, headers=headers)

    async def timed_out_poll(self, offset: str, *, cursor: str | None = None) -> Reply:
        """A long-poll that nothing ends but its time-out.

        Raises:
            Skipped: the server waits longer than this run is patient.
        """
        with anyio.move_on_after(self.server.patience_s):
            return await self.poll(offset, cursor=cursor)
        raise Skipped(
            f"long-polls wait more than {self.server.patience_s:g} s; shorten the server's time-out"
        )

    async def poll_for_news(self, offset: str) -> Reply:
        """Long-poll, again after each time-out, until there is data or an end of the stream."""
        while True:
            reply = await self.poll(offset)
            if reply.status != 204 or reply.is_closed:
                return reply

    async def poll_while(self, offset: str, act: Callable[[], Awaitable[object]]) -> Reply:
        """What a reader hears who waits at an offset already when something happens to the stream."""
        replies: list[Reply] = []

        async def listen() -> None:
            replies.append(await self.poll_for_news(offset))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await anyio.sleep(_PARKING_S)
            await act()
        return replies[0]

    async def sse(self, offset: str) -> Reply:
        """The answer to an SSE request, without its events."""
        async with self.server.connection.open(Request("GET", self.target(offset, "sse"))) as (reply, _):
            return reply

    @asynccontextmanager
    async def events(self, offset: str = "-1", *, cursor: str | None = None) -> AsyncIterator[EventReader]:
        """An open SSE connection (PROTOCOL §5.8)."""
        request = Request("GET", self.target(offset, "sse", cursor))
        async with self.server.connection.open(request) as (reply, chunks):
            yield EventReader(reply.expect(200), chunks)

    async def _write(
        self, method: str, body: bytes, headers: Headers, content_type: str | None, chunks: Sequence[bytes]
    ) -> Reply:
        pairs = header_pairs(headers)
        if content_type is not None:
            pairs = (("Content-Type", content_type or self.content_type), *pairs)
        return await self.server.send(method, self.path, body, headers=pairs, chunks=chunks)


class EventReader:
    """Reads the events of one SSE connection.

    Attributes:
        reply: status and headers of the answer.
    """

    def __init__(self, reply: Reply, chunks: AsyncIterator[bytes]) -> None:
        self.reply = reply
        self._chunks = chunks
        self._decoder = EventDecoder()
        self._ready: list[Event] = []

    async def event(self) -> Event | None:
        """The next data or control event, or None if the server ends the connection."""
        while True:
            while not self._ready:
                chunk = await anext(self._chunks, None)
                if chunk is None:
                    return None
                self._ready = self._decoder.feed(chunk)
            event = self._ready.pop(0)
            if event.kind in ("data", "control"):
                return event

    async def batch(self) -> Batch:
        """The data events up to the next control event, and that.

        Raises:
            Failure: the connection ends before.
        """
        data: list[str] = []
        while True:
            event = await self.event()
            if event is None:
                self.reply.fail("a control event", f"the end of the connection after {len(data)} data events")
            if event.kind == "control":
                return Batch(tuple(data), parse_control(event))
            data.append(event.data)

    async def control(self) -> Control:
        """The next control event, which must follow without a data event."""
        batch = await self.batch()
        expect_that(not batch.data, "a control event and no data", batch.data)
        return batch.control

    async def to_tail(self) -> list[Batch]:
        """All batches up to the one that says it is up to date or the last."""
        batches = [await self.batch()]
        while not batches[-1].control.up_to_date:
            batches.append(await self.batch())
        return batches

    async def news(self) -> list[Batch]:
        """All batches up to the first that brings data or the end of the stream, empty ones passed over."""
        while True:
            batches = await self.to_tail()
            if any(batch.data or batch.control.closed for batch in batches):
                return batches

    async def expect_end(self) -> None:
        """Expect that the connection ends soon, without another event."""
        event = None
        with anyio.move_on_after(_ENDING_S) as limit:
            event = await self.event()
        if limit.cancelled_caught:
            self.reply.fail(
                f"the end of the connection within {_ENDING_S:g} s", "neither an end nor an event"
            )
        if event is not None:
            self.reply.fail("the end of the connection", f"a {event.kind} event: {event.data[:80]}")


def _array(page: Reply) -> list[Any]:
    value = page.json()
    if not isinstance(value, list):
        page.fail("a JSON array", page.body[:80].decode("utf-8", "replace"))
    return value
