"""What to answer: outcome → status and headers, one function an outcome.

Header names are lower-case bytes, as ASGI wants them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from durafold.wire import names
from durafold_server.protocol import caching, lifetimes
from durafold_server.protocol.decide import Appended, Created
from durafold_server.protocol.errors import ProtocolError
from durafold_server.protocol.json_mode import page_body
from durafold_server.protocol.model import Mode, Retention, StreamState, Value

HeaderList = list[tuple[bytes, bytes]]

_TRUE: Final = b"true"
_CLOSED: Final = (b"stream-closed", _TRUE)
_UP_TO_DATE: Final = (b"stream-up-to-date", _TRUE)
_NO_STORE: Final = (b"cache-control", caching.NO_STORE.encode())
_JSON: Final = (b"content-type", names.JSON_CONTENT_TYPE.encode())
_PLAIN_TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")


class Reply(Value, frozen=True):
    """A whole response.

    Attributes:
        status: of HTTP.
        headers: in lower case.
        body: the whole body.
        own_policy: the headers say themselves what browsers may do with it, and who may read it; those that
            all other responses carry stay out.
    """

    status: int
    headers: HeaderList = msgspec.field(default_factory=list)
    body: bytes = b""
    own_policy: bool = False


class PageView(Value, frozen=True):
    """A stretch of a stream as one reader gets it.

    Attributes:
        stream: the stream at the moment of the read.
        start: position of the first byte.
        end: position after the last byte.
        data: the stored bytes between them.
        follows_now: the read was for `offset=now`, so it must not be cached.
    """

    stream: StreamState
    start: int
    end: int
    data: bytes
    follows_now: bool = False

    @property
    def at_tail(self) -> bool:
        """Whether nothing more was there when the page was made."""
        return self.end >= self.stream.tail

    @property
    def closed(self) -> bool:
        """Whether this page is the last one there will ever be."""
        return self.stream.closed and self.at_tail


class Listing(Value, frozen=True):
    """Streams in order of path.

    Attributes:
        streams: each with how much of it is kept, the server's defaults included.
        next: what to ask for the streams after; None if there are no more.
    """

    streams: Sequence[tuple[StreamState, Retention]]
    next: str | None


def created(outcome: Created, location: str) -> Reply:
    """PROTOCOL §5.1: 201 with Location, or 200 for a stream that was there already."""
    stream = outcome.stream
    headers: HeaderList = [
        (b"content-type", stream.content_type.encode("latin-1")),
        _next_offset(stream, stream.tail),
    ]
    if outcome.new:
        headers.append((b"location", location.encode("latin-1")))
    if stream.closed:
        headers.append(_CLOSED)
    return Reply(201 if outcome.new else 200, headers)


def appended(outcome: Appended) -> Reply:
    """PROTOCOL §5.2, §5.2.1: 204, or 200 for new data of a producer."""
    stream = outcome.stream
    headers: HeaderList = [_next_offset(stream, stream.tail)]
    if stream.closed:
        headers.append(_CLOSED)
    claim = outcome.claim
    if claim is None or outcome.accepted_seq is None:
        return Reply(204, headers)
    headers.append((b"producer-epoch", str(claim.epoch).encode()))
    headers.append((b"producer-seq", str(outcome.accepted_seq).encode()))
    return Reply(204 if outcome.duplicate or not outcome.added_data else 200, headers)


def described(stream: StreamState, kept: Retention | None = None) -> Reply:
    """PROTOCOL §5.5: the answer to HEAD.

    Args:
        stream: the stream.
        kept: how much of it is kept, the server's defaults included; its own configuration if None.
    """
    headers: HeaderList = [
        (b"content-type", stream.content_type.encode("latin-1")),
        _next_offset(stream, stream.tail),
        _NO_STORE,
    ]
    if stream.lifetime.ttl_s is not None:
        headers.append((b"stream-ttl", str(stream.lifetime.ttl_s).encode()))
    if stream.lifetime.expires_at is not None:
        headers.append((b"stream-expires-at", stream.lifetime.expires_at.encode("latin-1")))
    if stream.closed:
        headers.append(_CLOSED)
    headers.append(_earliest_offset(stream))
    headers.extend(_retention(kept or stream.retention))
    return Reply(200, headers)


def deleted() -> Reply:
    """PROTOCOL §5.4."""
    return Reply(204)


def page(view: PageView, *, if_none_match: str | None = None, private: bool = False) -> Reply:
    """PROTOCOL §5.6, §10.1: a catch-up read; 304 if the client has these very bytes."""
    stream = view.stream
    headers = _page_headers(view)
    if view.follows_now:
        headers.append(_NO_STORE)
        return Reply(200, headers, _body(view))
    # After a repair the same positions may hold other bytes: then the origin tells them apart.
    incarnation = stream.id if stream.origin is None else stream.origin
    tag = caching.etag(incarnation, view.start, view.end, closed=view.closed)
    headers.append((b"etag", tag.encode()))
    headers.append((b"cache-control", _cache_control(view, private=private).encode()))
    if caching.matches(if_none_match, tag):
        return Reply(304, headers)
    return Reply(200, headers, _body(view))


def polled(view: PageView, cursor: str) -> Reply:
    """PROTOCOL §5.7: a long-poll with data (200), or without: timed out, or the stream has ended (204)."""
    headers = _page_headers(view) if view.data else [_next_offset(view.stream, view.end), _UP_TO_DATE]
    if not view.data and view.closed:
        headers.append(_CLOSED)
    headers.append((b"stream-cursor", cursor.encode()))
    headers.append(_NO_STORE)
    return Reply(200, headers, _body(view)) if view.data else Reply(204, headers)


def event_stream(stream: StreamState, *, private: bool = False) -> HeaderList:
    """PROTOCOL §5.8: the headers of an SSE response."""
    headers: HeaderList = [
        (b"content-type", b"text/event-stream"),
        # no-transform: a compressing proxy would hold events back.
        (b"cache-control", b"private, no-cache, no-transform" if private else b"no-cache, no-transform"),
        (b"x-accel-buffering", b"no"),
    ]
    if stream.mode is Mode.BINARY:
        headers.append((b"stream-sse-data-encoding", b"base64"))
    return headers


def listed(listing: Listing) -> Reply:
    """The answer to GET of the stream root (an extension)."""
    streams = [_summary(stream, kept) for stream, kept in listing.streams]
    body = msgspec.json.encode({"streams": streams, "next": listing.next})
    return Reply(200, [_JSON, _NO_STORE], body)


def refused(error: ProtocolError) -> Reply:
    """An error: its status, the headers it names, and one line or document that says what to do."""
    headers: HeaderList = [_PLAIN_TEXT if error.document is None else _JSON, _NO_STORE]
    headers.extend(
        (name.lower().encode(), value.encode("latin-1", "replace")) for name, value in error.headers
    )
    if error.document is not None:
        return Reply(error.status, headers, msgspec.json.encode(error.document) + b"\n")
    return Reply(error.status, headers, f"{error.message}\n".encode())


def _page_headers(view: PageView) -> HeaderList:
    stream = view.stream
    headers: HeaderList = [
        (b"content-type", stream.content_type.encode("latin-1")),
        _next_offset(stream, view.end),
    ]
    if view.at_tail:
        headers.append(_UP_TO_DATE)
    if view.closed:
        headers.append(_CLOSED)
    if stream.start and view.start == stream.start:
        # Otherwise nobody who begins at -1 could tell that there was something before.
        headers.append(_earliest_offset(stream))
    return headers


def _earliest_offset(stream: StreamState) -> tuple[bytes, bytes]:
    return (b"stream-earliest-offset", stream.offset(stream.start).encode())


def _summary(stream: StreamState, kept: Retention) -> dict[str, object]:
    """One entry of a listing. Entries get new fields, but no field changes its meaning."""
    fork = stream.fork
    return {
        "path": stream.path,
        "content_type": stream.content_type,
        "created_at": lifetimes.format_rfc3339(stream.id),
        "earliest_offset": stream.offset(stream.start),
        "next_offset": stream.offset(stream.tail),
        "bytes": stream.tail - stream.start,
        "closed": stream.closed,
        "ttl_s": stream.lifetime.ttl_s,
        "expires_at": stream.lifetime.expires_at,
        "forked_from": fork.source_path if fork is not None else None,
        "fork_offset": stream.offset(fork.at) if fork is not None else None,
        "retention_bytes": kept.bytes,
        "retention_age_s": kept.age_s,
    }


def _retention(kept: Retention | None) -> HeaderList:
    headers: HeaderList = []
    if kept is not None and kept.bytes is not None:
        headers.append((b"stream-retention-bytes", str(kept.bytes).encode()))
    if kept is not None and kept.age_s is not None:
        headers.append((b"stream-retention-age", str(kept.age_s).encode()))
    return headers


def _body(view: PageView) -> bytes:
    return page_body(view.data) if view.stream.mode is Mode.JSON else view.data


def _cache_control(view: PageView, *, private: bool) -> str:
    if not view.data:
        return caching.AT_TAIL_PRIVATE if private else caching.AT_TAIL
    return caching.HISTORICAL_PRIVATE if private else caching.HISTORICAL


def _next_offset(stream: StreamState, position: int) -> tuple[bytes, bytes]:
    return b"stream-next-offset", stream.offset(position).encode()
