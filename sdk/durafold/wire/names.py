"""Header, query and content-type names of the Durable Streams protocol (PROTOCOL §5, §8, §10).

Header names are written as PROTOCOL writes them; HTTP compares them without regard to case.
"""

from __future__ import annotations

from typing import Final, Literal

STREAM_NEXT_OFFSET: Final = "Stream-Next-Offset"
STREAM_CURSOR: Final = "Stream-Cursor"
STREAM_UP_TO_DATE: Final = "Stream-Up-To-Date"
STREAM_CLOSED: Final = "Stream-Closed"
STREAM_SEQ: Final = "Stream-Seq"
STREAM_TTL: Final = "Stream-TTL"
STREAM_EXPIRES_AT: Final = "Stream-Expires-At"
STREAM_FORKED_FROM: Final = "Stream-Forked-From"
STREAM_FORK_OFFSET: Final = "Stream-Fork-Offset"
STREAM_FORK_SUB_OFFSET: Final = "Stream-Fork-Sub-Offset"
STREAM_RETENTION_BYTES: Final = "Stream-Retention-Bytes"
STREAM_RETENTION_AGE: Final = "Stream-Retention-Age"
STREAM_EARLIEST_OFFSET: Final = "Stream-Earliest-Offset"
STREAM_SSE_DATA_ENCODING: Final = "Stream-SSE-Data-Encoding"
PRODUCER_ID: Final = "Producer-Id"
PRODUCER_EPOCH: Final = "Producer-Epoch"
PRODUCER_SEQ: Final = "Producer-Seq"
PRODUCER_EXPECTED_SEQ: Final = "Producer-Expected-Seq"
PRODUCER_RECEIVED_SEQ: Final = "Producer-Received-Seq"

OFFSET_PARAM: Final = "offset"
LIVE_PARAM: Final = "live"
CURSOR_PARAM: Final = "cursor"
PREFIX_PARAM: Final = "prefix"
AFTER_PARAM: Final = "after"
LIMIT_PARAM: Final = "limit"
STATE_PARAM: Final = "state"
AT_PARAM: Final = "at"

LiveMode = Literal["long-poll", "sse"]
LONG_POLL: Final = "long-poll"
SSE: Final = "sse"

JSON_CONTENT_TYPE: Final = "application/json"
DEFAULT_CONTENT_TYPE: Final = "application/octet-stream"
SSE_CONTENT_TYPE: Final = "text/event-stream"

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""Largest Producer-Epoch and Producer-Seq (PROTOCOL §5.2.1)."""

DEFAULT_PORT: Final = 4437
DEFAULT_PREFIX: Final = "/v1/stream"


def is_true(value: str | None) -> bool:
    """Whether a flag header counts as present: exactly `true`, in any case (PROTOCOL §4.1)."""
    return value is not None and value.lower() == "true"


def media_type(content_type: str) -> str:
    """The type without its parameters, in lower case: `Text/Plain; charset=utf-8` → `text/plain`."""
    return content_type.partition(";")[0].strip().lower()


def is_json(content_type: str) -> bool:
    """Whether a stream of this type is in JSON mode (PROTOCOL §9.1)."""
    return media_type(content_type) == JSON_CONTENT_TYPE


def is_text(content_type: str) -> bool:
    """Whether SSE carries this type as plain text, not base64 (PROTOCOL §5.8)."""
    kind = media_type(content_type)
    return kind.startswith("text/") or kind == JSON_CONTENT_TYPE
