"""What operations on a stream return."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from durafold.client.encoding import decode_json
from durafold.errors import MalformedResponse, StreamGone
from durafold.wire.offsets import START, Offset

__all__ = ["AppendResult", "CloseResult", "Page", "StreamInfo"]


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """Metadata of a stream (PROTOCOL §5.1, §5.5).

    Attributes:
        content_type: media type of the stream.
        next_offset: its tail.
        closed: whether it takes no more appends.
        ttl_s: sliding time-to-live in seconds, if it has one.
        expires_at: absolute expiry, if it has one.
        created: whether `create` made the stream just now; always False from `head`.
        retention_bytes: how many of its newest bytes it keeps at least, if it was created with a limit.
        retention_age_s: for how many seconds it keeps data, if it was created with a limit.
    """

    content_type: str
    next_offset: Offset
    closed: bool = False
    ttl_s: int | None = None
    expires_at: datetime | None = None
    created: bool = False
    retention_bytes: int | None = None
    retention_age_s: int | None = None


@dataclass(frozen=True, slots=True)
class AppendResult:
    """What a server said to an append.

    Attributes:
        next_offset: the tail behind the appended data. None if the server did not name it, which some do for
            duplicates.
        closed: whether the stream is closed now.
        duplicate: the server had this append already, from an attempt whose answer was lost.
        already_closed: it was a close, and somebody else had closed the stream before.
    """

    next_offset: Offset | None
    closed: bool = False
    duplicate: bool = False
    already_closed: bool = False


@dataclass(frozen=True, slots=True)
class CloseResult:
    """What a server said to a close.

    Attributes:
        final_offset: the stream's last tail. None if the server did not name it.
        already_closed: a producer found that somebody else had closed the stream before.
    """

    final_offset: Offset | None
    already_closed: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a stream's content, between two offsets.

    Attributes:
        data: the bytes of a byte stream, or one JSON array with the messages of a JSON stream. Empty (`b""`)
            when there is nothing between the offsets, for JSON streams too.
        content_type: media type of the stream.
        offset: where it was asked to start; may be `START` or `NOW`.
        next_offset: where the next page starts.
        up_to_date: nothing more was there when the server answered.
        closed: nothing more will ever be there.
        cursor: what the server wants echoed on the next live request.
        earliest_offset: where the stream begins now, if the server has said that it no longer keeps what was
            before this page.
        skipped: how much lies between `offset` and `data`, because a checkpoint said that it was handled:
            messages of a JSON stream, bytes of others.
    """

    data: bytes
    content_type: str
    offset: Offset
    next_offset: Offset
    up_to_date: bool = False
    closed: bool = False
    cursor: str | None = None
    earliest_offset: str | None = None
    skipped: int = 0

    @property
    def lacks_beginning(self) -> bool:
        """Whether it was asked for from `START`, and what the stream began with is no longer kept."""
        return self.offset == START and self.earliest_offset is not None

    def require_beginning(self) -> None:
        """Check that a page which was asked for from `START` has what the stream began with.

        Raises:
            StreamGone: the server no longer keeps the beginning.
        """
        if self.lacks_beginning:
            raise StreamGone(
                "The beginning of the stream is no longer kept",
                status=200,
                offset=START,
                earliest_offset=self.earliest_offset,
                hint="Start from a snapshot, or read on from the earliest offset if the rest will do",
            )

    def json(self) -> list[Any]:
        """The messages of a JSON stream, in order.

        Raises:
            MalformedResponse: the data is no JSON array, for example because a proxy cut it short.
        """
        if not self.data:
            return []
        try:
            messages = decode_json(self.data)
        except (ValueError, RecursionError) as exc:
            raise self._malformed(f"A page of {self.content_type} is not valid JSON: {exc}") from exc
        if not isinstance(messages, list):
            raise self._malformed(f"A page of a JSON stream must be an array, not {type(messages).__name__}")
        return messages

    def text(self) -> str:
        """The data as UTF-8.

        Raises:
            MalformedResponse: it is not UTF-8, or the page ends within a character (`read_text` of the stream
                joins its pages before it decodes).
        """
        try:
            return self.data.decode()
        except UnicodeDecodeError as exc:
            raise self._malformed(f"A page of {self.content_type} is not valid UTF-8: {exc}") from exc

    def _malformed(self, message: str) -> MalformedResponse:
        return MalformedResponse(message, offset=self.offset)
