"""The values that the rules, the stores and the service speak of: streams, producers, data, writes.

All are immutable. Times are whole microseconds since 1970 (`_us`); they come from the store's clock, which
never repeats a value, so that a creation time also serves as the stream's id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Generic, NamedTuple, TypeAlias, TypeVar

import msgspec

from durafold.wire import names
from durafold_server.protocol.offsets import format_offset

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Value(msgspec.Struct, frozen=True, gc=False):
    """Base of immutable values: structs are made, changed and encoded many times faster than dataclasses.

    They never form cycles, so the garbage collector need not follow them.
    """


class Mode(Enum):
    """How a stream's bytes are framed, worked out once from its content type (PROTOCOL §5.8, §9.1)."""

    JSON = "json"
    TEXT = "text"
    BINARY = "binary"

    @staticmethod
    def of(content_type: str) -> Mode:
        """The mode of a content type; parameters such as `charset` do not matter."""
        if names.is_json(content_type):
            return Mode.JSON
        return Mode.TEXT if names.is_text(content_type) else Mode.BINARY


class ProducerClaim(NamedTuple):
    """The three producer headers of one request (PROTOCOL §5.2.1)."""

    producer_id: str
    epoch: int
    seq: int


class ProducerState(Value, frozen=True):
    """What is remembered of a producer on one stream.

    Attributes:
        epoch: its present epoch.
        last_seq: the highest sequence number accepted in it.
        owner: the mark of the identity that it belongs to, where producers belong to identities.
    """

    epoch: int
    last_seq: int
    owner: bytes | None = None


class Lifetime(Value, frozen=True):
    """When a stream ends by itself: never, after `ttl_s` idle seconds, or at a fixed time (PROTOCOL §5.1).

    `expires_at` is the header's text as the client wrote it, `expires_at_us` the moment it names.
    """

    ttl_s: int | None = None
    expires_at: str | None = None
    expires_at_us: int | None = None


FOREVER = Lifetime()


class Retention(Value, frozen=True):
    """How much of a stream is kept (an extension): 0 keeps all, None leaves it to the server's default.

    Attributes:
        bytes: so many of the newest bytes, at least.
        age_s: what was appended in the last so many seconds.
    """

    bytes: int | None = None
    age_s: int | None = None


class Segment(Value, frozen=True):
    """A stretch of a stream: bytes of stream `stream_id` up to position `until`.

    `origin` is what their offsets begin with where that is not the stream's id: after a repair has cut data
    off, so that the offsets of what is lost are never given to other data.
    """

    stream_id: int
    until: int
    origin: int | None = None

    @property
    def source(self) -> int:
        """What the offsets of these bytes begin with."""
        return self.stream_id if self.origin is None else self.origin


class Fork(Value, frozen=True):
    """Where a stream branched off.

    Attributes:
        source_path: path of the source stream.
        source_id: id of the source stream.
        requested_offset: `Stream-Fork-Offset` as asked for, or None for the tail.
        sub_offset: `Stream-Fork-Sub-Offset`, 0 if none.
        at: the position where inherited bytes end and own bytes begin.
        inherited: the stretches that make up the inherited bytes, oldest first.
    """

    source_path: str
    source_id: int
    requested_offset: str | None
    sub_offset: int
    at: int
    inherited: tuple[Segment, ...]


class StreamState(Value, frozen=True, omit_defaults=True):
    """One stream at one moment. Readers get it whole, so tail and closure never disagree.

    Attributes:
        id: unique and growing; a path deleted and created anew gets another one.
        path: canonical path below the stream root.
        content_type: as given at creation.
        mode: derived from the content type.
        tail: position after the last byte.
        start: the earliest retained position.
        closed: no more appends (PROTOCOL §4.1).
        closed_by: the producer request that closed it, if one did.
        last_seq: the last Stream-Seq accepted; its scope is the stream.
        lifetime: TTL or expiry as configured.
        used_us: time of the last read or write, for the sliding TTL.
        fork: where it branched off, if it is a fork.
        forks: number of living forks of it.
        deleted: soft-deleted: gone for clients, kept for its forks.
        salvaged: the stretches of its own data that offsets of earlier origins belong to, oldest first.
        origin: what the offsets of its newest data begin with, where a repair has changed that; else the id.
        retention: how much of it is kept, as asked for at creation; None if nothing was.
        forked_until: no living fork needs bytes of it from here on.
        internal: written by the server alone; clients may only read it.
    """

    id: int
    path: str
    content_type: str
    mode: Mode
    tail: int = 0
    start: int = 0
    closed: bool = False
    closed_by: ProducerClaim | None = None
    last_seq: str | None = None
    lifetime: Lifetime = FOREVER
    used_us: int = 0
    fork: Fork | None = None
    forks: int = 0
    deleted: bool = False
    salvaged: tuple[Segment, ...] = ()
    origin: int | None = None
    retention: Retention | None = None
    forked_until: int = 0
    internal: bool = False

    def segments(self) -> tuple[Segment, ...]:
        """The stretches that make up the whole stream, oldest first; the last one is its own data."""
        own = Segment(self.id, self.tail, self.origin)
        return (*self.fork.inherited, *self.salvaged, own) if self.fork else (*self.salvaged, own)

    def owner(self, position: int) -> int:
        """Origin of the bytes before a position: the id of the stream they were appended to, if uncut."""
        if self.fork is not None or self.salvaged:
            for segment in self.segments()[:-1]:
                if position <= segment.until:
                    return segment.source
        return self.id if self.origin is None else self.origin

    def offset(self, position: int) -> str:
        """The token of a position (PROTOCOL §8)."""
        return format_offset(self.owner(position), position)


class Extent(Value, frozen=True):
    """A stretch of stored bytes that was appended at once, or is kept as one piece.

    Attributes:
        start: position of the first byte.
        end: position after the last byte: an append ended here.
        appended_us: when the last of it was appended; 0 if that was not noted.
    """

    start: int
    end: int
    appended_us: int


class Payload(Value, frozen=True):
    """The data of one append, ready to store.

    JSON messages are each followed by one comma, so a page is `[` + bytes without the last comma + `]`, and
    no stored JSON is ever parsed again.
    """

    data: bytes
    messages: int


NO_PAYLOAD = Payload(b"", 0)


class ReadKey(NamedTuple):
    """What a decision needs to see: a stream, and perhaps one producer on it."""

    path: str
    producer_id: str | None = None


class Loaded(NamedTuple):
    """What was found under a `ReadKey`."""

    stream: StreamState | None
    producer: ProducerState | None = None


class SaveStream(Value, frozen=True):
    """Create the stream's record, or replace it."""

    stream: StreamState


class AppendData(Value, frozen=True):
    """Add the data of one append at `start`, the tail before it."""

    stream_id: int
    start: int
    payload: Payload


class SaveProducer(Value, frozen=True):
    """Remember a producer's epoch and sequence number on a stream."""

    stream_id: int
    producer_id: str
    producer: ProducerState


class RemoveStream(Value, frozen=True):
    """Free the path; the stream's data and producers may be purged."""

    stream: StreamState


Write: TypeAlias = SaveStream | AppendData | SaveProducer | RemoveStream


class Decision(NamedTuple, Generic[R]):
    """The writes of one request, all or none of which take effect, and what to answer."""

    writes: Sequence[Write]
    result: R


Decide: TypeAlias = Callable[[Sequence[Loaded], int], Decision[R]]
"""(what was loaded, now in µs) → decision. Pure and quick; may be called again. Raises ProtocolError."""
