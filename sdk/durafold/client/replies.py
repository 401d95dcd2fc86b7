"""From answers to values: the one place that knows what the headers of a successful answer mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Final

from durafold.client.exchange import Reply
from durafold.client.values import AppendResult, CloseResult, Page, StreamInfo
from durafold.errors import MalformedResponse
from durafold.wire import names
from durafold.wire.offsets import Offset, is_valid_token

__all__ = [
    "append_result",
    "close_result",
    "content_of",
    "content_of_events",
    "join_arrays",
    "optional_next_offset",
    "page",
    "stream_info",
]

_EMPTY_ARRAY: Final = re.compile(rb"\[\s*\]")


def page(reply: Reply, *, offset: Offset, content_type: str = "") -> Page:
    """The page that a 200 or 204 to a read stands for (PROTOCOL §5.6, §5.7).

    Args:
        reply: an answer that is no error.
        offset: the offset that was asked for.
        content_type: the stream's, for a 204, which does not name it.

    Raises:
        MalformedResponse: another status, no usable `Stream-Next-Offset`, or a JSON body that was cut.
    """
    if reply.status not in (HTTPStatus.OK, HTTPStatus.NO_CONTENT):
        raise MalformedResponse(
            f"A read was answered with HTTP {reply.status}", stream=reply.stream, offset=offset
        )
    kind = reply.header("Content-Type") or content_type
    closed = names.is_true(reply.header(names.STREAM_CLOSED))
    return Page(
        data=content_of(reply.body, kind, offset=offset),
        content_type=kind,
        offset=offset,
        next_offset=_next_offset(reply),
        up_to_date=closed or names.is_true(reply.header(names.STREAM_UP_TO_DATE)),
        closed=closed,
        cursor=reply.header(names.STREAM_CURSOR),
        earliest_offset=reply.header(names.STREAM_EARLIEST_OFFSET),
    )


def content_of(body: bytes, content_type: str, *, offset: Offset) -> bytes:
    """The body as `Page.data` has it: an empty JSON array becomes `b""`.

    Raises:
        MalformedResponse: a JSON body that does not begin and end as an array does: something cut it.
    """
    if not body or not names.is_json(content_type):
        return body
    array = body.strip()
    if not (array.startswith(b"[") and array.endswith(b"]")):
        raise MalformedResponse("A read of a JSON stream did not return a whole JSON array", offset=offset)
    return b"" if _EMPTY_ARRAY.fullmatch(array) else array


def content_of_events(events: Sequence[bytes], content_type: str, *, offset: Offset) -> bytes:
    """The content of several SSE data events, in the form of `content_of`.

    PROTOCOL §5.8: each data event of a JSON stream is an array of its own.

    Raises:
        MalformedResponse: as for `content_of`.
    """
    if not names.is_json(content_type):
        return b"".join(events)
    arrays = [array for event in events if (array := content_of(event, content_type, offset=offset))]
    return arrays[0] if len(arrays) == 1 else join_arrays(arrays)


def join_arrays(arrays: Sequence[bytes]) -> bytes:
    """One JSON array with the elements of several, none of which is empty; `b""` for none."""
    return b"[" + b",".join(array[1:-1] for array in arrays) + b"]" if arrays else b""


def stream_info(reply: Reply) -> StreamInfo:
    """The metadata in an answer to HEAD or PUT (PROTOCOL §5.1, §5.5).

    Raises:
        MalformedResponse: a header is missing or cannot be read.
    """
    expires_at = reply.header(names.STREAM_EXPIRES_AT)
    try:
        return StreamInfo(
            content_type=reply.header("Content-Type") or names.DEFAULT_CONTENT_TYPE,
            next_offset=_next_offset(reply),
            closed=names.is_true(reply.header(names.STREAM_CLOSED)),
            ttl_s=_number(reply, names.STREAM_TTL),
            expires_at=None if expires_at is None else datetime.fromisoformat(expires_at),
            created=reply.status == HTTPStatus.CREATED,
            retention_bytes=_number(reply, names.STREAM_RETENTION_BYTES),
            retention_age_s=_number(reply, names.STREAM_RETENTION_AGE),
        )
    except ValueError as exc:
        raise MalformedResponse(f"The stream's lifetime cannot be read: {exc}", stream=reply.stream) from exc


def _number(reply: Reply, name: str) -> int | None:
    text = reply.header(name)
    return None if text is None else int(text)


def append_result(reply: Reply, *, by_producer: bool = False) -> AppendResult:
    """What a 2xx answer to an append says (PROTOCOL §5.2, §5.2.1).

    Args:
        reply: an answer that is no error.
        by_producer: the request had producer headers, so that 204 means "I had this already".

    Raises:
        MalformedResponse: the answer has none of the protocol's headers, so that no stream server made it.
    """
    if (
        names.STREAM_NEXT_OFFSET.lower() not in reply.headers
        and names.PRODUCER_EPOCH.lower() not in reply.headers
    ):
        raise MalformedResponse(
            f"An append was answered with HTTP {reply.status}, but not by a stream server",
            stream=reply.stream,
            hint="Look for a proxy or login page between here and the server",
        )
    return AppendResult(
        next_offset=optional_next_offset(reply),
        closed=names.is_true(reply.header(names.STREAM_CLOSED)),
        duplicate=by_producer and reply.status == HTTPStatus.NO_CONTENT,
    )


def close_result(reply: Reply) -> CloseResult:
    """What a 2xx answer to a close says (PROTOCOL §5.3).

    Raises:
        MalformedResponse: the answer does not confirm that the stream is closed.
    """
    if not names.is_true(reply.header(names.STREAM_CLOSED)):
        raise MalformedResponse(
            f"A close was answered with HTTP {reply.status} but without Stream-Closed: true",
            stream=reply.stream,
        )
    return CloseResult(optional_next_offset(reply))


def _next_offset(reply: Reply) -> Offset:
    offset = optional_next_offset(reply)
    if offset is None:
        raise MalformedResponse(
            f"HTTP {reply.status} came without Stream-Next-Offset, so it is not a stream server's answer",
            stream=reply.stream,
            hint="Does the URL contain /v1/stream?",
        )
    return offset


def optional_next_offset(reply: Reply) -> Offset | None:
    """`Stream-Next-Offset`, if the answer has it.

    Raises:
        MalformedResponse: it has one that cannot be an offset.
    """
    value = reply.header(names.STREAM_NEXT_OFFSET)
    if not value:
        return None
    if not is_valid_token(value):
        raise MalformedResponse(
            f"The server sent an offset that cannot be one: {value[:80]!r}", stream=reply.stream
        )
    return Offset(value)
